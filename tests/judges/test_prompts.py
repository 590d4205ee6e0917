"""Wordings, and how replies are read."""

from __future__ import annotations

import math

import numpy as np
import pytest

from labelwright.errors import InputError
from labelwright.judges import Prompt, classify, guesses, pair_prompt, pair_prompts
from labelwright.judges._reading import class_of_token, from_guesses, from_replies, from_tokens
from labelwright.judges.prompts import read_guesses

BINARY = classify(("minus", "plus"))


def test_four_wordings_put_the_same_two_texts_in_other_terms():
    prompts = pair_prompts()
    assert [p.name for p in prompts] == ["texts", "document", "fact", "premise"]
    assert len({p.version for p in prompts}) == 4
    for prompt in prompts:
        text = prompt.render(("FIRST {second}", "SECOND"))
        assert text.index("FIRST {second}") < text.index("SECOND")  # braces inside the texts stay what they are
        assert prompt.answers == ("0", "1")
        assert prompt.classes == ("inconsistent", "consistent")
    assert pair_prompt("fact", classes=("no", "yes")).version != prompts[2].version
    with pytest.raises(InputError, match="Did you mean 'premise'"):
        pair_prompt("premises")


def test_classes_are_numbered_with_their_descriptions():
    prompt = classify(("sport", "art"), descriptions={"art": "pictures, music"}, task="Which page?")
    assert prompt.instruction.split("\n")[:4] == ["Which page?", "Classes:", "0: sport", "1: art (pictures, music)"]
    assert prompt.messages("x")[0]["content"] == prompt.instruction
    assert "x" in prompt.messages("x")[1]["content"]


@pytest.mark.parametrize(
    ("count", "first", "last"), [(2, "0", "1"), (10, "0", "9"), (11, "B", "M"), (24, "B", "Z"), (25, "00", "24"), (101, "000", "100")]
)
def test_no_answer_begins_with_another(count, first, last):
    answers = classify([f"class {i}" for i in range(count)]).answers
    assert (answers[0], answers[-1], len(set(answers))) == (first, last, count)
    assert len({len(a) for a in answers}) == 1


@pytest.mark.parametrize("reply", ["I cannot say", "A hard one", "I'm sorry"])
def test_a_sentence_in_place_of_a_letter_names_no_class(reply):
    prompt = classify([f"class {i}" for i in range(24)])
    assert prompt.spoken(reply) is None
    assert class_of_token(reply[0], prompt) is None
    assert prompt.spoken("J") == 7  # BCDEFGHJ
    assert "(B to Z)" in prompt.instruction


def test_a_change_of_a_word_is_another_version():
    base = {"name": "p", "classes": ("a", "b"), "instruction": "Say.", "item": "{text}", "answers": ("0", "1")}
    variants = [
        {},
        {"instruction": "Say!"},
        {"item": "{text} "},
        {"answers": ("1", "0")},
        {"classes": ("b", "a")},
        {"answers": (), "guesses": 1},
    ]
    assert len({Prompt(**(base | v)).version for v in variants}) == len(variants)
    assert Prompt(**(base | {"name": "q"})).version == Prompt(**base).version


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"item": "no slot"}, "must hold"),
        ({"item": "{text} {first}"}, "must hold"),
        ({"answers": ("0",)}, "one answer a class"),
        ({"answers": ("yes", "YES")}, "begin with one another"),
        ({"answers": ("1", "10")}, "begin with one another"),
        ({"answers": ("not so", "so")}, "single words"),
        ({"guesses": 1}, "not for both"),
        ({"answers": (), "guesses": 3}, "guesses must be"),
    ],
)
def test_wordings_that_cannot_be_read_back_are_refused(more, message):
    base = {"name": "p", "classes": ("a", "b"), "instruction": "", "item": "{text}", "answers": ("0", "1")}
    with pytest.raises(InputError, match=message):
        Prompt(**(base | more))


