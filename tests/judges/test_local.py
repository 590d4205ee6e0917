"""Local models as judges, against the same models run row by row with all their logits."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from nasty_server import chat, serving, token
from tiny_models import alone, save_causal, save_classifier, tokenizer

from labelwright.errors import InputError, MissingExtra
from labelwright.judges import Budget, HTTPJudge, LocalModelJudge, Prompt, SequenceClassifierJudge, classify, guesses, pair_prompts
from labelwright.judges._models import batches, class_tokens, load, next_logits, prefix_cache, shared_prefix, sliced_head
from labelwright.judges.local import class_probs

pytest.importorskip("transformers")

ASK = classify(("minus", "plus"), task="Say whether the text is bad or good.")
TEXTS = ["good", "the text is bad", "yes " * 30, "no", "ünïcode ✓ {text}", "", "good good bad"]
FAVOURED = ("0", " 0", "1", " 1")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    made = {kind: save_causal(root / kind, kind) for kind in ("llama", "gpt2", "gemma2", "mistral")}
    made["keen"] = save_causal(root / "keen", "gpt2", favour=FAVOURED)
    return {kind: (str(root / kind), *pair) for kind, pair in made.items()}


def by_hand(model, words, prompt, text):
    """Softmax over the whole vocabulary, renormalised on the tokens written 0, " 0", 1 and " 1"."""
    row = words(f"{prompt.instruction}\n\n{prompt.render(text)}")["input_ids"]
    full = alone(model, row).softmax(0)
    mass = [sum(float(full[i]) for i in range(len(words)) if words.decode([i]).strip() == answer) for answer in prompt.answers]
    return np.array(mass) / sum(mass)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "mistral"])
@pytest.mark.parametrize(
    "setting", [{"batch": 1, "prefix": False}, {"batch": 3}, {"batch": 64, "batch_tokens": 250}], ids=["single", "prefix", "all"]
)
def test_class_probabilities_are_the_full_softmax_renormalised(folders, kind, setting):
    folder, model, words = folders[kind]
    verdicts = LocalModelJudge(model=folder, prompt=ASK, dtype="float32", **setting).judge(TEXTS)
    np.testing.assert_allclose(verdicts.probs, [by_hand(model, words, ASK, t) for t in TEXTS], atol=2e-5)
    assert verdicts.calls == len(TEXTS)
    assert np.ptp(verdicts.probs[:, 0]) > 0.01  # the texts make a difference


def test_all_variants_of_a_class_token_are_found_and_no_other(folders):
    _, _, words = folders["llama"]
    found = class_tokens(words, ASK)
    assert [sorted(words.decode([i]) for i in ids) for ids in found] == [[" 0", "0"], [" 1", "1"]]
    said = class_tokens(words, Prompt(name="w", classes=("n", "y"), instruction="", item="{text}", answers=("no", "yes")))
    assert [sorted(words.decode([i]) for i in ids) for ids in said] == [[" No", " no", "No", "no"], [" Yes", " yes", "Yes", "yes"]]
    with pytest.raises(InputError, match="not a single token"):
        class_tokens(words, classify([f"c{i}" for i in range(30)]))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_rows_of_the_last_layer_give_the_full_logits_and_it_is_put_back(folders, kind):
    folder, model, words = folders[kind]
    loaded = load("causal", folder, "main", "float32", "cpu")
    row = words("the text is good")["input_ids"]
    ids = torch.tensor([5, 250, 17, 5])
    head = loaded.model.get_output_embeddings()
    with sliced_head(loaded.model, ids):
        few = alone(loaded.model, row)
        assert few.shape == (4,)
    torch.testing.assert_close(few, alone(model, row)[ids], atol=1e-5, rtol=1e-5)
    assert loaded.model.get_output_embeddings() is head


def test_the_cache_of_a_shared_instruction_changes_nothing(folders):
    for kind, reusable in (("llama", True), ("gpt2", True), ("mistral", False)):  # a window drops tokens of the instruction
        folder, model, words = folders[kind]
        loaded = load("causal", folder, "main", "float32", "cpu")
        rows = [words(f"reply with class number 0 1 2 or {t}")["input_ids"] for t in TEXTS]
        n = shared_prefix(rows)
        assert n >= 8
        past = prefix_cache(loaded, rows[0][:n])
        assert (past is not None) == reusable
        ids = torch.arange(len(words))
        expected = torch.stack([alone(model, r) for r in rows])
        plain, _ = next_logits(loaded, rows, ids)
        torch.testing.assert_close(plain, expected, atol=1e-4, rtol=1e-4)
        if past is not None:
            for _ in range(2):  # it is not used up
                cached, _ = next_logits(loaded, [r[n:] for r in rows], ids, past=past, before=n)
                torch.testing.assert_close(cached, expected, atol=1e-4, rtol=1e-4)


def test_shared_prefix_and_batches_by_hand():
    assert shared_prefix([[1, 2, 3, 4], [1, 2, 9], [1, 2, 3]]) == 2
    assert shared_prefix([[1, 2], [1, 2]]) == 1  # something must be left to read
    assert shared_prefix([[1, 2], [1, 2, 3]]) == 1
    assert shared_prefix([[1], [2]]) == 0
    assert shared_prefix([]) == 0
    assert list(batches([3, 9, 1, 4, 4], size=2, tokens=100)) == [[1, 3], [4, 0], [2]]
    assert list(batches([3, 9, 1, 4, 4], size=9, tokens=9)) == [[1], [3, 4], [0, 2]]
    assert list(batches([], size=9, tokens=9)) == []


def test_class_probabilities_by_hand():
    logits = np.log([1.0, 2.0, 3.0, 4.0]) + 900  # far from zero: no overflow
    np.testing.assert_allclose(class_probs(logits, np.array([0, 1, 1, 0]), 3), [0.5, 0.5, 0])


def test_looking_further_reads_where_a_class_token_is_the_likeliest(folders):
    folder, model, words = folders["keen"]
    classes = {i for i in range(len(words)) if words.decode([i]) in FAVOURED}
    prompt = classify(("a", "b", "c"), task="")  # three classes: " 2" is not favoured, and never comes first
    verdicts = LocalModelJudge(model=folder, prompt=ASK, look=3, batch=4, dtype="float32").judge(TEXTS)
    for text, probs, reason in zip(TEXTS, verdicts.probs, verdicts.reason, strict=True):
        row = words(f"{ASK.instruction}\n\n{ASK.render(text)}")["input_ids"]
        for _ in range(3):
            logits = alone(model, row)
            if int(logits.argmax()) in classes:
                weights = logits.softmax(0)
                mass = [sum(float(weights[i]) for i in classes if words.decode([i]).strip() == a) for a in "01"]
                np.testing.assert_allclose(probs, np.array(mass) / sum(mass), atol=1e-5)
                break
            row = [*row, int(logits.argmax())]
        else:
            assert "outside the classes" in reason
    assert verdicts.known.any()
    wild = LocalModelJudge(model=folders["llama"][0], prompt=prompt, look=2, dtype="float32").judge(TEXTS)
    assert not wild.known.all()  # a random model seldom says 0, 1 or 2
    assert "outside the classes" in wild.reason[~wild.known][0]


def test_the_same_model_behind_a_server_gives_the_same_probabilities(folders):
    folder, model, words = folders["keen"]

    def answer(payload, n):
        row = words("\n\n".join(m["content"] for m in payload["messages"]))["input_ids"]
        positions, said = [], ""
        for _ in range(payload["max_tokens"]):
            logprobs = alone(model, row).log_softmax(0)
            best = int(logprobs.argmax())
            values, ids = logprobs.topk(payload["top_logprobs"])
            top = {words.decode([i]): v for i, v in zip(ids.tolist(), values.tolist(), strict=True)}
            positions.append(token(words.decode([best]), float(logprobs[best]), top))
            said += words.decode([best])
            row = [*row, best]
        return chat(said, logprobs=positions, usage=(len(row), len(positions)))

    items = [f"{t} {w}" for t in TEXTS for w in ("one", "two")]
    with serving(answer) as (url, _):
        there = HTTPJudge(url=url, model="tiny", prompt=ASK, concurrency=2).judge(items)
    here = LocalModelJudge(model=folder, prompt=ASK, look=2, dtype="float32").judge(items)
    assert here.known.sum() >= 10
    np.testing.assert_array_equal(there.known, here.known)
    np.testing.assert_allclose(there.probs, here.probs, atol=1e-5)


def test_four_wordings_are_four_judges_of_one_model(folders):
    folder, model, words = folders["gpt2"]
    judges = [LocalModelJudge(model=folder, prompt=p, dtype="float32") for p in pair_prompts()]
    assert len({j.fingerprint for j in judges}) == 4
    assert [j.name for j in judges] == ["gpt2/texts", "gpt2/document", "gpt2/fact", "gpt2/premise"]
    for judge in judges:
        np.testing.assert_allclose(
            judge.judge([("good", "bad"), ("no", "no")]).probs,
            [by_hand(model, words, judge.prompt, item) for item in (("good", "bad"), ("no", "no"))],
            atol=1e-5,
        )


def test_the_models_chat_template_is_used_and_may_refuse_a_system_role(tmp_path):
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<s>reply:{% endif %}"
    )
    model, words = save_causal(tmp_path, "gpt2", template=template)
    probs = LocalModelJudge(model=str(tmp_path), prompt=ASK, dtype="float32").judge(["good"]).probs
    row = words(f"<s>user: {ASK.instruction}\n\n{ASK.render('good')}</s><s>reply:", add_special_tokens=False)["input_ids"]
    full = alone(model, row).softmax(0)
    mass = [sum(float(full[i]) for i in range(len(words)) if words.decode([i]).strip() == a) for a in "01"]
    np.testing.assert_allclose(probs, [np.array(mass) / sum(mass)], atol=1e-5)


def test_a_text_longer_than_the_model_is_unknown(folders):
    verdicts = LocalModelJudge(model=folders["gpt2"][0], prompt=ASK).judge(["good", "x" * 500])
    assert verdicts.known.tolist() == [True, False]
    assert "more than the model's 400" in verdicts.reason[1]


def test_guesses_of_a_model_that_babbles_are_unknown_and_repeatable(folders):
    prompt = guesses(("a", "b"), top=1)
    judge = LocalModelJudge(model=folders["gpt2"][0], prompt=prompt, samples=2)
    first = judge.judge(["good", "bad"])
    assert not first.known.any()
    assert all("outside the classes" in why for why in first.reason)
    assert len(first.raw[0]["replies"]) == 2
    assert judge.judge(["bad"]).raw[0] == first.raw[1]  # whatever it is asked together with
    assert LocalModelJudge(model=folders["gpt2"][0], prompt=prompt, samples=2, seed=1).judge(["bad"]).raw[0] != first.raw[1]


def test_a_model_that_states_its_guess_is_read(folders, monkeypatch):
    folder, _, words = folders["gpt2"]
    loaded = load("causal", folder, "main", "auto", "auto")
    reply = words(json.dumps([{"answer": "b", "confidence": 80}]))["input_ids"]

    def generate(given, *, num_return_sequences, temperature, **more):
        assert temperature == 0.7
        return torch.cat([given.repeat(num_return_sequences, 1), torch.tensor([reply] * num_return_sequences)], 1)

    monkeypatch.setattr(loaded.model, "generate", generate)
    verdicts = LocalModelJudge(model=folder, prompt=guesses(("a", "b", "c"), top=2)).judge(["x"])
    assert verdicts.labels.tolist() == [1]
    np.testing.assert_allclose(verdicts.confidence, [0.8])
    np.testing.assert_allclose(verdicts.probs, [[0.1 / 4, 3.8 / 4, 0.1 / 4]])


def test_the_fingerprint_follows_the_weights(tmp_path):
    save_causal(tmp_path / "a", "gpt2")
    save_causal(tmp_path / "same", "gpt2")
    save_causal(tmp_path / "other", "gpt2", favour=FAVOURED)
    prints = [LocalModelJudge(model=str(tmp_path / n), prompt=ASK).fingerprint for n in ("a", "same", "other")]
    assert prints[0] == prints[1] != prints[2]
    assert LocalModelJudge(model=str(tmp_path / "a"), prompt=ASK, batch=2, prefix=False).fingerprint == prints[0]


def test_a_budget_of_calls_is_one_an_item(folders):
    verdicts = LocalModelJudge(model=folders["gpt2"][0], prompt=ASK).judge(TEXTS, budget=Budget(calls=2))
    assert verdicts.known.tolist() == [True, True] + [False] * 5
    assert not LocalModelJudge(model="no/such/model", prompt=ASK).judge(TEXTS, budget=Budget(calls=0)).known.any()


@pytest.mark.parametrize("batch", [1, 4])
def test_a_sequence_classifier_is_matched_by_name_and_joined_by_mapping(tmp_path, batch):
    model, words = save_classifier(tmp_path, ("ENTAILMENT", "neutral", "contradiction"))
    judge = SequenceClassifierJudge(
        model=str(tmp_path),
        classes=("inconsistent", "entailment"),
        mapping={"Neutral": "inconsistent", "contradiction": "inconsistent"},
        batch=batch,
    )
    items = [("good", "bad"), ("the text is good", "yes " * 9), "no", ("", "no")]
    expected = []
    with torch.inference_mode():
        for item in items:
            logits = model(**words(*([item] if isinstance(item, str) else item), return_tensors="pt")).logits[0].double()
            p = logits.softmax(0).tolist()
            expected.append([p[1] + p[2], p[0]])
    np.testing.assert_allclose(judge.judge(items).probs, expected, atol=1e-6)
    assert "more than the model's 64" in judge.judge(["x" * 80]).reason[0]
    cut = SequenceClassifierJudge(model=str(tmp_path), classes=judge.classes, mapping=judge.mapping, truncate=True)
    assert cut.judge(["x" * 80]).known.all()
    with pytest.raises(InputError, match="label 'neutral' is none of the classes"):
        SequenceClassifierJudge(model=str(tmp_path), classes=("entailment", "contradiction")).judge(["x"])
    with pytest.raises(InputError, match="mapping names 'maybe'"):
        SequenceClassifierJudge(model=str(tmp_path), classes=judge.classes, mapping={"maybe": "entailment"}).judge(["x"])
    with pytest.raises(InputError, match="takes texts or pairs"):
        judge.judge([("a", "b", "c")])


def test_a_model_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="cannot be used as a judge"):
        LocalModelJudge(model=str(tmp_path), prompt=ASK).judge(["x"])
    with pytest.raises(InputError, match="look must be >= 1"):
        LocalModelJudge(model="m", prompt=ASK, look=0)


@pytest.mark.parametrize(("package", "extra"), [("transformers", "hf"), ("openai", "llm")])
def test_a_missing_package_names_its_extra(monkeypatch, package, extra):
    import sys

    load.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    judge = LocalModelJudge(model="m", prompt=ASK) if extra == "hf" else HTTPJudge(url="http://h/v1", model="m", prompt=ASK)
    with pytest.raises(MissingExtra, match=rf"pip install 'labelwright\[{extra}\]'"):
        judge.judge(["x"])


def test_importing_judges_imports_nothing_heavy():
    import subprocess
    import sys

    code = "import labelwright.judges, sys; print(sorted({'transformers', 'openai', 'httpx', 'torch.distributed.fsdp'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_tiny_tokenizer_is_what_the_tests_take_it_for():
    words = tokenizer()
    assert len(words("0")["input_ids"]) == len(words(" 0")["input_ids"]) == 1
    assert words("0")["input_ids"] != words(" 0")["input_ids"]
    assert not math.isnan(len(words))
