"""The self-test of power: how often the bounds that audits run contradict a claim, computed and simulated.

Every cell simulates whole audits of a Gaussian leak: members by coins or by a random split, scores, the default bound
of the design with all that it draws. The share of audits whose bound lies above the claim is compared with the
probability that `dpaudit.bounds.power_methods` computes; the leak is the one that verdicts call visible with
probability 0.8.
"""

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dpaudit import __version__
from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.bounds.default import BoundDesign, default_bound
from dpaudit.bounds.power import PERFECT_MU, planned_as, planned_runs, visible
from dpaudit.bounds.power_methods import HeldOutGuesses, Planned
from dpaudit.bounds.threshold_power import Hypothesis
from dpaudit.data.member_choice import Coins, RandomSplit
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.jobs import Workers
from dpaudit.scores.intervals import interval
from dpaudit.scores.scores import Scores

DELTA, CONFIDENCE = 1e-5, 0.95
TERMS: dict[str, Any] = {"delta": DELTA, "confidence": CONFIDENCE, "adjacency": "add-remove", "unit": "record"}
ALLOWED = 0.02  # absolute difference of the computed from the true probability
FALSE_ALARM = 0.01  # probability that the whole table fails although every probability is within what is allowed
DISTINCT = 15  # pairs of what ran and its fair coins that twice as many or more are thinned to, at quantiles
CHOICES: dict[str, tuple[Coins | RandomSplit, float]] = {  # and the share of members
    "fair coins": (Coins(0.5), 0.5),
    "coins of 0.8": (Coins(0.8), 0.8),
    "random split, half in": (RandomSplit(), 0.5),
    "random split, 80 % in": (RandomSplit(), 0.8),
}
QUICK: dict[str, Any] = {"audits": 200, "one-run": (100, 1000), "many-runs": (200,), "claims": (1.0, 2.0)}
FULL: dict[str, Any] = {
    "audits": 4000,
    "one-run": (100, 1000, 10_000),
    "many-runs": (200, 1000),
    "claims": (1.0, 2.0, 4.0),
}
Chance = Callable[[Planned, int, float, Hypothesis], float]


def of_the_procedure(planned: Planned, trials: int, mu: float, test: Hypothesis) -> float:
    """The probability that verdicts use."""
    return planned.chance(trials, mu, test)


@dataclass(frozen=True)
class PowerCell:
    """One design on one leak.

    Args:
        design: ``one-run`` or ``many-runs``.
        chosen: how members were chosen.
        trials: records or runs of an audit, as given.
        claimed: ε of the claim.
        epsilon: ε of the leak, about the neighbouring data sets of the bound; None for the perfect attack, where no
            leak is visible.
        computed: probability of contradicting the claim.
        seen: simulated audits that contradict it.
        audits: simulated audits.
        low: lower limit of the simulated probability, jointly over the table.
        high: its upper limit.
    """

    design: BoundDesign
    chosen: str
    trials: int
    claimed: float
    epsilon: float | None
    computed: float
    seen: int
    audits: int
    low: float
    high: float

    @property
    def simulated(self) -> float:
        """Share of the audits that contradict the claim."""
        return self.seen / self.audits

    @property
    def failed(self) -> bool:
        """Whether the computed probability is farther from the true one than allowed, beyond chance."""
        return self.low > self.computed + ALLOWED or self.high < self.computed - ALLOWED


@dataclass(frozen=True)
class PowerTest:
    """The table."""

    version: str
    seed: int
    cells: tuple[PowerCell, ...]

    @property
    def failures(self) -> tuple[PowerCell, ...]:
        """Cells whose computed probability is wrong."""
        return tuple(cell for cell in self.cells if cell.failed)

    def json(self) -> str:
        """The table for machines."""
        cells = [{**asdict(cell), "simulated": cell.simulated, "failed": cell.failed} for cell in self.cells]
        return json.dumps({"version": self.version, "seed": self.seed, "cells": cells}, indent=1, allow_nan=False)


