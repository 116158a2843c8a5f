"""Rung 2 of the audit ladder: canary gradients behind fair coins, one experiment per step, with an exact test.

At each step every canary gradient enters the batch by a fair coin of its own, and the release, seen in the canary's
direction, says which way the coin fell. A mechanism of noise multiplier σ answers rightly with probability at most
Φ(1 / 2σ), so the number of right answers is binomial and the noise there really is follows with confidence
(`Nasr et al. (2023) <https://arxiv.org/abs/2302.07956>`_, with an exact binomial instead of two union bounds). ε
follows by the accountant from the steps and the sampler of the claim: the sampler itself is rung 0's business.

Several canaries in one step lie in orthogonal directions, where Gaussian noise is independent: rung 1 tests that. Noise
that is correlated over the steps is asked in whole trainings (`dpaudit.inspection.correlated_canaries`).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from dpaudit.accounting.claim import Claim
from dpaudit.accounting.composed import epsilon_under
from dpaudit.bounds.accuracy import INDEPENDENCE
from dpaudit.bounds.lower_bound import Finding, LowerBound, Procedure
from dpaudit.bounds.step_canary_power import METHOD, claimed_rate, clips_per_change, composed_epsilon
from dpaudit.bounds.stopping_rule import StoppingRule
from dpaudit.inspection.correlated_canaries import Correlated, Trainings, correlated_law
from dpaudit.inspection.mechanism import Mechanism, Release, Stated
from dpaudit.inspection.probe import Probe
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import AuditFailed, InputError

FAMILY = "Gaussian noise on the accounted sampler"
PILOT = 20


@dataclass(frozen=True)
class StepAudit:
    """What step canaries found.

    Args:
        noise_multiplier: estimate of noise over sensitivity.
        noise_multiplier_at_most: its upper confidence bound; infinite when nothing was seen.
        bound: lower bound on ε by composition over the claim's steps.
        p_value: of the claim, exact.
        correct: right guesses.
        trials: fair coins.
        steps: calls of the mechanism that were judged.
        seconds: how long it took.
    """

    noise_multiplier: float
    noise_multiplier_at_most: float
    bound: LowerBound
    p_value: float
    correct: int
    trials: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class StepCanaries:
    """Fair-coin gradient canaries at every step.

    Args:
        steps: steps that are judged; a pilot of 20 more finds the threshold midway between the two answers. Where noise
            is correlated over the steps, both are rounded up to whole trainings.
        canaries: canaries in each step, in orthogonal directions.
        placement: ``dense`` over all variables, or the number of the one variable they lie in.
        norm: norm of a canary over the clip norm; beyond 1 it must be clipped.
        stop_early: stop as soon as the claim is refuted. Every figure then holds wherever it stops, and is a little
            weaker after all steps.
    """

    steps: int = 400
    canaries: int = 32
    placement: Literal["dense"] | int = "dense"
    norm: float = 10.0
    stop_early: bool = False

    def __post_init__(self) -> None:
        check.integer("steps", self.steps, at_least=1)
        check.integer("canaries", self.canaries, at_least=1)
        check.positive("norm", self.norm)
        if self.placement != "dense":
            check.integer("placement", self.placement, at_least=0)

    def __call__(
        self, mechanism: Mechanism | Release, stated: Stated, claim: Claim, *, confidence: float, seed: int
    ) -> StepAudit:
        """Audit a mechanism against a claim that says how its steps were composed."""
        start = time.perf_counter()
        level = 1 - check.open_unit("confidence", confidence)
        ran = claim.mechanism if claim.noise is None else claim.noise
        law = None if claim.noise is None else correlated_law(claim.noise.noise)
        if ran is None or (claim.noise is not None and law is None):
            raise InputError(
                "step canaries need a claim with Gaussian noise, of independent or correlated steps, and its sampling."
            )
        if law != correlated_law(stated.law):
            raise InputError("claim and mechanism differ in how their noise is correlated over the steps.")
        if ran.noise_multiplier == 0:
            raise InputError("a claim without noise claims nothing that step canaries could refute.")
        if claim.adjacency != stated.adjacency:
            raise InputError(f"claim and mechanism differ in adjacency: {claim.adjacency} and {stated.adjacency}.")
        subject = mechanism if isinstance(mechanism, Mechanism) else Mechanism(mechanism)
        probe = Probe(subject, stated, level, seed)
        rng = np.random.default_rng([seed, 2])
        asked = self._asked(probe, law, rng)
        moved = clips_per_change(claim.adjacency) * asked.strength
        claimed = claimed_rate(claim, ran.noise_multiplier / asked.strength)
        rounds = math.ceil(self.steps / asked.length)
        if self.stop_early:
            coins, answers, rule = _until_refuted(asked, rounds, claimed, level, rng)
        else:
            coins, answers = asked.ask(rounds, rng)
            rule = StoppingRule((coins.size,), None, level)
        right, trials = int(((answers > 0) == coins).sum()), coins.size
        at_most = _ratio(moved, _separation_at_least(rule.lower_rate(right, trials)))
        return StepAudit(
            noise_multiplier=_ratio(moved, _separation(coins, answers)),
            noise_multiplier_at_most=at_most,
            bound=LowerBound(
                epsilon=composed_epsilon(claim, at_most),
                delta=claim.delta,
                confidence=confidence,
                method=METHOD,
                adjacency=claim.adjacency,
                unit=claim.unit,
                assumptions=(
                    INDEPENDENCE["steps"],
                    f"the training had {ran.steps} such steps and sampled as claimed",
                    *(["noise is independent in orthogonal directions"] if self.canaries > 1 else []),
                ),
                ceiling=composed_epsilon(claim, _ratio(moved, _separation_at_least(rule.largest_rate(trials)))),
                trials=trials,
                family=FAMILY,
                procedure=Procedure("sequential" if self.stop_early else "fixed", asked.thresholds),
            ),
            p_value=rule.p_value(right, trials, claimed),
            correct=right,
            trials=trials,
            steps=len(coins) * asked.length,
            seconds=time.perf_counter() - start,
        )

    def _asked(self, probe: Probe, law: Correlated | None, rng: np.random.Generator) -> "_Asked":
        """The pilot, and what is asked after it."""
        directions = self._directions(probe, rng)
        if law is not None:
            trainings = Trainings(probe, directions, self.norm, law)
            plan, filters = trainings.pilot(math.ceil(PILOT / law.steps), rng)

            def whole(count: int, rng: np.random.Generator) -> tuple[BoolArray, FloatArray]:
                coins, answers = zip(*(trainings.answers(plan, filters, rng) for _ in range(count)), strict=True)
                return np.stack(coins), np.stack(answers)

            return _Asked(whole, plan.strength, law.steps, tuple(filters.thresholds.tolist()))
        coins, answers = _run(probe, directions, self.norm, PILOT, rng)
        if coins.all() or not coins.any():
            raise AuditFailed(f"all {coins.size} coins of the pilot fell alike; use more canaries in a step.")
        threshold = float(answers[coins].mean() + answers[~coins].mean()) / 2

        def alone(count: int, rng: np.random.Generator) -> tuple[BoolArray, FloatArray]:
            coins, answers = _run(probe, directions, self.norm, count, rng)
            return coins, answers - threshold

        return _Asked(alone, 1.0, 1, (threshold,))

    def _directions(self, probe: Probe, rng: np.random.Generator) -> FloatArray:
        """Orthonormal directions, shape (canaries, coordinates)."""
        if self.placement == "dense":
            part = slice(0, probe.coordinates)
        elif self.placement < len(probe.slices):
            part = probe.slices[self.placement]
        else:
            raise InputError(f"placement must be a variable from 0 to {len(probe.slices) - 1}, got {self.placement}.")
        size = part.stop - part.start
        if self.canaries > size:
            raise InputError(f"at most {size} canaries have orthogonal directions there, got {self.canaries}.")
        basis, _ = np.linalg.qr(rng.standard_normal((size, self.canaries)))
        directions = np.zeros((self.canaries, probe.coordinates))
        directions[:, part] = basis.T
        return directions


@dataclass(frozen=True)
class _Asked:
    """How canaries are asked once the pilot is over.

    Args:
        ask: a number of rounds -> inclusions and answers, (rounds, canaries); an answer above 0 says "included".
        strength: distance of the two answers over that of one Gaussian release, at most.
        length: steps of a round.
        thresholds: that were taken off the answers.
    """

    ask: Callable[[int, np.random.Generator], tuple[BoolArray, FloatArray]]
    strength: float
    length: int
    thresholds: tuple[float, ...]


def _until_refuted(
    asked: _Asked, rounds: int, claimed: float, level: float, rng: np.random.Generator
) -> tuple[BoolArray, FloatArray, StoppingRule]:
    """Round by round, until the claim is refuted or the rounds are over."""
    rule: StoppingRule | None = None
    coins: list[BoolArray] = []
    answers: list[FloatArray] = []
    right = trials = 0
    while rule is None or (len(coins) < rounds and not rule.refutes(right, trials)):
        fell, said = asked.ask(1, rng)
        if rule is None:  # every round has as many trials as the first
            rule = StoppingRule.every(fell.size, rounds * fell.size, claimed, level)
        right, trials = right + int(((said > 0) == fell).sum()), trials + fell.size
        coins.append(fell[0])
        answers.append(said[0])
    return np.array(coins), np.array(answers), rule


def find_contradiction(found: StepAudit, stated: Stated, claim: Claim, *, level: float) -> list[Finding]:
    """A finding when the right guesses refute the stated noise with p-value at most ``level``."""
    if found.p_value > level:
        return []
    return [
        Finding(
            check="step canaries",
            severity="violation",
            fed=f"{found.trials} canaries behind fair coins in {found.steps} steps",
            observed=f"{found.correct} coins guessed rightly: noise multiplier {found.noise_multiplier:.3g}, at most "
            f"{found.noise_multiplier_at_most:.3g} with {found.bound.confidence:.0%} confidence",
            expected=f"noise multiplier {stated.noise_multiplier:g}, under which so many have probability "
            f"{found.p_value:.2g}",
            remedy="compare the standard deviation of the noise with clip norm, weights and denominator at every step",
            rung=2,
            true_epsilon=epsilon_under(claim)(found.noise_multiplier),
        )
    ]


def _run(
    probe: Probe, directions: FloatArray, norm: float, steps: int, rng: np.random.Generator
) -> tuple[BoolArray, FloatArray]:
    """Coins and answers of some steps, each (steps, canaries)."""
    coins = rng.random((steps, len(directions))) < 0.5
    answers = np.empty(coins.shape)
    canaries = norm * probe.stated.clip * directions
    for step, present in enumerate(coins):
        match probe.stated.adjacency:
            case "add-remove":
                batch = canaries[present]
            case "zero-out":
                batch = canaries * present[:, None]
            case _:
                batch = canaries * np.where(present, 1.0, -1.0)[:, None]
        # Others with nothing to protect: an ordinary batch where its size is public, one example where it is not,
        # because not every mechanism takes an empty batch (rung 1 says which).
        private_size = probe.stated.adjacency == "add-remove"
        others = 1 if private_size else max(1, probe.batch_size - len(batch))
        answers[step] = directions @ probe.release(np.concatenate([batch, probe.zeros(others)]))
    return coins, answers


def _separation_at_least(rate: float) -> float:
    """Distance of two Gaussian answers, in standard deviations, that are told apart at this rate; 0 at one half."""
    return max(0.0, 2 * float(ndtri(rate)))


def _separation(coins: BoolArray, answers: FloatArray) -> float:
    """Distance of the two answers in standard deviations: an estimate of 1 / σ."""
    here, away = answers[coins], answers[~coins]
    spread = math.sqrt((here.var() * here.size + away.var() * away.size) / coins.size)
    gap = max(float(here.mean() - away.mean()), 0.0)
    return gap / spread if spread > 0 else math.inf


def _ratio(distance: float, separation: float) -> float:
    return distance / separation if separation > 0 else math.inf
