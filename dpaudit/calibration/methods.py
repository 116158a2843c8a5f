"""The bounds and estimates under test, each with the mechanisms it claims to hold for."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from dpaudit.accounting import gaussian_epsilon
from dpaudit.bounds.accuracy import Accuracy
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.conditional import Conditional
from dpaudit.bounds.joint_beta import JointBeta
from dpaudit.bounds.null import Definition, Gaussian
from dpaudit.bounds.one_run import OneRun
from dpaudit.bounds.one_run_trade_off import OneRunTradeOff
from dpaudit.bounds.one_shot import OneShotBound
from dpaudit.bounds.ratios import RATIOS, Ratio
from dpaudit.bounds.selection import CrossFit, Fixed, FixedGuesses, HeldOut, Union, UnionGuesses
from dpaudit.bounds.sequential import Sequential, log_wealth
from dpaudit.bounds.whole_curve import WholeCurve
from dpaudit.calibration.mechanisms import Simulated
from dpaudit.scores import Scores

Measure = Callable[[Scores, float, float], float]  # scores, δ, confidence -> ε


@dataclass(frozen=True)
class Method:
    """A method under test.

    Args:
        name: for the table.
        guaranteed: True when it calls itself a lower bound with a confidence; the others are shown, not judged.
        one_run: True when it holds for canaries of one run; otherwise it is judged on independent trials only.
        family: True when it holds for Gaussian leaks only.
        build: (mechanism, trials, seed) -> measure.
    """

    name: str
    guaranteed: bool
    one_run: bool
    family: bool
    build: Callable[[Simulated, int, int], Measure]

    def judged_on(self, mechanism: Simulated) -> bool:
        """Whether its guarantee covers the mechanism."""
        return self.guaranteed and (self.one_run or mechanism.independent) and (mechanism.gaussian or not self.family)


def _bound(make: Callable[[Simulated, int, int], Callable[..., object]]) -> Callable[[Simulated, int, int], Measure]:
    def build(mechanism: Simulated, trials: int, seed: int) -> Measure:
        bound = make(mechanism, trials, seed)

        def measure(scores: Scores, delta: float, confidence: float) -> float:
            found = bound(scores, delta=delta, confidence=confidence, adjacency="add-remove", unit="record")
            return float(found.epsilon)  # type: ignore[attr-defined]  # every bound returns a LowerBound

        return measure

    return build


def _joint_beta(mechanism: Simulated, trials: int, seed: int) -> Measure:
    estimate = JointBeta(Fixed(mechanism.midpoint))
    return lambda scores, delta, confidence: estimate(scores, delta=delta, credibility=2 * confidence - 1).low


def _ratio(name: str) -> Callable[[Simulated, int, int], Measure]:
    def build(mechanism: Simulated, trials: int, seed: int) -> Measure:
        estimate = Ratio(Fixed(mechanism.midpoint), name)
        return lambda scores, delta, confidence: estimate(scores, confidence=confidence).epsilon

    return build


def _anytime(mechanism: Simulated, trials: int, seed: int) -> Measure:
    """The betting bound at its best moment, for someone who looks after every single trial."""
    null = Gaussian() if mechanism.gaussian else Definition()
    rng = np.random.default_rng(seed)

    def measure(scores: Scores, delta: float, confidence: float) -> float:
        order = rng.permutation(len(scores))
        correct = np.cumsum(((scores.values > mechanism.midpoint) == scores.truth)[order]).astype(np.float64)
        so_far = np.arange(1.0, len(scores) + 1)

        def margin(rate: float) -> float:
            return float(log_wealth(correct, so_far, rate).max()) + math.log(1 - confidence)

        if margin(0.5) <= 0:
            return 0.0
        rate = float(brentq(margin, 0.5, 1 - 1e-9, xtol=1e-6))
        if isinstance(null, Gaussian):
            return gaussian_epsilon(2 * float(ndtri(rate)), delta)
        return math.log(max(1.0, (rate - delta) / (1 - rate)))

    return measure


def _paired(mechanism: Simulated, trials: int, seed: int) -> Measure:
    bound = OneShotBound(seed=seed)

    def measure(scores: Scores, delta: float, confidence: float) -> float:
        pairs = min(scores.member.size, scores.nonmember.size)
        matched = Scores(scores.member[:pairs], scores.nonmember[:pairs])
        return bound(matched, delta=delta, confidence=confidence, adjacency="replace-one", unit="user").epsilon / 2

    return measure


GRID = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
METHODS: tuple[Method, ...] = (
    Method("clopper-pearson, fixed", True, False, False, _bound(lambda m, n, s: ClopperPearson(Fixed(m.midpoint)))),
    Method("clopper-pearson, held out", True, False, False, _bound(lambda m, n, s: ClopperPearson(HeldOut(s)))),
    Method("clopper-pearson, union", True, False, False, _bound(lambda m, n, s: ClopperPearson(Union(GRID)))),
    Method("clopper-pearson, cross-fit", True, False, False, _bound(lambda m, n, s: ClopperPearson(CrossFit(s)))),
    Method("conditional, fixed", True, False, False, _bound(lambda m, n, s: Conditional(Fixed(m.midpoint)))),
    Method("conditional, held out", True, False, False, _bound(lambda m, n, s: Conditional(HeldOut(s)))),
    Method(
        "accuracy, any mechanism",
        True,
        False,
        False,
        _bound(lambda m, n, s: Accuracy(Fixed(m.midpoint), "runs", Definition())),
    ),
    Method("accuracy, Gaussian", True, False, True, _bound(lambda m, n, s: Accuracy(Fixed(m.midpoint), "runs"))),
    Method("whole curve, Gaussian", True, False, True, _bound(lambda m, n, s: WholeCurve(Fixed(m.midpoint)))),
    Method("whole curve, Gaussian, held out", True, False, True, _bound(lambda m, n, s: WholeCurve(HeldOut(s)))),
    Method("one-run, all guessed", True, True, False, _bound(lambda m, n, s: OneRun(_everyone(n, s)))),
    Method("one-run, held out", True, True, False, _bound(lambda m, n, s: OneRun(HeldOut(s)))),
    Method("one-run, union", True, True, False, _bound(lambda m, n, s: OneRun(UnionGuesses((0.05, 0.2, 1.0), s)))),
    Method(
        "one-run trade-off, any mechanism",
        True,
        True,
        False,
        _bound(lambda m, n, s: OneRunTradeOff(HeldOut(s), Definition())),
    ),
    Method("one-run trade-off, Gaussian", True, True, True, _bound(lambda m, n, s: OneRunTradeOff(HeldOut(s)))),
    Method(
        "sequential", True, False, False, _bound(lambda m, n, s: Sequential(Fixed(m.midpoint), "runs", Definition()))
    ),
    Method("sequential, looking after every trial", True, False, False, _anytime),
    Method("one-shot pairs", True, False, False, _paired),
    Method(
        "accuracy, one run taken for independent",
        False,
        False,
        True,
        _bound(lambda m, n, s: Accuracy(Fixed(m.midpoint), "one-run-assumed-independent")),
    ),
    Method("joint-beta (credible)", False, False, False, _joint_beta),
    *(Method(f"{name}, fixed (estimate)", False, False, False, _ratio(name)) for name in sorted(RATIOS)),
)


def _everyone(trials: int, seed: int) -> FixedGuesses:
    return FixedGuesses(trials - trials // 2, trials // 2, seed)
