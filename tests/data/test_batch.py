"""Batches: every index once, orders that depend on (seed, epoch) alone, parts of processes that add up, two streams, balance."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st

from labelwright.data.batch import TensorData, balanced, balanced_order, batches, epoch_order, step_generator, steps_in, two_streams
from labelwright.errors import InputError


def numbered(n: int, labels=None) -> TensorData:
    inputs = torch.arange(n, dtype=torch.float32)[:, None]
    return TensorData.of(inputs, torch.zeros(n, dtype=torch.int64) if labels is None else torch.as_tensor(labels))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 60), size=st.integers(1, 20), seed=st.integers(0, 2**40), epoch=st.integers(0, 50))
def test_every_example_comes_once(n, size, seed, epoch):
    got = [b for b, _ in batches(numbered(n), batch_size=size, seed=seed, epoch=epoch)]
    index = torch.cat([b.index for b in got])
    assert sorted(index.tolist()) == list(range(n))
    assert torch.equal(index, epoch_order(n, seed=seed, epoch=epoch))
    assert torch.equal(torch.cat([b.inputs for b in got])[:, 0].long(), index)
    assert len(got) == -(-n // size) == steps_in(n, size)
    assert [b.step for b in got] == list(range(len(got)))


def test_orders_differ_between_epochs_seeds_and_streams_and_are_uniform():
    orders = [
        epoch_order(50, seed=0, epoch=0),
        epoch_order(50, seed=0, epoch=1),
        epoch_order(50, seed=1, epoch=0),
        epoch_order(50, seed=0, epoch=0, stream=1),
    ]
    assert len({tuple(o.tolist()) for o in orders}) == 4
    assert torch.equal(orders[0], epoch_order(50, seed=0, epoch=0))
    first = torch.stack([epoch_order(4, seed=s, epoch=e) for s in range(40) for e in range(25)])
    counts = torch.stack([(first == value).sum(0) for value in range(4)])
    assert (counts - 250).abs().max() < 5 * (1000 * 0.25 * 0.75) ** 0.5  # five standard deviations


def test_drop_last_and_generators():
    got = list(batches(numbered(10), batch_size=4, seed=0, epoch=0, drop_last=True))
    assert [len(b) for b, _ in got] == [4, 4]
    assert [len(b) for b, _ in batches(numbered(3), batch_size=4, seed=0, epoch=0, drop_last=True)] == [3]
    a, b = (torch.rand(1000, generator=step_generator(seed=0, epoch=0, stream=0, step=s)) for s in (0, 1))
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.16  # five standard deviations of independent draws


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("n", [24, 25])
def test_parts_of_processes_add_up_to_the_single_batch(world, n):
    def noise(x, generator):
        return x + torch.rand(x.shape, generator=generator)

    settings = {"batch_size": 8, "seed": 5, "epoch": 2, "augment": noise}
    whole = list(batches(numbered(n), **settings))
    parts = [list(batches(numbered(n), **settings, rank=r, world=world)) for r in range(world)]
    for step, (batch, size) in enumerate(whole):
        if size < world:
            assert all(len(p) == step for p in parts)
            continue
        assert size == len(batch)
        got = [p[step][0] for p in parts]
        assert {p[step][1] for p in parts} == {size}
        order = torch.cat([g.index for g in got]).argsort()
        expected = batch.index.argsort()
        assert torch.equal(torch.cat([g.index for g in got])[order], batch.index[expected])
        assert torch.equal(torch.cat([g.inputs for g in got])[order], batch.inputs[expected])
        assert torch.equal(torch.cat([g.clean for g in got])[order], batch.clean[expected])


def test_subsets_keep_the_index_of_the_whole():
    data = numbered(10).take(torch.tensor([7, 2, 5]))
    (batch, _) = next(batches(data, batch_size=3, seed=0, epoch=0))
    assert sorted(batch.index.tolist()) == [2, 5, 7]
    assert torch.equal(batch.inputs[:, 0].long(), batch.index)
    assert data.size == 10


def test_balanced_order_shows_all_classes_equally_often():
    labels = torch.tensor([0] * 80 + [1] * 15 + [2] * 4 + [-1])
    order = balanced_order(labels, seed=0, epoch=0, size=99)
    assert len(order) == 99
    assert torch.bincount(labels[order], minlength=3).tolist() == [33, 33, 33]
    assert len(order[labels[order] == 0].unique()) == 33  # no repetition before all of a class have come
    assert torch.bincount(order, minlength=100)[95:99].sort().values.tolist() == [8, 8, 8, 9]
    rounds = labels[order].view(33, 3).sort(dim=1).values
    assert (rounds == torch.arange(3)).all()
    assert not torch.equal(order, balanced_order(labels, seed=0, epoch=1, size=99))
    assert torch.equal(order, balanced_order(labels, seed=0, epoch=0, size=99))
    with pytest.raises(InputError, match="none"):
        balanced_order(torch.full((3,), -1), seed=0, epoch=0)


def test_balanced_batches():
    data = numbered(40, [0] * 36 + [1] * 4)
    got = [b for b, _ in batches(data, batch_size=8, seed=0, epoch=0, order=balanced)]
    assert [int(b.labels.sum()) for b in got] == [4] * 5


def test_two_streams_follow_the_longer_one():
    labelled, unlabelled = numbered(10), numbered(70)
    got = list(two_streams(labelled, unlabelled, mu=2, batch_size=4, seed=0, epoch=0))
    assert len(got) == 9  # ceil(70 / 8)
    assert [len(b) for b, _ in got] == [4] * 9
    assert [len(b.other) for b, _ in got] == [8] * 8 + [6]
    assert sorted(torch.cat([b.other.index for b, _ in got]).tolist()) == list(range(70))
    visits = torch.cat([b.index for b, _ in got])
    for turn in range(3):  # 36 visits are three whole passes and a part
        assert sorted(visits[10 * turn : 10 * turn + 10].tolist()) == list(range(10))
    assert not torch.equal(visits[:10], visits[10:20])
    again = list(two_streams(labelled, unlabelled, mu=2, batch_size=4, seed=0, epoch=0))
    assert all(
        torch.equal(a.other.index, b.other.index) and torch.equal(a.index, b.index) for (a, _), (b, _) in zip(got, again, strict=True)
    )


def test_two_streams_with_few_unlabelled_examples():
    got = [b for b, _ in two_streams(numbered(20), numbered(3), mu=0.5, batch_size=4, seed=1, epoch=0)]
    assert sorted(torch.cat([b.index for b in got]).tolist()) == list(range(20))
    assert torch.bincount(torch.cat([b.other.index for b in got])).tolist() in ([4, 3, 3], [3, 4, 3], [3, 3, 4])
    with pytest.raises(InputError, match="unlabelled"):
        next(two_streams(numbered(20), numbered(3).take(torch.zeros(3, dtype=torch.bool)), mu=1, batch_size=4, seed=1, epoch=0))
    with pytest.raises(InputError, match="mu"):
        next(two_streams(numbered(20), numbered(3), mu=0.1, batch_size=4, seed=1, epoch=0))


def test_parts_of_two_streams_add_up():
    arguments = {"mu": 1.5, "batch_size": 4, "seed": 0, "epoch": 3}
    whole = list(two_streams(numbered(10), numbered(40), **arguments))
    parts = [list(two_streams(numbered(10), numbered(40), **arguments, rank=r, world=2)) for r in range(2)]
    for (batch, _), (a, _), (b, _) in zip(whole, *parts, strict=True):
        assert sorted([*a.index.tolist(), *b.index.tolist()]) == sorted(batch.index.tolist())
        assert sorted([*a.other.index.tolist(), *b.other.index.tolist()]) == sorted(batch.other.index.tolist())
