"""The examples run and say what they are there to say."""

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from dpaudit.cli import app
from tests.docs.pages import ROOT


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs an example as `python` would; gives what it prints."""

    def run(name: str, *arguments: object) -> str:
        path = str(ROOT / "examples" / name)
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        runpy.run_path(path, run_name="__main__")
        return capsys.readouterr().out

    return run


def test_hello_scores(run_without_tensorflow: Any) -> None:
    """Fifteen lines without TensorFlow catch a broken claim."""
    text = (ROOT / "examples" / "hello_scores.py").read_text()
    assert len(text.splitlines()) <= 15
    assert "the claim does not hold" in run_without_tensorflow(text)


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
    lines = re.findall(r"dpaudit (run|verify)([^|#\n]*)", text)
    assert {command for command, _ in lines} == {"run", "verify"}
    for command, rest in lines:
        options = {option for parameter in known[command].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options
