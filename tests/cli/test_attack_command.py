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


def test_slices_by_a_column_of_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Members give themselves away in one town only: that town's slice has an AUC of 1, the other's of one half."""
    rng = np.random.default_rng(3)
    for name, sure in (("in", 0.99), ("out", 0.6)):
        town = np.array(["here", "there"])[np.arange(400) % 2]
        first = np.where(town == "here", sure, rng.uniform(0.6, 0.9, 400))
        frame = {"no": first, "yes": 1 - first, "town": town, "age": np.arange(400) % 90, "label": 0}
        pd.DataFrame(frame).to_csv(tmp_path / f"{name}.csv", index=False)
    files = tmp_path / "in.csv", tmp_path / "out.csv"
    attack(predictions=files, attacks=["loss"], slices=["town", "age"], json=True)
    found = json.loads(capsys.readouterr().out)["membership"]["attacks"][0]["slices"]["found"]
    aucs = {part["value"]: part["auc"] for part in found if part["by"] == "town"}
    assert aucs["here"] == 1.0
    assert aucs["there"] == pytest.approx(0.5, abs=0.1)  # its standard error is 0.04
    assert [part["value"] for part in found if part["by"] == "age"].count("0-20 %") == 1
    with pytest.raises(InputError, match=r"no column 'tovn'.*Did you mean 'town'"):
        attack(predictions=files, attacks=["loss"], slices=["tovn"])


def test_slices_by_an_array_of_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same from NPZ files."""
    rng = np.random.default_rng(0)
    for name in ("in", "out"):
        np.savez(
            tmp_path / name, outputs=rng.normal(size=(200, 3)), labels=rng.integers(0, 3, 200), ward=np.arange(200) % 2
        )
    files = tmp_path / "in.npz", tmp_path / "out.npz"
    attack(predictions=files, outputs="logits", attacks=["loss"], slices=["ward"], json=True)
    found = json.loads(capsys.readouterr().out)["membership"]["attacks"][0]["slices"]["found"]
    assert {part["value"]: part["members"] for part in found if part["by"] == "ward"} == {"0": 100, "1": 100}
    with pytest.raises(InputError, match="no array 'wadr'"):
        attack(predictions=files, outputs="logits", attacks=["loss"], slices=["wadr"])


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
