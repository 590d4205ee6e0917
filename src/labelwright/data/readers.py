"""Read a dataset from whatever people have: the door of :mod:`labelwright.data.formats`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labelwright import check
from labelwright.data.dataset import Dataset
from labelwright.data.formats.arrays import BUILTINS, read_builtin, read_idx, read_npz
from labelwright.data.formats.coco import read_coco
from labelwright.data.formats.columns import dataset_from
from labelwright.data.formats.folders import read_folder
from labelwright.data.formats.graphs import graph_reader, read_graph_source
from labelwright.data.formats.hub import PREFIX, read_hub
from labelwright.data.formats.tabular import read_table, suffix_of
from labelwright.data.store import MANIFEST, read_saved
from labelwright.errors import InputError
from labelwright.labels import ClassLabels

__all__ = ["load"]

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
CONDENSED = "condensed.json"  # the file a folder of condensed examples is known by
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def load(
    source: str | Path,
    *,
    labels: str | Sequence[str] | None = None,
    inputs: str | Sequence[str] | None = None,
    ids: str | None = None,
    split: str | None = None,
    names: Sequence[str] | None = None,
) -> Dataset:
    """Read a dataset.

    ==========================================  ====================================================================
    `source`                                    what is read
    ==========================================  ====================================================================
    ``digits``, ``wine``, ``breast-cancer``     real data that ship with scikit-learn (``./digits`` is a folder)
    a folder of images                          a subfolder a class, or flat; ``train/``, ``test/`` on top; a
                                                ``metadata.csv`` with file names
    a folder written by ``Dataset.save``        exactly what was saved; `labels` may name a column (``given_label``)
    a folder written by ``condense``            the condensed examples, with the preprocessing they went through
    ``.csv .tsv .jsonl`` (also ``.gz``),        a table; images as files, or as Hugging Face structs {bytes, path}
    ``.parquet``
    ``.npz``                                    arrays x (inputs, images, data, features), y (labels, target); or a graph
                                                (adj_data, attr_data, labels)
    ``ind.cora.graph`` or its folder            a graph: Planetoid files
    a folder with ``adj.txt``, ``adjedges.txt``  a graph: neighbours a line, ``labels.txt`` (and ``docs.txt``) beside
    ``edges.csv``, or a folder with it          a graph: columns source, target (and weight); ``nodes.csv`` beside
    ``…-images-idx3-ubyte`` (also ``.gz``)      IDX, with the labels file beside it
    ``.json``                                   COCO: images with boxes
    ``hf:owner/name``, ``hf:FOLDER``            Hugging Face datasets (extra ``hf``)
    ==========================================  ====================================================================

    **Columns of a table.** The label is the column `labels`, else the first of ``label``, ``labels``, ``y``,
    ``target``, ``class``; its type decides the kind of labels (:func:`labelwright.data.formats.marks.read_labels`).
    ``id`` (or `ids`) gives the ids. ``group``, ``domain``, ``split``, ``weight``, ``given_label``, ``reason``,
    ``confidence`` and label names that were not chosen become columns of the dataset, never inputs. Of the rest, unless
    `inputs` names some, the first rule that fits gives the inputs:

    1. a column of images, or of paths of existing image files (relative to the table's folder): images;
    2. a single column of equally long lists of numbers: vectors;
    3. a column of words called ``text``, ``sentence``, ``document``, …; else the one with eight words or more on
       average; else the only column left, if it has three words on average or rarely repeats: texts;
    4. everything: a table. Numbers stay a table too, because there gaps are imputed; vectors come from arrays.

    With images and texts the columns that are not used become columns of the dataset.

    **Classes.** Words in sorted order; integer words by value. An empty cell is an unknown label. In arrays integers
    are class indices and -1 is unknown.

    Parameters
    ----------
    source
        See the table.
    labels, inputs, ids
        Names of columns or arrays, where the defaults do not fit. Several in one string are separated by commas.
    split
        Keep only rows whose column ``split`` has this word.
    names
        Class names, in order; needed only to fix an order, or classes that do not occur.

    Raises
    ------
    InputError
        If the source does not exist, is damaged, or has no such column: with the place and the nearest name.
    """
    word = str(source)
    if word in BUILTINS:
        _no_effect(word, labels=labels, inputs=inputs, ids=ids, split=split, names=names)
        return read_builtin(word)
    columns: dict[str, Any] = {"labels": labels, "inputs": inputs, "ids": ids, "split": split, "names": names}
    if word.startswith(PREFIX):
        return read_hub(word, **columns)
    if not Path(word).expanduser().exists() and Path(word).name == word and (near := check.nearest(word, BUILTINS)):
        raise InputError(f"{word!r} is neither a file nor a built-in dataset ({', '.join(BUILTINS)}).{near}")
    try:
        if not (Path(word).expanduser() / MANIFEST).exists() and (reader := graph_reader(Path(word).expanduser())) is not None:
            return _kept(read_graph_source(reader, Path(word).expanduser(), **{k: v for k, v in columns.items() if k != "split"}), split)
    except OSError as err:
        raise InputError(f"{err.filename or word} cannot be read: {err.strerror or err}.") from err
    path = check.path_exists("dataset", source)
    try:
        if path.is_dir():
            return _folder(path, **columns)
        if suffix_of(path) in TABLES:
            return dataset_from(read_table(path), **columns)
        return _other(path, **columns)
    except OSError as err:  # no permission, a disk that fails: what is wrong with the content was told above
        raise InputError(f"{err.filename or path} cannot be read: {err.strerror or err}.") from err


def _folder(path: Path, *, split: str | None, names: Sequence[str] | None, **columns: Any) -> Dataset:
    if (path / MANIFEST).exists():
        labels = columns.pop("labels")
        _no_effect(str(path), **columns)
        return _relabelled(_kept(read_saved(path), split), labels, names)
    if (path / CONDENSED).exists():
        from labelwright.data.condensed import read_condensed  # imports torch

        _no_effect(str(path), **columns, split=split, names=names)
        return read_condensed(path)
    for name in METADATA:
        if (path / name).exists():
            return dataset_from(read_table(path / name), split=split, names=names, **columns)
    _no_effect(str(path), **columns)
    return read_folder(path, split=split, names=names)


def _relabelled(data: Dataset, labels: Any, names: Sequence[str] | None) -> Dataset:
    """With the column `labels` (``given_label``, say) as class labels, numbered as the dataset's own where they have the same names."""
    if labels is None or (labels == data.info.label_name and labels not in data.columns):
        _no_effect(data.info.source or "a dataset folder", names=names)
        return data
    column = data.columns[check.known_word("label column", labels, data.columns, place="the dataset folder")]
    words = [None if w is None else str(w) for w in column.tolist()]
    own = data.labels.names if isinstance(data.labels, ClassLabels) else ()
    if names is None and {w for w in words if w} <= set(own):
        names = own
    return data.with_labels(ClassLabels.encode(words, names or ()))


def _other(path: Path, *, labels: Any, inputs: Any, ids: Any, split: str | None, names: Sequence[str] | None) -> Dataset:
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes).", hint="Was the download or export complete?")
    suffix = suffix_of(path)
    if suffix == ".npz":
        return _kept(read_npz(path, labels=labels, inputs=inputs, ids=ids, names=names), split)
    if ("idx" in path.name and "ubyte" in path.name) or suffix in (".idx", ".ubyte"):
        _no_effect(str(path), inputs=inputs, ids=ids, split=split)
        return read_idx(path, labels=labels, names=names)
    if suffix == ".json":
        _no_effect(str(path), labels=labels, ids=ids, split=split)
        return read_coco(path, inputs=inputs, names=names)
    if suffix == ".npy":
        raise InputError(f"{path} holds one array, without labels or inputs to tell apart.", hint="Save an .npz with arrays x and y.")
    raise InputError(
        f"No reader for {path.name!r}.",
        hint=f"Known are {', '.join(TABLES)} (text also .gz), .npz, .json (COCO), idx-ubyte files and folders of images.",
    )


def _kept(data: Dataset, split: str | None) -> Dataset:
    if split is None:
        return data
    check.known_word("column", "split", data.columns, place=data.info.source or "the dataset")
    words = data.columns["split"].astype(str)
    check.known_word("split", split, sorted(set(words.tolist())), place="column 'split'")
    return data.take(words == split)


def _no_effect(place: str, **options: Any) -> None:
    """Refuse options that would be ignored."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"{given[0]}= has no effect on {place}.", hint="Leave it out.")
