"""How likely many trainings contradict a claim when the leak is Gaussian: the threshold is chosen on held-out parts.

Whole audits are simulated, a row of counts each. Members score N(μ / 2, 1), the others N(-μ / 2, 1), and a fixed grid
of thresholds cuts the scores into cells. The trials in the cells are multinomial, and those of a cell that a split
holds out are binomial. Every split draws from the same trials, so the splits agree as much as in a real audit.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from scipy.special import betaincinv, ndtr

from dpaudit.bounds.choosing import LARGEST_HELD_OUT
from dpaudit.bounds.clopper_pearson import clopper_pearson
from dpaudit.bounds.trial_counts import Counts
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.scores.intervals import upper_rate

AUDITS = 2500  # simulated: a standard error of at most 0.01
THRESHOLDS, TAIL = 64, (-1.0, 4.75)  # standard deviations above the others, and below the members
SEED = 0
EXACT = 128  # trials of a side up to which its limits are a table of all counts
LIMITS = 1000  # limits computed for a larger side; linear between them


@dataclass(frozen=True)
class Hypothesis:
    """The claim under test: (``claimed``, ``delta``), refuted at ``level``."""

    claimed: float
    delta: float
    level: float


@dataclass(frozen=True)
class HeldOutThreshold:
    """The Clopper-Pearson bound on independent trainings, at thresholds that looked best on parts of them.

    Args:
        fraction: of the trials, spent on choosing.
        judged_only: True when trials are counted as in `LowerBound.trials`, without those that chose.
        member_share: probability with which a trial has the record.
        splits: how often a part is held out; several are joined as `dpaudit.bounds.choosing.SeveralSplits` does.
    """

    fraction: float
    judged_only: bool = False
    member_share: float = 0.5
    splits: int = 1
    method: ClassVar[str] = "clopper-pearson"
    words: ClassVar[str] = "run of its own"
    within: ClassVar[str] = ""
    exact: ClassVar[bool] = False

    def chance(self, trials: int, mu: float, test: Hypothesis) -> float:
        """Probability of a bound above the claim: thresholds are chosen on held-out parts and judged on the rests.

        >>> HeldOutThreshold(0.2, splits=7).chance(1000, 40.0, Hypothesis(1.0, 1e-5, 0.05))
        1.0
        """
        choosing, judged = parts(trials, self.fraction, judged_only=self.judged_only)
        if min(choosing, judged) < 2:
            return 0.0
        audits = _Audits.drawn(choosing + judged, mu, self.member_share)
        held_out, seen = choosing / (choosing + judged), np.zeros(AUDITS, np.bool_)
        undecided, above = np.arange(AUDITS), np.zeros(AUDITS, np.int64)
        for done in range(1, self.splits + 1):
            if not undecided.size:
                break
            above[undecided] += audits.split(undecided, held_out, test, 0.5 if self.splits > 1 else 1.0)
            now = above[undecided] >= _needed(done)
            seen[undecided[now]] = True
            undecided = undecided[~now]
            later = range(done + 1, self.splits + 1)
            hopes = [above[undecided] + number - done >= _needed(number) for number in later]
            undecided = undecided[np.logical_or.reduce(hopes)] if hopes else undecided[:0]
        return float(seen.mean())

    def ceiling(self, trials: int, test: Hypothesis) -> float:
        """The largest ε it can certify: no miss and no alarm."""
        _, judged = parts(trials, self.fraction, judged_only=self.judged_only)
        members = min(max(1, round(self.member_share * judged)), max(1, judged - 1))
        level = test.level / 2 if self.splits > 1 else test.level
        return clopper_pearson(Counts(members, 0, 0, max(1, judged - members)), test.delta, level)


@dataclass(frozen=True)
class ThresholdByNumber:
    """The bound of many trainings that audits have: several splits where there are enough trainings, else one.

    Args:
        several: with at least ``least`` trainings on either side.
        one: with fewer.
        least: trainings with the record, and as many without.
    """

    several: HeldOutThreshold
    one: HeldOutThreshold
    least: int
    method: ClassVar[str] = HeldOutThreshold.method
    words: ClassVar[str] = HeldOutThreshold.words
    within: ClassVar[str] = ""
    exact: ClassVar[bool] = False

    def chance(self, trials: int, mu: float, test: Hypothesis) -> float:
        """Probability of a bound above the claim, for the expected numbers of trainings on each side."""
        return self._of(trials).chance(trials, mu, test)

    def ceiling(self, trials: int, test: Hypothesis) -> float:
        """The largest ε it can certify: no miss and no alarm."""
        return self._of(trials).ceiling(trials, test)

    def _of(self, trials: int) -> HeldOutThreshold:
        share = min(self.one.member_share, 1 - self.one.member_share)
        return self.several if round(share * trials) >= self.least else self.one


def parts(trials: int, fraction: float, *, judged_only: bool) -> tuple[int, int]:
    """How many trials choose and how many are judged, on average.

    >>> parts(1000, 0.3, judged_only=False)
    (300, 700)
    """
    if judged_only:
        return round(min(fraction / (1 - fraction) * trials, LARGEST_HELD_OUT)), trials
    choosing = round(min(fraction * trials, LARGEST_HELD_OUT))
    return choosing, trials - choosing


def _needed(splits: int) -> int:
    """Bounds above the claim among so many whose upper median is then above it."""
    return (splits + 1) // 2


@dataclass(frozen=True)
class _Audits:
    """Simulated audits.

    Args:
        thresholds: of the grid, shape (thresholds,).
        members: in each cell, shape (audits, thresholds + 1).
        others: likewise, the trials without the record.
        typical: mean number of trials with the record, and without.
    """

    thresholds: FloatArray
    members: IntArray
    others: IntArray
    typical: tuple[float, float]
    rng: np.random.Generator

    @classmethod
    def drawn(cls, trials: int, mu: float, member_share: float) -> "_Audits":
        rng, tail = np.random.default_rng(SEED), np.linspace(*TAIL, THRESHOLDS // 2)
        thresholds = np.sort(np.concatenate([tail - mu / 2, mu / 2 - tail]))
        below = np.diff(ndtr(thresholds - mu / 2), prepend=0, append=1)
        above = -np.diff(ndtr(-thresholds - mu / 2), prepend=1, append=0)
        members = rng.binomial(trials, member_share, AUDITS)
        typical = (member_share * trials, (1 - member_share) * trials)
        return cls(thresholds, rng.multinomial(members, below), rng.multinomial(trials - members, above), typical, rng)

    def split(self, rows: IntArray, held_out: float, test: Hypothesis, share: float) -> BoolArray:
        """Whether one split's bound, at this share of the level, lies above the claim, for some of the audits."""
        members, others = np.cumsum(self.members[rows], axis=1), np.cumsum(self.others[rows], axis=1)
        chose = np.cumsum(self.rng.binomial(self.members[rows], held_out), axis=1)
        saw = np.cumsum(self.rng.binomial(self.others[rows], held_out), axis=1)
        misses, alarms = chose[:, :-1], saw[:, -1:] - saw[:, :-1]
        place = self._best(misses, alarms, chose[:, -1:], saw[:, -1:], held_out, test)[:, None]
        rest, others_rest = members - chose, others - saw
        missed, ours = np.take_along_axis(rest, place, 1)[:, 0], rest[:, -1]
        theirs = others_rest[:, -1]
        alarmed = theirs - np.take_along_axis(others_rest, place, 1)[:, 0]
        level = share * test.level / 2
        above: BoolArray = _ratio(_limit(missed, ours, level), _limit(alarmed, theirs, level), test.delta) > math.exp(
            test.claimed
        )
        return above

    def _best(
        self, misses: IntArray, alarms: IntArray, members: IntArray, others: IntArray, held_out: float, test: Hypothesis
    ) -> IntArray:
        """Place of the threshold that each held-out part chooses, as `HeldOut` does."""
        fnr, fpr = (
            _limits_of(hits, np.maximum(number, 1), held_out * typical, test.level / 2)
            for hits, number, typical in zip((misses, alarms), (members, others), self.typical, strict=True)
        )
        first = np.argmax(np.maximum(1.0, _ratio(fnr, fpr, test.delta)), axis=1)
        # It lies midway between two scores: between two places of the grid, where all in between count the same.
        counted = [np.take_along_axis(hits, first[:, None], 1) == hits for hits in (misses, alarms)]
        last = self.thresholds.size - 1 - np.argmax((counted[0] & counted[1])[:, ::-1], axis=1)
        midway = np.searchsorted(self.thresholds, (self.thresholds[first] + self.thresholds[last]) / 2)
        place: IntArray = np.clip(midway, first, last)
        return place


