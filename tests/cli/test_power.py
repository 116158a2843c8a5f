"""``dpaudit power``: limits and predictions beside the plan of an audit."""

import json

import pytest
from typer.testing import CliRunner

from dpaudit.cli import app


def test_limits_are_drawn_as_bars() -> None:
    """As long as the limit is of the claim: 4.40 of 10 are 13 of 30 characters."""
    said = CliRunner().invoke(app, ["power", "--claimed", "10", "--limits"]).stdout
    (row,) = (line for line in said.splitlines() if " 10,000 " in line)
    assert row.count("█") == 13
    assert row.count("·") == 17


def test_limits_and_prediction_are_those_of_the_functions() -> None:
    """4.4 with 10,000 trainings a side at ε = 10, and 1.278 for the final model of 1,000 steps at rate 0.01."""
    limits = CliRunner().invoke(app, ["power", "--claimed", "10", "--limits", "--json"])
    assert json.loads(limits.stdout)["limits"]["10000"] == pytest.approx(4.4, abs=0.05)
    given = ["--noise-multiplier", "1", "--rate", "0.01", "--steps", "1000", "--json"]
    predicted = json.loads(CliRunner().invoke(app, ["power", *given]).stdout)
    assert predicted["last_iterate_epsilon"] == pytest.approx(1.278, abs=1e-3)
    assert predicted["heuristic"]


@pytest.mark.parametrize(
    "given",
    [[], ["--steps", "3"], ["--claimed", "1", "--limits", "--trials", "5"], ["--noise-multiplier", "1"]],
)
def test_options_that_do_not_go_together_are_refused(given: list[str]) -> None:
    """They exit with 2."""
    assert CliRunner().invoke(app, ["power", *given]).exit_code == 2