@pytest.mark.parametrize(
    ("reply", "class_"),
    [
        ("0", 0),
        (" 1\n", 1),
        ("1.", 1),
        ("**0**", 0),
        ("Class 1", 1),
        ("answer: 0, surely not 1", 0),
        ("10", None),
        ("", None),
        ("none", None),
    ],
)
def test_replies_name_a_class_or_none(reply, class_):
    assert BINARY.spoken(reply) == class_


@pytest.mark.parametrize(
    ("token", "class_"), [("0", 0), (" 0", 0), ("▁1", 1), ("1\n", 1), ("Ġ1", 1), ("10", None), ("", None), ("o", None)]
)
def test_variants_of_a_class_token(token, class_):
    assert class_of_token(token, BINARY) == class_


def test_sampled_replies_are_counted_and_nonsense_left_out():
    np.testing.assert_allclose(from_replies(["0", "1", "well", "1"], BINARY).probs, [1 / 3, 2 / 3])
    assert from_replies(["well"], BINARY).reason == "answer outside the classes: 'well'"
    assert from_replies([""], BINARY).reason == "answer outside the classes: an empty reply"


def test_a_probability_above_one_by_rounding_does_no_harm():
    answer = from_tokens([{"token": "1", "logprob": 1e-9}], BINARY)
    np.testing.assert_allclose(answer.probs, [0, 1])


def test_a_class_missing_from_the_list_of_three_gets_nothing():
    three = classify(("a", "b", "c"))
    listed = [{"token": "0", "logprob": math.log(0.3)}, {"token": "2", "logprob": math.log(0.1)}]
    answer = from_tokens([{"token": "0", "logprob": math.log(0.3), "top_logprobs": listed}], three)
    np.testing.assert_allclose(answer.probs, [0.75, 0, 0.25])


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ('[{"answer": "b", "confidence": 70}]', [(1, 0.7)]),
        ('```json\n[{"answer": "B ", "confidence": "70 %"}, {"answer": "a", "confidence": 20}]\n```', [(1, 0.7), (0, 0.2)]),
        ('{"answer": "a", "confidence": 130}', [(0, 1.0)]),
        ('[{"answer": "a", "confidence": 60}, {"answer": "a", "confidence": 10}]', [(0, 0.6)]),
        ('[{"answer": "z", "confidence": 60}]', []),
        ('[{"answer": "a", "confidence": "high"}, {"answer": "b", "confidence": true}, 3, {"answer": 1, "confidence": 5}]', []),
        ('[{"answer": "a", "confidence": NaN}]', []),
        ("[" * 100_000, []),
        ("no JSON", []),
        ("[{", []),
    ],
)
def test_guesses_are_read_from_what_models_write(reply, read):
    assert read_guesses(reply, ("a", "b")) == [(j, pytest.approx(c)) for j, c in read]


def test_classes_called_by_numbers_may_be_guessed_as_numbers():
    assert read_guesses('[{"answer": 4, "confidence": 80}, {"answer": true, "confidence": 9}]', ("1", "4")) == [(1, 0.8)]


def test_equal_votes_are_decided_by_stated_confidence():
    def said(*pairs):
        return "[" + ", ".join(f'{{"answer": "{a}", "confidence": {c}}}' for a, c in pairs) + "]"

    prompt = guesses(("a", "b"), top=2)
    answer = from_guesses([said(("a", 55), ("b", 45)), said(("b", 90), ("a", 10))], prompt)
    assert answer.probs.argmax() == 1
    assert answer.stated == pytest.approx((0.45 + 0.9) / 2)
    most = from_guesses([said(("a", 51)), said(("a", 51)), said(("b", 100))], prompt)
    assert most.probs.argmax() == 0  # votes come first
    np.testing.assert_allclose(from_guesses([said(("a", 0))], prompt).probs, [0.5, 0.5])
    np.testing.assert_allclose(from_guesses([said(("a", 90), ("b", 90))], prompt).probs, [1.5 / 2, 0.5 / 2])


def test_at_most_as_many_guesses_as_classes():
    assert guesses(("a", "b"), top=3).guesses == 2
    assert "copied from above" in guesses(("a", "b")).instruction
