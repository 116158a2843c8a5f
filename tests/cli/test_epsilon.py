"""``dpaudit epsilon``: what a recipe costs under each sampler and adjacency."""

import json

import pytest
from typer.testing import CliRunner

from dpaudit.accounting.claim import FixedSize, GaussianSteps, Poisson
from dpaudit.accounting.mechanism import epsilon
from dpaudit.cli import app
from dpaudit.runtime.errors import InputError

RECIPE = ["epsilon", "--noise-multiplier", "1", "--rate", "0.01", "--steps", "1000"]


def figures(*more: str) -> dict[tuple[str, str], dict[str, object]]:
    """The figures by sampler and adjacency."""
    found = CliRunner().invoke(app, [*RECIPE, *more, "--json"])
    assert found.exit_code == 0
    return {(row["sampler"], row["adjacency"]): row for row in json.loads(found.stdout)["figures"]}


@pytest.mark.long
def test_figures_are_those_of_the_accountants() -> None:
    """1.828 for Poisson batches (dp-accounting), and twice the sensitivity for replaced records and fixed sizes."""
    found = figures("--records", "60000")
    assert found["Poisson", "add-remove"]["epsilon"] == pytest.approx(1.828, abs=1e-3)
    twice = epsilon(GaussianSteps(0.5, 1000, Poisson(0.01)), delta=1e-5).epsilon
    replaced = found["Poisson", "replace-one"]["epsilon"]
    assert isinstance(replaced, float)
    assert 1.828 < replaced < twice
    fixed = GaussianSteps(1.0, 1000, FixedSize(600, 60_000))
    assert found["fixed size", "zero-out"]["epsilon"] == epsilon(fixed, delta=1e-5, adjacency="zero-out").epsilon


@pytest.mark.long
def test_cut_batches_cost_more() -> None:
    """4.477 and 3.877 by dp-accounting 0.6 (tests/accounting/reference.json); the number of records is needed."""
    recipe = ["--noise-multiplier", "4", "--rate", "0.02", "--steps", "5000"]
    found = figures(*recipe, "--largest-batch", "1010", "--records", "50000")
    assert found["truncated Poisson", "replace-one"]["epsilon"] == pytest.approx(4.4773, abs=1e-3)
    assert found["truncated Poisson", "add-remove"]["epsilon"] == pytest.approx(3.8772, abs=1e-3)
    refused = CliRunner().invoke(app, [*RECIPE, "--largest-batch", "130"])
    assert "needs --records" in str(refused.exception)


def test_what_has_no_accountant_says_so() -> None:
    """Fixed sizes under add-remove adjacency; shuffled batches have a figure that is marked as no upper bound."""
    found = figures("--records", "60000")
    assert "no add-remove accounting" in str(found["fixed size", "add-remove"]["error"])
    assert found["shuffled each epoch", "add-remove"]["optimistic"] is True


def test_the_table_says_how_to_get_fixed_sizes() -> None:
    """Without ``--records`` there is no size to fix."""
    shown = CliRunner().invoke(app, RECIPE)
    assert shown.exit_code == 0
    assert "With --records" in shown.stdout


@pytest.mark.long
def test_the_best_of_a_random_number_of_trainings_costs_more() -> None:
    """Above the 1.828 of one training; what is not accounted says so; other noise is refused."""
    found = figures("--selection", "geometric:10")
    best = found["Poisson", "add-remove"]["epsilon"]
    assert isinstance(best, float)
    assert 1.828 < best < 10 * 1.828
    assert "shuffled" in str(found["shuffled each epoch", "add-remove"]["error"])
    shown = CliRunner().invoke(app, [*RECIPE, "--selection", "geometric:10"])
    assert "fixed number costs more" in " ".join(shown.stdout.split())
    refused = CliRunner().invoke(app, [*RECIPE, "--selection", "geometric:10", "--law", "laplace"])
    assert isinstance(refused.exception, InputError)
