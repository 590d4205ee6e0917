"""The network's state, the steps, and the whole method on planted data."""

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from labelwright.data import Dataset
from labelwright.data.augment import Noise
from labelwright.data.batch import Batch
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, MultiLabels
from labelwright.learn import CrossEntropy, CrossModalPrototypes
from labelwright.learn.noisy.cross_modal.model import CrossModalNet
from labelwright.learn.noisy.cross_modal.phases import Epochs, epochs_of, validate
from labelwright.learn.noisy.cross_modal.steps import Plan, main_step, members_of, vanilla_step
from labelwright.nn import MLP, seeded
from labelwright.nn.prototypes import moving_average
from labelwright.results import Learned
from labelwright.training import Fit, TensorData

NAMES = ("cat", "dog", "emu")
WORDS = {"cat": "whiskers purring kitten", "dog": "barking puppy leash", "emu": "feathers flightless australia"}
FIT = Fit(epochs=24, batch_size=32, lr=0.05, keep="last")


def net_of(multi=False, *, size=16, momentum=0.9):
    with seeded(0):
        return CrossModalNet(MLP(hidden=(12,))(3, (4,)), 3, dim=5, size=size, momentum=momentum, multi=multi, alpha=0.5, temperature=0.1)


def batch_of(n=8, *, epoch=0, step=0, multi=False):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(n, 4, generator=g)
    labels = (torch.rand(n, 3, generator=g) < 0.4).float() if multi else torch.arange(n) % 3
    return Batch(
        inputs=x, clean=x, labels=labels, index=torch.arange(n), weights=torch.ones(n), epoch=epoch, step=step, stream=0,
        generator=torch.Generator().manual_seed(2),
    )  # fmt: skip


def plan_for(multi=False, *, free=0, move=0, clean=0, threshold=0.6, anchors=None):
    shape = (8, 3) if multi else (8,)
    return Plan(
        strong=Noise(),
        anchors=torch.zeros(shape, dtype=torch.bool) if anchors is None else anchors,
        positive=torch.ones(3) if multi else None,
        free=free,
        move=move,
        clean=clean,
        threshold=threshold,
    )


def started(net, seed=5):
    """A network whose prototypes and queue hold something."""
    g = torch.Generator().manual_seed(seed)
    net.prototypes.copy_(F.normalize(torch.randn(net.prototypes.shape, generator=g), dim=-1))
    net.remember(F.normalize(torch.randn(6, 5, generator=g), dim=1), labelled=True)
    return net


