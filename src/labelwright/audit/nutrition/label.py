"""The label: ordered modules with alerts, computed when looked at, that leave as JSON, HTML, Markdown and Croissant.

Reference: Holland, Hosny, Newman, Joseph, Chmielinski. The Dataset Nutrition Label: A Framework To Drive Higher Data Quality
Standards. arXiv:1805.03677. Modules 1-7 with the prototype's names and fields; the questionnaire of the second generation
(arXiv:2201.03954) as one more module, and results of other verbs as the last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelwright import check
from labelwright.audit.nutrition.alerts import SEVERITIES, Alert
from labelwright.audit.nutrition.build import Builder
from labelwright.errors import InputError
from labelwright.results import plain, whole_folder

__all__ = ["MODULES", "Label", "Module", "ModuleKind", "write_label"]

FORMAT = "labelwright nutrition label"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ModuleKind:
    """What a module is like, by the prototype's attributes. `exposure`: how much it shows of single rows (our rating)."""

    name: str
    kind: str
    exposure: str
    effort: str
    subjectivity: str
    interactivity: str
    skill: str
    measure: str


def _kind(
    name: str, kind: str, exposure: str, effort: str, subjectivity: str, skill: str, measure: str, interactivity: str = "static"
) -> ModuleKind:
    return ModuleKind(
        name=name,
        kind=kind,
        exposure=exposure,
        effort=effort,
        subjectivity=subjectivity,
        interactivity=interactivity,
        skill=skill,
        measure=measure,
    )


