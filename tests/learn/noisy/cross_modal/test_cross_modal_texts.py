"""Cleaning of texts, definitions from files, and embeddings of both in one space."""

import json

import numpy as np
import pytest

from labelwright.data import Dataset
from labelwright.errors import InputError
from labelwright.labels import ClassLabels, MultiLabels
from labelwright.learn.noisy.cross_modal.texts import clean_texts, column_of, definitions_of, embedded, unit_rows, vectors_of


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Tiger_Cat-01.JPG", "tiger cat"),
        ("<b>A tabby</b> &amp; friends: http://cats.example.com/a?b=1 www.x.org/y", "tabby friends"),
        ("of 2 big cats, 640x480 px", "big cats"),
        ("img_123.png", ""),
        ("", ""),
        ("É sobre o Kätzchen", "sobre kätzchen"),
        ("猫の 写真", "猫の 写真"),
    ],
)
def test_cleaning_leaves_words(text, want):
    assert clean_texts([text]) == [want]


def test_cleaning_twice_changes_nothing_and_rows_do_not_mix():
    texts = ["A red fox. jpg", "x", "two  words\nhere", "<i>", "unclosed > tag"]
    once = clean_texts(texts)
    assert clean_texts(once) == once
    assert [clean_texts([t])[0] for t in texts] == once


def data_with(**columns):
    n = len(next(iter(columns.values()))) if columns else 3
    return Dataset(inputs=np.zeros((n, 2)), labels=ClassLabels(values=np.arange(n) % 2, names=("cat", "dog")), columns=columns)


def test_the_column_is_text_then_caption_and_gaps_are_empty_texts():
    gaps = np.array(["a", None, float("nan")], dtype=object)
    assert column_of(data_with(caption=gaps), None) == ["a", "", ""]
    assert column_of(data_with(caption=gaps, text=np.array(["x", "y", "z"])), None) == ["x", "y", "z"]
    vectors = np.ones((3, 4))
    assert column_of(data_with(tags=vectors), "tags").shape == (3, 4)


@pytest.mark.parametrize(
    ("columns", "name", "words"),
    [
        ({}, None, ("text", "caption", "none")),
        ({"title": np.array(["a", "b", "c"])}, None, ("caption", "title")),
        ({"caption": np.array(["a", "b", "c"])}, "captoin", ("captoin", "Did you mean 'caption'")),
        ({"text": np.array(["", " ", ""])}, None, ("empty",)),
        ({"text": np.arange(3)}, None, ("texts", "int64")),
    ],
)
def test_a_column_that_will_not_do(columns, name, words):
    with pytest.raises(InputError) as caught:
        column_of(data_with(**columns), name)
    for word in words:
        assert word in str(caught.value)


LABELS = ClassLabels(values=np.array([0, 1, 0]), names=("cat", "dog", "emu"))


def test_definitions_from_every_form(tmp_path):
    want = ["a small animal", "a loud animal", "emu"]  # no example is an emu: its name stands in
    given = {"cat": want[0], "dog": want[1]}
    (tmp_path / "d.json").write_text(json.dumps(given))
    (tmp_path / "d.toml").write_text('cat = "a small animal"\ndog = "a loud animal"\n')
    (tmp_path / "d.csv").write_text("class,definition\ndog,a loud animal\ncat,a small animal\n")
    (tmp_path / "odd.csv").write_text("text,animal\na loud animal,dog\na small animal,cat\n")
    assert definitions_of(given, LABELS) == want
    for name in ("d.json", "d.toml", "d.csv"):
        assert definitions_of(str(tmp_path / name), LABELS) == want
    with pytest.raises(InputError, match=r"'a loud animal', which is no class"):
        definitions_of(str(tmp_path / "odd.csv"), LABELS)  # neither column is called class: the first one is taken
    assert definitions_of(None, LABELS) == ["cat", "dog", "emu"]