def test_the_slow_copy_is_the_closed_form_average():
    net, weights = net_of(), []
    first = [p.detach().clone() for p in net.keys.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    step = vanilla_step(CrossModalPrototypes(), plan_for())
    for number in range(4):
        optimizer.zero_grad()
        step(net, batch_of(step=number)).loss.backward()
        optimizer.step()
        net.follow(number)
        weights.append([p.detach().clone() for p in (*net.encoder.parameters(), *net.projector.parameters())])
    for k, p in enumerate(net.keys.parameters()):
        want = 0.9**4 * first[k] + sum(0.1 * 0.9 ** (3 - t) * w[k] for t, w in enumerate(weights))
        assert_close(p, want)
    assert not any(p.requires_grad for p in net.keys.parameters())


def test_vanilla_loss_by_hand_the_queue_is_empty_at_first():
    net, batch = net_of(), batch_of()
    loss = vanilla_step(CrossModalPrototypes(rebuild_weight=2.0), plan_for())(net, batch).loss
    v = net.encoder(batch.inputs)
    z = F.normalize(net.projector(v), dim=1)
    want = F.cross_entropy(net.classifier(v), batch.labels) + F.cross_entropy(net.auxiliary(z), batch.labels)
    assert_close(loss, want + 2 * F.mse_loss(net.reconstructor(z), v))
    assert int(net.queue.filled.sum()) == 8


@pytest.mark.parametrize("multi", [False, True])
def test_the_encoder_is_frozen_at_first_and_released_by_the_same_run(multi):
    net = started(net_of(multi))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    step = main_step(CrossModalPrototypes(), plan_for(multi, free=2))
    for epoch in range(4):
        net.train()
        before = {k: v.clone() for k, v in net.named_parameters()}
        optimizer.zero_grad()
        step(net, batch_of(epoch=epoch, step=epoch, multi=multi)).loss.backward()
        optimizer.step()
        changed = {name.split(".")[0] for name, v in net.named_parameters() if not torch.equal(v, before[name])}
        assert {"classifier", "projector", "auxiliary", "reconstructor"} <= changed
        assert ("encoder" in changed) == (epoch >= 2)


def test_removed_examples_are_in_no_loss_but_in_the_queue():
    """With a threshold nothing reaches and beliefs below 1/3 for the given label, only anchors are left."""
    net = started(net_of())
    with torch.no_grad():
        batch = batch_of(epoch=1)
        v = net.encoder(batch.inputs)
        least = (net.classifier(v).softmax(1) + (net.embed(v) @ net.prototypes.T / 0.1).softmax(1)).argmin(1)
    batch = Batch(**{**vars(batch), "labels": least, "inputs": batch.inputs.requires_grad_()})
    anchors = torch.arange(8) == 3
    out = main_step(CrossModalPrototypes(), plan_for(threshold=1.0, anchors=anchors, move=9))(net, batch)
    out.loss.backward()
    assert float(out.metrics["kept"]) == pytest.approx(1 / 8)
    assert (batch.inputs.grad.abs().sum(1) > 0).tolist() == anchors.tolist()
    assert int(net.queue.filled.sum()) == 14
    out = main_step(CrossModalPrototypes(), plan_for(threshold=1.0, move=9))(net, batch)
    assert float(out.loss.detach()) == 0


def test_prototypes_move_by_the_kept_examples_and_stay_unit_vectors():
    net = started(net_of())
    batch, before = batch_of(epoch=3), net.prototypes.clone()
    with torch.no_grad():
        z = net.embed(net.encoder(batch.inputs))
    step = main_step(CrossModalPrototypes(prototype_momentum=0.7), plan_for(clean=9, move=3))
    step(net, batch)
    members = F.one_hot(batch.labels, 3).bool()
    assert_close(net.prototypes, F.normalize(moving_average(before, z, members, momentum=0.7), dim=1))
    assert_close(net.prototypes.norm(dim=1), torch.ones(3))
    before = net.prototypes.clone()
    step(net, batch_of(epoch=2))
    assert torch.equal(net.prototypes, before)  # not yet


def test_reconstruction_reaches_the_projector_only_before_prototypes_move():
    weights = {"instance_weight": 0.0, "prototype_weight": 0.0, "alpha": 1.0}
    for move, reached in ((5, True), (0, False)):
        gradients = []
        for rebuild in (0.0, 1.0):
            net = started(net_of())
            method = CrossModalPrototypes(rebuild_weight=rebuild, **weights)
            main_step(method, plan_for(move=move, clean=9))(net, batch_of()).loss.backward()
            gradients.append(torch.cat([p.grad.flatten() for p in net.projector.parameters()]))
        assert torch.equal(*gradients) is not reached


def test_cached_soft_labels_equal_exact_ones_where_nothing_has_changed_since():
    for exact, refresh in ((True, 10), (False, 1)):
        net = started(net_of())
        main_step(CrossModalPrototypes(exact=exact, refresh=refresh), plan_for(clean=9, move=9))(net, batch_of(step=3))
        assert_close(net.queue.beside[net.queue.filled], net.soft_labels(net.queue.keys)[net.queue.filled])
    net = started(net_of())
    old = net.queue.beside[:6].clone()
    with torch.no_grad():
        net.auxiliary.weight.mul_(-1)
    main_step(CrossModalPrototypes(refresh=10), plan_for(clean=9, move=9))(net, batch_of(step=3))
    assert torch.equal(net.queue.beside[:6], old)  # kept until the next renewal
    assert_close(net.queue.beside[6:14], net.soft_labels(net.queue.keys)[6:14])


def test_members_of_cells_know_absent_present_and_ignored():
    cells = torch.tensor([[1.0, 0.0, float("nan")], [1.0, 1.0, 1.0]])
    got = members_of(cells, torch.tensor([True, False]), 3)
    assert got[0].tolist() == [[False, True], [True, False], [False, False]]
    assert not got[1].any()


def test_epochs_are_shared_out_and_add_up():
    assert epochs_of(CrossModalPrototypes(), 40) == Epochs(18, 18, 4, 2, 2, 4)
    assert epochs_of(CrossModalPrototypes(), 2) == Epochs(1, 1, 0, 0, 0, 0)
    for total in range(2, 30):
        found = epochs_of(CrossModalPrototypes(vanilla=0.9, tune=0.5), total)
        assert found.vanilla + found.main + found.tune == total
        assert min(found.vanilla, found.main) >= 1
    with pytest.raises(InputError, match="at least 2"):
        epochs_of(CrossModalPrototypes(), 1)


def test_validation_of_cells_leaves_gaps_out():
    net = torch.nn.Identity()
    scores = torch.tensor([[3.0, 0.0], [2.0, 1.0], [1.0, 2.0], [9.0, 9.0]])
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, float("nan")]])
    # class 0: the last example ranks first and is absent, so (1/2 + 2/3) / 2; class 1: the last is unknown, so 1
    assert validate(net, TensorData.of(scores, labels))["val_map"] == pytest.approx((7 / 12 + 1) / 2)


