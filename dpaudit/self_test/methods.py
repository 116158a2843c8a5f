"""The bounds and estimates under test, each with the mechanisms it claims to hold for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.bounds.accuracy import Accuracy
from dpaudit.bounds.choosing import Fixed, FixedGuesses, HeldOut, SeveralSplits, Union, UnionGuesses
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.conditional import Conditional
from dpaudit.bounds.hypothesis import Definition, MechanismFamily, accuracy
from dpaudit.bounds.joint_beta import JointBeta
from dpaudit.bounds.multi_canary import MultiCanary, Order
from dpaudit.bounds.one_run import OneRun
from dpaudit.bounds.one_run_trade_off import OneRunTradeOff
from dpaudit.bounds.one_shot import OneShotBound
from dpaudit.bounds.ratios import RATIOS, Ratio
from dpaudit.bounds.sequential import Sequential, log_wealth, refuted_rate
from dpaudit.bounds.stopping_rule import StoppingRule
from dpaudit.bounds.whole_curve import WholeCurve
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores
from dpaudit.self_test.mechanisms import Simulated

Measure = Callable[[Scores, float, float], float]  # scores, δ, confidence -> ε
Build = Callable[[Simulated, int, int], Measure]  # mechanism, trials, seed -> measure
Family = Literal["any", "gaussian", "own"]
LOOK = 32  # trials between two looks of the test that stops
CANARIES = 4  # of each run in the table of the multi-canary interval


@dataclass(frozen=True)
class Method:
    """A method under test.

    Args:
        name: for the table.
        build: (mechanism, trials, seed) -> measure.
        guaranteed: True when it calls itself a lower bound with a confidence; the others are shown, not judged.
        one_run: True when it holds for canaries of one run; otherwise it is judged on independent trials only.
        family: the mechanisms it holds for: any, Gaussian leaks, or those whose own curve it is given.
        every: it is measured on one audit of so many; above 1 for what is slow and states no level.
    """

    name: str
    build: Build
    guaranteed: bool = True
    one_run: bool = False
    family: Family = "any"
    every: int = 1

    def applies_to(self, mechanism: Simulated) -> bool:
        """Whether it can be computed there: a mechanism's own curve must be known."""
        return self.family != "own" or mechanism.own is not None

    def judged_on(self, mechanism: Simulated) -> bool:
        """Whether its guarantee covers the mechanism."""
        inside = mechanism.gaussian or self.family != "gaussian"
        return self.guaranteed and self.applies_to(mechanism) and (self.one_run or mechanism.independent) and inside


def _bound(make: Callable[[Simulated, int, int], Callable[..., object]]) -> Build:
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


def _ratio(name: str) -> Build:
    def build(mechanism: Simulated, trials: int, seed: int) -> Measure:
        estimate = Ratio(Fixed(mechanism.midpoint), name)
        return lambda scores, delta, confidence: estimate(scores, confidence=confidence).epsilon

    return build


def _anytime(mechanism: Simulated, trials: int, seed: int) -> Measure:
    """The betting bound at its best moment, for someone who looks after every single trial."""
    rng = np.random.default_rng(seed)

    def measure(scores: Scores, delta: float, confidence: float) -> float:
        order = rng.permutation(len(scores))
        correct = np.cumsum(((scores.values > mechanism.midpoint) == scores.truth)[order])
        so_far = np.arange(1, len(scores) + 1)
        goal, rate = -float(np.log(1 - confidence)), 0.5
        while True:
            # The moment at which the wealth against this rate was largest refutes more, until no moment does.
            wealth = log_wealth(correct.astype(np.float64), so_far.astype(np.float64), rate)
            best = int(np.argmax(wealth))
            more = refuted_rate(int(correct[best]), int(so_far[best]), goal) if wealth[best] > goal else rate
            if more <= rate + 1e-9:
                break
            rate = more
        return _of_rate(mechanism, rate, delta)

    return measure


def _stopped(mechanism: Simulated, trials: int, seed: int) -> Measure:
    """The bound of a test that stops where it refutes half of the true ε, for a look after every 32 trials."""
    rng = np.random.default_rng(seed)

    def measure(scores: Scores, delta: float, confidence: float) -> float:
        order = rng.permutation(len(scores))
        correct = np.cumsum(((scores.values > mechanism.midpoint) == scores.truth)[order])
        claimed = accuracy(Definition().curve(min(mechanism.epsilon / 2, 4.0), delta))
        rule = StoppingRule.every(LOOK, len(scores), claimed, 1 - confidence)
        stop = next((n for n in rule.looks if rule.refutes(int(correct[n - 1]), n)), len(scores))
        return _of_rate(mechanism, max(0.5, rule.lower_rate(int(correct[stop - 1]), stop)), delta)

    return measure


def _of_rate(mechanism: Simulated, rate: float, delta: float) -> float:
    """ε of a rate of right guesses."""
    if mechanism.gaussian:
        return gaussian_epsilon(2 * float(ndtri(rate)), delta)
    return float(np.log(max(1.0, (rate - delta) / (1 - rate))))


