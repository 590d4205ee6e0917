"""One contract for every registered method: default construction, unknown fields refused, same seed same result, input not
modified, save then load is identity, wrong input is an InputError. (``--help`` lists each field: tests/cli/test_listing.py.)"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwright._index import METHODS
from labelwright.data import Dataset
from labelwright.data.graphs import Graph, node_dataset
from labelwright.errors import InputError
from labelwright.labels import BagProportions, ClassLabels, MultiLabels, SoftLabels, Targets, Votes
from labelwright.registry import Auditor, Learner, find
from labelwright.stats.graphs import adjacency

N, CLASSES = 60, 3
FORMS = ("class-labels", "multi-labels", "soft-labels", "votes", "proportions", "targets", "none")
"""Label kinds a tiny dataset is made of, in order of preference; a method for other kinds adds its own to `tiny`."""


def tiny(has: tuple[str, ...], domain: str | None = None) -> Dataset:
    """Sixty vectors of three separated classes, labelled as a method takes it; a few labels are wrong. For methods on graphs: the nodes
    of a graph with these features, where each class is a ring with chords and every tenth node has an edge to the next class."""
    rng = np.random.default_rng(0)
    truth = np.arange(N) % CLASSES
    inputs = (5 * np.eye(4)[truth] + rng.normal(size=(N, 4))).astype(np.float32)
    noisy = np.where(np.arange(N) % 12 == 0, (truth + 1) % CLASSES, truth)
    names = ("ant", "bee", "cat")
    onehot = np.eye(CLASSES)[noisy]
    labels: dict[str, Any] = {
        "class-labels": ClassLabels(values=noisy, names=names),
        "multi-labels": MultiLabels(values=onehot.astype(np.int8), names=names),
        "soft-labels": SoftLabels(values=0.9 * onehot + 0.1 / CLASSES, names=names),
        "votes": Votes(values=np.stack([noisy, truth, truth], axis=1), names=("r1", "r2", "r3"), classes=names)
        if "classes" in {f.name for f in dataclasses.fields(Votes)}
        else None,
        "proportions": BagProportions(values=np.arange(N) // 6, proportions=np.full((N // 6, CLASSES), 1 / CLASSES), names=names),
        "targets": Targets(values=inputs[:, :2].astype(np.float64), names=("t1", "t2")),
        "none": None,
    }
    form = next((f for f in FORMS if f in has), None)
    if form is None:
        pytest.fail(f"add a tiny dataset with labels of kind {has} to tests/test_contract.py")
    made = Dataset(inputs=inputs, labels=labels[form], columns={"text": np.array([f"an {names[c]} at work" for c in truth])})
    if domain != "graphs":
        return made
    edges = [(i, (i + step) % N) for i in range(N) for step in (CLASSES, 2 * CLASSES)] + [(i, i + 1) for i in range(0, N - 1, 10)]
    return node_dataset(Graph(adjacency=adjacency(np.array(edges), N), features=inputs), made.labels)


def planted_judge() -> Any:
    """A judge that knows the class behind each example of `tiny` by its id."""
    from labelwright.judges import CallableJudge

    names = ("ant", "bee", "cat")
    return CallableJudge(name="planted", classes=names, function=lambda i: names[i % CLASSES], each=True, takes="ids")


NEEDS: dict[str, Any] = {"locle": lambda: {"judges": (planted_judge(),), "budget": 12, "rank": 2, "stages": 2, "per_cluster": True}}
"""What a method cannot do without, beside its defaults."""


def made(entry: Any) -> Any:
    """The method of an entry, ready to run."""
    return find(entry.verb, entry.name)(**NEEDS.get(entry.name, dict)())


def apply(method: Any, data: Dataset, *, seed: int = 0) -> Any:
    """The verb of a method on a small budget."""
    from labelwright.nn import net_named
    from labelwright.training import Fit

    fit = Fit(epochs=2, batch_size=32, optimizer="adamw", lr=1e-3)
    net = net_named("gcn", hidden=16) if data.kind == "nodes" else net_named("mlp", hidden=(16,))
    match method.verb:
        case "learn":
            return method.learn(data, net, fit=fit, seed=seed)
        case "condense":
            return method.condense(data, net, per_class=2, fit=fit, seed=seed)
        case "select":
            return method.select(data, keep=0.5, seed=seed)
        case "forget":
            model = find("learn", "cross-entropy")().learn(data, net, fit=fit, seed=seed)  # type: ignore[attr-defined]
            return method.forget(model, data, ids=data.ids[:5], fit=fit, seed=seed)
        case verb:
            return getattr(method, verb)(data, seed=seed)


def same(a: Any, b: Any) -> None:
    """Two results hold the same values."""
    from labelwright.results import Learned, plain

    assert type(a) is type(b)
    assert a.to_frame().equals(b.to_frame(), null_equal=True)
    assert plain(a.provenance) == plain(b.provenance)
    assert a.status == b.status
    untimed = [{k: v for k, v in plain(r.facts).items() if "seconds" not in k} for r in (a, b)]
    assert untimed[0] == untimed[1]
    if isinstance(a, Learned):
        points: Any = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
        if a.featuriser.kind == "nodes":
            points = node_dataset(Graph(adjacency=adjacency(np.array([[0, 1], [2, 3], [3, 4]]), 7), features=points))
        assert np.array_equal(a.predict_proba(points), b.predict_proba(points))
        assert a.names == b.names


@pytest.fixture(params=METHODS, ids=lambda e: f"{e.verb}-{e.name}")
def entry(request):
    return request.param


def test_default_construction_and_misspelt_fields(entry):
    cls = find(entry.verb, entry.name)
    method = cls()
    assert dataclasses.is_dataclass(method)
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.anything = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="no_such_field"):
        cls(no_such_field=1)
    assert {o.name: o.default for o in entry.options}.items() <= method.fields().items()


def test_same_seed_same_result_and_input_untouched(entry, tmp_path: Path):
    method = made(entry)
    data = tiny(entry.has, entry.domain)
    before = data.fingerprint
    first = apply(method, data)
    assert dataclasses.replace(data).fingerprint == before  # a new object: the old one remembers its fingerprint
    same(first, apply(method, data))
    first.save(tmp_path / "saved")
    same(first, type(first).load(tmp_path / "saved"))
    assert first.provenance.method == entry.name
    assert first.provenance.fingerprint == before


def test_wrong_input_is_an_input_error(entry):
    method = made(entry)
    data = tiny(entry.has, entry.domain)
    with pytest.raises(InputError):
        apply(method, data.take(np.empty(0, dtype=np.int64)))
    if isinstance(method, Learner):
        with pytest.raises(InputError, match="label"):
            apply(method, data.with_labels(None))
        with pytest.raises(InputError):
            apply(method, data.with_labels(Targets(values=np.zeros((N, 2)), names=("t1", "t2"))))
    if isinstance(method, Auditor) and "none" not in entry.has:
        with pytest.raises(InputError):
            apply(method, data.with_labels(None))
