"""Tiny random models of transformers with a byte-level tokenizer, saved by the tests themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from labelwright.nn import seeded

SEEN = "0 1 2 the text is good bad yes no Yes No class number 0 1 2 reply with and or of"


def tokenizer() -> Any:
    """Byte-level BPE: "0" and " 0" are different tokens, any text can be written."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<pad>", "<s>", "</s>"], initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([SEEN, "no", "yes", "No", "Yes"] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=400)


def save_causal(folder: Path, kind: str, *, favour: tuple[str, ...] = (), template: str = "") -> Any:
    """A random model of `kind` (llama, gpt2, gemma2, mistral) in `folder`. GPT-2 may `favour` tokens: their logits are raised."""
    import transformers as t

    words = tokenizer()
    if template:
        words.chat_template = template
    words.save_pretrained(folder)
    small = {"vocab_size": len(words), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 400}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    with seeded(3):
        if kind == "llama":
            model = t.LlamaForCausalLM(t.LlamaConfig(**small, **heads, initializer_range=0.5))
        elif kind == "mistral":  # a window of eight tokens
            model = t.MistralForCausalLM(t.MistralConfig(**small, **heads, initializer_range=0.5, sliding_window=8))
        elif kind == "gemma2":  # logits are capped after the last layer
            config = t.Gemma2Config(**small, **heads, head_dim=8, initializer_range=0.5, final_logit_softcapping=3.0, sliding_window=8)
            model = t.Gemma2ForCausalLM(config)
        else:
            model = t.GPT2LMHeadModel(
                t.GPT2Config(vocab_size=len(words), n_embd=16, n_layer=2, n_head=2, n_positions=400, initializer_range=0.5)
            )
        if favour:
            with torch.no_grad():
                bias = torch.randn(16)
                model.transformer.ln_f.bias.copy_(bias)
                ids = [i for i in range(len(words)) if words.decode([i]) in favour]
                model.transformer.wte.weight[ids] += 14 * bias / bias.norm() ** 2
    model.save_pretrained(folder)
    return model.eval(), words


def save_classifier(folder: Path, labels: tuple[str, ...]) -> Any:
    """A random sequence classifier."""
    import transformers as t

    words = tokenizer()
    words.save_pretrained(folder)
    config = t.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={n: i for i, n in enumerate(labels)},
        initializer_range=0.5,
        pad_token_id=0,
    )
    with seeded(5):
        model = t.BertForSequenceClassification(config)
    model.save_pretrained(folder)
    return model.eval(), words


def alone(model: Any, ids: list[int]) -> torch.Tensor:
    """All logits after one row of tokens, float64 (V,): no batch, no padding, no cache, no slice."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double()
