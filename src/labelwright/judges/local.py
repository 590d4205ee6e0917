"""A causal language model on this machine as a judge. Needs the extra ``hf``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelwright import check
from labelwright.errors import InputError
from labelwright.judges._reading import from_guesses, outside
from labelwright.judges.base import Answer, Judge, afford, digest, item_key
from labelwright.judges.prompts import Prompt

if TYPE_CHECKING:
    from labelwright.judges._models import Loaded
    from labelwright.judges.budget import Budget

__all__ = ["DType", "LocalModelJudge", "class_probs"]

DType = Literal["auto", "float32", "bfloat16", "float16"]
WORDS_OF_A_GUESS, WORDS_AROUND = 40, 40
"""Tokens generated for each guess, and for what is around them."""


@dataclass(frozen=True, kw_only=True)
class LocalModelJudge(Judge):
    """A causal language model of transformers, by hub id or folder.

    The probability of a class is that of its tokens in the next position, summed over the tokenizer's variants ("0", " 0",
    …) and renormalised over the class tokens. Only their rows of the last layer are computed; the instruction all items
    share passes through the model once; items are batched by length with padding on the left. A prompt of guesses is
    answered by sampling. The model stays in memory until another one is asked. No code of a repository is run.

    Raises
    ------
    InputError
        If a setting is out of range; when asked, if the model cannot be found, or an answer is no single token of it.
    ResourceError
        When asked, if the model does not fit into memory.
    MissingExtra
        When asked, if transformers is absent.
    """

    model: str
    """Hub id, or a folder with the model and its tokenizer."""
    prompt: Prompt
    """How an item is put; the model's own chat template is used where it has one."""
    name: str = ""
    """Shown in reports; empty: model and prompt."""
    revision: str = "main"
    """Branch, tag or commit on the hub."""
    look: int = 1
    """1: read the next position. More: read the first of so many positions at which a class token is the likeliest; else unknown."""
    batch: int = 16
    """Items at a time, >= 1."""
    batch_tokens: int = 16384
    """Tokens at a time, padding included, >= 1: bounds the memory."""
    prefix: bool = True
    """Whether the shared instruction passes through the model once only."""
    samples: int | None = None
    """Replies an item for a prompt of guesses, >= 1. None: 3 for several guesses, 1 for one."""
    temperature: float | None = None
    """Of that sampling, > 0. None: 0.7 for several guesses, 0.2 for one."""
    seed: int = 0
    """Of that sampling; each item has a stream of its own, whatever it is batched with."""
    dtype: DType = "auto"
    """Arithmetic of the model; auto: as it was saved."""
    device: str = "auto"
    """auto, cpu, cuda, …."""
    classes: tuple[str, ...] = field(init=False)
    """Those of the prompt."""

    def __post_init__(self) -> None:
        if not self.model:
            raise InputError("model must name a Hugging Face model or a folder.")
        for name in ("look", "batch", "batch_tokens"):
            check.integer(name, getattr(self, name), low=1)
        if self.samples is not None:
            check.integer("samples", self.samples, low=1)
        if self.temperature is not None:
            check.in_range("temperature", self.temperature, low=0, closed="neither")
        check.one_of("dtype", self.dtype, ("auto", "float32", "bfloat16", "float16"))
        object.__setattr__(self, "classes", self.prompt.classes)
        object.__setattr__(self, "name", self.name or f"{self.model.rstrip('/').rpartition('/')[2]}/{self.prompt.name}")

    @property
    def fingerprint(self) -> str:
        from labelwright.judges._models import identity

        # batches and the prefix's cache change nothing but rounding
        decoding = [str(self.look), self.dtype]
        if self.prompt.guesses:
            decoding += [str(self.samples), str(self.temperature), str(self.seed)]
        return digest("causal", identity(self.model, self.revision), self.prompt.version, *decoding)

    def answers(self, items: Sequence[Any], *, budget: Budget | None = None) -> Iterator[tuple[int, Answer]]:
        questions = [self.prompt.messages(item) for item in items]

        def ask(places: list[int]) -> Iterator[tuple[int, Answer]]:
            if not places:
                return
            from labelwright.judges._models import load

            loaded = load("causal", self.model, self.revision, self.dtype, self.device)
            rows = {i: _encode(loaded.tokenizer, questions[i]) for i in places}
            room = loaded.longest - (self._new_tokens if self.prompt.guesses else self.look - 1)
            for i in places:
                if len(rows[i]) > room:
                    yield i, Answer.unknown(f"{len(rows[i]):,} tokens are more than the model's {loaded.longest:,}", calls=0)
                    del rows[i]
            if rows:
                yield from self._generated(loaded, rows) if self.prompt.guesses else self._scored(loaded, rows)

        return afford(items, budget, ask)

    @property
    def _new_tokens(self) -> int:
        longest = max(len(n.encode()) for n in self.classes)
        return self.prompt.guesses * (WORDS_OF_A_GUESS + longest) + WORDS_AROUND

    def _scored(self, loaded: Loaded, rows: Mapping[int, list[int]]) -> Iterator[tuple[int, Answer]]:
        import torch

        from labelwright.judges._models import batches, class_tokens, next_logits, prefix_cache, shared_prefix

        variants = class_tokens(loaded.tokenizer, self.prompt)
        flat = [token for ids in variants for token in ids]
        words = loaded.tokenizer.convert_ids_to_tokens(flat)
        of_class = np.repeat(np.arange(len(variants)), [len(ids) for ids in variants])
        ids = torch.tensor(flat, device=loaded.device)
        places = list(rows)
        shared = shared_prefix(list(rows.values())) if self.prefix and len(rows) > 1 else 0
        past = prefix_cache(loaded, rows[places[0]][:shared]) if shared else None
        shared = shared if past is not None else 0
        lengths = [len(rows[i]) - shared for i in places]
        for batch in batches(lengths, size=self.batch, tokens=self.batch_tokens):
            part = [rows[places[b]][shared:] for b in batch]
            logits, said = next_logits(loaded, part, ids, past=past, before=shared, look=self.look)
            for b, row, other in zip(batch, logits.cpu().numpy(), said, strict=True):
                tokens = (len(rows[places[b]]), 1)
                if other is not None:
                    yield places[b], outside(other, calls=1, tokens=tokens)
                else:
                    raw = {"logits": dict(zip(words, row.tolist(), strict=True))}
                    yield places[b], Answer.of(class_probs(row, of_class, len(variants)), raw=raw, calls=1, tokens=tokens)

    def _generated(self, loaded: Loaded, rows: Mapping[int, list[int]]) -> Iterator[tuple[int, Answer]]:
        import torch

        from labelwright.nn import seeded

        many = self.samples or (1 if self.prompt.guesses == 1 else 3)
        warmth = self.temperature or (0.2 if self.prompt.guesses == 1 else 0.7)
        pad = loaded.tokenizer.pad_token_id if loaded.tokenizer.pad_token_id is not None else loaded.tokenizer.eos_token_id
        for i, row in rows.items():
            given = torch.tensor([row], device=loaded.device)
            # a stream an item: its replies do not depend on what was asked before, nor on what a kill left over
            with seeded(int(digest(str(self.seed), item_key(",".join(map(str, row))))[:12], 16)), torch.inference_mode():
                out = loaded.model.generate(
                    given,
                    attention_mask=torch.ones_like(given),
                    do_sample=True,
                    temperature=warmth,
                    top_k=0,
                    top_p=1.0,
                    num_return_sequences=many,
                    max_new_tokens=self._new_tokens,
                    pad_token_id=0 if pad is None else pad,
                )
            replies = loaded.tokenizer.batch_decode(out[:, len(row) :], skip_special_tokens=True)
            yield i, from_guesses(replies, self.prompt, calls=1, tokens=(len(row), int(out[:, len(row) :].numel())))


def class_probs(logits: np.ndarray, of_class: np.ndarray, num_classes: int) -> np.ndarray:
    """Softmax over class tokens `logits` (K,), summed over the tokens of each class: float64 (C,)."""
    weights = np.exp(logits - logits.max())
    return np.bincount(of_class, weights=weights, minlength=num_classes) / weights.sum()


def _encode(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    """Tokens of a question: by the model's chat template, or instruction and item as plain text."""
    plain = "\n\n".join(m["content"] for m in messages)
    if not tokenizer.chat_template:
        return list(tokenizer(plain)["input_ids"])
    for form in (messages, [{"role": "user", "content": plain}]):  # some templates know no system role
        try:
            text = tokenizer.apply_chat_template(form, tokenize=False, add_generation_prompt=True)
        except Exception as err:  # whatever a template raises: it is a program of the model's makers
            fault: Exception = err
            continue
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    raise InputError(f"The model's chat template refuses the question: {fault}.") from fault