MODULES: dict[str, ModuleKind] = {
    m.name: m
    for m in (
        _kind("metadata", "qualitative", "low", "low", "low", "low", "description"),
        _kind("provenance", "qualitative", "low", "low", "low", "low", "description"),
        _kind("variables", "qualitative", "low", "medium", "medium", "low", "description"),
        _kind("statistics", "quantitative", "medium", "low", "low", "low", "summary of one column"),
        _kind("pair plots", "quantitative", "high", "low", "low", "medium", "dependence of two columns", "interactive"),
        _kind("probabilistic model", "quantitative", "high", "medium", "medium", "high", "joint distribution", "interactive"),
        _kind("ground truth correlations", "quantitative", "medium", "high", "medium", "medium", "agreement with a reference"),
        _kind("dataset info", "qualitative", "low", "high", "high", "low", "description"),
        _kind("results", "quantitative", "medium", "medium", "low", "medium", "results of other steps"),
    )
}
"""The modules in order."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """One module: `data` are plain JSON values. `status` is complete, incomplete (something unknown), absent (nothing given) or off."""

    name: str
    kind: str
    status: str
    data: Mapping[str, Any] = field(default_factory=dict)
    alerts: tuple[Alert, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "status": self.status,
            "data": self.data,
            "alerts": [a.to_dict() for a in self.alerts],
            "attributes": dict(self.attributes),
        }


class Label:
    """A dataset nutrition label.

    `head` holds what identifies it (name, source kind, seed, settings, label column, …). Modules made from data are computed on
    first access and kept; a label read from JSON has them all.
    """

    def __init__(self, head: Mapping[str, Any], makers: Mapping[str, Callable[[], Module]], *, builder: Builder | None = None) -> None:
        self.head = dict(head)
        self._makers = dict(makers)
        self._made: dict[str, Module] = {}
        self.builder = builder

    @property
    def name(self) -> str:
        return str(self.head.get("name", "dataset"))

    def module(self, name: str) -> Module:
        """A module by name, computed now if it has not been.

        Raises
        ------
        InputError
            If there is no such module.
        """
        check.known_word("module", name, self._makers, place="the label")
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    @property
    def modules(self) -> tuple[Module, ...]:
        """All modules in order."""
        return tuple(self.module(name) for name in self._makers)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Alerts of all modules, most severe first."""
        every = [a for m in self.modules for a in m.alerts]
        return tuple(sorted(every, key=lambda a: -SEVERITIES.index(a.severity)))

    def plot(self, a: str, b: str) -> dict[str, Any]:
        """Joint histogram of any two columns, stored or not.

        Raises
        ------
        InputError
            If the module is off, or the label was read from a file and does not hold this pair.
        """
        module = self.module("pair plots")
        if module.status == "off":
            raise InputError("Pair plots are switched off in this label.", hint="Make it with a higher exposure.")
        for stored in module.data["plots"]:
            if (stored["a"], stored["b"]) == (a, b):
                return dict(stored)
            if (stored["a"], stored["b"]) == (b, a):
                return stored | {"a": a, "b": b, "counts": [list(row) for row in zip(*stored["counts"], strict=True)]}
        for column in (a, b):
            check.known_word("column", column, module.data["columns"], place="the pair plots")
        if self.builder is None:
            raise InputError(f"This label holds no plot of {a!r} and {b!r}.", hint="Make the label again from the data.")
        return self.builder.plot(a, b)

    def overview(self) -> dict[str, Any]:
        """Facts at a glance."""
        m, alerts = self.module("metadata").data, self.alerts
        return {
            "rows": m["rows"],
            "columns": m["columns"],
            "missing_share": m["missing_share_of_all_cells"],
            "duplicate_rows": m["duplicate_rows"],
            "license": m["license"],
            "label_column": self.head.get("label_column", ""),
            "alerts": {s: sum(a.severity == s for a in alerts) for s in reversed(SEVERITIES)},
            "questions_answered": self.module("dataset info").data["answered"],
            "questions": self.module("dataset info").data["asked"],
        }

    def to_dict(self) -> dict[str, Any]:
        """The whole label as plain values."""
        modules = [m.to_dict() for m in self.modules]
        return plain({"label": FORMAT, "version": VERSION, **self.head, "overview": self.overview(), "modules": modules})  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Label:
        """Inverse of `to_dict`.

        Raises
        ------
        InputError
            If `values` are no label of this format.
        """
        if values.get("label") != FORMAT or values.get("version") != VERSION:
            raise InputError(f"This is not a {FORMAT} of version {VERSION}.", hint="Pass the label.json that write_label wrote.")
        head = {k: v for k, v in values.items() if k not in ("label", "version", "modules", "overview")}
        try:
            modules = {
                m["name"]: Module(
                    name=m["name"],
                    kind=m["kind"],
                    status=m["status"],
                    data=m["data"],
                    alerts=tuple(Alert.from_dict(a) for a in m["alerts"]),
                    attributes=m["attributes"],
                )
                for m in values["modules"]
            }
        except (KeyError, TypeError) as err:
            raise InputError(f"The label's modules are damaged: {err}.") from err
        label = cls(head, {name: (lambda m=m: m) for name, m in modules.items()})  # type: ignore[misc]
        return label

    def to_json(self) -> str:
        """JSON text with sorted keys: the same data and settings give the same text."""
        return json.dumps(self.to_dict(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Label:
        """Inverse of `to_json`.

        Raises
        ------
        InputError
            If the text is not JSON or no label.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as err:
            raise InputError(f"The label is not valid JSON: {err}.") from err
        if not isinstance(values, dict):
            raise InputError("The label must be a JSON object.")
        return cls.from_dict(values)

    def to_html(self) -> str:
        """One self-contained page: light and dark, inline SVG, no script, no request."""
        from labelwright.audit.nutrition.render import to_html

        return to_html(self)

    def to_markdown(self) -> str:
        """The label as Markdown."""
        from labelwright.audit.nutrition.markdown import to_markdown

        return to_markdown(self)

    def to_croissant(self) -> dict[str, Any]:
        """Croissant 1.1 JSON-LD with RAI 1.0 terms, as a dictionary ready for ``json.dumps``."""
        from labelwright.audit.nutrition.croissant import to_croissant

        return to_croissant(self)


def write_label(label: Label, folder: str | Path) -> tuple[Path, ...]:
    """Write label.html, label.json, label.md and croissant.json; the folder appears complete or not at all. Returns their paths.

    Raises
    ------
    OutputError
        If the folder exists and is not empty, or cannot be written.
    """
    folder = Path(folder)
    texts: Iterable[tuple[str, str]] = (
        ("label.html", label.to_html()),
        ("label.json", label.to_json()),
        ("label.md", label.to_markdown()),
        ("croissant.json", json.dumps(label.to_croissant(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"),
    )
    with whole_folder(folder) as partial:
        for name, text in texts:
            (partial / name).write_text(text, encoding="utf-8")
    return tuple(folder / name for name, _ in texts)
