"""The queue of keys against a list, and its contrast against the formula."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from labelwright.errors import InputError
from labelwright.nn.queue import KeyQueue, gathered


def unit(n, d=3, *, seed=0):
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize(("size", "batches"), [(6, [3, 3, 3, 3]), (6, [4, 4, 4]), (5, [2, 2, 2, 1]), (4, [4]), (4, [7])])
def test_first_in_first_out_with_wrap_around(size, batches):
    queue, kept, last = KeyQueue(size, 3, 1), [], 1  # a mark of 0 is an empty place
    for number, b in enumerate(batches):
        keys = 2.5 * unit(b, seed=number)
        marks = torch.arange(last, last + b).float()
        place = queue.push(keys, marks[:, None])
        last += b
        kept = (kept + list(zip(F.normalize(keys, dim=1), marks.tolist(), strict=True)))[-size:]
        assert torch.equal(queue.beside[place][:, 0], marks[-size:])
        assert int(queue.filled.sum()) == len(kept)
        held = sorted(queue.beside[queue.filled][:, 0].tolist())
        assert held == [m for _, m in kept]
        for key, mark in kept:
            assert_close(queue.keys[queue.beside[:, 0] == mark][-1], key)
        assert_close(queue.keys[queue.filled].norm(dim=1), torch.ones(len(kept)))


def test_contrast_of_an_empty_queue_is_zero():
    assert_close(KeyQueue(8, 3).contrast(unit(4), unit(4, seed=1), temperature=0.1), torch.zeros(4))


def test_contrast_by_hand():
    queue = KeyQueue(8, 2)
    queue.push(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    query, positive = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    want = -math.log(math.exp(6) / (math.exp(6) + math.exp(0) + math.exp(10)))
    assert_close(queue.contrast(query, positive, temperature=0.1), torch.tensor([want]))
    queue.clear()
    assert float(queue.contrast(query, positive, temperature=0.1)) == 0


def test_state_travels_with_the_module():
    queue, other = KeyQueue(4, 3, 2), KeyQueue(4, 3, 2)
    queue.push(unit(3), torch.ones(3, 2))
    other.load_state_dict(queue.state_dict())
    more = unit(2, seed=3)
    assert torch.equal(queue.push(more), other.push(more))
    assert torch.equal(queue.keys, other.keys)


def test_one_process_gathers_its_own_rows_without_gradient():
    rows = torch.ones(2, 3, requires_grad=True)
    assert torch.equal(gathered(rows), rows)
    assert not gathered(rows).requires_grad


def test_bad_sizes():
    with pytest.raises(InputError, match="size"):
        KeyQueue(0, 3)
    with pytest.raises(InputError, match="beside"):
        KeyQueue(4, 3, 1).push(unit(2), torch.ones(3, 1))


SCRIPT = """
import sys
import torch
from labelwright.nn.queue import gathered

rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}/meeting", rank=rank, world_size=2)
rows = torch.arange(3 - rank)[:, None] + 10 * rank  # three rows, and two
print(gathered(rows).flatten().tolist())
"""


@pytest.mark.slow
def test_two_processes_gather_the_rows_of_both(tmp_path):
    (tmp_path / "gather.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "gather.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    running = [subprocess.Popen([*command, str(r), str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment) for r in range(2)]
    assert [p.communicate(timeout=120)[0].strip() for p in running] == ["[0, 1, 2, 10, 11]"] * 2