def test_numbers_as_classes(tmp_path):
    (tmp_path / "d.csv").write_text("label,text\n0,zero\n1,one\n")
    assert definitions_of(str(tmp_path / "d.csv"), ClassLabels(values=np.array([0, 1]))) == ["zero", "one"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cat": "x"}, ("no class 'dog'", "cat")),
        ({"cat": "x", "dog": " "}, ("no class 'dog'",)),
        ({"cat": "x", "dog": "y", "emuu": "z"}, ("'emuu'", "Did you mean 'emu'")),
        ("nowhere.csv", ("does not exist",)),
    ],
)
def test_definitions_that_miss_or_misname_a_class(given, words):
    with pytest.raises(InputError) as caught:
        definitions_of(given, LABELS)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("d.json", "{", "cannot be read"),
        ("d.json", '{"cat": 3}', "one text"),
        ("d.toml", "cat = ", "cannot be read"),
        ("d.csv", "class\ncat\n", "column of classes"),
        ("d.csv", "class,text\ncat,a\ncat,b\n", "unique"),
        ("d.txt", "cat", ".csv"),
    ],
)
def test_damaged_definition_files(tmp_path, name, content, word):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=word):
        definitions_of(str(tmp_path / name), LABELS)


def test_only_positives_make_a_class_of_cells_occur():
    labels = MultiLabels(values=np.array([[1, 0], [1, 0]]), names=("cat", "dog"))
    assert definitions_of({"cat": "small"}, labels) == ["small", "dog"]


def test_tfidf_puts_texts_nearest_to_the_definition_whose_words_they_share():
    texts = ["striped cat", "", "loud dog barks", "cat", "dog"]
    t, d = embedded(texts, ["a cat is striped", "a dog barks"], encoder="tfidf", clean=True, seed=0)
    assert np.allclose(np.linalg.norm(np.concatenate([t, d]), axis=1), 1, atol=1e-5)
    assert (t @ d.T).argmax(1)[[0, 2, 3, 4]].tolist() == [0, 1, 0, 1]
    again, _ = embedded(texts, ["a cat is striped", "a dog barks"], encoder="tfidf", clean=True, seed=0)
    assert np.array_equal(t, again)


def test_a_function_embeds_and_is_checked():
    seen = []

    def encode(texts):
        seen.extend(texts)
        return np.array([[len(t), 1.0] for t in texts])

    t, d = embedded(["Cat 1", "Doggy"], ["emu"], encoder=encode, clean=False, seed=0)
    assert seen == ["Cat 1", "Doggy", "emu"]
    assert np.allclose(t[0], np.array([5, 1]) / 26**0.5)
    assert np.allclose(d[0], np.array([3, 1]) / 10**0.5)
    with pytest.raises(InputError, match=r"shape \(3, E\)"):
        embedded(["cat", "dog"], ["emu"], encoder=lambda texts: np.zeros((1, 2)), clean=True, seed=0)


def test_texts_and_definitions_without_words_are_refused():
    with pytest.raises(InputError, match="No text holds a word"):
        embedded(["12", "a.jpg"], ["cat"], encoder="tfidf", clean=True, seed=0)
    with pytest.raises(InputError, match="'7' holds no word"):
        embedded(["cat", "dog"], ["cat", "7"], encoder="tfidf", clean=True, seed=0)


@pytest.mark.slow  # importing the packages takes most of it
def test_a_sentence_encoder_from_a_folder(tmp_path):
    """A tiny random BERT with a word-level vocabulary, written here and read back for real: mean pooling by hand."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("sentence_transformers")
    import torch

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "barks"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=16
    )
    torch.manual_seed(0)
    model = transformers.BertModel(config).eval()
    model.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    t, d = embedded(["Dog barks 3", "cat"], ["dog"], encoder=str(tmp_path / "tiny"), clean=True, seed=0)
    with torch.no_grad():
        out = model(**tokenizer(["dog barks"], return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
    assert np.allclose(t[0], out / np.linalg.norm(out), atol=1e-4)
    assert t.shape == (2, 8)
    assert d.shape == (1, 8)
    with pytest.raises(InputError, match="no-such-model"):
        embedded(["cat"], ["dog"], encoder=str(tmp_path / "no-such-model"), clean=True, seed=0)


def test_vectors_from_a_file(tmp_path):
    np.save(tmp_path / "v.npy", np.arange(6).reshape(3, 2))
    assert vectors_of(str(tmp_path / "v.npy"), rows=3, what="side").tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(InputError, match=r"\(4, E\)"):
        vectors_of(str(tmp_path / "v.npy"), rows=4, what="side")
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        vectors_of(str(tmp_path / "o.npy"), rows=1, what="side")
    assert np.allclose(unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)), [[0.6, 0.8], [0, 0]])
