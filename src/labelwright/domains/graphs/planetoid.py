"""The Planetoid files ``ind.NAME.{x,y,tx,ty,allx,ally,graph,test.index}`` of Cora, CiteSeer and PubMed (Yang et al. 2016).

Seven of the eight are pickles, which can run code when they are read. Here they pass an unpickler that knows a few harmless
names and refuses any other (:class:`_Restricted`). None of these is NumPy's or SciPy's own: arrays, their types and sparse matrices
become stubs, which take plain numbers only and whose index arrays are checked before SciPy sees them.

``allx`` holds every node but the test nodes, ``tx`` the test nodes in the order of ``test.index``. Nodes between the
smallest and the largest test index that the file does not list (CiteSeer has 15, all without an edge) get zero features, no
label and the split ``rest``. Column ``split``: ``train`` (the rows of ``x``), ``val`` (the next 500), ``test``, ``rest``.
"""

from __future__ import annotations

import pickle
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from labelwright import check
from labelwright.data.dataset import Dataset
from labelwright.data.formats.graphs import PLANETOID_NAME
from labelwright.data.graphs import Graph
from labelwright.domains.graphs.common import as_dataset, lines_of, matrix_of
from labelwright.errors import InputError
from labelwright.labels import UNKNOWN, ClassLabels

__all__ = ["OPTIONS", "read", "unpickle"]

OPTIONS = ("names",)
VAL_NODES = 500
NUMBER = re.compile(r"b1|[iu][1248]|f[248]")
BROKEN = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError, MemoryError, OverflowError,
    ArithmeticError,
)  # fmt: skip
"""What a truncated or tampered pickle may make the unpickler, NumPy or the stub raise."""


class _Dtype:
    """What a pickled dtype restores to: a plain number type. NumPy's own would take any flags and fields from a file."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(code, str) or not NUMBER.fullmatch(code):
            raise pickle.UnpicklingError(f"an array in it holds {str(code)[:20]!r}, no numbers")
        self.code, self.order = code, "="

    def __setstate__(self, state: Sequence[Any]) -> None:
        if state[1] not in ("<", ">", "=", "|") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array in it holds no plain numbers")
        self.order = state[1]


class _Array:
    """What a pickled array restores to: its bytes, read as numbers. Called like ``ndarray`` NumPy would take any bytes for pointers to objects."""

    raw: bytes | None = None

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, shape, kind, columns_first, raw = state
        if not isinstance(kind, _Dtype) or not isinstance(raw, (bytes, str)):
            raise pickle.UnpicklingError("an array in it holds no plain numbers")
        self.shape, self.kind, self.order = tuple(int(n) for n in shape), kind, "F" if columns_first else "C"
        self.raw = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 wrote bytes as text

    def array(self) -> np.ndarray:
        """The numbers, in the byte order of this machine."""
        if self.raw is None:
            raise ValueError("an array in it is empty")
        found = np.frombuffer(self.raw, dtype=self.kind.order + self.kind.code).reshape(self.shape, order=self.order)  # type: ignore[call-overload]
        return found.astype(found.dtype.newbyteorder("="))  # type: ignore[no-any-return]


class _Csr:
    """What a pickled ``csr_matrix`` restores to: its state, unread until it was checked."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.state = dict(state)

    def matrix(self) -> sparse.csr_matrix:
        parts = [self.state[k] for k in ("data", "indices", "indptr")]
        shape = self.state.get("_shape", self.state.get("shape"))
        if shape is None or not all(isinstance(part, _Array) for part in parts):
            raise ValueError("a matrix in it is none")
        data, indices, indptr = (part.array() for part in parts)
        if indices.dtype.kind not in "iu" or indptr.dtype.kind not in "iu":
            raise ValueError("a matrix in it is none")
        made = sparse.csr_matrix((data, indices, indptr), shape=tuple(int(n) for n in shape))
        made.check_format(full_check=True)
        return made


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    """NumPy's own name for an empty array whose state follows."""
    if kind is not _Array or tuple(shape) != (0,):
        raise pickle.UnpicklingError("an array in it is none")
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into old protocols: Latin-1 and nothing else, since other codecs unpack or transform."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"an array in it is encoded as {encoding!r}")
    return text.encode("latin1")


