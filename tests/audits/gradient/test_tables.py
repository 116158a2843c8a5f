from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpaudit.audits.plan import plan_from
from dpaudit.audits.run import run
from dpaudit.runtime.errors import InputError


def plan(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "rows",
        "seed": 3,
        "data": {**data, "population": 0.5},
        "gradient": {
            "architecture": {"kind": "mlp", "hidden": [40]},
            "attacks": [{"name": "tableak", "restarts": 3, "iterations": 150}],
            "victims": 2,
            "utility_steps": 0,
            "scenario": [{"name": "two rows", "batch": 2, "knows_labels": True}],
            "defence": [{"name": "none"}, {"name": "ε = 8", "clip": 1.0, "epsilon": 8.0}],
        },
    }


@pytest.mark.tf
def test_rows_of_a_table_are_recovered_from_a_plan(tmp_path: Path) -> None:
    """Words and numbers between one another in a CSV: three quarters of the values come back and more than a quarter
    beyond medians and modes; with noise at ε = 8 fewer; of the half that the restarts agree on, no fewer are right; the
    page has all. A picture is refused."""
    rng = np.random.default_rng(0)
    age, pay = rng.normal(40, 10, 300), rng.normal(0, 1, 300)
    table = pd.DataFrame(
        {"job": rng.choice(["clerk", "nurse", "cook", "smith"], 300), "age": age, "town": rng.choice(["a", "b"], 300),
         "pay": pay, "label": (age + 10 * pay > 40).astype(int)}
    )  # fmt: skip
    table.to_csv(tmp_path / "people.csv", index=False)
    data = {"source": str(tmp_path / "people.csv"), "label": "label", "encode": "auto"}
    outcome = run(plan_from(plan(data)), folder=tmp_path / "run").gradient
    assert outcome is not None
    exact, noisy = outcome.cells
    assert exact.columns_right is not None
    assert exact.columns_floor is not None
    assert noisy.columns_right is not None
    assert exact.columns_right > max(0.75, exact.columns_floor + 0.25)
    assert exact.columns_sure is not None
    assert exact.columns_sure >= exact.columns_right
    assert noisy.columns_right < exact.columns_right - 0.15
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Values right" in page
    assert "of the surer half" in page
    with pytest.raises(InputError, match="'tableak' reads rows of a table"):
        run(plan_from(plan({"source": "digits"})), folder=tmp_path / "pictures")
