"""`dpaudit init TABLE` looks at a table and writes a plan that runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from dpaudit.audits.plan import load_plan
from dpaudit.cli import app


def people(path: Path) -> None:
    """Words, a gap, dates, an identifier, a customer with several records, a class of three, two equal records."""
    rng = np.random.default_rng(0)
    rows = 400
    frame = pd.DataFrame(
        {
            "customer_id": rng.integers(1000, 1100, rows),
            "age": rng.normal(40, 10, rows).round(1),
            "town": rng.choice(["north", "south"], rows),
            "since": rng.choice(["2020-01-02", "2021-05-06", "2022-01-01"], rows),
            "note": [f"note {i}" for i in range(rows)],
            "income": rng.choice(["high", "low"], rows),
        }
    )
    frame.loc[:2, "income"] = "none"
    frame.loc[4, "age"] = np.nan
    pd.concat([frame, frame[-1:]]).to_csv(path, index=False)


def test_a_plan_for_a_table_loads_and_says_what_was_found(tmp_path: Path) -> None:
    """The plan reads the table as it says: user and text are no features, the rest is encoded."""
    people(tmp_path / "people.csv")
    plan = tmp_path / "plan.toml"
    result = CliRunner().invoke(app, ["init", str(tmp_path / "people.csv"), "--label", "income", "--out", str(plan)])
    assert result.exit_code == 0, result.output
    text = plan.read_text()
    for said in (
        "3 classes: high",
        "none (3)",
        "2 records have an equal",
        "note: text or an identifier",
        "age: number",
        "lacks 1 of 401 values",
        "since: dates, 2020-01-02 to 2022-01-01",
        "Column 'customer_id' says whose record it is: ",
    ):
        assert said in text
    loaded = load_plan(plan)
    assert loaded.data is not None
    assert (loaded.data.user, loaded.data.drop, loaded.data.encode) == ("customer_id", ["note"], "auto")
    assert loaded.membership is not None
    assert loaded.membership.slices == ["class", "town"]
    records, population = loaded.source()()
    assert records.columns == ("age", "age missing", "town = north", "town = south", "since")
    assert records.class_names == ("high", "low", "none")
    assert len(records) + len(population) == 401


def test_numbers_are_planned_as_a_regression(tmp_path: Path) -> None:
    """Fractions, and many different whole numbers, are a regression; the label is scaled, and the plan says by what."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"rooms": rng.normal(size=300), "price": rng.integers(40_000, 90_000, 300)})
    table.to_csv(tmp_path / "homes.csv", index=False)
    plan = tmp_path / "plan.toml"
    result = CliRunner().invoke(app, ["init", str(tmp_path / "homes.csv"), "--label", "price", "--out", str(plan)])
    assert result.exit_code == 0, result.output
    loaded = load_plan(plan)
    assert loaded.data is not None
    assert loaded.data.task == "regression"
    assert loaded.membership is not None
    assert [attack.name for attack in loaded.membership.attacks] == ["loss", "attack-p"]
    assert loaded.membership.slices == []
    records, population = loaded.source()()
    scaled = np.concatenate([records.labels, population.labels])
    assert (scaled.mean(), scaled.std()) == pytest.approx((0, 1), abs=1e-5)
    values = table["price"].to_numpy(float)
    assert f"'price', the label: minus {values.mean():.9g}, divided by {values.std():.9g}" in " ".join(records.notes)


def test_several_labels_are_planned_together(tmp_path: Path) -> None:
    """Two columns of 0 and 1 become the labels (records, 2) of a multilabel plan; other values are refused."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"x": rng.normal(size=300), "happy": rng.integers(0, 2, 300), "new york": True})
    table.loc[:99, "new york"] = False
    table.to_csv(tmp_path / "t.csv", index=False)
    plan = tmp_path / "plan.toml"
    words = ["init", str(tmp_path / "t.csv"), "--label", "happy", "--label", "new york", "--out", str(plan)]
    assert CliRunner().invoke(app, words).exit_code == 0
    loaded = load_plan(plan)
    assert loaded.data is not None
    assert (loaded.data.task, loaded.data.label) == ("multilabel", ["happy", "new york"])
    records, population = loaded.source()()
    assert records.columns == ("x",)
    whole = np.concatenate([records.labels, population.labels])
    assert whole.sum(axis=0).tolist() == [table["happy"].sum(), 200]
    plan.unlink()
    table.assign(happy=2).to_csv(tmp_path / "t.csv", index=False)
    assert "must be 0 or 1 each" in str(CliRunner().invoke(app, words).exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["people.csv", "--label", "incom"], "Did you mean 'income'"),
        (["people.csv", "--label", "note"], "these are no classes"),
        (["plan.toml", "--label", "income"], "go with a table"),
        (["missing.csv"], "no such file"),
    ],
)
def test_what_cannot_be_planned_is_said(tmp_path: Path, arguments: list[str], message: str) -> None:
    """A misspelt label, one that is no class, a label without a table, no file; nothing is written."""
    people(tmp_path / "people.csv")
    words = [str(tmp_path / arguments[0]), *arguments[1:], "--out", str(tmp_path / "plan.toml")]
    result = CliRunner().invoke(app, ["init", *words])
    assert message in str(result.exception)
    assert not (tmp_path / "plan.toml").exists()
