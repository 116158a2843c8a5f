"""`dpaudit attack --token-logprobs` and `dpaudit extract`: files in, verdict and report out, bad input in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from dpaudit.data.token_columns import token_logprobs
from dpaudit.data.token_files import write_token_logprobs
from tests.reports.test_forms import run

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Types a command in a folder with tables of members and others: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    for name, shift in (("in", 1.5), ("out", 0.0)):
        columns = records(name, shift)
        for suffix in ("parquet", "jsonl", "npz"):
            write_token_logprobs(tmp_path / f"{name}.{suffix}", token_logprobs(columns))

    def command(*words: str) -> tuple[int, str, str]:
        code = run(monkeypatch, *words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def records(name: str, shift: float, count: int = 300) -> dict[str, Any]:
    """Records that a model finds likelier by ``shift``."""
    rng = np.random.default_rng(len(name))
    words = np.array(["to", "be", "or", "not", "that", "is", "the", "question"])
    return {
        "id": [f"{name}{row}" for row in range(count)],
        "text": [" ".join(rng.choice(words, 8)) + f" {row} {name}" for row in range(count)],
        "tokenizer": ["words"] * count,
        "logprobs": list(np.minimum(rng.uniform(-6, -3, (count, 8)) + shift, 0.0)),
    }


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "npz"])
@pytest.mark.long
def test_tables_in_verdict_out(suffix: str, tmp_path: Path, typed: Typed) -> None:
    """A model that remembers contradicts a small ε, from each kind of file alike; result and report are written."""
    strip_names(tmp_path, suffix)
    code, out, _ = typed(
        "attack", "--token-logprobs", f"in.{suffix}", f"out.{suffix}", "--chosen-by", "split", "--epsilon", "0.1",
        "--out", "audit",
    )  # fmt: skip
    assert code == 1
    assert "contradicted" in out
    assert "The score perplexity decides" in out
    result = json.loads((tmp_path / "audit" / "result.json").read_text())
    assert result["membership"]["text"]["tokens"] == 4800
    assert "Scores of texts" in (tmp_path / "audit" / "report.html").read_text()


def strip_names(folder: Path, suffix: str) -> None:
    """Texts with a number for their last word, in the place of the name of their side."""
    for odd, (name, shift) in enumerate((("in", 1.5), ("out", 0.0))):
        columns = records(name, shift)
        texts = [" ".join(text.split()[:-2]) for text in columns["text"]]
        columns["text"] = [f"{text} {1000 + 2 * row + odd}" for row, text in enumerate(texts)]
        write_token_logprobs(folder / f"{name}.{suffix}", token_logprobs(columns))


def test_a_split_that_words_tell_apart_has_no_verdict(typed: Typed) -> None:
    """The last word of each text is the name of its side: exit 3, with the reason, whatever the scores say."""
    code, out, _ = typed("attack", "--token-logprobs", "in.parquet", "out.parquet", "--epsilon", "0.1")
    assert code == 3
    assert "differ as data" in out
    assert "no verdict" in out


def test_one_score_asked_for(typed: Typed) -> None:
    """Only it runs, and it decides."""
    code, out, _ = typed("attack", "--token-logprobs", "in.npz", "out.npz", "--attack", "min-k", "--json")
    found = json.loads(out)["membership"]
    assert code == 3  # the sides differ as data, and that is said without a claim too
    assert [attack["attack"] for attack in found["attacks"]] == ["min-k"]
    assert found["text"]["decides"] == "min-k"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"logprobs": [[0.5], [-1.0]]}, "are above 0"),
    ({"logprobs": [[float("nan")], [-1.0]]}, "are NaN or missing"),
    ({"logprobs": [[float("-inf")], [-1.0]]}, "say so in a column 'top_k'"),
    ({"id": ["a", "a"]}, "the id 'a' is there twice"),
    ({"mask": [[0], [1]]}, "a mask or weights of zeros only"),
    ({"tokenizer": ["other", "other"]}, "the tokenizer is 'other' in one and 'words' in the other"),
    ({"tokens": [[5], [7]], "vocabulary": [7, 7]}, "beyond the vocabulary of 7"),
    ({"text": ["", "b"]}, "have no text"),
    ({"text": ["only here", records("out", 0.0)["text"][7]]}, "1 text(s) are in both"),
    ({"user": ["u", "v"]}, "1 user(s) are in both, one is 'v'"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_tables_are_exit_2_and_one_line(change: dict[str, Any], message: str, tmp_path: Path, typed: Typed) -> None:
    """Each with what is wrong and where, and never a verdict."""
    row = {"id": ["a", "b"], "logprobs": [[-1.0], [-2.0]], "text": ["one", "two"], "tokenizer": ["words"] * 2}
    other = {**records("out", 0.0), **({"user": ["v"] * 300} if "user" in change else {})}
    for name, columns in (("bad", {**row, **change}), ("out", other)):
        rows = zip(*columns.values(), strict=True)
        lines = (json.dumps({key: plain(value) for key, value in zip(columns, each, strict=True)}) for each in rows)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    code, out, err = typed("attack", "--token-logprobs", "bad.jsonl", "out.jsonl")
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("attack", "--token-logprobs", "in.npz", "none.npz"), "cannot read none.npz"),
        (("attack", "--token-logprobs", "in.csv", "out.csv"), "must end in .jsonl, .npz, .parquet"),
        (("attack", "--token-logprobs", "in.npz", "out.npz", "--model", "m.keras"), "takes the place of"),
        (("attack", "--token-logprobs", "in.npz", "out.npz", "--slice", "age"), "are for tables of records"),
        (("attack", "--token-logprobs", "in.npz", "in.npz"), "300 id(s) are in both"),
        (("attack", "--token-logprobs", "in.npz", "out.npz", "--decides", "lira"), "'lira', could not run"),
        (("attack", "--token-logprobs", "in.npz", "out.npz", "--user", "author"), "there is no column 'author'"),
        (("attack", "--decides", "loss"), "go with --token-logprobs"),
        (("extract", "none.npz"), "cannot read none.npz"),
        (("extract", "in.npz", "--p", "1.5"), "p must be in (0, 1), got 1.5"),
        (("extract", "in.npz", "--n", "0"), "n must be at least 1, got 0"),
        (("extract", "in.npz", "--generations", "gen.md"), "must end in .csv, .jsonl, .parquet, .txt"),
        (("extract", "in.npz", "--others", "in.npz"), "300 id(s) are in both"),
    ],
)
def test_wrong_words_are_exit_2_and_one_line(words: tuple[str, ...], message: str, typed: Typed) -> None:
    """Options that do not fit, files that are not there."""
    code, out, err = typed(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.long
def test_extraction_and_its_claim(tmp_path: Path, typed: Typed) -> None:
    """The table on the screen with exact intervals (SciPy), the report, and a gate on what it found."""
    (tmp_path / "gen.txt").write_text(f"well, {records('in', 0.0)['text'][2]} indeed\n")
    words = ("--others", "out.jsonl", "--generations", "gen.txt", "--run", "5", "--out", "found")
    code, out, _ = typed("extract", "in.parquet", *words)
    assert code == 0
    assert "Found in 1 generation: 1 of 300 texts word for word" in " ".join(out.split())
    share = binomtest(0, 300).proportion_ci(0.95, "exact").high
    assert f"0 % 0-{100 * share:.0f}" in out.splitlines()[3]  # no record is likely enough to be the first sample
    assert max(map(len, out.splitlines()[:10])) <= 80
    assert "What can be extracted" in (tmp_path / "found" / "report.html").read_text()
    claim = '[[claim]]\nid = "none"\nkind = "extraction"\nn = {}\np = 0.9\n'
    for n, wanted in ((10, 0), (10**18, 1)):
        (tmp_path / "claims.toml").write_text(claim.format(n))
        assert typed("verify", "found", "--claims", "claims.toml")[0] == wanted


@pytest.mark.long
def test_a_history_of_results_without_attacks(tmp_path: Path, typed: Typed) -> None:
    """Two results of extraction are a page without a curve, and nothing warns."""
    for name in ("a", "b"):
        assert typed("extract", "in.npz", "--quiet", "--out", f"runs/{name}")[0] == 0
    assert typed("history", "runs")[0] == 0


def test_extraction_as_json(typed: Typed) -> None:
    """What is printed is the result."""
    code, out, _ = typed("extract", "in.npz", "--json", "--n", "5", "--p", "0.5", "--show-records")
    found = json.loads(out)["extraction"][0]["records"]
    assert code == 0
    assert [(point["n"], point["p"]) for point in found["points"]] == [(5, 0.5)]
    assert len(found["texts"]) == 20
