"""The command line in this process: exit code, standard output, standard error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from labelwright.cli import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    def expect_refusal(self, *words: str) -> None:
        """One line on standard error with these words, exit code 2, nothing else said."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        assert "fault in labelwright" not in self.err, self.err
        for word in words:
            assert word in self.err, (word, self.err)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*words: object) -> Ran:
        capfd.readouterr()
        code = main([str(w) for w in words])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


def blobs(n: int = 150, classes: int = 3, *, seed: int = 0, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Well separated Gaussian classes in four dimensions, labels with a share of them wrong, and which are: x, y, wrong."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % classes
    centres = 6 * np.eye(max(classes, 4))[:classes, :4]
    x = (centres[truth] + rng.normal(size=(n, 4))).astype(np.float32)
    wrong = rng.random(n) < noise
    y = np.where(wrong, (truth + 1) % classes, truth)
    return x, y, wrong


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with ``train.npz`` (10 % wrong labels) and ``test.npz``."""
    monkeypatch.chdir(tmp_path)
    x, y, _ = blobs(150, noise=0.1)
    np.savez(tmp_path / "train.npz", x=x, y=y)
    x, y, _ = blobs(60, seed=1)
    np.savez(tmp_path / "test.npz", x=x, y=y)
    return tmp_path


def probabilities(y: np.ndarray, wrong: np.ndarray, classes: int) -> np.ndarray:
    """What a good model would say: 0.9 on the true class (the one before the given label where that is wrong)."""
    truth = np.where(wrong, (y - 1) % classes, y)
    probs = np.full((len(y), classes), 0.1 / (classes - 1))
    probs[np.arange(len(y)), truth] = 0.9
    return probs
