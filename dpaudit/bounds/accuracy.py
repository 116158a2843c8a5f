"""Exact binomial bound from the share of right guesses over independent fair-coin trials.

Under a fair coin no test is right more often than (1 + TV) / 2, with TV the total variation of the trade-off curve, so
the number of right guesses is at most binomial with that rate. One threshold, fixed beforehand, uses every trial.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.special import ndtri

from dpaudit.accounting.claim import Adjacency, Unit
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.bounds.certified import BoundTerms, certified
from dpaudit.bounds.choosing import ThresholdSelection
from dpaudit.bounds.fair_coins import FAIR, fair_part
from dpaudit.bounds.hypothesis import Definition, Gaussian, MechanismFamily, accuracy, strongest_refuted
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.trial_counts import Counts, threshold_counts
from dpaudit.data.member_choice import MemberChoice
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.scores.intervals import lower_limit
from dpaudit.scores.scores import Scores

Trials = Literal["runs", "steps", "one-run-assumed-independent"]
INDEPENDENCE = {
    "runs": "each trial is a training of its own",
    "steps": "each trial is a step of its own with fresh noise",
    "one-run-assumed-independent": (
        "the canaries of one run leak independently of each other; this is assumed, not proved, and false for "
        "mechanisms that sometimes leak all of them"
    ),
}


@dataclass(frozen=True)
class Accuracy:
    """Accuracy bound over independent fair-coin trials, against any family of curves.

    Args:
        selection: how the threshold is chosen; midway between the two worlds is best for Gaussian leaks.
        trials: why the trials are independent. Canaries of one run are not; for them one must ask by name.
        null: the curves to refute.
        chosen: how the trials with the record were chosen; of other than fair coins a part with fair coins is judged.
        seed: of that part.

    >>> from dpaudit.bounds.choosing import Fixed
    >>> scores = Scores(np.repeat([1.0, -1.0], [400, 100]), np.repeat([-1.0, 1.0], [400, 100]))
    >>> bound = Accuracy(Fixed(0.0), "runs")
    >>> round(bound(scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record").epsilon, 3)
    7.228
    """

    selection: ThresholdSelection
    trials: Trials
    null: Definition | Gaussian | MechanismFamily = field(default_factory=Gaussian)
    chosen: MemberChoice = FAIR
    seed: int = 0

    def __post_init__(self) -> None:
        check.one_of("trials", self.trials, tuple(INDEPENDENCE))

    def __call__(
        self, scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """Lower bound on ε from scores of independent fair-coin trials."""
        asked = BoundTerms(delta, confidence, adjacency, unit)

        def criterion(part: Scores, thresholds: FloatArray) -> FloatArray:
            hits = part.member.size - np.searchsorted(np.sort(part.member), thresholds, side="right")
            rejections = np.searchsorted(np.sort(part.nonmember), thresholds, side="right")
            return np.asarray(hits / part.member.size + rejections / part.nonmember.size, np.float64)

        one_run = self.trials == "one-run-assumed-independent"
        part = fair_part(scores, self.chosen, seed=self.seed, level=asked.level, independent=not one_run)
        chosen = threshold_counts(part.both, self.selection, criterion)

        def value(counts: Counts, delta: float, level: float) -> float:
            return accuracy_bound(counts.correct, counts.trials, delta, level, null=self.null)

        assumptions = INDEPENDENCE[self.trials], "the threshold was chosen without the trials it is judged on"
        procedure, family = self.selection.procedure, self.null.family
        return certified("accuracy", asked, chosen, value, assumptions, procedure, part=part, family=family)


@lru_cache(maxsize=65536)  # few outcomes of a fixed threshold are different
def accuracy_bound(
    correct: int,
    trials: int,
    delta: float,
    level: float,
    *,
    null: Definition | Gaussian | MechanismFamily | None = None,
) -> float:
    """Lower bound on ε at ``level`` from ``correct`` right guesses of ``trials``; Gaussian unless said otherwise.

    >>> round(accuracy_bound(800, 1000, 1e-5, 0.05), 5)
    7.22762
    """
    total = check.integer("trials", trials, at_least=1)
    right = check.integer("correct guesses", correct, at_least=0, at_most=total)
    slack, alpha = check.delta("delta", delta), check.open_unit("level", level)
    if right == 0:
        return 0.0
    rate = lower_limit(right, total, alpha)
    match null:
        case Gaussian() | None:
            return gaussian_epsilon(2 * max(0.0, float(ndtri(rate))), slack)
        case Definition():
            return math.log(max(1.0, (rate - slack) / (1 - rate)))
        case MechanismFamily():
            return strongest_refuted(lambda strength: rate - accuracy(null.curve(strength, slack)), null, slack)