class _Restricted(pickle.Unpickler):
    """Knows arrays, sparse rows, dictionaries of lists and nothing else."""

    ALLOWED: Mapping[tuple[str, str], Any] = {
        ("collections", "defaultdict"): defaultdict,
        ("__builtin__", "list"): list,
        ("builtins", "list"): list,
        ("_codecs", "encode"): _encode,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("scipy.sparse.csr", "csr_matrix"): _Csr,
        ("scipy.sparse._csr", "csr_matrix"): _Csr,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise _Forbidden(f"{module}.{name}")
        return self.ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _Forbidden("a persistent object")


class _Forbidden(Exception):
    """A pickle names something outside the short list."""


def unpickle(path: Path) -> Any:
    """The content of a Planetoid pickle: an array, a CSR matrix, or a dictionary of lists.

    Raises
    ------
    InputError
        If it is truncated, damaged, or names anything that could run code; nothing of it has run then.
    """
    raw = path.read_bytes()
    if not raw:
        raise InputError(f"{path} is empty (0 bytes).", hint="Was the download complete?")
    try:
        found = _Restricted(BytesIO(raw), encoding="latin1").load()
        if isinstance(found, _Array):
            return found.array()
        return found.matrix() if isinstance(found, _Csr) else found
    except _Forbidden as err:
        raise InputError(
            f"{path} asks for {err}, which a Planetoid file has no use for; it was not run.", hint="Do not trust where it came from."
        ) from err
    except BROKEN as err:
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise InputError(f"{path} cannot be read as a Planetoid file: {reason}.", hint="It may be truncated; download it again.") from err


def read(path: Path, *, names: Sequence[str] | None = None) -> Dataset:
    """All nodes of the graph that `path` (a folder, one of the files, or their common beginning) belongs to.

    Raises
    ------
    InputError
        If a file is missing, damaged or does not fit the others, or a folder holds several graphs.
    """
    stem = _stem(path)

    def part(name: str) -> Any:
        return unpickle(check.path_exists("Planetoid file", stem.with_name(f"{stem.name}.{name}")))

    x, y, tx, ty, allx, ally, links = (part(name) for name in ("x", "y", "tx", "ty", "allx", "ally", "graph"))
    index = _index(check.path_exists("Planetoid file", stem.with_name(f"{stem.name}.test.index")))
    for name, value in (("x", x), ("tx", tx), ("allx", allx)):
        if not sparse.issparse(value):
            raise InputError(f"{stem}.{name} must hold a sparse matrix; it holds {type(value).__name__}.")
    for name, value in (("y", y), ("ty", ty), ("ally", ally)):
        if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.kind not in "biuf":
            raise InputError(f"{stem}.{name} must hold one-hot labels (nodes, classes).")
    classes = ally.shape[1]
    fits = (
        len(tx.indptr) - 1 == len(ty) == len(index)
        and allx.shape[0] == len(ally)
        and allx.shape[1] == tx.shape[1]
        and ty.shape[1] == classes
    )
    if not fits or len(y) > len(ally) or not isinstance(links, Mapping):
        raise InputError(f"The files {stem}.* do not fit together: are they of one data set?")
    first = allx.shape[0]
    if index.min() < first:
        raise InputError(f"{stem}.test.index lists node {index.min()}, which is no test node: those begin at {first}.")
    n = int(index.max()) + 1
    place = sparse.csr_matrix((np.ones(len(index), np.float32), (index - first, np.arange(len(index)))), shape=(n - first, len(index)))
    features = sparse.vstack([allx, place @ tx], format="csr")
    values = np.full(n, UNKNOWN, dtype=np.int64)
    for rows, onehot in ((np.arange(first), ally), (index, ty)):
        values[rows] = np.where(onehot.any(1), onehot.argmax(1), UNKNOWN)
    split = np.full(n, "rest", dtype="<U5")
    split[: len(y)] = "train"
    split[len(y) : min(len(y) + VAL_NODES, first)] = "val"
    split[index] = "test"
    raw = _links(links, n, stem)
    labels = ClassLabels(values=values, names=tuple(names or (str(c) for c in range(classes))))
    missing = n - first - len(index)
    notes = [f"{missing:,} nodes between the test nodes have neither features nor a label"] if missing else []
    graph = Graph(adjacency=raw, features=features)
    return as_dataset(graph, raw, labels, path=path, name=stem.name.removeprefix("ind."), split=split, notes=notes)


def _stem(path: Path) -> Path:
    """``…/ind.NAME`` of a folder, a file or that beginning itself."""
    if path.is_dir():
        found = sorted({match["name"] for p in path.iterdir() if (match := PLANETOID_NAME.fullmatch(p.name))})
        if len(found) > 1:
            raise InputError(f"{path} holds several graphs: {', '.join(found)}.", hint=f"Name one: {path / f'ind.{found[0]}'}")
        return path / f"ind.{found[0]}"
    match = PLANETOID_NAME.fullmatch(path.name)
    return path.with_name(f"ind.{match['name']}") if match else path


def _index(path: Path) -> np.ndarray:
    """Positions of the test nodes, int64, one a line."""
    lines = lines_of(path)
    for number, line in enumerate(lines, 1):
        if not line.strip().isdecimal():
            raise InputError(f"{path}, line {number}: {line[:40]!r} is no node number.")
    return check.unique(f"nodes in {path.name}", np.array([int(line) for line in lines], dtype=np.int64))


def _links(links: Mapping[Any, Any], n: int, stem: Path) -> sparse.csr_matrix:
    """The dictionary node → neighbours as a matrix; repeated neighbours count once."""
    try:
        senders = np.repeat(np.fromiter(links, dtype=np.int64), [len(v) for v in links.values()])
        receivers = np.fromiter((j for v in links.values() for j in v), dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as err:
        raise InputError(f"{stem}.graph must map node numbers to lists of node numbers: {err}.") from err
    both = np.concatenate([senders, receivers])
    if len(both) and (both.min() < 0 or both.max() >= n):
        raise InputError(f"{stem}.graph has an edge to node {both.max() if both.max() >= n else both.min()}; there are {n:,} nodes.")
    return matrix_of(senders, receivers, n)
