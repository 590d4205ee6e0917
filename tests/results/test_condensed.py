"""Condensed results: saved and read back, bytes as on disk, PNG folders, datasets for every learner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from labelwright.cli import main
from labelwright.data import Dataset, Images, load
from labelwright.data.augment import CropFlip, CutMix
from labelwright.data.condensed import encode
from labelwright.data.expansion import Shared, Stored, Tiled
from labelwright.data.featurise import fit_featuriser, whitened
from labelwright.data.record import Augmentation
from labelwright.data.tiles import mosaics
from labelwright.errors import InputError, OutputError
from labelwright.labels import ClassLabels
from labelwright.nn import MLP, ConvNet
from labelwright.registry import find, methods
from labelwright.results import Condensed, Provenance, load as load_result
from labelwright.training import Fit
from labelwright.training.providers import HardLabels, OnlineTeacher, StaticLogits, record

NAMES = ("ant", "bee", "cat")


def originals(n: int = 60, *, channels: int = 3, seed: int = 0) -> Dataset:
    """Images whose class is their brightest third."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    pixels = rng.integers(0, 120, (n, channels, 6, 6))
    for i, c in enumerate(truth):
        pixels[i, :, 2 * c : 2 * c + 2] += 120
    return Dataset(inputs=pixels.astype(np.uint8), labels=ClassLabels(values=truth, names=NAMES))


def made(kind: str = "stored", *, provider=None, dtype=torch.uint8, zca: bool = False, channels: int = 3) -> Condensed:
    data = originals(channels=channels)
    featuriser = fit_featuriser(data, seed=0)
    if zca:
        featuriser = whitened(featuriser, data)
    x = featuriser.transform(data)[:12]
    labels = ClassLabels(values=np.arange(12) % 3, names=NAMES)
    if kind == "tiled":
        examples = Tiled(images=encode(mosaics(x, 2), featuriser, dtype), factor=2)
        labels = labels.take(np.arange(3))
    elif kind == "shared":
        examples = Shared(images=encode(x, featuriser, dtype), perturbations=torch.randn(2, 1, channels, 6, 6).half() / 10)
    else:
        examples = Stored(images=encode(x, featuriser, dtype))
    return Condensed(
        provenance=Provenance(verb="condense", method="test"), facts={"lr": 0.02}, examples=examples, labels=labels,
        preprocessing=featuriser, provider=provider,
    )  # fmt: skip


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["stored", "tiled", "shared"])
@pytest.mark.parametrize("labels", ["none", "static", "teacher", "recorded"])
def test_saved_and_loaded_with_true_bytes(kind, labels, tmp_path):
    plain = made(kind)
    tensors = plain.tensors()
    provider = None
    if labels == "static":
        provider = StaticLogits.of(torch.randn(len(plain), 3), names=NAMES)
    elif labels == "teacher":
        factory = ConvNet(depth=1, width=4, norm="batch")
        provider = OnlineTeacher.of([factory(3, (3, 6, 6))], factory, names=NAMES, input_shape=(3, 6, 6))
    elif labels == "recorded":
        provider = record(
            tmp_path / "record", tensors.inputs, tensors.labels, teacher=lambda x: x[:, :, 0, 0], names=NAMES,
            augmentation=Augmentation(view=CropFlip(), mix=CutMix()), epochs=2, batch_size=5, seed=0,
        )  # fmt: skip
    result = made(kind, provider=provider)
    result.save(tmp_path / "saved")
    sizes = result.nbytes
    assert sum(sizes.values()) == size(tmp_path / "saved") - (tmp_path / "saved" / "condensed.json").stat().st_size
    assert (sizes["generators"] > 0) == (kind == "shared" or labels == "teacher")
    again = load_result(tmp_path / "saved")
    assert isinstance(again, Condensed)
    assert again.to_frame().equals(result.to_frame())
    assert again.facts == {"lr": 0.02}
    assert torch.equal(again.tensors().inputs, result.tensors().inputs)
    assert again.tensors().labels.tolist() == result.tensors().labels.tolist()
    assert len(again) == {"stored": 12, "tiled": 12, "shared": 24}[kind]
    assert type(again.supervision()) is (HardLabels if provider is None else type(provider))
    assert again.nbytes == sizes
    data = load(tmp_path / "saved")
    assert data.fingerprint == again.as_dataset().fingerprint
    assert data.class_labels().names == NAMES
    assert len(data) == len(again)


def test_tiles_and_perturbations_have_the_label_of_what_they_come_from():
    assert made("tiled").expanded_labels().values.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert made("shared").expanded_labels().values.tolist() == [0, 1, 2] * 8


