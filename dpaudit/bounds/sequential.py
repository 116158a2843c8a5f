"""An audit that may stop at any time and go on in the next release: betting on accuracy against a null.

If every fair-coin trial is guessed right with probability at most p₀ given the past, the wealth of a gambler who backs
right guesses is an e-process: at any stopping time its mean is at most 1, so wealth of 1 / level refutes the null
(Ville's inequality; `Gonzalez et al. (2025) <https://arxiv.org/abs/2509.07055>`_ audit this way). The stake is spread
over rates whose log-odds lie between 0.1 and 4 above those of p₀, more of it on the smaller ones, which take longest:

    W(n, v) = Σ_k w_k (p_k / p₀)^v ((1 - p_k) / (1 - p₀))^(n - v).

How long the gambler takes, beside the best test of a fixed number of trials: `benchmarks/sequential.py`.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_expit, logit

from dpaudit.accounting.claim import Adjacency, Unit
from dpaudit.bounds.accuracy import INDEPENDENCE, Trials
from dpaudit.bounds.certified import BoundTerms, certified
from dpaudit.bounds.choosing import Fixed
from dpaudit.bounds.fair_coins import FAIR, fair_part
from dpaudit.bounds.hypothesis import Definition, Gaussian, MechanismFamily, accuracy, strongest_refuted
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.trial_counts import Chosen, Counts, count_outcomes
from dpaudit.data.member_choice import MemberChoice
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores

SHIFTS = np.geomspace(0.1, 4.0, 16)  # of the log-odds of a right guess, above the null
LOG_STAKES = -0.5 * np.log(SHIFTS) - np.log((SHIFTS**-0.5).sum())


@dataclass(frozen=True)
class Wealth:
    """Wealth of the gambler against "right guesses come at a rate of at most ``null_accuracy``".

    Args:
        null_accuracy: p₀ in [1/2, 1): (1 + TV) / 2 of the claim.
        trials: trials bet on so far.
        correct: right guesses among them.
        carried: logarithm of the wealth brought along from releases with other claims.

    >>> wealth = Wealth(0.6).observe(correct=90, trials=100)
    >>> wealth.refutes(0.05)
    True
    >>> Wealth.from_json(wealth.to_json()) == wealth
    True
    """

    null_accuracy: float
    trials: int = 0
    correct: int = 0
    carried: float = 0.0

    def __post_init__(self) -> None:
        rate = check.number("null_accuracy", self.null_accuracy)
        if not 0.5 <= rate < 1:
            raise InputError(
                f"null_accuracy must be in [0.5, 1), got {rate!r}; at 1 no number of trials says anything."
            )
        check.integer("trials", self.trials, at_least=0)
        check.integer("correct guesses", self.correct, at_least=0, at_most=self.trials)
        check.number("carried", self.carried)

    def observe(self, *, correct: int, trials: int) -> "Wealth":
        """The wealth after more trials."""
        check.integer("trials", trials, at_least=0)
        check.integer("correct guesses", correct, at_least=0, at_most=trials)
        return dataclasses.replace(self, trials=self.trials + trials, correct=self.correct + correct)

    def under(self, null_accuracy: float) -> "Wealth":
        """Go on against another claim with the wealth so far as the stake; refuted is then "every claim was true"."""
        return Wealth(null_accuracy, carried=self.log_wealth)

    @property
    def log_wealth(self) -> float:
        """Logarithm of the wealth: the e-value of all trials so far."""
        return self.carried + float(log_wealth(self.correct, self.trials, self.null_accuracy))

    @property
    def e_value(self) -> float:
        """The wealth itself; infinite where it exceeds what a float holds."""
        return math.exp(self.log_wealth) if self.log_wealth < 700 else math.inf

    def refutes(self, level: float) -> bool:
        """Whether the wealth has reached 1 / level; valid whenever one looks."""
        return self.log_wealth >= -math.log(check.open_unit("level", level))

    def to_json(self) -> str:
        """All there is to keep between releases."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Wealth":
        """Go on from what `to_json` wrote."""
        try:
            state = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"a saved wealth must be JSON, got {text[:40]!r}.") from error
        known = {each.name for each in dataclasses.fields(cls)}
        if not isinstance(state, dict) or set(state) != known:
            raise InputError(f"a saved wealth must hold exactly {', '.join(sorted(known))}, got {text[:80]!r}.")
        return cls(**state)


