"""Embeddings: a short vector for each example, from the inputs alone, from a trained network, or from the caller's encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from labelwright.data import Dataset
from labelwright.data.features.nodes import plain_vectors
from labelwright.data.featurise import fit_featuriser
from labelwright.errors import InputError, require
from labelwright.nn import seeded, split_head
from labelwright.signals.models import _Net
from labelwright.training import Fit, predict_logits

__all__ = ["Encoder", "embed"]

DIMENSIONS = 64
"""Principal components kept: enough to tell examples apart, few enough for exact neighbours of 50,000 on a laptop."""
PCA_SAMPLE = 8_192
EXACT, SPARE, POWERS = 256, 16, 4
BATCH = 32

Encoder = str | Callable[[Dataset], Any]
"""``None``-less choice of encoder: a function ``dataset -> (N, D)``, ``"penultimate"``, or ``"hf:owner/name"``."""


def embed(data: Dataset, *, encoder: Encoder | None, model: Any, fit: Fit | None, seed: int) -> tuple[np.ndarray, str]:
    """Embeddings float32 (N, D) and in words how they were made.

    Parameters
    ----------
    encoder
        None: featurised inputs reduced to at most 64 principal components (texts: their 64 leading TF-IDF directions). ``"penultimate"``:
        features of a network trained on the given labels (`model`, `fit`), before its last layer. ``"hf:owner/name"``:
        a Hugging Face model (extra ``hf``). Or any function ``dataset -> (N, D)``.

    Raises
    ------
    InputError
        If the encoder is unknown or gives another shape than (N, D), or a value that is not finite.
    """
    if encoder is None:
        return principal(data, seed=seed), f"featurised {data.kind}, principal components"
    if callable(encoder):
        values, source = encoder(data), f"encoder of the caller: {getattr(encoder, '__name__', type(encoder).__name__)}"
    elif encoder == "penultimate":
        values, source = _penultimate(data, model=model, fit=fit, seed=seed)
    elif encoder.startswith("hf:"):
        values, source = _hugging_face(data, encoder[3:]), f"Hugging Face {encoder[3:]}"
    else:
        raise InputError(f"encoder {encoder!r} is unknown.", hint="Use a function, 'penultimate' or 'hf:owner/name'.")
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.ndim != 2 or len(array) != len(data):
        raise InputError(f"The encoder must give one vector an example, shape ({len(data)}, D); got {array.shape}.")
    return array.astype(np.float32), source


def principal(data: Dataset, *, seed: int, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Featurised inputs, flattened, on their leading principal axes (of a seeded sample): float32 (N, min(dimensions, D)).

    Distances between rows are those of the featurised inputs less what the left-out axes hold; axes are not whitened.
    """
    data = plain_vectors(data, seed=seed)
    options: dict[str, Any] = {"text_dim": dimensions} if data.kind == "texts" else {}
    x = fit_featuriser(data, seed=seed, **options).transform(data).flatten(1)
    if data.kind == "texts":
        # standardised directions: length of a document plays no part once rows have unit length
        return torch.nn.functional.normalize(x, dim=1).numpy()
    if x.shape[1] <= dimensions:
        return x.numpy()
    rows = np.sort(np.random.default_rng(seed).permutation(len(x))[:PCA_SAMPLE])
    sample = x[torch.from_numpy(rows)]
    mean = sample.mean(0)
    centred = sample - mean
    if min(centred.shape) <= EXACT:
        axes = torch.linalg.svd(centred.double(), full_matrices=False)[2][:dimensions].T.float()
    else:  # randomised subspace iteration (Halko, Martinsson, Tropp 2011): exact decompositions grow with the cube of the side
        with seeded(seed):
            axes = torch.svd_lowrank(centred, q=dimensions + SPARE, niter=POWERS)[2][:, :dimensions]
    return ((x - mean) @ axes).numpy()


def _penultimate(data: Dataset, *, model: Any, fit: Fit | None, seed: int) -> tuple[np.ndarray, str]:
    labels = data.class_labels()
    rows = np.flatnonzero(labels.known)
    maker = _Net(data, None if hasattr(model, "fit") else model, fit=fit, seed=seed)
    net, featuriser = maker.trained(rows, labels.values[rows], num_classes=labels.num_classes, seed=seed)
    body, _ = split_head(net)
    return predict_logits(body, featuriser.transform(maker.data)).numpy(), f"features of a {maker.name} trained on the given labels"


def _hugging_face(data: Dataset, name: str) -> np.ndarray:
    """Pooled features of a model from the Hugging Face hub or a local folder, without gradients."""
    if data.kind == "texts":
        package = require("sentence_transformers", extra="hf", feature=f"encoder 'hf:{name}'")
        texts = [data.inputs[i] for i in range(len(data))]
        with _readable(name):  # safetensors only: other weights are pickles
            model = package.SentenceTransformer(name, model_kwargs={"use_safetensors": True})
        return np.asarray(model.encode(texts, batch_size=BATCH, show_progress_bar=False))
    if data.kind != "images":
        raise InputError(f"A Hugging Face encoder reads texts or images; these are {data.kind}.", hint="Pass a function as encoder.")
    package = require("transformers", extra="hf", feature=f"encoder 'hf:{name}'")
    with _readable(name):
        processor = package.AutoImageProcessor.from_pretrained(name)
        net = package.AutoModel.from_pretrained(name, use_safetensors=True).eval()
    parts = []
    for start in range(0, len(data), BATCH):
        pictures = [_picture(data.inputs, i) for i in range(start, min(start + BATCH, len(data)))]
        with torch.inference_mode():
            out = net(**processor(images=pictures, return_tensors="pt"))
        pooled = getattr(out, "pooler_output", None)
        hidden = out.last_hidden_state
        parts.append((pooled if pooled is not None else hidden.flatten(2).mean(2) if hidden.ndim == 4 else hidden.mean(1)).flatten(1))
    return torch.cat(parts).float().numpy()


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """What libraries raise for a model that is absent or damaged, in one line."""
    try:
        yield
    except (OSError, ValueError, KeyError) as err:
        first = (str(err).strip() or type(err).__name__).splitlines()[0]
        hint = "Give a hub id such as sentence-transformers/all-MiniLM-L6-v2, or a folder with config.json and model.safetensors."
        raise InputError(f"The Hugging Face model {name!r} cannot be used: {first}", hint=hint) from err


def _picture(inputs: Any, i: int) -> np.ndarray:
    """One image as uint8 (H, W, 3), which image processors take."""
    x = np.asarray(inputs[i])
    if x.dtype != np.uint8:
        x = np.clip(x * 255, 0, 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.repeat(x, 3, axis=0).transpose(1, 2, 0) if x.shape[0] == 1 else x.transpose(1, 2, 0))
