"""Folders of images: a subfolder a class, or flat; split folders on top where there are any."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelwright import check
from labelwright.data.dataset import Dataset, Info
from labelwright.data.formats.columns import IMAGE_SUFFIXES
from labelwright.data.inputs import Images
from labelwright.errors import InputError
from labelwright.labels import ClassLabels

__all__ = ["read_folder"]

SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test", "testing": "test",
}  # fmt: skip


def read_folder(folder: Path, *, split: str | None = None, names: Sequence[str] | None = None) -> Dataset:
    """Images in `folder`, decoded on use; ids are paths relative to it, in sorted order.

    A subfolder is a class and may hold further folders; images straight in `folder` have no label. If every
    subfolder is called like a split (train, val, test), the classes are one level down and a column ``split`` says which.

    Raises
    ------
    InputError
        If there is no image at all, or a class folder is empty.
    """
    inner = _folders(folder)
    splits = bool(inner) and all(d.name.lower() in SPLIT_WORDS for d in inner)
    roots = [(SPLIT_WORDS[d.name.lower()], d) for d in inner] if splits else [("", folder)]
    paths: list[Path] = []
    words: list[str | None] = []
    parts: list[str] = []
    for part, root in roots:
        straight = sorted(p for p in root.iterdir() if _is_image(p))
        rows: list[tuple[Path, str | None]] = [(p, None) for p in straight]
        for sub in _folders(root):
            found = _images(sub)
            if not found:
                raise InputError(
                    f"Class folder {sub} holds no image.", hint=f"Remove it, or add images ({', '.join(sorted(IMAGE_SUFFIXES)[:6])}, …)."
                )
            rows.extend((p, sub.name) for p in found)
        paths.extend(p for p, _ in rows)
        words.extend(w for _, w in rows)
        parts.extend([part] * len(rows))
    if not paths:
        seen = sorted({p.suffix or p.name for p in folder.rglob("*") if p.is_file()})[:5]
        held = f" It holds {', '.join(seen)} files." if seen else " It is empty."
        raise InputError(
            f"{folder} holds no image.{held}", hint="A dataset folder has a subfolder of images a class, or was written by Dataset.save."
        )
    labels = None if all(w is None for w in words) else ClassLabels.encode(words, names or ())
    columns = {"split": np.array(parts)} if splits else {}
    ids = np.array([p.relative_to(folder).as_posix() for p in paths])
    data = Dataset(inputs=Images(paths), labels=labels, ids=ids, columns=columns, info=Info(name=folder.name, source=str(folder)))
    if split is None:
        return data
    check.one_of("split", split, sorted(set(parts)) if splits else [])
    return data.take(data.columns["split"] == split)


def _folders(folder: Path) -> list[Path]:
    return sorted(d for d in folder.iterdir() if d.is_dir() and not d.name.startswith((".", "__")))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _images(folder: Path) -> list[Path]:
    """All images below `folder`, sorted; links to folders are not followed, so a loop cannot trap us."""
    found: list[Path] = []
    for root, dirs, files in os.walk(folder):
        dirs[:] = sorted(d for d in dirs if not d.startswith((".", "__")))
        found.extend(Path(root) / f for f in files if Path(f).suffix.lower() in IMAGE_SUFFIXES and not f.startswith("."))
    return sorted(found)
