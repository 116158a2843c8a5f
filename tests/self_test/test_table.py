"""The self-test: right bounds pass, wrong ones are caught."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from typer.testing import CliRunner

from dpaudit.accounting.gaussian import gaussian_delta
from dpaudit.bounds.choosing import HeldOut
from dpaudit.bounds.clopper_pearson import clopper_pearson
from dpaudit.bounds.one_run import OneRun
from dpaudit.bounds.trial_counts import count_outcomes
from dpaudit.cli import app
from dpaudit.data.member_choice import Coins
from dpaudit.runtime.errors import AuditFailed
from dpaudit.scores.scores import Scores
from dpaudit.self_test.chosen import CHOICES, COLUMNS, Choice, Column
from dpaudit.self_test.mechanisms import Simulated, all_mechanisms, null
from dpaudit.self_test.methods import METHODS, Measure, Method
from dpaudit.self_test.table import SelfTest, choices_as_markdown, selftest, table_as_markdown, table_as_text

DEAR = (
    "several splits",
    "joint-beta (credible)",
    "whole curve, own curve",
    "trade-off, own curve",
)  # slow test
CHEAP = tuple(method for method in METHODS if not method.name.endswith(DEAR))


@pytest.mark.long
def test_every_bound_holds() -> None:
    """20 audits a cell, 150 judged cells, false-alarm rate 1 % over the table (seed fixed)."""
    table = selftest(seed=0, trials=20, methods=CHEAP, choices=())
    assert table.passed, table_as_text(table)
    judged = [cell for cell in table.cells if cell.judged]
    assert len(judged) > 100
    assert np.mean([cell.miscoverage for cell in judged]) < 0.05
    assert all(cell.tightness is None or cell.tightness < 1 for cell in judged)


@pytest.mark.long
def test_the_default_holds_however_members_were_chosen() -> None:
    """25 audits a cell, 108 cells of coins and splits, false-alarm rate 1 % over the table (seed fixed)."""
    table = selftest(seed=0, trials=25, methods=())
    assert table.passed, table_as_text(table)
    assert len(table.cells) == len(CHOICES) * len(COLUMNS)
    null = [cell.miscoverage for cell in table.cells if cell.mechanism == "null scores" and cell.size == 1000]
    assert np.mean(null) < 0.05
    page = choices_as_markdown(table)
    assert page.count("\n| coins") == 8
    assert page.count("\n| random split") == 4
    leak = {cell.chosen: cell.tightness for cell in table.cells if cell.mechanism.startswith("Laplace")}
    assert leak["coins, p = 0.02"] < leak["coins, p = 0.25"] < leak["coins, p = 0.5"]  # type: ignore[operator]


@pytest.mark.long
def test_coins_that_are_taken_for_fair_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """53 % members, said to be half: too few to be refused, and a held-out choice guesses the larger side."""
    monkeypatch.setattr("dpaudit.self_test.table.COLUMNS", (Column(null(), 1000),))
    monkeypatch.setattr(
        "dpaudit.self_test.chosen.default_bound", lambda design, chosen, *, seed: OneRun(HeldOut(seed, 0.5), chosen)
    )
    lie = Choice("said to be fair", Coins(0.5), lambda n, rng: rng.random(n) < 0.53)
    table = selftest(seed=0, trials=200, methods=(), choices=(lie,))
    assert [cell.chosen for cell in table.failures] == ["said to be fair"]
    assert "**" in choices_as_markdown(table)
    wrong = Choice("refused", Coins(0.5), lambda n, rng: rng.random(n) < 0.9)
    with pytest.raises(AuditFailed, match="4 of 4 audits were refused"):
        selftest(seed=0, trials=20, methods=(), choices=(wrong,))


def _largest_over_all_thresholds(mechanism: Simulated, trials: int, seed: int) -> Measure:
    def measure(scores: Scores, delta: float, confidence: float) -> float:
        cuts = np.unique(scores.values)[:-1:4]
        return max(clopper_pearson(count_outcomes(scores, float(cut)), delta, 0.4) for cut in cuts)

    return measure


@pytest.mark.long
def test_a_bound_that_picks_its_threshold_afterwards_is_caught() -> None:
    """The largest over all thresholds, at a level of 0.4 said to be 0.05, is above the truth far too often."""
    cheat = Method("maximised", _largest_over_all_thresholds)
    table = selftest(seed=0, trials=60, methods=(cheat,), choices=())
    assert not table.passed
    assert any(cell.mechanism.startswith("null scores") for cell in table.failures)
    assert "FAILS" in table_as_text(table)
    assert "**" in table_as_markdown(table, confidence=0.95, size=200)


@pytest.mark.long
def test_the_table_is_the_same_again_and_json() -> None:
    """Every mechanism has its own stream: the same seed gives the same counts, in one process or two."""
    one, two = (
        selftest(seed=3, trials=6, methods=METHODS[:2], choices=()),
        selftest(seed=3, trials=6, methods=METHODS[:2], choices=(), jobs=2),
    )
    assert [cell.above for cell in one.cells] == [cell.above for cell in two.cells]
    assert [cell.mean for cell in one.cells] == [cell.mean for cell in two.cells]
    read = json.loads(one.json())
    assert len(read["cells"]) == len(one.cells)
    assert {"miscoverage", "failed", "tightness"} <= set(read["cells"][0])


def test_each_canary_that_sometimes_leaks_is_gaussian() -> None:
    """0.06 of a randomised response of ε = 2.45 lies below the curve of μ = 1 at every ε."""
    for figure in np.linspace(0, 2.45, 200):
        leak = 0.94 * max(0.0, -np.expm1(figure)) + 0.06 * max(0.0, expit(2.45) - np.exp(figure) * expit(-2.45))
        mixture = max(0.0, leak)
        # Output and whether it leaks are both visible: δ(ε) is the mean over the two cases.
        assert mixture <= gaussian_delta(1.0, float(figure)) + 1e-12


@pytest.mark.parametrize("mechanism", all_mechanisms(), ids=lambda mechanism: mechanism.name)
def test_simulated_mechanisms_leak_what_they_say(mechanism: Simulated) -> None:
    """No more than a fair coin and (ε, δ) allow: accuracy at the midpoint within four standard errors of the limit."""
    rng = np.random.default_rng(0)
    runs = 200 if not mechanism.independent else 1
    size = 40_000 // runs
    right = 0
    for _ in range(runs):
        member = rng.random(size) < 0.5
        right += int(((mechanism.simulate(member, rng) > mechanism.midpoint) == member).sum())
    limit = (np.exp(mechanism.epsilon) + mechanism.delta) / (1 + np.exp(mechanism.epsilon))
    spread = 0.5 / np.sqrt(40_000) if mechanism.independent else 0.5 / np.sqrt(runs)
    assert right / 40_000 < limit + 4 * spread


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dpaudit selftest` prints and writes the table, and fails with the names of the bounds that do not hold."""

    def small(**options: Any) -> SelfTest:
        return selftest(seed=options["seed"], trials=5, methods=METHODS[:1], choices=())

    monkeypatch.setattr("dpaudit.self_test.table.selftest", small)
    written = tmp_path / "table.json"
    done = CliRunner().invoke(app, ["selftest", "--quick", "--out", str(written), "--markdown", str(tmp_path / "t.md")])
    assert done.exit_code == 0
    assert "clopper-pearson, fixed" in done.output
    assert len(json.loads(written.read_text())["cells"]) == len(all_mechanisms())
    cheat = Method("maximised", _largest_over_all_thresholds)
    failing = selftest(seed=0, trials=40, methods=(cheat,), choices=())
    monkeypatch.setattr("dpaudit.self_test.table.selftest", lambda **_: failing)
    done = CliRunner().invoke(app, ["selftest", "--quick", "--quiet"])
    assert isinstance(done.exception, AuditFailed)
    assert "maximised" in str(done.exception)


@pytest.mark.parametrize("option", [["--quick"], ["--out", "table.json"], ["--json"]])
def test_the_faults_refuse_options_of_the_bounds(option: list[str]) -> None:
    """An option that would do nothing is bad input, said before anything is inspected."""
    done = CliRunner().invoke(app, ["selftest", "--faults", *option])
    assert done.exit_code == 2
    assert option[0] in done.output


def test_the_power_command() -> None:
    """`dpaudit power` answers both questions, and --json is JSON."""
    plan = CliRunner().invoke(app, ["power", "--claimed", "1", "--suspected", "8", "--access", "steps", "--json"])
    assert plan.exit_code == 0
    assert json.loads(plan.output)["rows"][0]["trials"] == 24
    seen = CliRunner().invoke(app, ["power", "--claimed", "1", "--trials", "100", "--access", "steps"])
    assert seen.exit_code == 0
    assert "step-canaries" in seen.output
