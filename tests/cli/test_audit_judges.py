"""``labelwright audit --judges`` and ``audit judge-ensemble`` against a server on this machine; what is wrong is said in one line."""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import polars as pl
import pytest

NAMES = ("angry", "calm", "glad")
WORDS = {"angry": "shout rage storm", "calm": "rest quiet slow", "glad": "smile song sun"}
SECRET = "sk-very-secret-0123456789"


def texts_and_labels(folder, n=90, *, noise=0.15):
    """``data.csv`` of texts in three classes, some labels wrong: true classes, and which are wrong."""
    rng = np.random.default_rng(0)
    truth = np.arange(n) % 3
    wrong = rng.random(n) < noise
    given = np.where(wrong, (truth + 1) % 3, truth)
    texts = [" ".join(rng.permutation(WORDS[NAMES[t]].split())) + f" {i}" for i, t in enumerate(truth)]
    frame = pl.DataFrame(
        {"id": [f"t{i}" for i in range(n)], "text": texts, "label": [NAMES[g] for g in given], "reply": [f"r{i}" for i in range(n)]}
    )
    frame.write_csv(folder / "data.csv")
    return truth, wrong


def honest(text):
    """The number of the class whose words are in the text, with probability 0.9."""
    number = next((j for j, name in enumerate(NAMES) if any(w in text for w in WORDS[name].split())), 0)
    top = [{"token": str(j), "logprob": math.log(0.9 if j == number else 0.05), "bytes": None} for j in range(3)]
    return str(number), [{**top[number], "top_logprobs": top}]


