"""A fine-tuned sequence classifier on this machine as a judge. Needs the extra ``hf``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.judges.base import Answer, Judge, afford, class_names, digest
from labelwright.judges.local import DType, class_probs

if TYPE_CHECKING:
    from labelwright.judges.budget import Budget

__all__ = ["SequenceClassifierJudge"]


@dataclass(frozen=True, kw_only=True)
class SequenceClassifierJudge(Judge):
    """A fine-tuned sequence classifier of transformers (topic, sentiment, NLI), by hub id or folder.

    Its labels are matched with `classes` by name, whatever their case; `mapping` (its label → class) joins labels, such
    as neutral and contradiction into one class. Items are texts, or pairs of texts.

    Raises
    ------
    InputError
        If a setting is out of range; when asked, if the model cannot be found, or its labels do not match the classes.
    ResourceError
        When asked, if the model does not fit into memory.
    MissingExtra
        When asked, if transformers is absent.
    """

    model: str
    """Hub id, or a folder with the model and its tokenizer."""
    classes: tuple[str, ...]
    """Names of the classes."""
    mapping: Mapping[str, str] = field(default_factory=dict)
    """The model's label → class, for labels whose name is no class."""
    name: str = ""
    """Shown in reports; empty: that of the model."""
    revision: str = "main"
    """Branch, tag or commit on the hub."""
    truncate: bool = False
    """Cut texts that are too long for the model; otherwise they are unknown."""
    batch: int = 32
    """Items at a time, >= 1."""
    dtype: DType = "auto"
    """Arithmetic of the model; auto: as it was saved."""
    device: str = "auto"
    """auto, cpu, cuda, …."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", class_names(self.classes))
        check.integer("batch", self.batch, low=1)
        check.one_of("dtype", self.dtype, ("auto", "float32", "bfloat16", "float16"))
        for label, name in self.mapping.items():
            check.known_word(f"mapping of {label!r}: class", name, self.classes, place="the classes")
        object.__setattr__(self, "name", self.name or self.model.rstrip("/").rpartition("/")[2])

    @property
    def fingerprint(self) -> str:
        from labelwright.judges._models import identity

        mapped = [f"{k}={v}" for k, v in sorted(self.mapping.items())]
        settings = ["truncate" if self.truncate else "whole", self.dtype]
        return digest("classifier", identity(self.model, self.revision), *self.classes, "", *mapped, *settings)

    def answers(self, items: Sequence[Any], *, budget: Budget | None = None) -> Iterator[tuple[int, Answer]]:
        for item in items:
            if not isinstance(item, str) and not (
                isinstance(item, (tuple, list)) and len(item) == 2 and all(isinstance(p, str) for p in item)
            ):
                raise InputError(f"Judge {self.name!r} takes texts or pairs of texts; got {type(item).__name__}.")
        return afford(items, budget, lambda places: self._ask(items, places))

    def _ask(self, items: Sequence[Any], places: list[int]) -> Iterator[tuple[int, Answer]]:
        if not places:
            return
        import torch

        from labelwright.judges._models import batches, load

        loaded = load("classifier", self.model, self.revision, self.dtype, self.device)
        order = self._order(loaded.model.config.id2label)
        cut: dict[str, Any] = {"truncation": True, "max_length": loaded.longest} if self.truncate else {}
        encoded = {i: loaded.tokenizer(*([items[i]] if isinstance(items[i], str) else items[i]), **cut) for i in places}
        for i in places:
            if (length := len(encoded[i]["input_ids"])) > loaded.longest:
                yield i, Answer.unknown(f"{length:,} tokens are more than the model's {loaded.longest:,}")
                del encoded[i]
        left = list(encoded)
        lengths = [len(encoded[i]["input_ids"]) for i in left]
        for batch in batches(lengths, size=self.batch, tokens=self.batch * loaded.longest):
            given = loaded.tokenizer.pad([dict(encoded[left[b]]) for b in batch], return_tensors="pt").to(loaded.device)
            with torch.inference_mode():
                logits = loaded.model(**given).logits.double().cpu().numpy()
            for b, row in zip(batch, logits, strict=True):
                raw = {"logits": {str(loaded.model.config.id2label[j]): v for j, v in enumerate(row.tolist())}}
                probs = class_probs(row, order, len(self.classes))
                yield left[b], Answer.of(probs, raw=raw, calls=1, tokens=(lengths[b], 0))

    def _order(self, id2label: Mapping[int, str]) -> np.ndarray:
        """The class of each of the model's labels, int64 (labels,)."""
        folded = {name.casefold(): j for j, name in enumerate(self.classes)}
        mapped = {label.casefold(): self.classes.index(name) for label, name in self.mapping.items()}
        labels = [str(id2label[j]) for j in range(len(id2label))]
        for label in mapped:
            if label not in [own.casefold() for own in labels]:
                raise InputError(f"Judge {self.name!r}: mapping names {label!r}; the labels of the model are {', '.join(labels)}.")
        found = [mapped.get(label.casefold(), folded.get(label.casefold())) for label in labels]
        if None in found:
            lost = labels[found.index(None)]
            raise InputError(
                f"Judge {self.name!r}: the model's label {lost!r} is none of the classes {', '.join(self.classes)}.",
                hint=f"Say what it means with mapping, as in {{{lost!r}: {self.classes[0]!r}}}.",
            )
        return np.array(found, dtype=np.int64)