@dataclass(frozen=True)
class Sequential:
    """Anytime-valid accuracy bound by betting; looking at it after every trial costs nothing.

    Args:
        selection: the threshold, fixed beforehand.
        trials: why the trials are independent, as in `Accuracy`.
        null: the curves to refute.
        chosen: how the trials with the record were chosen, as in `Accuracy`.
        seed: of the part with fair coins.

    >>> import numpy as np
    >>> scores = Scores(np.repeat([1.0, -1.0], [400, 100]), np.repeat([-1.0, 1.0], [400, 100]))
    >>> bound = Sequential(Fixed(0.0), "steps")
    >>> round(bound(scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record").epsilon, 2)
    6.66
    """

    selection: Fixed
    trials: Trials
    null: Definition | Gaussian | MechanismFamily = field(default_factory=Gaussian)
    chosen: MemberChoice = FAIR
    seed: int = 0

    def __call__(
        self, scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """Lower bound on ε from the trials so far."""
        asked = BoundTerms(delta, confidence, adjacency, unit)
        one_run = self.trials == "one-run-assumed-independent"
        part = fair_part(scores, self.chosen, seed=self.seed, level=asked.level, independent=not one_run)
        counts = count_outcomes(part.both, self.selection.threshold)

        def value(counts: Counts, delta: float, level: float) -> float:
            return sequential(counts.correct, counts.trials, delta, level, null=self.null)

        assumptions = (
            INDEPENDENCE[self.trials],
            "the threshold was fixed beforehand",
            "the number of trials may depend on the outcomes so far",
        )
        procedure, family = self.selection.procedure, self.null.family
        return certified(
            "sequential", asked, Chosen((counts,)), value, assumptions, procedure, part=part, family=family
        )


@lru_cache(maxsize=65536)  # few outcomes are different
def sequential(
    correct: int, trials: int, delta: float, level: float, *, null: Definition | Gaussian | MechanismFamily
) -> float:
    """Lower bound on ε at ``level`` that holds at every stopping time.

    >>> round(sequential(90, 100, 1e-5, 0.05, null=Definition()), 2)
    1.31
    """
    slack, goal = check.delta("delta", delta), -math.log(check.open_unit("level", level))
    total = check.integer("trials", trials, at_least=1)
    right = check.integer("correct guesses", correct, at_least=0, at_most=total)
    rate = refuted_rate(right, total, goal)
    if rate <= 0.5:
        return 0.0
    return strongest_refuted(lambda strength: rate - accuracy(null.curve(strength, slack)), null, slack, tolerance=1e-6)


@lru_cache(maxsize=65536)
def refuted_rate(correct: int, trials: int, goal: float) -> float:
    """Largest rate p₀ of right guesses against which the wealth has reached e^goal; 1/2 when none."""
    share = correct / trials
    if share <= 0.5 or log_wealth(correct, trials, 0.5) < goal:
        return 0.5
    # Wealth falls from above the goal at p₀ = 1/2 to below it at the observed share.
    return float(brentq(lambda p: float(log_wealth(correct, trials, p)) - goal, 0.5, min(share, 1 - 1e-12), xtol=1e-14))


def log_wealth(correct: float | FloatArray, trials: float | FloatArray, null_accuracy: float) -> FloatArray:
    """log W(n, v) of the mixture bet, elementwise over counts."""
    right = np.asarray(correct, np.float64)[..., None]
    wrong = np.subtract(trials, correct)[..., None]
    odds = logit(null_accuracy) + SHIFTS
    gain, loss = log_expit(odds) - math.log(null_accuracy), log_expit(-odds) - math.log1p(-null_accuracy)
    wealth: FloatArray = np.logaddexp.reduce(right * gain + wrong * loss + LOG_STAKES, axis=-1)
    return wealth
