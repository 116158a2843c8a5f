"""How likely an audit contradicts a claim when the leak is Gaussian, for the procedures that audits run.

The choice of a threshold or of a number of guesses is part of a procedure and of its power: a union of shares pays for
each of them, a held-out part is spent and chooses imperfectly. Chances are exact where the threshold is fixed, and
shares of seeded simulated audits elsewhere (`dpaudit.bounds.simulated_scores`), with a standard error of at most 0.01.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal, get_args

import numpy as np
from scipy.special import betaincinv, logit, ndtr, ndtri

from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.bounds.accuracy import accuracy_bound
from dpaudit.bounds.hypothesis import GaussianCurve, accuracy
from dpaudit.bounds.one_run import one_run, one_run_p_value, perfect_one_run
from dpaudit.bounds.simulated_scores import ranked
from dpaudit.bounds.step_canary_power import METHOD as STEP_CANARIES
from dpaudit.bounds.threshold_power import HeldOutThreshold, Hypothesis, ThresholdByNumber, parts
from dpaudit.bounds.trial_counts import FINALISTS, PAIRS, ROUGH_LEVEL, Guesses, pair, tried
from dpaudit.runtime.check import FloatArray, IntArray

Access = Literal["one-run", "runs", "steps"]
ACCESS: tuple[Access, ...] = get_args(Access)
AUDITS = 10_000  # simulated
SEED = 0
GUESSED, JUDGED = 2000, 4000  # simulated choices of numbers of guesses, and audits that judge all numbers chosen
FEW = 50  # canaries of a planned audit up to which the sizes of its parts are random too: one guess then decides
RARE = 0.01  # sizes of lower probability are left out
RATES, BOUNDS = 100, 8  # rates and bounds computed for a number of guesses of the choosing part; straight between them


@dataclass(frozen=True)
class UnionOfShares:
    """The one-run bound on shares of the canaries decided beforehand, each at its part of the level.

    Args:
        shares: of the canaries to guess, half of each from the top and half from the bottom.
        scores_moved: scores that one change moves: two where one record is replaced by another of a random split.
    """

    shares: tuple[float, ...]
    scores_moved: int = 1
    method: ClassVar[str] = "one-run"
    words: ClassVar[str] = "canary or record of one run"
    within: ClassVar[str] = ""
    exact: ClassVar[bool] = False

    def chance(self, trials: int, mu: float, test: Hypothesis) -> float:
        """Probability of a bound above the claim when one change moves the scores by ``mu`` standard deviations in all.

        The right guesses among each share are drawn together.

        >>> UnionOfShares((0.1, 1.0)).chance(1000, 40.0, Hypothesis(1.0, 1e-5, 0.05))
        1.0
        """
        guesses = [pair(share, share, trials) for share in self.shares]
        needed = [_needed(trials, sum(made), test, test.level / len(self.shares)) for made in guesses]
        reachable = [(made, least) for made, least in zip(guesses, needed, strict=True) if least is not None]
        if not reachable:
            return 0.0
        right = right_guesses([made for made, _ in reachable], trials, mu / math.sqrt(self.scores_moved))
        return float((right >= np.array([least for _, least in reachable])).any(axis=1).mean())

    def ceiling(self, trials: int, test: Hypothesis) -> float:
        """The largest ε it can certify: every guess of every share is right."""
        made = {sum(pair(share, share, trials)) for share in self.shares}
        level = test.level / len(self.shares)
        return max(one_run(Guesses(trials, each, each), test.delta, level) for each in made)


@dataclass(frozen=True)
class HeldOutGuesses:
    """The one-run bound at the numbers of guesses that looked best on a part of the canaries.

    Args:
        fraction: of the canaries, spent on choosing.
        judged_only: True when trials are counted as in `LowerBound.trials`, without those that chose.
        scores_moved: scores that one change moves: two where one record is replaced by another of a random split.
    """

    fraction: float
    judged_only: bool = False
    scores_moved: int = 1
    method: ClassVar[str] = "one-run"
    words: ClassVar[str] = "canary or record of one run"
    within: ClassVar[str] = ""
    exact: ClassVar[bool] = False

    def chance(self, trials: int, mu: float, test: Hypothesis) -> float:
        """Probability of a bound above the claim when one change moves the scores by ``mu`` standard deviations in all.

        Numbers of guesses are chosen on held-out parts and judged on the rests.

        >>> HeldOutGuesses(0.3).chance(1000, 40.0, Hypothesis(1.0, 1e-5, 0.05))
        1.0
        """
        choosing, judged = parts(trials, self.fraction, judged_only=self.judged_only)
        moved, every = mu / math.sqrt(self.scores_moved), choosing + judged
        sizes, shares = np.array([choosing]), np.ones(1)
        if every <= FEW and not self.judged_only:
            from scipy.stats import binom

            sizes = np.arange(every + 1)
            shares = binom.pmf(sizes, every, self.fraction)
            sizes, shares = sizes[shares > RARE], shares[shares > RARE] / shares[shares > RARE].sum()
        chances = [
            _chance_of_parts(size, every - size, moved, test, share)
            for size, share in zip(sizes.tolist(), shares, strict=True)
        ]
        return float(shares @ chances)

    def ceiling(self, trials: int, test: Hypothesis) -> float:
        """The largest ε it can certify: the best of the numbers of guesses is made, and every guess is right."""
        _, judged = parts(trials, self.fraction, judged_only=self.judged_only)
        return perfect_one_run(judged, judged, test.delta, test.level) if judged else 0.0


@dataclass(frozen=True)
class FixedThreshold:
    """Step canaries: a guess for every coin at a threshold fixed midway between the answers, Gaussian noise."""

    method: ClassVar[str] = STEP_CANARIES
    words: ClassVar[str] = "canary gradient in a step"
    within: ClassVar[str] = "Gaussian noise"
    exact: ClassVar[bool] = True

    def chance(self, trials: int, mu: float, test: Hypothesis) -> float:
        """Probability of a bound above the claim, binomial and exact.

        >>> round(FixedThreshold().chance(97, 6.0, Hypothesis(4.0, 1e-5, 0.05)), 3)
        1.0
        """
        from scipy.stats import binom

        needed = binom.isf(test.level, trials, accuracy(GaussianCurve(gaussian_mu(test.claimed, test.delta)))) + 1
        return float(binom.sf(needed - 1, trials, ndtr(mu / 2)))

    def ceiling(self, trials: int, test: Hypothesis) -> float:
        """The largest ε it can certify: every guess is right."""
        return accuracy_bound(trials, trials, test.delta, test.level)


Planned = UnionOfShares | HeldOutGuesses | HeldOutThreshold | ThresholdByNumber | FixedThreshold


def floor(mu: float, test: Hypothesis, wanted: float) -> int:
    """Two-sample z-test of the mean score, half of the trials in each world."""
    apart = (ndtri(1 - test.level) + ndtri(wanted)) / (mu - gaussian_mu(test.claimed, test.delta))
    return 2 * math.ceil(2 * apart**2)


def right_guesses(
    guesses: list[tuple[int, int]], trials: int, mu: float, *, audits: int = AUDITS, seed: int = SEED
) -> IntArray:
    """Right guesses among the highest and lowest scores of simulated audits, shape (audits, guesses).

    Args:
        guesses: numbers guessed "member" from the top and "non-member" from the bottom; each pair of numbers is drawn
            on the same scores.
        trials: fair coins of an audit.
        mu: standard deviations between members and the others.
        audits: how many are simulated.
        seed: of the simulation.

    >>> right_guesses([(1, 1), (100, 100)], 1000, 40.0, audits=2).tolist()
    [[2, 200], [2, 200]]
    """
    top, bottom = np.array(guesses).T
    places = np.unique(np.concatenate([[0], trials - top, bottom]))
    found = ranked(places[1:], trials, mu, audits, np.random.default_rng(seed))
    members = np.concatenate([np.zeros((audits, 1), np.int64), found.members], axis=1)
    below_top, in_bottom = (members[:, np.searchsorted(places, ranks)] for ranks in (trials - top, bottom))
    right: IntArray = found.in_all[:, None] - below_top + bottom - in_bottom
    return right


def _chance_of_parts(choosing: int, judged: int, mu: float, test: Hypothesis, share: float) -> float:
    """Probability of a bound above the claim with parts of these sizes, from a share of the simulated audits."""
    if min(choosing, judged) < 1:
        return 0.0
    guessed, audits = math.ceil(share * GUESSED), math.ceil(share * JUDGED)
    chosen, times = np.unique(_guesses_chosen(choosing, mu, test, guessed), return_counts=True)
    guesses = [pair(top, bottom, judged) for top, bottom in (PAIRS[place] for place in chosen)]
    needed = [_needed(judged, sum(made), test, test.level) for made in guesses]
    reachable = [place for place, least in enumerate(needed) if least is not None]
    if not reachable:
        return 0.0
    right = right_guesses([guesses[place] for place in reachable], judged, mu, audits=audits, seed=SEED + 1)
    seen = (right >= np.array([needed[place] for place in reachable])).mean(axis=0)
    return float(seen @ times[reachable]) / guessed


@lru_cache(maxsize=4096)
def _needed(trials: int, made: int, test: Hypothesis, level: float) -> int | None:
    """The least number of right guesses that contradicts the claim; None when all of them do not."""
    low, high = 0, made + 1
    while high - low > 1:
        middle = (low + high) // 2
        surprise = one_run_p_value(Guesses(trials, made, middle), test.claimed, test.delta)
        low, high = (low, middle) if surprise < level else (middle, high)
    return high if high <= made else None


def _guesses_chosen(choosing: int, mu: float, test: Hypothesis, audits: int) -> IntArray:
    """Places in `PAIRS` that simulated held-out parts choose, as `HeldOut` does, shape (audits,)."""
    members, nonmembers = tried(choosing)
    made = (members + nonmembers).tolist()
    right = right_guesses(list(zip(members, nonmembers, strict=True)), choosing, mu, audits=audits)
    rates = np.stack([np.interp(right[:, i], *_rates(each)) for i, each in enumerate(made)], axis=1)
    finalists = np.argsort(-rates, axis=1, kind="stable")[:, :FINALISTS]
    bounds = np.zeros_like(rates)
    for place in np.unique(finalists):
        bounds[:, place] = np.interp(logit(rates[:, place]), *_bounds(choosing, made[place], test.delta, test.level))
    best = np.argmax(np.take_along_axis(bounds, finalists, axis=1), axis=1)
    chosen: IntArray = finalists[np.arange(audits), best]
    return chosen


@lru_cache(maxsize=4096)
def _rates(made: int) -> tuple[FloatArray, FloatArray]:
    """Lower limits of the rate behind some numbers of right guesses, denser where few are wrong."""
    counts = np.unique(np.rint(made * (1 - np.linspace(0, 1, RATES) ** 2)))
    return counts, _lower_rate(counts, made)


@lru_cache(maxsize=4096)
def _bounds(canaries: int, made: int, delta: float, level: float) -> tuple[FloatArray, FloatArray]:
    """Bounds behind the logits of some lower limits of the rate, between which they are nearly straight."""
    counts = np.unique(np.rint(made * (1 - np.linspace(0, 1, BOUNDS) ** 2 / 2)))
    bounds = [one_run(Guesses(canaries, made, int(count)), delta, level, 1e-6) for count in counts]
    return np.asarray(logit(_lower_rate(counts, made)), np.float64), np.array(bounds)


def _lower_rate(right: FloatArray, made: int) -> FloatArray:
    return np.asarray(betaincinv(np.maximum(right, 1e-9), made - right + 1, ROUGH_LEVEL), np.float64)