def _limits_of(hits: IntArray, trials: IntArray, typical: float, level: float) -> FloatArray:
    """Upper limits of rates: of every count of a small side, else between those of the typical number of trials."""
    if trials.max() <= EXACT:
        limits: FloatArray = _table(level)[trials, hits]
        return limits
    counts, rates = _some_limits(max(1, round(typical)), level)
    return np.interp(hits * (counts[-1] / trials), counts, rates)


@lru_cache(maxsize=16)
def _table(level: float) -> FloatArray:
    """Upper limits of the rate by trials and hits."""
    trials, hits = np.mgrid[: EXACT + 1, : EXACT + 1]
    return _limit(np.minimum(hits, trials), trials, level)


@lru_cache(maxsize=256)
def _some_limits(side: int, level: float) -> tuple[FloatArray, FloatArray]:
    """Upper limits of the rate behind some numbers of hits on one side, denser where there are few."""
    counts = np.unique(np.rint(side * np.linspace(0, 1, LIMITS) ** 2))
    return counts, upper_rate(counts, side, level)


def _limit(hits: IntArray, trials: IntArray, level: float) -> FloatArray:
    """`upper_rate` where trials differ."""
    limits: FloatArray = np.where(hits >= trials, 1.0, betaincinv(hits + 1, np.maximum(trials - hits, 1), 1 - level))
    return limits


def _ratio(fnr: FloatArray, fpr: FloatArray, delta: float) -> FloatArray:
    """The larger of the two ratios that (ε, δ) bounds by e^ε."""
    larger: FloatArray = np.maximum((1 - fnr - delta) / fpr, (1 - fpr - delta) / fnr)
    return larger
