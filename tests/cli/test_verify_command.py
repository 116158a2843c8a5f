"""``dpaudit verify`` as a build server types it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from dpaudit.cli import main
from tests.small_audits import DELTA, gaussian_audit

CLAIM = f"""
[[claim]]
id = "eps"
kind = "epsilon"
epsilon = EPSILON
delta = {DELTA}
unit = "record"
adjacency = "add-remove"
"""


class Done(NamedTuple):
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def dpaudit(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command, run inside this process and in the folder."""
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["dpaudit", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert isinstance(caught.value.code, int)
        return Done(caught.value.code, *capfd.readouterr())

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A leaking and a quiet model, and claims of ε ≤ 2 and ε ≤ 20."""
    for name, mu in (("leaky", 3.0), ("quiet", 0.3)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(gaussian_audit(mu, seed=1, records=2000, name=name).json())
    (tmp_path / "claims.toml").write_text(CLAIM.replace("EPSILON", "2.0"))
    (tmp_path / "weak.toml").write_text(CLAIM.replace("EPSILON", "20.0"))
    return tmp_path


@pytest.mark.long
def test_exit_codes(dpaudit: Callable[..., Done]) -> None:
    """0 consistent, 1 contradicted, 3 too weak when power is required, 0 when it is not."""
    assert dpaudit("verify", "quiet").returncode == 0
    broken = dpaudit("verify", "leaky/result.json")
    assert (broken.returncode, broken.stderr) == (1, "")
    assert "fails this gate by chance at most 5 % of the time" in " ".join(broken.stdout.split())
    assert dpaudit("verify", "quiet", "--claims", "weak.toml").returncode == 0
    assert dpaudit("verify", "quiet", "--claims", "weak.toml", "--require-power").returncode == 3


def test_what_a_build_server_reads(folder: Path, dpaudit: Callable[..., Done]) -> None:
    """JUnit counts the failure, the Markdown is appended to what is there, the JSON holds everything, all at once."""
    (folder / "summary.md").write_text("before\n")
    done = dpaudit(
        "verify", "leaky", "quiet", "--claims", "claims.toml", "--claims", "weak.toml", "--junit", "out/junit.xml",
        "--markdown", "summary.md", "--json",
    )  # fmt: skip
    assert done.returncode == 1
    suite = ElementTree.parse(folder / "out/junit.xml").getroot()[0]
    assert {key: suite.get(key) for key in ("tests", "failures", "skipped", "errors")} == {
        "tests": "4", "failures": "1", "skipped": "2", "errors": "0",
    }  # fmt: skip
    summary = (folder / "summary.md").read_text()
    assert summary.startswith("before\n### Privacy claims")
    assert summary.count("**contradicted**") == 1
    document = json.loads(done.stdout)
    assert (document["exit_code"], len(document["judgements"])) == (1, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify",), "there is no result to judge"),
        (("verify", "missing.json"), "cannot read missing.json"),
        (("verify", "quiet", "--claims", "missing.toml"), "cannot read missing.toml"),
        (("verify", "quiet", "--claims", "quiet/result.json"), "is not valid TOML"),
        (("verify", "claims.toml"), "claims.toml is not a result"),
        (("verify", "quiet", "--baseline", "leaky"), "no claim of kind 'no-growth' uses it"),
    ],
)
def test_bad_input_is_exit_2_and_one_line(
    dpaudit: Callable[..., Done], arguments: tuple[str, ...], message: str
) -> None:
    """Never a traceback, never exit 0 unchecked."""
    done = dpaudit(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_result_named_in_the_claims_file(folder: Path, dpaudit: Callable[..., Done]) -> None:
    """With ``result = ...`` in claims.toml the bare command is the gate."""
    (folder / "claims.toml").write_text('result = "leaky/result.json"\n' + CLAIM.replace("EPSILON", "2.0"))
    assert dpaudit("verify").returncode == 1


def test_claims_are_annotated_where_github_runs_them(
    dpaudit: Callable[..., Done], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At their line, on standard error, so that --json is alone on standard output; and not elsewhere."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert "::error" not in dpaudit("verify", "leaky").stderr
    assert "::error file=claims.toml,line=2," in dpaudit("verify", "leaky", "--annotate").stderr
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    done = dpaudit("verify", "leaky", "--json")
    assert done.returncode == 1
    assert done.stderr.startswith("::error file=claims.toml,line=2,title=eps%3A contradicted::leaky / model: ")
    assert json.loads(done.stdout)["judgements"][0]["place"] == {"file": "claims.toml", "line": 2}
    assert "::error" not in dpaudit("verify", "leaky", "--no-annotate").stderr


def test_a_code_quality_report_is_written(dpaudit: Callable[..., Done], folder: Path) -> None:
    """One entry for the broken claim; an empty list when nothing is to be said, for GitLab to take the marks away."""
    assert dpaudit("verify", "leaky", "--code-quality", "q/report.json").returncode == 1
    (entry,) = json.loads((folder / "q" / "report.json").read_text())
    assert entry["location"] == {"path": "claims.toml", "lines": {"begin": 2}}
    assert dpaudit("verify", "leaky", "--claims", "weak.toml", "--code-quality", "report.json").returncode == 0
    assert [each["severity"] for each in json.loads((folder / "report.json").read_text())] in ([], ["minor"])
