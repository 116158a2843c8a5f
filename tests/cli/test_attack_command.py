"""`dpaudit attack` on predictions: the table, the files it writes, its exit codes and its refusals."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer

from dpaudit.cli.attack import attack
from dpaudit.runtime.errors import InputError


def table(path: Path, confidence: float) -> Path:
    rows = 300
    p = np.full((rows, 2), [confidence, 1 - confidence])
    pd.DataFrame({"p_0": p[:, 0], "p_1": p[:, 1], "label": np.zeros(rows, int)}).to_csv(path, index=False)
    return path


@pytest.mark.long
def test_predictions_in_report_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Members sure, others not: every claim of a small ε is contradicted (exit 1); result and report are written."""
    files = [table(tmp_path / "in.csv", 0.99), table(tmp_path / "out.csv", 0.6)]
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
    attack(predictions=[tmp_path / "in.npz", tmp_path / "out.npz"], outputs="logits", json=True)
    result = json.loads(capsys.readouterr().out)
    assert {one["attack"] for one in result["membership"]["skipped"]} >= {"lira", "attack-p", "quantile"}


def test_queries_are_of_a_model(tmp_path: Path) -> None:
    """Stored predictions cannot be asked again."""
    files = [table(tmp_path / "in.csv", 0.9), table(tmp_path / "out.csv", 0.6)]
    with pytest.raises(InputError, match="--query goes with --model"):
        attack(predictions=files, query=["noise:0.1"])


def test_slices_by_a_column_of_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Members give themselves away in one town only: that town's slice has an AUC of 1, the other's of one half."""
    rng = np.random.default_rng(3)
    for name, sure in (("in", 0.99), ("out", 0.6)):
        town = np.array(["here", "there"])[np.arange(400) % 2]
        first = np.where(town == "here", sure, rng.uniform(0.6, 0.9, 400))
        frame = {"p_0": first, "p_1": 1 - first, "town": town, "age": np.arange(400) % 90, "label": 0}
        pd.DataFrame(frame).to_csv(tmp_path / f"{name}.csv", index=False)
    files = [tmp_path / "in.csv", tmp_path / "out.csv"]
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
    files = [tmp_path / "in.npz", tmp_path / "out.npz"]
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


def random_table(path: Path, rows: int, seed: int, **more: object) -> Path:
    """Logits of three classes, right in most cases, with columns beside them."""
    rng = np.random.default_rng(seed)
    labels, logits = rng.integers(0, 3, rows), rng.normal(size=(rows, 3))
    logits[np.arange(rows), labels] += 2
    pd.DataFrame(logits, columns=["0", "1", "2"]).assign(label=labels, **more).to_csv(path, index=False)
    return path


def test_columns_that_are_no_outputs_are_refused_by_name(tmp_path: Path) -> None:
    """A column that numbers the rows, and one of words; probabilities that are said to be logits; one file twice."""
    files = [random_table(tmp_path / f"{i}.csv", 100, i, user_id=np.arange(100)) for i in (0, 1)]
    with pytest.raises(InputError, match=r"0\.csv: no outputs of a model: 'user_id' counts the rows"):
        attack(predictions=[files[0], files[1]], outputs="logits")
    words = [random_table(tmp_path / f"w{i}.csv", 100, i, town="here") for i in (0, 1)]
    with pytest.raises(InputError, match=r"w0\.csv: no outputs of a model: 'town' holds words \(1 different\)"):
        attack(predictions=[words[0], words[1]], outputs="logits")
    shares = [table(tmp_path / "in.csv", 0.9), table(tmp_path / "out.csv", 0.8)]
    with pytest.raises(InputError, match="--outputs probabilities"):
        attack(predictions=shares, outputs="logits")
    clean = random_table(tmp_path / "clean.csv", 100, 3)
    with pytest.raises(InputError, match="the same records were given twice"):
        attack(predictions=[clean, clean], outputs="logits")


def test_users_are_a_column_of_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named, it is no output; the bounds are about users."""
    files = [random_table(tmp_path / f"{i}.csv", 300, i, user_id=np.arange(300) // 3 + 100 * i) for i in (0, 1)]
    attack(predictions=[files[0], files[1]], outputs="logits", attacks=["loss"], user="user_id", json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["membership"]["attacks"][0]["bound"]["unit"] == "user"
    assert result["membership"]["attacks"][0]["members"] == 100


@pytest.mark.parametrize(("shift", "code"), [(0.0, 0), (2.0, 3)])
@pytest.mark.long
def test_records_behind_predictions_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shift: float, code: int
) -> None:
    """Non-members of another source are seen without the model: exit 3 with the reason. Of the same source: judged."""
    rng = np.random.default_rng(99)
    files = [random_table(tmp_path / f"{i}.csv", 300, i) for i in (0, 1)]
    for side in (0, 1):
        towns = rng.choice(["north", "south"], 300)
        pd.DataFrame({"age": rng.normal(size=300) + side * shift, "town": towns}).to_csv(
            tmp_path / f"records{side}.csv", index=False
        )
    records = tmp_path / "records0.csv", tmp_path / "records1.csv"
    given = {"predictions": (files[0], files[1]), "outputs": "logits", "attacks": ["loss"], "features": records}
    if code:
        with pytest.raises(typer.Exit) as end:
            attack(**given, epsilon=1.0)  # type: ignore[arg-type]
        assert end.value.exit_code == code
        assert "differ as data" in capsys.readouterr().out
    else:
        attack(**given, epsilon=1.0)  # type: ignore[arg-type]
        assert "consistent" in capsys.readouterr().out
        other = pd.read_csv(records[1])
        for table in (other[["town", "age"]], other.rename(columns={"age": "years"})):
            table.to_csv(records[1])
            if "age" in table:  # another order, and the index that pandas writes, change nothing
                attack(**{**given, "quiet": True})  # type: ignore[arg-type]
            else:
                with pytest.raises(InputError, match=r"'age' only in .*'years' only in"):
                    attack(**given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="--features go with --predictions"):
        attack(model=tmp_path / "m.keras", members=records[0], nonmembers=records[1], features=records)
