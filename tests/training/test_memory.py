"""Per-example tables: written by index, merged over processes by an engine that is simulated here (real processes: test_fabric)."""

from __future__ import annotations

import torch

from labelwright.training import ExampleTable
from labelwright.training.engine import Engine


class Two(Engine):
    """The view one process has of a pair whose other member contributes `others`, one tensor a call."""

    world = 2

    def __init__(self, others):
        super().__init__(torch.device("cpu"))
        self.others = list(others)

    def sum(self, value):
        return value + self.others.pop(0)


def test_running_average_is_the_closed_form():
    table = ExampleTable(4, 2)
    p = torch.tensor([[0.25, 0.75]])
    for _ in range(5):
        table.write(torch.tensor([2]), 0.7 * table.read(torch.tensor([2])) + 0.3 * p)
    torch.testing.assert_close(table.values[2], (1 - 0.7**5) * p[0])
    assert table.values[[0, 1, 3]].abs().sum() == 0
    assert table.touched.tolist() == [False, False, True, False]


def test_rows_are_detached_and_saved():
    table = ExampleTable(3, 1, fill=2.0, dtype=torch.float16)
    table.write(torch.tensor([1]), torch.tensor([[0.5]], requires_grad=True))
    assert table.values.tolist() == [[2.0], [0.5], [2.0]]
    assert not table.values.requires_grad
    assert list(table.state_dict()) == ["values"]
    copy = ExampleTable(3, 1, dtype=torch.float16)
    copy.load_state_dict(table.state_dict())
    assert copy.values.tolist() == table.values.tolist()
    read = table.read(torch.tensor([1]))
    read += 1
    assert table.values[1].item() == 0.5


def test_sync_takes_the_rows_of_each_process_and_the_mean_of_shared_ones():
    table = ExampleTable(4, 1, fill=9.0)
    table.write(torch.tensor([0, 2]), torch.tensor([[0.1], [4.0]]))
    other_touched = torch.tensor([0.0, 1.0, 1.0, 0.0])
    other_values = torch.tensor([[0.0], [0.3], [6.0], [0.0]])
    table.sync(Two([other_touched, other_values]))
    assert table.values.flatten().tolist() == [torch.tensor(0.1).item(), torch.tensor(0.3).item(), 5.0, 9.0]
    assert not table.touched.any()


def test_sync_of_one_process_only_clears_the_mask():
    table = ExampleTable(2, 1)
    table.write(torch.tensor([1]), torch.ones(1, 1))
    table.sync(Engine(torch.device("cpu")))
    assert table.values.flatten().tolist() == [0.0, 1.0]
    assert not table.touched.any()
