"""`dpaudit attack` on predictions: the table, the files it writes, its exit codes and its refusals."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer

from dpaudit.cli.attack import attack
from dpaudit.errors import InputError


def table(path: Path, confidence: float) -> Path:
    rows = 300
    p = np.full((rows, 2), [confidence, 1 - confidence])
    pd.DataFrame({"no": p[:, 0], "yes": p[:, 1], "label": np.zeros(rows, int)}).to_csv(path, index=False)
    return path


def test_predictions_in_report_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Members sure, others not: every claim of a small ε is contradicted (exit 1); result and report are written."""
    files = table(tmp_path / "in.csv", 0.99), table(tmp_path / "out.csv", 0.6)
    with pytest.raises(typer.Exit) as end:
        attack(predictions=files, attacks=["loss"], epsilon=0.5, out=tmp_path / "audit")
    assert end.value.exit_code == 1
    assert "contradicted" in capsys.readouterr().out
    result = json.loads((tmp_path / "audit" / "result.json").read_text())
    assert result["membership"]["attacks"][0]["auc"] == 1.0
    assert "Parts of the data" in (tmp_path / "audit" / "report.html").read_text()


def test_arrays_in_json_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NPZ files with outputs and labels; --json prints the result and nothing else."""
    rng = np.random.default_rng(0)
    for name in ("in", "out"):
        np.savez(tmp_path / name, outputs=rng.normal(size=(50, 3)), labels=rng.integers(0, 3, 50))
    attack(predictions=(tmp_path / "in.npz", tmp_path / "out.npz"), outputs="logits", json=True)
    result = json.loads(capsys.readouterr().out)
    assert {one["attack"] for one in result["membership"]["skipped"]} >= {"lira", "attack-p", "quantile"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give --model, --members and --nonmembers"),
        ({"model": "m.keras", "predictions": ("a.csv", "b.csv")}, "takes the place of"),
        ({"predictions": ("a.txt", "b.txt")}, "must end in"),
        ({"predictions": ("a.csv", "b.csv")}, "no such file"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """One line that says what to give."""
    paths = {
        name: tuple(tmp_path / file for file in value) if isinstance(value, tuple) else tmp_path / value
        for name, value in arguments.items()
    }
    with pytest.raises(InputError, match=message):
        attack(**paths)  # type: ignore[arg-type]  # the test is about what does not fit
