"""Federated one-shot estimate from the cosines of canary clients, and an honest bound from the same cosines.

`Andrew et al. (2023) <https://arxiv.org/abs/2302.03098>`_: canary clients send random unit vectors; the cosine of each
with what was learnt is N(0, 1/d) when it took no part, and about N(mean, std²) when it did. The ε between these two
normals is an estimate without a guarantee. The honest bound draws a fresh canary beside every one that took part: which
of the two was used might as well have been a coin, so guessing it is a one-run audit of replacing one client.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from dpaudit.accounting.claim import Adjacency, Unit
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.bounds.lower_bound import Estimate, LowerBound
from dpaudit.bounds.one_run import one_run, one_run_p_value
from dpaudit.bounds.trial_counts import Guesses
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores

SAME = 1e-9  # relative difference of standard deviations below which the closed form for equal ones is more exact


@dataclass(frozen=True)
class OneShot:
    """One-shot estimate of Andrew et al. (2023) from the cosines of canary clients; it carries no guarantee.

    Args:
        dimension: number of trained parameters d.

    >>> round(OneShot(1_000_000)(np.array([0.000, 0.001, 0.002]), delta=1e-6).epsilon, 2)
    12.68
    """

    dimension: int

    def __post_init__(self) -> None:
        check.integer("dimension", self.dimension, at_least=2)

    def __call__(self, cosines: FloatArray, *, delta: float) -> Estimate:
        """Estimate from the cosines of the canaries that took part, shape (canaries,)."""
        seen = check.vector("cosines", cosines)
        if seen.size < 2 or np.abs(seen).max() > 1:
            raise InputError(f"cosines must be at least 2 values in [-1, 1], got {seen.size}.")
        figure = two_normals(0.0, 1 / math.sqrt(self.dimension), float(seen.mean()), float(seen.std()), delta=delta)
        return Estimate(figure, delta, "one-shot", "fit of a normal to dependent canaries; not a bound")


@dataclass(frozen=True)
class OneShotBound:
    """Honest one-run bound from canary clients that took part, each paired with a fresh one that did not.

    The pair guesses that the larger cosine took part, and guesses every pair. Replacing one client is two changes for
    add-remove and zero-out claims, so for those the bound is where ε' = 2 ε and δ' = (1 + e^ε) δ.

    >>> scores = Scores(np.full(1000, 0.5), np.zeros(1000))
    >>> bound = OneShotBound(seed=0)
    >>> round(bound(scores, delta=0.0, confidence=0.95, adjacency="replace-one", unit="user").epsilon, 3)
    5.809
    """

    seed: int

    def __call__(
        self, scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """Lower bound from the cosines of used canaries and of as many fresh ones from the same distribution."""
        slack, level = check.delta("delta", delta), 1 - check.open_unit("confidence", confidence)
        pairs = scores.member.size
        if scores.nonmember.size != pairs:
            raise InputError(
                f"one fresh canary is needed for every one that took part, got {scores.nonmember.size} for {pairs}."
            )
        rng = np.random.default_rng(check.integer("seed", self.seed, at_least=0))
        fresh = rng.permutation(scores.nonmember)
        ties = (scores.member == fresh) & (rng.random(pairs) < 0.5)
        correct = int(np.count_nonzero((scores.member > fresh) | ties))
        halved = adjacency != "replace-one"
        guesses, perfect = Guesses(pairs, pairs, correct), Guesses(pairs, pairs, pairs)
        return LowerBound(
            epsilon=_halved(guesses, slack, level) if halved else one_run(guesses, slack, level),
            delta=slack,
            confidence=confidence,
            method="one-shot",
            adjacency=adjacency,
            unit=unit,
            assumptions=(
                "used and fresh canaries were drawn independently from the same distribution",
                "nothing the attack saw depends on the fresh canaries",
            ),
            ceiling=_halved(perfect, slack, level) if halved else one_run(perfect, slack, level),
            trials=pairs,
        )


def two_normals(mean: float, std: float, other_mean: float, other_std: float, *, delta: float) -> float:
    """ε at δ between two normal distributions, the larger of the two directions.

    >>> round(two_normals(0.0, 1.0, 6.0, 1.0 + 2.3e-16, delta=1e-5), 4)
    42.836
    """
    first, second = check.positive("std", std), check.positive("std", other_std)
    slack = check.delta("delta", delta)
    if abs(first - second) <= SAME * max(first, second):
        return gaussian_epsilon(abs(other_mean - mean) / first, slack)
    if slack == 0:
        return math.inf
    shift, scale = (other_mean - mean) / first, second / first

    def excess(figure: float) -> float:
        return max(_hockey_stick(shift, scale, figure), _hockey_stick(-shift / scale, 1 / scale, figure)) - slack

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-10))


def _hockey_stick(shift: float, scale: float, figure: float) -> float:
    """P[L > ε] - e^ε Q[L > ε] for P = N(shift, scale²), Q = N(0, 1), with L the quadratic log-ratio."""
    a = (1 - 1 / scale**2) / 2
    b = shift / scale**2
    c = -(shift**2) / (2 * scale**2) - math.log(scale) - figure
    discriminant = b * b - 4 * a * c
    if discriminant <= 0:
        # The ratio never crosses: above e^ε nowhere (a < 0), or everywhere, which no ε ≥ 0 allows.
        return 0.0
    half = -(b + math.copysign(math.sqrt(discriminant), b)) / 2
    roots = np.sort([half / a, c / half])
    p, q = ndtr((roots - shift) / scale), ndtr(roots)
    p_up, q_up = ndtr(-(roots - shift) / scale), ndtr(-roots)
    inside = a < 0
    mass = (p[1] - p[0]) if inside else (p[0] + p_up[1])
    other = (q[1] - q[0]) if inside else (q[0] + q_up[1])
    return float(mass - (math.exp(figure) * other if other > 0 else 0.0))


def _halved(guesses: Guesses, delta: float, level: float) -> float:
    """ε of add-remove from a test of replacing: two neighbouring steps."""

    def excess(figure: float) -> float:
        return one_run_p_value(guesses, 2 * figure, min(1.0, (1 + math.exp(figure)) * delta)) - level

    if excess(0.0) > 0:
        return 0.0
    high = one_run(guesses, 0.0, level) / 2
    return float(brentq(excess, 0.0, high, xtol=1e-12)) if high > 0 and excess(high) > 0 else high