@contextlib.contextmanager
def server(answer=honest, *, key=None):
    """(address, texts that were asked): a server that speaks chat completions."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            text = body["messages"][-1]["content"]
            asked.append(text)
            if key is not None and self.headers.get("authorization") != f"Bearer {key}":
                return self.reply(401, {"error": {"message": f"bad key {self.headers.get('authorization')}"}})
            said, tokens = answer(text)
            choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
            if tokens:
                choice["logprobs"] = {"content": tokens}
            choices = [choice | {"index": k} for k in range(body.get("n") or 1)]
            usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
            return self.reply(200, {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": choices, "usage": usage})

        def reply(self, status, value):
            raw = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args):
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass  # a judge that stops hangs up

    running = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}/v1", asked
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def judges_file(folder, url, *, more="", judge="", name="judges.yaml"):
    """A judges file with one judge at `url`."""
    text = f"{more}\njudges:\n  - kind: http\n    url: {url}\n    model: small\n    prices: {{input: 1000, output: 1000}}\n{judge}"
    (folder / name).write_text(text)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABELWRIGHT_JUDGE_KEY", raising=False)
    return tmp_path


def flagged(folder, issue):
    rows = pl.read_parquet(folder / "findings.parquet").filter((pl.col("issue") == issue) & pl.col("flagged"))
    return sorted(rows.get_column("index").to_list())


def test_alone_it_finds_the_errors_and_correct_follows(cli, folder):
    truth, wrong = texts_and_labels(folder)
    with server() as (url, asked):
        judges_file(folder, url)
        ran = cli("audit", "judge-ensemble", "data.csv", "--inputs", "text", "--judges", "judges.yaml", "--out", "a")
        assert ran.code == 0, ran.err
        assert len(asked) == 90
        assert "90 of 90 questions answered" in ran.out
        again = cli("audit", "judge-ensemble", "data.csv", "--inputs", "text", "--judges", "judges.yaml", "--out", "b", "--json")
        assert len(asked) == 90  # every answer is stored
        assert json.loads(again.out)["issues"]["label_error"]["flagged"] == int(wrong.sum())
        assert cli("rerun", "a").code == 0
    assert flagged(folder / "a", "label_error") == np.flatnonzero(wrong).tolist()
    assert {"audit.json", "experts.csv", "findings.parquet", "report.html", "review.csv", "run.json"} <= {
        p.name for p in (folder / "a").iterdir()
    }
    page = (folder / "a/report.html").read_text()
    for words in ("Disagreements by confidence", "Classes after cleaning", "tokens in"):
        assert words in page
    questions = pl.read_csv(folder / "a/experts.csv", infer_schema=False)
    assert questions.height == int(wrong.sum())
    assert set(questions.get_column("label")) <= {None, ""}
    assert "given" not in questions.columns
    assert cli("annotate", "correct", "data.csv", "--inputs", "text", "--findings", "a", "--out", "c").code == 0
    fixed = pl.read_parquet(folder / "c/rows.parquet")
    assert fixed.height == 90
    from labelwright.data import load

    assert [NAMES[t] for t in truth] == load(folder / "c").labels.words().tolist()


def test_experts_answers_go_back_in(cli, folder):
    truth, wrong = texts_and_labels(folder)
    with server() as (url, _):
        judges_file(folder, url)
        words = ("data.csv", "--inputs", "text", "--judges", "judges.yaml", "--check-agreeing", "20")
        assert cli("audit", "judge-ensemble", *words, "--out", "a").code == 0
        questions = pl.read_csv(folder / "a/experts.csv", infer_schema=False)
        assert questions.height == int(wrong.sum()) + 20
        place = [int(i[1:]) for i in questions.get_column("id")]
        questions.with_columns(label=pl.Series([NAMES[truth[i]] for i in place])).write_csv(folder / "gold.csv")
        assert cli("audit", "judge-ensemble", *words, "--gold", "gold.csv", "--out", "b").code == 0
    section = json.loads((folder / "b/audit.json").read_text())["facts"]["judges"]
    assert section["rate"]["confirmed"]["value"] == pytest.approx(wrong.mean())
    assert section["rate"]["agree_reviewed"] == 20
    assert section["detection"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert "Confirmed by experts" in (folder / "b/report.html").read_text()


def test_the_whole_audit_has_the_judges_in_the_same_report(cli, folder):
    _, wrong = texts_and_labels(folder)
    with server() as (url, _):
        judges_file(folder, url)
        ran = cli(
            "audit",
            "data.csv",
            "--inputs",
            "text",
            "--judges",
            "judges.yaml",
            "--out",
            "a",
            "--json",
            "--fail-on",
            "judge_disagreement=0.01",
        )
    assert ran.code == 1, ran.err  # the limit is exceeded
    assert json.loads(ran.out)["issues"]["judge_disagreement"]["flagged"] == int(wrong.sum())
    rows = pl.read_parquet(folder / "a/findings.parquet")
    for issue in ("label_error", "judge_disagreement"):
        assert rows.filter(pl.col("issue") == issue).height == 90
    page = (folder / "a/report.html").read_text()
    assert "Judge disagreement" in page
    assert "Disagreements by confidence" in page
    ran = cli(
        "annotate",
        "correct",
        "data.csv",
        "--inputs",
        "text",
        "--findings",
        "a",
        "--issue",
        "judge_disagreement",
        "--how",
        "drop",
        "--out",
        "c",
    )
    assert ran.code == 0, ran.err
    assert f"{wrong.sum()} examples dropped" in ran.out


def test_a_server_needs_no_file(cli, folder):
    _, wrong = texts_and_labels(folder)
    with server() as (url, asked):
        flags = ("--inputs", "text", "--judge-url", url, "--judge-model", "small")
        assert cli("audit", "judge-ensemble", "data.csv", *flags, "--out", "a").code == 0
        assert flagged(folder / "a", "label_error") == np.flatnonzero(wrong).tolist()
        assert cli("audit", "data.csv", *flags, "--only", "judge_disagreement", "--out", "b").code == 0
        assert flagged(folder / "b", "judge_disagreement") == np.flatnonzero(wrong).tolist()
        assert len(asked) == 90  # the second audit reads judges.cache.sqlite
        cli("audit", "data.csv", "--judge-url", url, "--out", "c").expect_refusal("--judge-model")
        cli("audit", "judge-ensemble", "data.csv", *flags, "--second", "reply", "--out", "c").expect_refusal("single texts")
        cli("audit", "judge-ensemble", "data.csv", *flags[:2], "--judge-url", "nowhere", "--judge-model", "m", "--out", "c").expect_refusal(
            "nowhere"
        )


def test_an_answer_outside_the_classes_is_unknown(cli, folder):
    texts_and_labels(folder)
    with server(lambda text: ("no idea", None)) as (url, _):
        judges_file(folder, url, judge="    scores: sampling\n    samples: 1\n")
        ran = cli("audit", "judge-ensemble", "data.csv", "--inputs", "text", "--judges", "judges.yaml", "--out", "a")
    assert ran.code == 0, ran.err
    assert "0 of 90 questions answered" in ran.out
    assert "outside the classes" in ran.out
    assert "No label was judged" in ran.out
    assert flagged(folder / "a", "label_error") == []


def test_a_budget_of_zero_asks_nothing_and_says_so(cli, folder):
    texts_and_labels(folder)
    with server() as (url, asked):
        judges_file(folder, url, more="budget: {calls: 0}")
        ran = cli("audit", "judge-ensemble", "data.csv", "--inputs", "text", "--judges", "judges.yaml", "--out", "a")
        assert asked == []
    assert ran.code == 0, ran.err
    assert "budget of 0 calls" in ran.out
    assert "No label was judged" in ran.out
    assert "budget of 0 calls" in (folder / "a/report.html").read_text()


def test_a_wrong_key_stops_it_and_is_printed_nowhere(cli, folder, monkeypatch):
    texts_and_labels(folder)
    monkeypatch.setenv("LABELWRIGHT_JUDGE_KEY", SECRET)
    for words in (("judge-ensemble", "data.csv"), ("data.csv",)):
        with server(key="another") as (url, _):
            judges_file(folder, url)
            ran = cli("audit", *words, "--inputs", "text", "--judges", "judges.yaml", "--out", "a")
        ran.expect_refusal("key", "LABELWRIGHT_JUDGE_KEY")
        assert SECRET not in ran.err + ran.out
        assert not (folder / "a").exists()
    for path in folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("more", "judge", "words"),
    [
        ("clases: [a, b]", "", ("unknown key 'clases'", "classes")),
        ("", "    modle: x\n", ("unknown key 'modle'", "model")),
        ("classes: [angry, calm, happy]", "", ("'glad'", "is no class of judge", "happy")),
        ("classes: [only]", "", ("two classes",)),
        ("budget: {calls: -1}", "", ("calls", "-1")),
    ],
)
def test_judges_files_that_are_wrong(cli, folder, more, judge, words):
    texts_and_labels(folder)
    judges_file(folder, "http://127.0.0.1:9/v1", more=more, judge=judge)
    for command in (("audit", "judge-ensemble"), ("audit",)):
        cli(*command, "data.csv", "--inputs", "text", "--judges", "judges.yaml", "--out", "a").expect_refusal(*words)
        assert not (folder / "a").exists()


def test_arguments_that_are_wrong(cli, folder):
    truth, _ = texts_and_labels(folder)
    np.save(folder / "p.npy", 0.8 * np.eye(3)[truth] + 0.2 / 3)
    np.save(folder / "short.npy", np.eye(3)[truth[:10]])
    np.save(folder / "wide.npy", np.eye(4)[truth])
    (folder / "gold.csv").write_text("id,label\nt0,furious\n")
    base = ("audit", "judge-ensemble", "data.csv", "--inputs", "text", "--out", "a")
    cli(*base, "--judges", "none.yaml").expect_refusal("none.yaml")
    cli(*base, "--votes", "none.npy").expect_refusal("none.npy")
    cli(*base, "--votes", "short.npy").expect_refusal("10 rows")
    cli(*base, "--votes", "wide.npy").expect_refusal("4 columns")
    cli(*base, "--votes", "p.npy", "--gold", "gold.csv").expect_refusal("row 1", "furious")
    cli(*base, "--votes", "p.npy", "--models", "p.npy").expect_refusal("--gold")
    cli(*base, "--votes", "p.npy", "--sure", "0.9").expect_refusal("two judges")
    cli(*base, "--votes", "p.npy", "--theta", "-1").expect_refusal("theta")
    cli(*base, "--votes", "p.npy", "--gap", "2").expect_refusal("ordinal")
    cli("audit", "data.csv", "--only", "judge_disagreement", "--out", "a").expect_refusal("--judges")
    judges_file(folder, "http://127.0.0.1:9/v1", more="classes: [angry, glad, calm]")
    cli(*base, "--judges", "judges.yaml", "--second", "replies").expect_refusal("replies")
    np.savez(folder / "x.npz", x=np.zeros((9, 2)), y=np.arange(9) % 3)
    judges_file(folder, "http://127.0.0.1:9/v1", more="classes: ['0', '1', '2']", name="other.yaml")
    cli("audit", "judge-ensemble", "x.npz", "--judges", "other.yaml", "--out", "a").expect_refusal("reads texts", "vectors")
    assert not (folder / "a").exists()


def test_the_order_of_grades_is_said(cli, folder):
    truth, _ = texts_and_labels(folder)
    np.save(folder / "p.npy", 0.8 * np.eye(3)[truth] + 0.2 / 3)
    pl.DataFrame({"id": [f"t{i}" for i in range(90)], "label": [NAMES[t] for t in truth]}).write_csv(folder / "gold.csv")
    ran = cli(
        *("audit", "judge-ensemble", "data.csv", "--inputs", "text", "--votes", "p.npy", "--out", "a"),
        *("--scale", "ordinal", "--gold", "gold.csv"),
    )
    assert ran.code == 0, ran.err
    assert "order of the classes: angry < calm < glad" in ran.out
    page = (folder / "a/report.html").read_text()
    for words in ("Order of the classes: angry &lt; calm &lt; glad.", "F1, gold", "Judges closer"):
        assert words in page


def test_votes_in_columns_and_files_of_probabilities(cli, folder):
    rng = np.random.default_rng(0)
    votes = rng.choice(["no", "yes"], size=(60, 3))
    pl.DataFrame({"text": [f"claim {i}" for i in range(60)], **{f"w{k}": votes[:, k] for k in range(3)}}).write_csv(folder / "v.csv")
    ran = cli(
        "audit",
        "judge-ensemble",
        "v.csv",
        "--labels",
        "w0,w1,w2",
        "--crowd",
        "strict",
        "--alarm",
        "no",
        "--theta",
        "0.6",
        "--out",
        "a",
        "--json",
    )
    assert ran.code == 0, ran.err
    some, most = (votes == "no").any(1), (votes == "no").sum(1) >= 2
    assert json.loads(ran.out)["issues"]["label_error"]["flagged"] == int((some & ~most).sum())
    cli("audit", "judge-ensemble", "v.csv", "--labels", "w0,w1,w2", "--crowd", "strict", "--alarm", "never", "--out", "b").expect_refusal(
        "never"
    )


def test_pairs_of_texts_come_from_two_columns(cli, folder):
    """The answer follows from both texts: the reply repeats the number of the claim or it does not."""
    same, wrong = np.arange(60) % 2 == 0, np.random.default_rng(0).random(60) < 0.15
    label = np.where(same ^ wrong, "consistent", "contradictory")
    replies = [f"reply {1000 + i if s else 2000 + i}" for i, s in enumerate(same)]
    pl.DataFrame({"claim": [f"claim {1000 + i}" for i in range(60)], "reply": replies, "label": label}).write_csv(folder / "pairs.csv")

    def answer(text):
        first, second = re.findall(r"\d{4}", text)
        top = [{"token": t, "logprob": math.log(0.95 if t == str(int(first == second)) else 0.05), "bytes": None} for t in ("0", "1")]
        said = top[int(first == second)]
        return said["token"], [{**said, "top_logprobs": top}]

    with server(answer) as (url, asked):
        judges_file(folder, url, more="classes: [contradictory, consistent]", judge="    prompts: pairs\n")
        words = ("audit", "judge-ensemble", "pairs.csv", "--inputs", "claim", "--second", "reply", "--judges", "judges.yaml")
        ran = cli(*words, "--out", "a")
    assert ran.code == 0, ran.err
    assert len(asked) == 4 * 60  # one judge for each wording
    assert flagged(folder / "a", "label_error") == np.flatnonzero(wrong).tolist()
    assert pl.read_csv(folder / "a/experts.csv", infer_schema=False).columns == ["id", "label", "note", "text_1", "text_2", "classes"]
