"""Models of transformers on this machine: loading, what identifies them, and one forward pass for a batch of prompts."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelwright.errors import InputError, ResourceError, require
from labelwright.judges._reading import class_of_token
from labelwright.judges.base import digest
from labelwright.judges.prompts import Prompt
from labelwright.training.fit import resolve_device

__all__ = ["Loaded", "batches", "class_tokens", "identity", "load", "next_logits", "prefix_cache", "shared_prefix", "sliced_head"]

READ = 1 << 20
WORTH_CACHING = 8
"""Shared tokens from which a cache of them pays."""
CODE = (".safetensors", ".json", ".txt", ".model", ".jinja")
"""Files of a folder that make a model and its tokenizer what they are."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in evaluation mode with its tokenizer."""

    model: Any
    tokenizer: Any
    device: torch.device
    longest: int
    """Tokens it takes."""

    @property
    def takes_positions(self) -> bool:
        """Whether its forward pass is told the position of each token."""
        return "position_ids" in inspect.signature(self.model.forward).parameters


@lru_cache(maxsize=1)  # the prompts of one model follow each other, and two models may not fit
def load(kind: str, name: str, revision: str, dtype: str, device: str) -> Loaded:
    """The model `name` (hub id or folder) of ``kind`` causal or classifier; kept until another one is loaded.

    Raises
    ------
    InputError
        If it cannot be found or is of another kind.
    ResourceError
        If it does not fit into memory.
    """
    transformers = require("transformers", extra="hf", feature="A judge that is a model on this machine")
    place = resolve_device(device)
    auto = transformers.AutoModelForCausalLM if kind == "causal" else transformers.AutoModelForSequenceClassification
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, revision=revision)
        wanted = "auto" if dtype == "auto" else getattr(torch, dtype)
        with _without_bars(transformers.utils.logging):
            model = auto.from_pretrained(name, revision=revision, dtype=wanted, use_safetensors=True)
    except (OSError, ValueError, KeyError) as err:
        first = (str(err).strip() or type(err).__name__).splitlines()[0]
        hint = "Give a hub id such as Qwen/Qwen3-0.6B, or a folder with config.json, model.safetensors and tokenizer.json."
        raise InputError(f"The model {name!r} cannot be used as a judge: {first}", hint=hint) from err
    try:
        model = model.to(place).eval()
    except torch.OutOfMemoryError as err:
        raise ResourceError(
            f"The model {name!r} does not fit into the memory of {place}.", hint="Take bfloat16, or another device."
        ) from err
    config = model.config.get_text_config()
    bounds = [int(n) for n in (getattr(config, "max_position_embeddings", None), tokenizer.model_max_length) if n and n > 0]
    return Loaded(model=model, tokenizer=tokenizer, device=place, longest=min(bounds, default=1 << 30))


@contextmanager
def _without_bars(settings: Any) -> Iterator[None]:
    """transformers draws bars of its own, whatever the caller wants to see."""
    shown = settings.is_progress_bar_enabled()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            settings.enable_progress_bar()


def identity(name: str, revision: str) -> str:
    """What identifies the weights: the content of a folder, or id and commit on the hub.

    Raises
    ------
    InputError
        If the model cannot be found.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        files = sorted(p for p in folder.iterdir() if p.suffix in CODE and p.is_file())
        return digest("folder", *(f"{p.name} {_content(p, p.stat().st_size, p.stat().st_mtime_ns)}" for p in files))
    transformers = require("transformers", extra="hf", feature="A judge that is a model on this machine")
    try:
        config = transformers.AutoConfig.from_pretrained(name, revision=revision)
    except (OSError, ValueError, KeyError) as err:
        raise InputError(
            f"The model {name!r} cannot be found: {str(err).strip().splitlines()[0]}", hint="Give a hub id or a folder."
        ) from err
    return digest("hub", name, getattr(config, "_commit_hash", None) or revision)


@lru_cache(maxsize=256)
def _content(path: Path, size: int, changed: int) -> str:
    """Hash of a file's bytes; size and time of change are there to notice another content."""
    hasher = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(READ):
            hasher.update(block)
    return hasher.hexdigest()


def class_tokens(tokenizer: Any, prompt: Prompt) -> list[list[int]]:
    """Ids of all tokens that stand for each class, whatever blanks, marks and case they carry: C lists, none empty.

    Raises
    ------
    InputError
        If an answer is no single token of this model.
    """
    special = set(tokenizer.all_special_ids)
    wanted = [a.casefold() for a in prompt.answers]
    found: list[list[int]] = [[] for _ in wanted]
    for written, i in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1]):
        # byte-level vocabularies write ASCII as it is: what does not hold the answer needs no decoding
        if i in special or not any(a in written.casefold() or not a.isascii() for a in wanted):
            continue
        j = class_of_token(tokenizer.decode([i]), prompt)
        if j is not None:
            found[j].append(i)
    for answer, ids in zip(prompt.answers, found, strict=True):
        if not ids:
            raise InputError(
                f"The answer {answer!r} is not a single token of this model.", hint="Choose shorter answers, or ask for guesses."
            )
    return found


