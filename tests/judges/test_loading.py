"""Judges from a file."""

from __future__ import annotations

import pytest
from nasty_server import chat, serving

from labelwright.errors import InputError
from labelwright.judges import Cached, HTTPJudge, LocalModelJudge, ReviewJudge, SequenceClassifierJudge, load_judges

WHOLE = """
classes: [negative, positive]
task: Say what the review thinks of the film.
descriptions: {positive: on balance in favour}
cache: answers.sqlite
budget: {calls: 20, money: 5}
judges:
  - kind: http
    url: http://localhost:1/v1
    model: small
    key_env: MY_KEY
    per_minute: 60
    prices: {input: 0.15, output: 0.6}
    parameters: {seed: 1, stop_token: x}
  - kind: http
    url: http://localhost:1/v1
    model: small
    name: pairs
    prompts: pairs
  - kind: http
    url: http://localhost:1/v1
    model: small
    prompts: [guesses, {name: own, instruction: Say it., item: "{text}?", answers: [bad, good]}]
  - kind: model
    model: ./weights
  - kind: classifier
    model: some/hub-id
    mapping: {NEG: negative}
  - kind: review
    path: review.csv
"""


def write(tmp_path, text, name="judges.yaml"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_a_whole_file(tmp_path, monkeypatch):
    monkeypatch.chdir("/")  # paths are relative to the file
    (tmp_path / "weights").mkdir()
    judges = load_judges(write(tmp_path, WHOLE))
    names = ["small/classify", "pairs/texts", "pairs/document", "pairs/fact", "pairs/premise", "small/guesses", "small/own"]
    assert [j.name for j in judges] == [*names, "weights/classify", "hub-id", "review"]
    assert {j.classes for j in judges} == {("negative", "positive")}
    *cached, review = judges
    assert all(isinstance(j, Cached) and j.path == tmp_path / "answers.sqlite" for j in cached)
    assert len({id(j.budget) for j in cached}) == 1
    assert (cached[0].budget.calls, cached[0].budget.money) == (20, 5.0)
    first = cached[0].inner
    assert isinstance(first, HTTPJudge)
    assert (first.key_env, first.per_minute, first.prices.output, first.parameters["seed"]) == ("MY_KEY", 60, 0.6, 1)
    assert "positive (on balance in favour)" in first.prompt.instruction
    assert first.prompt.instruction.startswith("Say what the review thinks")
    assert isinstance(cached[7].inner, LocalModelJudge)
    assert cached[7].inner.model == str(tmp_path / "weights")
    assert isinstance(cached[8].inner, SequenceClassifierJudge)
    assert isinstance(review, ReviewJudge)
    assert review.path == tmp_path / "review.csv"


def test_a_class_may_be_called_secret(tmp_path):
    path = write(
        tmp_path, "classes: [secret, key]\ndescriptions: {secret: not for all}\njudges: [{kind: http, url: 'http://h/v1', model: m}]"
    )
    assert load_judges(path)[0].classes == ("secret", "key")


def test_toml_says_the_same_and_the_labels_may_bring_the_classes(tmp_path):
    text = '[[judges]]\nkind = "http"\nurl = "http://localhost:1/v1"\nmodel = "m"\n'
    (judge,) = load_judges(write(tmp_path, text, "judges.toml"), classes=("x", "y", "z"))
    assert judge.classes == ("x", "y", "z")
    assert judge.path == tmp_path / "judges.cache.sqlite"
    with pytest.raises(InputError, match="judge 1: which classes"):
        load_judges(tmp_path / "judges.toml")


def test_wordings_for_two_texts_do_not_take_the_order_of_the_labels(tmp_path):
    path = write(tmp_path, "judges: [{kind: http, url: 'http://h/v1', model: m, prompts: fact}]")
    assert load_judges(path, classes=("consistent", "inconsistent"))[0].classes == ("inconsistent", "consistent")


def test_a_loaded_judge_judges_and_keeps_what_it_heard(tmp_path):
    with serving(lambda p, n: chat("1")) as (url, log):
        path = write(tmp_path, f"classes: [a, b]\njudges: [{{kind: http, url: '{url}', model: m, scores: sampling, samples: 1}}]")
        for _ in range(2):
            assert load_judges(path)[0].judge(["x", "y"]).labels.tolist() == [1, 1]
        assert len(log.requests) == 2


HTTP = "judges: [{kind: http, url: 'http://h/v1', model: m"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("judges: []", "must be a list with a judge"),
        ("- kind: http", "must hold keys and values; got list"),
        ("clases: [a, b]\n" + HTTP + "}]", r"unknown key 'clases'. Did you mean 'classes'"),
        (HTTP + ", concurency: 3}]", r"judge 1: unknown key 'concurency'. Did you mean 'concurrency'"),
        (HTTP + ", prices: {in: 3}}]", r"judge 1, prices: unknown key 'in'"),
        ("judges: [{kind: htttp}]", r"judge 1: kind 'htttp' is unknown. Did you mean 'http'"),
        ("judges: [{url: x}]", "judge 1: no kind"),
        ("classes: [a, b]\njudges: [{kind: http, url: 'http://h/v1'}]", "judge 1: model is missing"),
        ("classes: [a, b]\n" + HTTP + ", concurrency: many}]", "judge 1: concurrency must be an integer; got 'many'"),
        ("classes: [a, b]\njudges: [{kind: http, url: 'http://h/v1', model: 4}]", "model must be a text; got 4"),
        ("classes: [no, yes]\n" + HTTP + "}]", "A class must have a name, as text; got False. Put numbers and yes/no into quotes"),
        ("classes: [a]\n" + HTTP + "}]", "at least two classes"),
        ("classes: [a, b]\ndescriptions: {c: x}\n" + HTTP + "}]", "description of class 'c'"),
        ("classes: [a, b]\n" + HTTP + ", prompts: clasify}]", "Did you mean 'classify'"),
        ("classes: [a, b]\n" + HTTP + ", prompts: {name: x, item: y}}]", "needs the text 'instruction'"),
        ("classes: [a, b]\nbudget: {calls: -1}\n" + HTTP + "}]", "budget: calls must be >= 0"),
        ("classes: [a, b]\nbudget: {call: 1}\n" + HTTP + "}]", "Did you mean 'calls'"),
        ("classes: [a, b]\n" + HTTP + "}, {kind: http, url: 'http://h/v1', model: m}]", "two judges are called 'm/classify'"),
        ("classes: [a, b]\nclasses: [c, d]\n" + HTTP + "}]", "line 2: key 'classes' is given twice"),
        ("classes: [a, b]\njudges: [{kind: model, model: ./none}]", "model does not exist"),
        ("judges: [{kind: http", "is not YAML, line 1"),
        ("judges: !!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_a_fault_in_the_file_says_where(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_judges(write(tmp_path, text))


SECRET = "sk-abcdefghijklmnopqrstuvwx"


@pytest.mark.parametrize(
    "text",
    [
        HTTP + f", api_key: {SECRET}}}]",
        HTTP + f", key: {SECRET}}}]",
        HTTP + f", key_env: {SECRET}}}]",
        HTTP + f", parameters: {{authorization: {SECRET}}}}}]",
        HTTP + f", parameters: {{note: Bearer {SECRET}}}}}]",
        f"classes: [a, b]\njudges: [{{kind: http, url: 'https://me:{SECRET}@h/v1', model: m}}]",
        f"api_key: {SECRET}: [",
        f"Token: {SECRET}\n" + HTTP + "}]",
    ],
)
def test_secrets_in_the_file_are_refused_and_not_repeated(tmp_path, text):
    with pytest.raises(InputError) as caught:
        load_judges(write(tmp_path, text))
    assert SECRET not in str(caught.value)
    assert "environment" in str(caught.value) or "is not YAML" in str(caught.value)


def test_other_files(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_judges(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="must end in"):
        load_judges(write(tmp_path, "{}", "judges.json"))
    with pytest.raises(InputError, match="is not TOML"):
        load_judges(write(tmp_path, "x = ", "judges.toml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        load_judges(tmp_path / "bytes.yaml")
