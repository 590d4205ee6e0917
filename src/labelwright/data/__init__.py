"""Datasets: load, stream, split, save, corrupt, batch, augment."""

from __future__ import annotations

from importlib import import_module

from labelwright.data.dataset import Dataset, Info
from labelwright.data.inputs import Images, LazyInputs, TableRows, Texts

_LAZY = {
    "Featuriser": "featurise",
    "Graph": "graphs",
    "GraphNodes": "graphs",
    "blocks": "streams",
    "corrupt": "corrupt",
    "from_arrays": "convert",
    "from_frame": "convert",
    "from_huggingface": "convert",
    "from_torch": "convert",
    "fit_featuriser": "featurise",
    "folds": "splits",
    "load": "readers",
    "node_dataset": "graphs",
    "save": "store",
    "split": "splits",
    "stream": "streams",
    "to_torch": "convert",
}

__all__ = ["Dataset", "Images", "Info", "LazyInputs", "TableRows", "Texts", *_LAZY]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        module = import_module(f"labelwright.data.{_LAZY[name]}")
        return module if name == _LAZY[name] else getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