def shared_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all `rows` begin with; at least one token is left to each."""
    if not rows:
        return 0
    low, high = min(rows, key=list), max(rows, key=list)  # in lexicographic order the first and the last share the least
    n = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return max(0, min(n, min(len(r) for r in rows) - 1))


def batches(lengths: Sequence[int], *, size: int, tokens: int) -> Iterator[list[int]]:
    """Places by falling length, at most `size` a batch and `tokens` of padded tokens (one row always fits)."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) == size or (len(batch) + 1) * lengths[batch[0]] > tokens):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@contextmanager
def sliced_head(model: Any, ids: Tensor) -> Iterator[None]:
    """The model gives logits of the tokens `ids` alone inside this block: the other rows of its last layer are not computed.

    What the model does with logits afterwards (scaling, capping) stays in force, which multiplying by hand would miss.
    """
    full = model.get_output_embeddings()
    small = nn.Linear(full.in_features, len(ids), bias=full.bias is not None, device="meta")
    small.weight = nn.Parameter(full.weight[ids], requires_grad=False)
    if full.bias is not None:
        small.bias = nn.Parameter(full.bias[ids], requires_grad=False)
    model.set_output_embeddings(small)
    try:
        yield
    finally:
        model.set_output_embeddings(full)


@torch.inference_mode()
def prefix_cache(loaded: Loaded, prefix: Sequence[int]) -> Any:
    """Keys and values of the shared tokens, for one row; None where the kind of model forbids to reuse them, or it does not pay."""
    if len(prefix) < WORTH_CACHING:
        return None
    ids = torch.tensor([list(prefix)], device=loaded.device)
    past = loaded.model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
    kinds = [getattr(past, name, True) for name in ("is_sliding", "is_linear")]
    # recurrent states, and windows that drop old tokens, cannot be continued by rows with padding in between
    if not hasattr(past, "batch_repeat_interleave") or any(k if isinstance(k, bool) else any(k) for k in kinds):
        return None
    return past


@torch.inference_mode()
def next_logits(
    loaded: Loaded, rows: Sequence[Sequence[int]], ids: Tensor, *, past: Any = None, before: int = 0, look: int = 1
) -> tuple[Tensor, list[str | None]]:
    """Logits of the tokens `ids` after each of `rows` of tokens, float64 (B, K); and None, or what was said instead of a class token.

    Parameters
    ----------
    past, before
        Keys and values of `before` tokens that stand before each row.
    look
        1: at the next position, whatever the model would say there; only the rows `ids` of its last layer are computed. More: at
        the first of so many positions at which one of `ids` is the likeliest token.
    """
    longest = max(len(r) for r in rows)
    pad = loaded.tokenizer.pad_token_id or 0
    tokens = torch.tensor([[pad] * (longest - len(r)) + list(r) for r in rows], device=loaded.device)
    mask = torch.tensor([[1] * before + [0] * (longest - len(r)) + [1] * len(r) for r in rows], device=loaded.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, before:]
    if past is not None:
        past = copy.deepcopy(past)  # a forward pass appends to it
        past.batch_repeat_interleave(len(rows))
    said: list[str] = [""] * len(rows)
    found = torch.zeros(len(rows), len(ids), dtype=torch.float64, device=loaded.device)
    open_ = torch.ones(len(rows), dtype=torch.bool, device=loaded.device)
    for step in range(look):
        given: dict[str, Any] = {
            "input_ids": tokens,
            "attention_mask": mask,
            "use_cache": past is not None or look > 1,
            "logits_to_keep": 1,
        }
        if loaded.takes_positions:
            given["position_ids"] = positions
        if look == 1:
            with sliced_head(loaded.model, ids):
                return loaded.model(**given, past_key_values=past).logits[:, -1].double(), [None] * len(rows)
        out = loaded.model(**given, past_key_values=past)
        logits = out.logits[:, -1].double()
        likeliest = logits.argmax(1)
        now = open_ & torch.isin(likeliest, ids)
        found[now] = logits[now][:, ids]
        open_ &= ~now
        for b in open_.nonzero()[:, 0].tolist():
            said[b] += loaded.tokenizer.decode([int(likeliest[b])])
        if not open_.any() or step + 1 == look:
            break
        past, tokens = out.past_key_values, likeliest[:, None]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
        positions = positions[:, -1:] + 1
    return found, [said[b] if open_[b] else None for b in range(len(rows))]