def _paired(mechanism: Simulated, trials: int, seed: int) -> Measure:
    bound = OneShotBound(seed=seed)

    def measure(scores: Scores, delta: float, confidence: float) -> float:
        pairs = min(scores.member.size, scores.nonmember.size)
        matched = Scores(scores.member[:pairs], scores.nonmember[:pairs])
        return bound(matched, delta=delta, confidence=confidence, adjacency="replace-one", unit="user").epsilon / 2

    return measure


def _multi_canary(order: Order) -> Build:
    """Members and non-members, each cut into runs of a few canaries."""
    bound = MultiCanary(order)
    return _bound(lambda m, n, s: lambda scores, **options: bound(*_runs(scores, m.midpoint), **options))


def _runs(scores: Scores, threshold: float) -> list[BoolArray]:
    sides = [side[: side.size - side.size % CANARIES] for side in (scores.member, scores.nonmember)]
    return [(side > threshold).reshape(-1, CANARIES) for side in sides]


def _own(mechanism: Simulated) -> MechanismFamily:
    if mechanism.own is None:
        raise InputError(f"{mechanism.name} has no curve of its own here.")
    return mechanism.own


def _share(share: float, trials: int, seed: int) -> FixedGuesses:
    made = round(share * trials)
    return FixedGuesses(made - made // 2, made // 2, seed)


GRID = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
METHODS: tuple[Method, ...] = (
    Method("clopper-pearson, fixed", _bound(lambda m, n, s: ClopperPearson(Fixed(m.midpoint)))),
    Method("clopper-pearson, held out", _bound(lambda m, n, s: ClopperPearson(HeldOut(s)))),
    Method("clopper-pearson, union", _bound(lambda m, n, s: ClopperPearson(Union(GRID)))),
    Method("clopper-pearson, several splits", _bound(lambda m, n, s: ClopperPearson(SeveralSplits(s)))),
    Method("conditional, fixed", _bound(lambda m, n, s: Conditional(Fixed(m.midpoint)))),
    Method("conditional, held out", _bound(lambda m, n, s: Conditional(HeldOut(s)))),
    Method("accuracy, any mechanism", _bound(lambda m, n, s: Accuracy(Fixed(m.midpoint), "runs", Definition()))),
    Method("accuracy, Gaussian", _bound(lambda m, n, s: Accuracy(Fixed(m.midpoint), "runs")), family="gaussian"),
    Method("accuracy, own curve", _bound(lambda m, n, s: Accuracy(Fixed(m.midpoint), "runs", _own(m))), family="own"),
    Method("whole curve, Gaussian", _bound(lambda m, n, s: WholeCurve(Fixed(m.midpoint))), family="gaussian"),
    Method("whole curve, Gaussian, held out", _bound(lambda m, n, s: WholeCurve(HeldOut(s))), family="gaussian"),
    Method("whole curve, own curve", _bound(lambda m, n, s: WholeCurve(Fixed(m.midpoint), _own(m))), family="own"),
    Method("one-run, all guessed", _bound(lambda m, n, s: OneRun(_share(1.0, n, s))), one_run=True),
    Method("one-run, held out", _bound(lambda m, n, s: OneRun(HeldOut(s))), one_run=True),
    Method("one-run, several splits", _bound(lambda m, n, s: OneRun(SeveralSplits(s))), one_run=True),
    Method("one-run, union", _bound(lambda m, n, s: OneRun(UnionGuesses((0.05, 0.2, 1.0), s))), one_run=True),
    Method(
        "one-run trade-off, any mechanism",
        _bound(lambda m, n, s: OneRunTradeOff(HeldOut(s), Definition())),
        one_run=True,
    ),
    Method(
        "one-run trade-off, Gaussian",
        _bound(lambda m, n, s: OneRunTradeOff(HeldOut(s))),
        one_run=True,
        family="gaussian",
    ),
    Method(
        "one-run trade-off, own curve",
        _bound(lambda m, n, s: OneRunTradeOff(_share(0.2, n, s), _own(m))),
        one_run=True,
        family="own",
    ),
    Method("sequential", _bound(lambda m, n, s: Sequential(Fixed(m.midpoint), "runs", Definition()))),
    Method("sequential, looking after every trial", _anytime),
    Method("stopped at the claim, looking after 32 trials", _stopped),
    Method("one-shot pairs", _paired),
    Method("multi-canary, 2nd order (asymptotic)", _multi_canary(2), guaranteed=False),
    Method("multi-canary, 4th order (asymptotic)", _multi_canary(4), guaranteed=False),
    Method(
        "accuracy, one run taken for independent",
        _bound(lambda m, n, s: Accuracy(Fixed(m.midpoint), "one-run-assumed-independent")),
        guaranteed=False,
        family="gaussian",
    ),
    Method("joint-beta (credible)", _joint_beta, guaranteed=False, every=10),
    *(Method(f"{name}, fixed (estimate)", _ratio(name), guaranteed=False) for name in sorted(RATIOS)),
)
