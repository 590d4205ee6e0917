"""COCO JSON: images with boxes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelwright import check
from labelwright.data.dataset import Dataset, Info
from labelwright.data.inputs import Images
from labelwright.errors import InputError
from labelwright.labels import Boxes

__all__ = ["read_coco"]


def read_coco(path: Path, *, inputs: str | Path | None = None, names: Sequence[str] | None = None) -> Dataset:
    """Images and axis-aligned boxes; ids are the image ids of the file.

    Image files are looked for in `inputs` (a folder, or a Parquet file with an image column), else beside
    the JSON file, in its ``images`` folder, and in Parquet files beside it. Crowd regions and
    boxes without width or height are left out; the number of the latter is in ``info.extra``.

    Raises
    ------
    InputError
        If the file is no COCO JSON, refers to what it does not define, or image files are missing.
    """
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes).")
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as err:
        raise InputError(f"{path} is not UTF-8: byte at offset {err.start:,}.") from err
    except ValueError as err:
        raise InputError(f"{path} is not valid JSON: {err}.") from err
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= set(content):
        raise InputError(
            f"{path} is not COCO JSON: it lacks images, annotations or categories.",
            hint="Rows of a table belong in .jsonl, one object a line.",
        )
    images = content["images"]
    if not images:
        raise InputError(f"{path} lists no images.")
    place = {image["id"]: i for i, image in enumerate(images)}
    category = {c["id"]: j for j, c in enumerate(content["categories"])}
    rows: list[tuple[int, int, list[float]]] = []
    flat = 0
    for number, mark in enumerate(content["annotations"]):
        if mark.get("iscrowd"):
            continue
        if mark.get("image_id") not in place or mark.get("category_id") not in category:
            raise InputError(
                f"{path}: annotation {number} refers to image {mark.get('image_id')!r}, category {mark.get('category_id')!r}, not both defined."
            )
        box = mark.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            raise InputError(f"{path}: annotation {number} has no bbox of four numbers.")
        if not (box[2] > 0 and box[3] > 0):  # real collections hold a few clicks that drew nothing
            flat += 1
            continue
        rows.append((place[mark["image_id"]], category[mark["category_id"]], box))
    rows.sort(key=lambda row: row[0])  # stable: marks keep their order within an image
    counts = np.bincount([r[0] for r in rows], minlength=len(images))
    corner = np.asarray([r[2] for r in rows], dtype=np.float64).reshape(-1, 4)
    corner[:, 2:] += corner[:, :2]
    labels = Boxes.from_corners(
        corner,
        np.asarray([r[1] for r in rows], dtype=np.int64),
        np.concatenate([[0], np.cumsum(counts)]),
        names=tuple(names or [str(c.get("name", c["id"])) for c in content["categories"]]),
    )
    files = [str(image["file_name"]) for image in images]
    made = _find(path, files, None if inputs is None else check.path_exists("inputs", inputs))
    about = content.get("info") or {}
    extra = {"notes": [f"{flat} boxes without width or height were left out"]} if flat else {}
    info = Info(name=path.parent.name, source=str(path), description=str(about.get("description", "")), label_name="boxes", extra=extra)
    return Dataset(inputs=made, labels=labels, ids=np.asarray([image["id"] for image in images]), info=info)


def _find(path: Path, files: list[str], given: Path | None) -> Images:
    folders = (
        [given]
        if given is not None and given.is_dir()
        else []
        if given is not None
        else [path.parent, path.parent / "images", path.parent.parent / "images"]
    )
    for folder in folders:
        if (folder / files[0]).is_file():
            absent = [f for f in files if not (folder / f).is_file()]
            if absent:
                raise InputError(f"{len(absent):,} of {len(files):,} images of {path.name} are missing in {folder}, first {absent[0]!r}.")
            return Images([folder / f for f in files])
    tables = [given] if given is not None and given.is_file() else sorted(path.parent.glob("*.parquet")) if given is None else []
    for table in tables:
        packed = _packed(table)
        if files[0] in packed:
            absent = [f for f in files if f not in packed]
            if absent:
                raise InputError(
                    f"{len(absent):,} of {len(files):,} images of {path.name} are missing in {table.name}, first {absent[0]!r}."
                )
            return Images([packed[f] for f in files], names=files)
    where = given or path.parent
    raise InputError(f"The images of {path.name} (first {files[0]!r}) are not in {where}.", hint="Name their folder with inputs=.")


def _packed(table: Path) -> dict[str, bytes]:
    """File name → encoded image, of a Parquet file with an image column."""
    from labelwright.data.formats.tabular import read_table

    frame = read_table(table).frame
    found: dict[str, Any] = {}
    for name, dtype in frame.schema.items():
        if dtype.is_nested() and {f.name for f in getattr(dtype, "fields", [])} >= {"bytes", "path"}:
            parts = frame.get_column(name).struct
            found |= {
                Path(p).name: b for p, b in zip(parts.field("path").to_list(), parts.field("bytes").to_list(), strict=True) if p and b
            }
            break
    return found