def planted(n=300, *, seed=0, noise=0.4, missing=0.3, stray=0.2):
    """Blobs of three classes; labels moved to the next class; captions of the true class, some missing, some of another class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    x = (4 * np.eye(3, 8)[truth] + rng.normal(size=(n, 8))).astype(np.float32)
    noisy = np.where(rng.random(n) < noise, (truth + 1) % 3, truth)
    about = np.where(rng.random(n) < stray, rng.integers(0, 3, n), truth)
    words = [WORDS[NAMES[c]].split() for c in about]
    caption = np.array(["" if rng.random() < missing else " ".join(rng.choice(w, 2)) for w in words], dtype=object)
    return x, truth, noisy, caption


def test_it_beats_its_baseline_and_says_what_became_of_every_label(tmp_path):
    x, truth, noisy, caption = planted()
    given = noisy.copy()
    given[:10] = -1
    data = Dataset(inputs=x, labels=ClassLabels(values=given, names=NAMES), columns={"caption": caption})
    test_x, test_y, *_ = planted(seed=1)
    method = CrossModalPrototypes(definitions=WORDS, anchors=12, dim=16, key_momentum=0.9)
    learned = method.learn(data, MLP(hidden=(32,)), fit=FIT, seed=0)
    plain = CrossEntropy().learn(data, MLP(hidden=(32,)), fit=FIT, seed=0)
    ours, base = ((m.predict(test_x).values == test_y).mean() for m in (learned, plain))
    assert ours > 0.85
    assert ours > base + 0.08

    columns, labels = learned.columns, learned.labels.values
    action, anchor = columns["action"], columns["anchor"]
    assert (truth[anchor] == given[anchor]).mean() > 0.95
    assert anchor.sum() == 36
    corrected = action == "corrected"
    assert corrected.sum() > 50
    assert (labels[corrected] == truth[corrected]).mean() > 0.85
    assert (labels[corrected] != given[corrected]).all()
    assert (labels[action == "kept"] == given[action == "kept"]).all()
    assert (labels[action == "removed"] == -1).all()
    assert set(action[:10]) <= {"labelled", "unlabelled"}
    assert columns["given"][:10].tolist() == [None] * 10
    counts = learned.facts["actions"]
    assert sum(counts.values()) == 300
    assert counts["corrected"] == corrected.sum()

    learned.save(tmp_path / "model")
    loaded = Learned.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(test_x), learned.predict_proba(test_x))
    assert loaded.to_frame().equals(learned.to_frame(), null_equal=True)
    table = pl.read_parquet(tmp_path / "model/examples.parquet")
    assert table.columns == ["id", "label", "label_score", "given", "action", "anchor", "confidence"]
    assert table.get_column("label").null_count() == (labels == -1).sum()


def test_random_anchors_need_no_texts_and_vectors_can_stand_in_for_texts():
    x, truth, noisy, _ = planted(120)
    data = Dataset(inputs=x, labels=ClassLabels(values=noisy, names=NAMES))
    fit = Fit(epochs=3, batch_size=32)
    CrossModalPrototypes(anchor_choice="random", anchors=5).learn(data, MLP(hidden=(8,)), fit=fit, seed=0)
    side = np.eye(3)[truth] + 0.1 * np.random.default_rng(0).normal(size=(120, 3))
    method = CrossModalPrototypes(text_column="tags", definitions={n: np.eye(3)[c] for c, n in enumerate(NAMES)}, anchors=5, enhance=False)
    learned = method.learn(data.with_columns(tags=side), MLP(hidden=(8,)), fit=fit, seed=0)
    anchor = learned.columns["anchor"]
    assert (truth[anchor] == noisy[anchor]).all()
    again = method.learn(data.with_columns(tags=side), MLP(hidden=(8,)), fit=fit, seed=0)
    assert np.array_equal(again.predict_proba(x), learned.predict_proba(x))
    with pytest.raises(InputError, match="definitions as vectors"):
        CrossModalPrototypes(text_column="tags").learn(data.with_columns(tags=side), MLP(hidden=(8,)), fit=fit, seed=0)


def test_several_labels_an_example(tmp_path):
    """Two of four attributes of a vector; a quarter of the positives of class 0 are wrong, texts name what is there."""
    rng = np.random.default_rng(0)
    truth = (rng.random((300, 3)) < 0.4).astype(np.int8)
    x = (3 * (truth - 0.5) @ np.eye(3, 6) + 0.5 * rng.normal(size=(300, 6))).astype(np.float32)
    cells = truth.copy()
    wrong = (truth[:, 0] == 0) & (rng.random(300) < 0.25)
    cells[wrong, 0] = 1
    cells[:5] = -1
    text = np.array([" ".join(WORDS[n] for c, n in enumerate(NAMES) if row[c]) for row in truth], dtype=object)
    data = Dataset(inputs=x, labels=MultiLabels(values=cells, names=NAMES), columns={"text": text})
    learned = CrossModalPrototypes(definitions=WORDS, anchors=30, dim=16, key_momentum=0.9, threshold=0.8).learn(
        data, MLP(hidden=(32,)), fit=FIT, seed=0
    )
    probs = learned.predict_proba(x)
    assert ((probs > 0.5) == truth).mean() > 0.97
    assert learned.predict(x).values.shape == (300, 3)
    new = learned.labels.values
    found = (cells[:, 0] == 1) & (new[:, 0] == 0)
    assert wrong[found].mean() > 0.9
    assert found[wrong].mean() > 0.6
    assert (new[:5] == truth[:5])[new[:5] >= 0].all()
    dropped = np.array(["cat" in words for words in learned.columns["dropped"]])
    assert np.array_equal(dropped, found)
    learned.save(tmp_path / "model")
    loaded = Learned.load(tmp_path / "model")
    assert loaded.outputs == "sigmoid"
    assert np.array_equal(loaded.predict_proba(x), probs)
    assert loaded.to_frame().equals(learned.to_frame(), null_equal=True)


@pytest.mark.parametrize(
    "bad",
    [{"tau": 0.0}, {"alpha": 1.5}, {"anchors": 0}, {"vanilla": 1.0}, {"tune": 1.0}, {"threshold": 0.0}, {"strong": "wibble"}, {"rerank": "x"}, {"queue": 0},
     {"side": "v.npy", "anchor_choice": "random"}],
)  # fmt: skip
def test_bad_settings(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        CrossModalPrototypes(**bad)


@pytest.mark.parametrize("stop", [30, 85])
def test_a_run_that_was_interrupted_resumes_exactly(stop, tmp_path):
    """In the vanilla phase or with prototypes: queue, slow copy and prototypes travel with the checkpoint."""
    x, _, noisy, caption = planted(150)
    data = Dataset(inputs=x, labels=ClassLabels(values=noisy, names=NAMES), columns={"caption": caption})
    fit = Fit(epochs=10, batch_size=32, lr=0.05)
    method = CrossModalPrototypes(definitions=WORDS, anchors=8, dim=8)
    calls = 0

    def factory(num_classes, input_shape, at=10**9):
        class Fragile(torch.nn.Linear):
            def forward(self, inputs):
                nonlocal calls
                calls += 1
                if calls == at:
                    raise KeyboardInterrupt
                return super().forward(inputs)

        return torch.nn.Sequential(Fragile(input_shape[0], 16), torch.nn.ReLU(), torch.nn.Linear(16, num_classes))

    whole = method.learn(data, factory, fit=fit, seed=0)
    assert calls > 95
    calls = 0
    fit = Fit(**{**vars(fit), "checkpoint": str(tmp_path)})
    with pytest.raises(KeyboardInterrupt):
        method.learn(data, lambda c, s: factory(c, s, at=stop), fit=fit, seed=0)
    resumed = method.learn(data, factory, fit=fit, seed=0)
    assert np.array_equal(resumed.predict_proba(x), whole.predict_proba(x))
    assert resumed.to_frame().equals(whole.to_frame(), null_equal=True)
    assert resumed.history == whole.history
