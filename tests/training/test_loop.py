"""The loop: same seed same bits, exact resume, the epoch that is kept, errors that leave the last good state."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from labelwright.data.batch import balanced
from labelwright.errors import InputError, OutputError, ResourceError, TrainingError
from labelwright.nn import MLP, seeded
from labelwright.training import Batch, ExampleTable, Fit, Step, TensorData, train

FIT = Fit(epochs=4, batch_size=16, lr=0.1, weight_decay=0.0)


def blobs(n: int = 90, seed: int = 0) -> TensorData:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    inputs = torch.randn(n, 5, generator=generator) + 2.0 * F.one_hot(labels, 5)
    return TensorData.of(inputs, labels)


def net(dropout: float = 0.0, seed: int = 0) -> nn.Module:
    with seeded(seed):
        return MLP(hidden=(8,), dropout=dropout)(3, (5,))


def step(net: nn.Module, batch: Batch) -> Step:
    logits = net(batch.inputs)
    return Step(F.cross_entropy(logits, batch.labels), {"accuracy": (logits.argmax(1) == batch.labels).float().mean()})


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.state_dict().values()])


def test_learns_and_logs_exact_means():
    data = blobs()
    seen = []

    def spy(net, batch):
        out = step(net, batch)
        seen.append((len(batch), out.loss.item()))
        return out

    run = train(net(), spy, data, fit=dataclasses.replace(FIT, epochs=1), seed=0)
    assert [size for size, _ in seen] == [16] * 5 + [10]
    assert run.history[0]["loss"] == pytest.approx(sum(n * x for n, x in seen) / 90, rel=1e-6)
    assert run.steps == 6
    run = train(net(), step, data, fit=dataclasses.replace(FIT, epochs=15), seed=0)
    assert run.history[-1]["accuracy"] > 0.85  # Bayes is 0.92 here, chance a third
    assert not run.net.training


def test_one_sgd_step_is_the_closed_form():
    data = blobs(16)
    module = net()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    loss = F.cross_entropy(module(data.inputs), data.labels)
    gradients = dict(zip(before, torch.autograd.grad(loss, list(module.parameters())), strict=True))
    train(module, step, data, fit=Fit(epochs=1, batch_size=16, lr=0.1, weight_decay=0.01, momentum=0.9), seed=0)
    for name, value in module.state_dict().items():
        assert_close(value, before[name] - 0.1 * (gradients[name] + 0.01 * before[name]))


def test_same_seed_same_bits_and_other_seed_not():
    runs = [train(net(0.5), step, blobs(), fit=FIT, seed=s) for s in (1, 1, 2)]
    assert torch.equal(weights(runs[0].net), weights(runs[1].net))
    assert runs[0] == runs[1]
    assert runs[0].seconds != runs[1].seconds  # wall time is no part of equality
    assert not torch.equal(weights(runs[0].net), weights(runs[2].net))


def test_callers_random_state_and_threads_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    train(net(0.5), step, blobs(), fit=FIT, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_keep_best_returns_the_weights_of_the_best_epoch():
    scores = [0.2, 0.9, 0.9, 0.1]
    snapshots = []

    def validate(net, val):
        snapshots.append(weights(net))
        return {"val_score": scores[len(snapshots) - 1], "val_other": 5.0}

    best = train(net(), step, blobs(), fit=FIT, seed=0, val=blobs(30, 1), validate=validate)
    assert best.best_epoch == 1  # ties go to the earlier epoch
    assert torch.equal(weights(best.net), snapshots[1])
    assert [row["val_score"] for row in best.history] == scores
    snapshots.clear()
    last = train(net(), step, blobs(), fit=dataclasses.replace(FIT, keep="last"), seed=0, val=blobs(30, 1), validate=validate)
    assert last.best_epoch == 3
    assert torch.equal(weights(last.net), snapshots[3])


@pytest.mark.parametrize("keep", ["best", "last"])
def test_patience_stops_after_epochs_without_a_better_score(keep):
    scores = iter([0.1, 0.5, 0.4, 0.5, 0.6])
    fit = dataclasses.replace(FIT, epochs=10, patience=2, keep=keep)
    run = train(net(), step, blobs(), fit=fit, seed=0, val=blobs(30, 1), validate=lambda n, v: {"val": next(scores)})
    assert run.stopped
    assert len(run.history) == 4  # best at epoch 1, then two without improvement
    assert run.best_epoch == (1 if keep == "best" else 3)


def test_a_callback_can_stop_and_sees_the_row():
    rows = []
    run = train(net(), step, blobs(), fit=FIT, seed=0, on_epoch=[lambda end: rows.append(end.row) or end.epoch == 1])
    assert run.stopped
    assert [row["epoch"] for row in rows] == [0, 1]


def with_memory() -> tuple[ExampleTable, object]:
    table = ExampleTable(90, 3)

    def remember(net: nn.Module, batch: Batch) -> Step:
        logits = net(batch.inputs)
        table.write(batch.index, 0.5 * table.read(batch.index) + 0.5 * logits.softmax(1))
        return Step(F.cross_entropy(logits, batch.labels) + 0.1 * (table.read(batch.index) * logits.softmax(1)).sum(1).mean())

    return table, remember


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "amsgrad"])
@pytest.mark.parametrize("done", [1, 3])
def test_resume_is_bit_equal_to_an_unbroken_run(tmp_path, optimizer, done):
    fit = dataclasses.replace(FIT, optimizer=optimizer, lr=0.02, clip=1.0)
    arguments = {"data": blobs(), "seed": 3, "val": blobs(30, 1)}
    table, remember = with_memory()
    unbroken = train(net(0.3), remember, fit=fit, memory=table, **arguments)

    fit = dataclasses.replace(fit, checkpoint=str(tmp_path))
    broken_table, remember = with_memory()

    def interrupt(end):
        if end.epoch == done:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(net(0.3), remember, fit=fit, memory=broken_table, on_epoch=[interrupt], **arguments)
    resumed_table, remember = with_memory()
    epochs = []
    # fresh weights of another seed: all that counts comes from the checkpoint
    resumed = train(
        net(0.3, seed=9), remember, fit=fit, memory=resumed_table, on_epoch=[lambda end: epochs.append(end.epoch) and None], **arguments
    )
    assert epochs == list(range(done, 4))
    assert torch.equal(weights(resumed.net), weights(unbroken.net))
    assert torch.equal(resumed_table.values, table.values)
    assert resumed == unbroken

    again_table, remember = with_memory()
    again = train(net(0.3), remember, fit=fit, memory=again_table, **arguments)  # finished: nothing left to do
    assert again == unbroken
    assert torch.equal(weights(again.net), weights(unbroken.net))


def test_a_run_stopped_early_stays_stopped(tmp_path):
    fit = dataclasses.replace(FIT, checkpoint=str(tmp_path))
    first = train(net(), step, blobs(), fit=fit, seed=0, on_epoch=[lambda end: end.epoch == 1])
    again = train(net(), step, blobs(), fit=fit, seed=0)
    assert again == first
    assert len(again.history) == 2


@pytest.mark.parametrize("other", ["data", "labels", "settings", "seed", "net", "val"])
def test_checkpoint_of_another_run_is_refused(tmp_path, other):
    fit = dataclasses.replace(FIT, checkpoint=str(tmp_path))
    data, seed, module, val = blobs(), 0, net(), blobs(30, 1)
    train(module, step, data, fit=fit, seed=seed, val=val)
    if other == "data":
        data = blobs(seed=1)
    elif other == "labels":
        data = dataclasses.replace(data, labels=data.labels.flip(0))
    elif other == "settings":
        fit = dataclasses.replace(fit, lr=0.05)
    elif other == "seed":
        seed = 1
    elif other == "net":
        module = MLP(hidden=(9,))(3, (5,))
    else:
        val = None
    with pytest.raises(TrainingError, match="belongs to a run with other data, settings or seed"):
        train(module, step, data, fit=fit, seed=seed, val=val)


def test_keys_share_a_folder_and_a_damaged_file_is_named(tmp_path):
    fit = dataclasses.replace(FIT, checkpoint=str(tmp_path))
    runs = {key: train(net(), step, blobs(), fit=fit, seed=0, key=key) for key in ("stage 1", "stage 2", "")}
    assert runs["stage 1"] == runs["stage 2"]
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["checkpoint-stage-1.safetensors", "checkpoint-stage-2.safetensors", "checkpoint.safetensors"]
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TrainingError, match=r"checkpoint\.safetensors cannot be read"):
        train(net(), step, blobs(), fit=fit, seed=0)


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path):
    fit = dataclasses.replace(FIT, checkpoint=str(tmp_path))

    def diverge(net, batch):
        out = step(net, batch)
        return Step(out.loss * (math.nan if batch.step == 13 else 1.0))  # in the third epoch

    with pytest.raises(TrainingError, match=r"not finite in epoch 3 .*last good state is kept in"):
        train(net(), diverge, blobs(), fit=fit, seed=0)
    mended = train(net(), step, blobs(), fit=fit, seed=0)
    straight = train(net(), step, blobs(), fit=FIT, seed=0)
    assert torch.equal(weights(mended.net), weights(straight.net))
    with pytest.raises(TrainingError, match="not finite in epoch 1"):
        train(net(), lambda n, b: Step(step(n, b).loss * math.inf), blobs(), fit=FIT, seed=0)


def test_checkpoint_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be made"):
        train(net(), step, blobs(), fit=dataclasses.replace(FIT, checkpoint=str(tmp_path / "file" / "x")), seed=0)


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    fit = dataclasses.replace(FIT, checkpoint=str(tmp_path))
    written = []

    def replace(source, target):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(target)
        source.rename(target)

    monkeypatch.setattr("labelwright.training.checkpoint.os.replace", replace)
    with pytest.raises(OutputError, match=r"No space left on device.*The last one is kept"):
        train(net(), step, blobs(), fit=fit, seed=0)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    monkeypatch.undo()
    epochs = []
    train(net(), step, blobs(), fit=fit, seed=0, on_epoch=[lambda end: epochs.append(end.epoch)])
    assert epochs == [2, 3]


def test_two_networks_under_one_optimiser_equal_two_runs():
    def both(net, batch):
        return Step(sum(F.cross_entropy(part(batch.inputs), batch.labels) for part in net.values()))

    pair = nn.ModuleDict({"a": net(seed=0), "b": net(seed=1)})
    train(pair, both, blobs(), fit=FIT, seed=4)
    for name, seed in (("a", 0), ("b", 1)):
        alone = train(net(seed=seed), step, blobs(), fit=FIT, seed=4).net
        assert_close(weights(pair[name]), weights(alone))


def test_streams_are_passes_in_different_orders():
    visits: dict[int, list[int]] = {0: [], 1: []}

    def spy(net, batch):
        visits[batch.stream].append(batch.step)
        return step(net, batch)

    run = train(net(), spy, blobs(), fit=dataclasses.replace(FIT, epochs=2), seed=0, streams=2)
    assert visits == {0: [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17], 1: [6, 7, 8, 9, 10, 11, 18, 19, 20, 21, 22, 23]}
    assert run.steps == 24


def test_a_second_stream_of_unlabelled_examples(tmp_path):
    labelled, unlabelled = blobs(20), blobs(90, seed=1)
    seen: list[int] = []

    def spy(net, batch):
        seen.extend(batch.other.index.tolist())
        out = step(net, batch)
        return Step(out.loss + net(batch.other.inputs).square().mean())

    fit = dataclasses.replace(FIT, epochs=2, batch_size=4)
    run = train(net(), spy, labelled, fit=fit, seed=0, unlabelled=unlabelled, mu=3.0)
    assert run.steps == 2 * 8  # ceil(90 / 12) an epoch
    assert sorted(seen[:90]) == list(range(90))
    assert run.history[0]["lr"] == pytest.approx(0.05 * (1 + math.cos(math.pi * 7 / 16)))  # the schedule follows the longer stream
    fit = dataclasses.replace(fit, checkpoint=str(tmp_path))
    train(net(), spy, labelled, fit=fit, seed=0, unlabelled=unlabelled, mu=3.0)
    with pytest.raises(TrainingError, match="other data"):
        train(net(), spy, labelled, fit=fit, seed=0, unlabelled=blobs(90, seed=2), mu=3.0)


def test_balanced_order_in_the_loop():
    data = blobs(60)
    rare = dataclasses.replace(data, labels=(torch.arange(60) >= 54).long())
    counts = torch.zeros(2)

    def spy(net, batch):
        counts.add_(torch.bincount(batch.labels, minlength=2))
        return step(net, batch)

    train(net(), spy, rare, fit=dataclasses.replace(FIT, epochs=1), seed=0, order=balanced)
    assert counts.tolist() == [30.0, 30.0]


def test_augmented_batches_keep_the_clean_ones_beside():
    labels = torch.arange(8) % 2
    data = TensorData.of(torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0)), labels)
    pairs = []

    def spy(net, batch):
        pairs.append((batch.inputs.clone(), batch.clean.clone(), data.inputs[batch.index]))
        return Step(F.cross_entropy(net(batch.inputs), batch.labels))

    with seeded(0):
        flat = MLP(hidden=())(2, (1, 6, 6))
    train(flat, spy, data, fit=Fit(epochs=2, batch_size=8, augment="flip"), seed=0)
    for view, clean, original in pairs:
        assert torch.equal(clean, original)
        assert all(torch.equal(v, c) or torch.equal(v, c.flip(2)) for v, c in zip(view, clean, strict=True))
    assert not torch.equal(pairs[0][0], pairs[0][1])


def test_clipping_bounds_the_step():
    module = net()
    before = weights(module).clone()
    train(
        module,
        lambda n, b: Step(1e4 * step(n, b).loss),
        blobs(16),
        fit=Fit(epochs=1, batch_size=16, lr=0.5, clip=0.1, weight_decay=0),
        seed=0,
    )
    assert float((weights(module) - before).norm()) == pytest.approx(0.05, rel=1e-4)  # lr * clip


def test_devices_that_do_not_exist():
    with pytest.raises(ResourceError, match="unknown"):
        train(net(), step, blobs(), fit=dataclasses.replace(FIT, device="tpu9"), seed=0)
    if not torch.cuda.is_available():
        with pytest.raises(ResourceError, match="sees no CUDA GPU"):
            train(net(), step, blobs(), fit=dataclasses.replace(FIT, device="cuda"), seed=0)


def test_memory_exhausted_is_a_resource_error():
    def greedy(net, batch):
        torch.empty(2**50)
        return step(net, batch)

    with pytest.raises(ResourceError, match="memory of cpu is exhausted"):
        train(net(), greedy, blobs(), fit=FIT, seed=0)


def test_settings_without_effect_or_sense_are_refused():
    with pytest.raises(InputError, match="crop-flip"):
        Fit(augment="crop-filp")
    with pytest.raises(InputError, match="milestones have no effect"):
        Fit(milestones=(3,))
    frozen = net().requires_grad_(False)
    with pytest.raises(InputError, match="no parameters to train"):
        train(frozen, step, blobs(), fit=FIT, seed=0)