@pytest.mark.parametrize("zca", [False, True])
def test_png_folders_hold_the_originals(zca, tmp_path):
    result, data = made(zca=zca, dtype=torch.float32), originals()
    result.export(tmp_path / "png")
    files = sorted((tmp_path / "png").rglob("*.png"))
    assert [f.parent.name for f in files] == ["ant"] * 4 + ["bee"] * 4 + ["cat"] * 4
    for file in files:
        found = np.asarray(Image.open(file)).transpose(2, 0, 1).astype(int)
        assert np.abs(found - data.inputs[int(file.stem)].astype(int)).max() <= (1 if zca else 0)
    read = load(tmp_path / "png")
    assert isinstance(read.inputs, Images)
    assert read.class_labels().counts().tolist() == [4, 4, 4]
    made("shared").export(tmp_path / "all", expanded=True)
    assert len(list((tmp_path / "all").rglob("*.png"))) == 24
    made("tiled").export(tmp_path / "mosaics")
    assert len(list((tmp_path / "mosaics").rglob("*.png"))) == 3
    with pytest.raises(OutputError, match="not empty"):
        result.export(tmp_path / "png")
    with pytest.raises(InputError, match="1 or 3 channels"):
        made(channels=2).export(tmp_path / "two")
    made(channels=1).export(tmp_path / "grey")
    assert Image.open(next((tmp_path / "grey").rglob("*.png"))).mode == "L"


def test_names_of_classes_become_safe_folders(tmp_path):
    result = made()
    names = ("a/b", "A:b", "..")
    odd = Condensed(
        provenance=result.provenance, examples=result.examples, labels=ClassLabels(values=result.labels.values, names=names),
        preprocessing=result.preprocessing,
    )  # fmt: skip
    odd.export(tmp_path / "png")
    assert sorted(p.name for p in (tmp_path / "png").iterdir()) == ["A_b 1", "a_b", "class 2"]


def test_soft_labels_from_static_logits():
    logits = torch.randn(12, 3).half()
    data = made(provider=StaticLogits.of(logits, names=NAMES)).as_dataset(soft=True, temperature=2)
    assert_close(torch.from_numpy(np.array(data.labels.values)), (logits.double() / 2).softmax(1))
    with pytest.raises(InputError, match="hard labels"):
        made().as_dataset(soft=True)


LEARNERS = [e for e in methods(verb="learn") if e.target and e.has == ("class-labels",) and e.domain is None]


@pytest.mark.parametrize("entry", LEARNERS, ids=lambda e: e.name)
def test_every_learner_trains_on_them_with_their_own_statistics(entry):
    result = made("shared", dtype=torch.float32, zca=True)
    learned = find("learn", entry.name)().learn(result.as_dataset(), MLP(hidden=(16,)), fit=Fit(epochs=3, batch_size=8, lr=0.05), seed=0)
    assert learned.featuriser.same_as(result.preprocessing)
    test = originals(30, seed=9)
    assert learned.predict_proba(test).shape == (30, 3)
    expected = result.preprocessing.transform(test)
    assert_close(learned.featuriser.transform(test), expected)


def test_the_command_line_trains_on_a_saved_folder(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    made("tiled").save("small")
    test = originals(90, seed=4)
    np.savez("test.npz", images=test.inputs, y=np.array(NAMES)[test.labels.values])
    code = main(["learn", "cross-entropy", "small", "--test", "test.npz", "--epochs", "20", "--batch-size", "4", "--json", "--out", "out"])
    said = capfd.readouterr()
    assert code == 0, said.err
    assert '"accuracy": 1.0' in said.out
    report = (tmp_path / "out" / "report.html").read_text()
    assert "12" in report
    for words in (["learn", "cross-entropy", "small", "--labels", "y"], ["learn", "cross-entropy", "small", "--split", "train"]):
        assert main([*words, "--out", "bad"]) == 2
        assert "no effect" in capfd.readouterr().err
    (tmp_path / "small" / "images.safetensors").write_bytes(b"short")
    assert main(["learn", "cross-entropy", "small", "--out", "bad"]) == 2
    said = capfd.readouterr().err
    assert "images.safetensors" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "bad").exists()


def test_what_does_not_fit_is_refused(tmp_path):
    result = made()
    rest = {"provenance": result.provenance, "examples": result.examples, "preprocessing": result.preprocessing}
    with pytest.raises(InputError, match="Lengths"):
        Condensed(**rest, labels=result.labels.take([0]))
    with pytest.raises(InputError, match="1 have none"):
        Condensed(**rest, labels=ClassLabels(values=[-1, *[0] * 11], names=NAMES))
    with pytest.raises(InputError, match="speaks of"):
        Condensed(**rest, labels=result.labels, provider=HardLabels(names=("cat", "bee", "ant"), values=torch.zeros(12)))
    with pytest.raises(InputError, match="statistics"):
        Condensed(**rest | {"preprocessing": None}, labels=result.labels)  # type: ignore[arg-type]
    result.save(tmp_path / "hard")
    with pytest.raises(InputError, match="nets= has no effect"):
        Condensed.load(tmp_path / "hard", nets=[])
