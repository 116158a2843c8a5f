"""The commands as people type them: what they print, where, and with which exit code."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import pytest

WITHOUT_TENSORFLOW = """
import sys
for name in ("tensorflow", "tf_keras", "keras", "tensorflow_privacy"):
    sys.modules[name] = None
from dpaudit.cli import main
main()
"""


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Command(Protocol):
    """Runs ``dpaudit`` in a folder."""

    def __call__(self, *arguments: object, cwd: Path) -> Done: ...


@pytest.fixture
def dpaudit(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The command in this process: starting Python once for each would take most of the suite's time."""
    from dpaudit.cli import main

    def run(*arguments: object, cwd: Path) -> Done:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["dpaudit", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setenv("NO_COLOR", "1")
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        printed = capfd.readouterr()
        return Done(int(left.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Scores of a model that leaks: members are three standard deviations higher."""
    rng = np.random.default_rng(1)
    member = rng.random(2000) < 0.5
    table = pd.DataFrame({"score": rng.normal(size=2000) + 3 * member, "member": member.astype(int)})
    table.to_csv(tmp_path / "scores.csv", index=False)
    table.to_parquet(tmp_path / "scores.parquet")
    np.savez(tmp_path / "scores.npz", score=table["score"], member=table["member"])
    return tmp_path


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
@pytest.mark.long
def test_score_reads_every_format_and_writes_a_report(dpaudit: Command, scores: Path, suffix: str) -> None:
    """A contradicted claim is exit 1; the result and the report lie in the folder."""
    done = dpaudit("score", f"scores.{suffix}", "--epsilon", "0.5", "--out", f"out-{suffix}", cwd=scores)
    assert done.returncode == 1, done.stderr
    assert "contradicted" in done.stdout
    assert done.stderr == ""
    result = json.loads((scores / f"out-{suffix}" / "result.json").read_text())
    assert result["comparisons"][0]["verdict"] == "contradicted"
    assert "<html" in (scores / f"out-{suffix}" / "report.html").read_text()


def test_names_of_files_are_printed_as_they_are(dpaudit: Command, scores: Path) -> None:
    """Rich would take one part of this name for markup and another for a picture."""
    (scores / "a[bold]:key:.csv").write_bytes((scores / "scores.csv").read_bytes())
    done = dpaudit("score", "a[bold]:key:.csv", "--out", "[red]:key:", cwd=scores)
    first, *_, last = done.stdout.splitlines()
    assert first.strip() == "Privacy audit of a[bold]:key:"
    assert last == "report: [red]:key:/report.html"
    missing = dpaudit("score", "b[bold]:key:.csv", cwd=scores)
    assert missing.stderr == "dpaudit: cannot read b[bold]:key:.csv: no such file.\n"


def test_score_formats_agree_and_json_is_json(dpaudit: Command, scores: Path) -> None:
    """The same scores give the same bound whatever file they come in."""
    found = []
    for suffix in ("csv", "parquet", "npz"):
        done = dpaudit("score", f"scores.{suffix}", "--json", cwd=scores)
        assert done.returncode == 0
        found.append(json.loads(done.stdout)["membership"]["attacks"][0]["bound"]["epsilon"])
    assert found[0] == found[1] == found[2] > 1


@pytest.mark.long
def test_a_claim_above_the_truth_is_consistent_and_one_above_the_ceiling_too_weak(
    dpaudit: Command, scores: Path
) -> None:
    """Exit 0 both times, with different words."""
    consistent = dpaudit("score", "scores.csv", "--epsilon", "5", "--chosen-by", "coin", cwd=scores)
    assert (consistent.returncode, "consistent" in consistent.stdout) == (0, True)
    weak = dpaudit("score", "scores.csv", "--epsilon", "50", "--chosen-by", "coin", cwd=scores)
    assert (weak.returncode, "too weak" in weak.stdout) == (0, True)


@pytest.mark.long
def test_bad_score_files_are_exit_2_with_one_line(dpaudit: Command, scores: Path) -> None:
    """Standard output stays empty, standard error has one line that names the file or the column."""
    frame = pd.read_csv(scores / "scores.csv")
    frame.assign(score=np.where(frame.index == 7, np.nan, frame["score"])).to_csv(scores / "nan.csv", index=False)
    frame.assign(score=np.where(frame.index == 7, np.inf, frame["score"])).to_csv(scores / "inf.csv", index=False)
    frame[frame["member"] == 1].to_csv(scores / "onesided.csv", index=False)
    frame.iloc[:0].to_csv(scores / "norows.csv", index=False)
    frame.assign(member="yes").to_csv(scores / "words.csv", index=False)
    (scores / "empty.csv").write_text("")
    (scores / "cut.npz").write_bytes((scores / "scores.npz").read_bytes()[:300])
    np.savez(scores / "pickled.npz", score=np.array([{}], object), member=np.array([1]))
    np.savez(scores / "lengths.npz", score=np.zeros(3), member=np.array([1, 0]))
    cases = {
        ("nan.csv",): "1 of 2000 values are NaN or infinite, the first at index 7 is nan",
        ("inf.csv",): "the first at index 7 is inf",
        ("onesided.csv",): "are members",
        ("norows.csv",): "has no records",
        ("words.csv",): "must be true/false or 1/0",
        ("empty.csv",): "cannot read empty.csv",
        ("missing.csv",): "no such file",
        ("scores.txt",): "must end in .csv, .npz, .parquet",
        ("cut.npz",): "truncated or not an NPZ file",
        ("pickled.npz",): "pickled Python objects",
        ("lengths.npz",): "membership must have 3 values, got 2",
        ("scores.csv", "--score-column", "scor"): "Did you mean 'score'?",
        ("scores.csv", "--delta", "1"): "delta must be in [0, 1), got 1.0",
        ("scores.csv", "--delta", "-0.1"): "delta must be in [0, 1), got -0.1",
        ("scores.csv", "--epsilon", "-1"): "epsilon must be at least 0, got -1.0",
        ("scores.csv", "--epsilon", "nan"): "epsilon must be finite",
        ("scores.csv", "--confidence", "1"): "confidence must be in (0, 1), got 1.0",
        ("scores.csv", "--design", "onerun"): "Did you mean 'one-run'?",
        ("scores.csv", "--unit", "usr"): "Did you mean 'user'?",
    }
    for arguments, message in cases.items():
        done = dpaudit("score", *arguments, cwd=scores)
        assert done.returncode == 2, (arguments, done.stdout, done.stderr)
        assert done.stdout == "", arguments
        assert message in done.stderr, (arguments, done.stderr)
        assert done.stderr.count("\n") == 1, (arguments, done.stderr)


def test_a_read_only_folder_is_exit_2(dpaudit: Command, scores: Path) -> None:
    """A file where a folder should be cannot be written into, whoever runs the test."""
    (scores / "file").write_text("")
    done = dpaudit("score", "scores.csv", "--out", "file/below", cwd=scores)
    assert (done.returncode, "cannot write" in done.stderr) == (2, True)


@pytest.mark.long
def test_report_draws_a_result_again(dpaudit: Command, scores: Path) -> None:
    """`result.json` alone is enough."""
    dpaudit("score", "scores.csv", "--epsilon", "0.5", "--out", "first", cwd=scores)
    first = (scores / "first" / "report.html").read_text()
    (scores / "first" / "report.html").unlink()
    done = dpaudit("report", "first", cwd=scores)
    assert done.returncode == 0, done.stderr
    assert (scores / "first" / "report.html").read_text() == first


def test_report_refuses_what_is_no_result(dpaudit: Command, tmp_path: Path) -> None:
    """Other JSON, no JSON, nothing."""
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "text.json").write_text("hello")
    for name in ("other.json", "text.json", "missing.json"):
        done = dpaudit("report", name, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert name in done.stderr


def test_init_writes_a_plan_that_is_valid_and_keeps_what_is_there(dpaudit: Command, tmp_path: Path) -> None:
    """The second time nothing is overwritten."""
    assert dpaudit("init", cwd=tmp_path).returncode == 0
    from dpaudit.audits.plan import load_plan

    assert load_plan(tmp_path / "plan.toml").name == "my-audit"
    again = dpaudit("init", cwd=tmp_path)
    assert (again.returncode, "already exists and is not overwritten" in again.stderr) == (2, True)


def test_a_budget_that_is_no_time_is_exit_2(dpaudit: Command, tmp_path: Path) -> None:
    """One line with what would be right, before anything is trained."""
    assert dpaudit("init", cwd=tmp_path).returncode == 0
    done = dpaudit("run", "plan.toml", "--budget", "2 hours", cwd=tmp_path)
    assert done.returncode == 2
    assert "must be a time such as 90s, 2m or 1.5h, got '2 hours'" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_list_schema_and_doctor(dpaudit: Command, tmp_path: Path) -> None:
    """They answer without TensorFlow, as tables and as JSON."""
    assert "attack-p" in dpaudit("list", "membership", cwd=tmp_path).stdout
    assert "mlp" in json.loads(dpaudit("list", "--json", cwd=tmp_path).stdout)["architectures"]
    assert "Did you mean 'membership'?" in dpaudit("list", "membersip", cwd=tmp_path).stderr
    for what in ("plan", "result"):
        assert json.loads(dpaudit("schema", what, cwd=tmp_path).stdout)["properties"]
    assert dpaudit("schema", "plans", cwd=tmp_path).returncode == 2
    found = json.loads(dpaudit("doctor", "--json", "--no-probe", cwd=tmp_path).stdout)
    assert {"python", "cores", "memory", "numpy"} <= {check["what"] for check in found if check["ok"]}


def test_doctor_says_how_to_mend_what_is_missing(run_without_tensorflow: Callable[[str], str]) -> None:
    """Where TensorFlow does not import, training is not ok and the command that installs it stands beside."""
    printed = run_without_tensorflow(
        "from dpaudit.runtime.doctor import examine\n"
        "print([(c.ok, 'pip install' in c.mend) for c in examine() if c.what in ('tensorflow', 'training')])"
    )
    assert printed.strip() == "[(False, True)]"


def test_usage_errors_are_exit_2_and_never_1(dpaudit: Command, tmp_path: Path) -> None:
    """Exit 1 means a contradicted claim and nothing else."""
    for arguments in (["nonsense"], ["score"], ["score", "a.csv", "--epsilon", "many"], ["run", "missing.toml"]):
        done = dpaudit(*arguments, cwd=tmp_path)
        assert done.returncode == 2, arguments


@pytest.mark.long
def test_an_uncaught_failure_is_exit_4_with_a_log(tmp_path: Path) -> None:
    """Whatever breaks inside, it cannot be mistaken for a verdict; the log has the traceback."""
    code = "from dpaudit.runtime import plugins\nplugins.KINDS = 1 / 1j\n" + WITHOUT_TENSORFLOW
    done = subprocess.run(
        [sys.executable, "-c", code, "list"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 4, (done.stdout, done.stderr)
    log = Path(done.stderr.rsplit("traceback in ", 1)[1].strip().rstrip(")"))
    assert "Traceback" in log.read_text()


@pytest.mark.long
def test_how_members_were_chosen_decides_the_exit_code(dpaudit: Command, scores: Path) -> None:
    """Coins that fit: judged. Coins that the sizes refute: exit 2 in one line. By hand: exit 3, with or without a
    claim. Nothing said: judged as a split, and said so."""
    frame = pd.read_csv(scores / "scores.csv")
    uneven = frame.sort_values("member").iloc[700:]
    uneven.to_csv(scores / "uneven.csv", index=False)
    said = dpaudit("score", "scores.csv", "--epsilon", "1", "--chosen-by", "coin", cwd=scores)
    assert (said.returncode, "nobody said" in said.stdout) == (1, False)
    refuted = dpaudit("score", "uneven.csv", "--epsilon", "1", "--chosen-by", "coin", cwd=scores)
    assert (refuted.returncode, refuted.stderr.count("\n")) == (2, 1)
    assert "which coins of probability 0.5 do not give" in refuted.stderr
    silent = dpaudit("score", "uneven.csv", "--epsilon", "1", cwd=scores)
    assert (silent.returncode, "nobody said how they were chosen" in silent.stdout) == (1, True)
    for claim in (["--epsilon", "1"], []):
        by_hand = dpaudit("score", "uneven.csv", *claim, "--chosen-by", "other", cwd=scores)
        assert (by_hand.returncode, "not chosen at random" in by_hand.stdout) == (3, True)


@pytest.mark.long
def test_scores_that_say_nothing_are_exit_3(dpaudit: Command, scores: Path) -> None:
    """Losses as scores, and one number for all; turned round on purpose the leak is found."""
    frame = pd.read_csv(scores / "scores.csv")
    frame.assign(score=-frame["score"]).to_csv(scores / "losses.csv", index=False)
    frame.assign(score=1.0).to_csv(scores / "equal.csv", index=False)
    for claim in (["--epsilon", "1"], []):
        down = dpaudit("score", "losses.csv", *claim, cwd=scores)
        assert (down.returncode, "--lower-is-member" in down.stdout) == (3, True)
        equal = dpaudit("score", "equal.csv", *claim, cwd=scores)
        assert (equal.returncode, "All scores are equal" in equal.stdout) == (3, True)
    assert dpaudit("score", "losses.csv", "--epsilon", "1", "--lower-is-member", cwd=scores).returncode == 1


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_a_column_of_users_makes_one_score_a_user(dpaudit: Command, scores: Path, suffix: str) -> None:
    """From every format; without the column a unit of users is refused."""
    frame = pd.read_csv(scores / "scores.csv").sort_values("member", kind="stable").reset_index(drop=True)
    frame["who"] = [f"u{'in' if m else 'out'}{i // 5}" for i, m in enumerate(frame["member"])]
    frame.to_csv(scores / "users.csv", index=False)
    frame.to_parquet(scores / "users.parquet")
    np.savez(scores / "users.npz", **{name: frame[name].to_numpy().astype(str if name == "who" else float)
                                      for name in frame})  # fmt: skip
    done = dpaudit("score", f"users.{suffix}", "--user", "who", "--json", cwd=scores)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["unit"] == result["membership"]["attacks"][0]["bound"]["unit"] == "user"
    assert result["membership"]["attacks"][0]["members"] == frame[frame["member"] == 1]["who"].nunique()
    refused = dpaudit("score", f"users.{suffix}", "--unit", "user", cwd=scores)
    assert (refused.returncode, "--user COLUMN" in refused.stderr) == (2, True)


@pytest.mark.long
def test_scoring_a_file_imports_nothing_that_takes_long(
    scores: Path, run_without_tensorflow: Callable[[str], str]
) -> None:
    """Scores of a file need no accountant, drawing or distributions of scipy, so ``dpaudit score`` does not wait."""
    printed = run_without_tensorflow(
        "from dpaudit.cli import app\n"
        f"app(['score', {str(scores / 'scores.csv')!r}, '--quiet'], standalone_mode=False)\n"
        "print([name for name in ('dp_accounting', 'scipy.stats', 'matplotlib') if name in sys.modules])"
    )
    assert printed.splitlines()[-1] == "[]"