def powertest(
    *,
    quick: bool = True,
    seed: int,
    audits: int | None = None,
    chance: Chance = of_the_procedure,
    jobs: int | None = 1,
    backend: str = "loky",
    progress: Callable[[str], None] | None = None,
) -> PowerTest:
    """Compare computed with simulated probabilities of contradicting a claim.

    Args:
        quick: 200 audits a cell on the smaller cells (some 10 seconds), instead of 4,000 on all.
        seed: of the simulations; every cell has a stream of its own.
        audits: a cell, when neither number fits.
        chance: what computes the probability, from the procedure, its trials, μ and the claim.
        jobs: as in `Workers`; so is ``backend``.
        progress: called with a line after every cell.

    >>> len(powertest(seed=0, audits=2).failures)
    0
    """
    plan = QUICK if quick else FULL
    number = plan["audits"] if audits is None else check.integer("audits", audits, at_least=1)
    check.integer("seed", seed, at_least=0)
    cells = [
        (design, chosen, trials, claimed)
        for design in ("one-run", "many-runs")
        for trials in plan[design]
        for claimed in plan["claims"]
        for chosen in CHOICES
        if design == "one-run" or isinstance(CHOICES[chosen][0], Coins)
    ]
    joint = 1 - FALSE_ALARM / len(cells)
    recipes = {
        f"{design}, {trials} trials, {chosen}, ε ≤ {claimed:g}": (
            (design, chosen, trials, claimed, [seed, place], number, joint, chance)
        )
        for place, (design, chosen, trials, claimed) in enumerate(cells)
    }
    found: dict[str, PowerCell] = {}
    for name, cell in Workers(jobs, backend)(_cell, recipes):
        found[name] = cell
        if progress is not None:
            progress(f"{name}: {len(found)} of {len(recipes)}")
    return PowerTest(__version__, seed, tuple(found[name] for name in recipes))


def _cell(
    design: BoundDesign,
    chosen: str,
    trials: int,
    claimed: float,
    stream: list[int],
    audits: int,
    joint: float,
    chance: Chance,
) -> PowerCell:
    choice, share = CHOICES[chosen]
    rng = np.random.default_rng(stream)
    members = [_members(choice, share, trials, rng) for _ in range(audits)]
    test = Hypothesis(claimed, DELTA, 1 - CONFIDENCE)
    if design == "many-runs":  # trials are counted before a part of them is held out
        planned: Planned | None = planned_runs(share)
        typical = trials
    else:
        # Which procedure runs, and on how many fair coins, is asked of a bound on scores that say nothing.
        bound = default_bound(design, choice, seed=0)
        first = bound(Scores.join(rng.random(trials), members[0]), **TERMS)
        planned = planned_as(first)
        typical = first.trials
    assert planned is not None
    epsilon = visible(planned, typical, claimed=claimed, delta=DELTA, confidence=CONFIDENCE)
    mu = PERFECT_MU if math.isinf(epsilon) else gaussian_mu(epsilon, DELTA)
    moved = planned.scores_moved if isinstance(planned, HeldOutGuesses) else 1
    used, seen = [], 0
    ran: Planned | None = planned
    for audit, member in enumerate(members):
        bound = default_bound(design, choice, seed=audit)
        scores = Scores.join(mu / math.sqrt(moved) * member + rng.normal(size=trials), member)
        found = bound(scores, **TERMS)
        if design == "one-run":
            ran = planned_as(found)
        assert ran is not None
        used.append((ran, trials if design == "many-runs" else found.trials))
        seen += found.epsilon > claimed
    computed = _mean_chance(chance, used, mu, test)
    low, high = interval(seen, audits, joint)
    shown = None if math.isinf(epsilon) else epsilon
    return PowerCell(design, chosen, trials, claimed, shown, computed, seen, audits, float(low), float(high))


def _members(choice: Coins | RandomSplit, share: float, trials: int, rng: np.random.Generator) -> BoolArray:
    drawn: BoolArray = (rng.random(trials) if isinstance(choice, Coins) else rng.permutation(trials) / trials) < share
    return drawn


def _mean_chance(chance: Chance, used: list[tuple[Planned, int]], mu: float, test: Hypothesis) -> float:
    """Mean over the procedures and numbers of fair coins that the audits had."""
    ordered = sorted(used, key=lambda each: (each[1], getattr(each[0], "fraction", 0.0)))
    times = Counter(ordered)
    if len(times) > 2 * DISTINCT:
        at = (np.arange(DISTINCT) + 0.5) / DISTINCT * len(ordered)
        times = Counter(ordered[int(place)] for place in at)
    chances = [chance(planned, trials, mu, test) for planned, trials in times]
    return float(np.average(chances, weights=list(times.values())))


def power_as_text(table: PowerTest) -> str:
    """The table for people, one line per cell, failures marked.

    >>> "fair coins" in power_as_text(powertest(seed=0, audits=2))
    True
    """
    lines = [
        f"{'design':10} {'members by':22} {'trials':>6} {'claimed ε':>9} {'true ε':>7} {'computed':>8} "
        f"{'simulated':>9} {'interval':>15}"
    ]
    for cell in table.cells:
        true = "none" if cell.epsilon is None else f"{cell.epsilon:.2f}"
        lines.append(
            f"{cell.design:10} {cell.chosen:22} {cell.trials:6d} {cell.claimed:9g} {true:>7} {cell.computed:8.3f} "
            f"{cell.simulated:9.3f} [{cell.low:.3f}, {cell.high:.3f}]{'  FAILS' if cell.failed else ''}"
        )
    return "\n".join(lines)
