"""Rung 2 of the audit ladder: canary gradients behind fair coins, one experiment per step, with an exact test.

At each step every canary gradient enters the batch by a fair coin of its own, and the release, seen in the canary's
direction, says which way the coin fell. A mechanism of noise multiplier σ answers rightly with probability at most
Φ(1 / 2σ), so the number of right answers is binomial and the noise there really is follows with confidence
(`Nasr et al. (2023) <https://arxiv.org/abs/2302.07956>`_, with an exact binomial instead of two union bounds). ε
follows by the accountant from the steps and the sampler of the claim: the sampler itself is rung 0's business.

Several canaries in one step lie in orthogonal directions, where Gaussian noise is independent: rung 1 tests that.
"""

import math
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from dpaudit import _check
from dpaudit._check import BoolArray, FloatArray
from dpaudit.accounting import gaussian_mu
from dpaudit.bounds.accuracy import accuracy_bound
from dpaudit.claim import Claim
from dpaudit.errors import AuditFailed, InputError
from dpaudit.evidence import LowerBound
from dpaudit.forensics.epsilon import epsilon_under
from dpaudit.forensics.mechanism import Mechanism, Release, Stated
from dpaudit.forensics.probe import Probe

FAMILY = "Gaussian noise on the accounted sampler"
PILOT = 20
_ANY_DELTA = 1e-5  # the bound on μ is made at some δ and unmade at the same


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
        steps: steps that are judged; a pilot of 20 more finds the threshold midway between the two answers.
        canaries: canaries in each step, in orthogonal directions.
        placement: ``dense`` over all variables, or the number of the one variable they lie in.
        norm: norm of a canary over the clip norm; beyond 1 it must be clipped.
    """

    steps: int = 400
    canaries: int = 32
    placement: Literal["dense"] | int = "dense"
    norm: float = 10.0

    def __post_init__(self) -> None:
        _check.integer("steps", self.steps, at_least=1)
        _check.integer("canaries", self.canaries, at_least=1)
        _check.positive("norm", self.norm)
        if self.placement != "dense":
            _check.integer("placement", self.placement, at_least=0)

    def __call__(
        self, mechanism: Mechanism | Release, stated: Stated, claim: Claim, *, confidence: float, seed: int
    ) -> StepAudit:
        """Audit a mechanism against a claim that says how its steps were composed."""
        start = time.perf_counter()
        level = 1 - _check.open_unit("confidence", confidence)
        if claim.mechanism is None:
            raise InputError("step canaries need a claim with a mechanism: its steps and sampling compose to ε.")
        if claim.adjacency != stated.adjacency:
            raise InputError(f"claim and mechanism differ in adjacency: {claim.adjacency} and {stated.adjacency}.")
        subject = mechanism if isinstance(mechanism, Mechanism) else Mechanism(mechanism)
        probe = Probe(subject, stated, level, seed)
        rng = np.random.default_rng([seed, 2])
        directions = self._directions(probe, rng)
        pilot_coins, pilot_answers = _run(probe, directions, self.norm, PILOT, rng)
        if pilot_coins.all() or not pilot_coins.any():
            raise AuditFailed(f"all {pilot_coins.size} coins of the pilot fell alike; use more canaries in a step.")
        threshold = (pilot_answers[pilot_coins].mean() + pilot_answers[~pilot_coins].mean()) / 2
        coins, answers = _run(probe, directions, self.norm, self.steps, rng)
        right = int(((answers > threshold) == coins).sum())
        # A replaced example moves the release by two clip norms, any other by one.
        distance = 2 if claim.adjacency == "replace-one" else 1
        sigma_at_most = _ratio(distance, _least_separation(right, coins.size, level))
        return StepAudit(
            noise_multiplier=_ratio(distance, _separation(coins, answers)),
            noise_multiplier_at_most=sigma_at_most,
            bound=LowerBound(
                epsilon=_composed(claim, sigma_at_most),
                delta=claim.delta,
                confidence=confidence,
                method="step-canaries",
                adjacency=claim.adjacency,
                unit=claim.unit,
                assumptions=(
                    "each trial is a step of its own with its own fair coin and fresh noise",
                    f"the training had {claim.mechanism.steps} such steps and sampled as claimed",
                    *(["noise is independent in orthogonal directions"] if self.canaries > 1 else []),
                ),
                ceiling=_composed(claim, _ratio(distance, _least_separation(coins.size, coins.size, level))),
                trials=coins.size,
                family=FAMILY,
            ),
            p_value=_p_value(right, coins.size, distance, claim.mechanism.noise_multiplier),
            correct=right,
            trials=coins.size,
            steps=self.steps,
            seconds=time.perf_counter() - start,
        )

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
        # One more example with nothing to protect: not every mechanism takes an empty batch, and rung 1 says which.
        answers[step] = directions @ probe.release(np.concatenate([batch, probe.zeros(1)]))
    return coins, answers


def _separation(coins: BoolArray, answers: FloatArray) -> float:
    """Distance of the two answers in standard deviations: an estimate of 1 / σ."""
    here, away = answers[coins], answers[~coins]
    spread = math.sqrt((here.var() * here.size + away.var() * away.size) / coins.size)
    gap = max(float(here.mean() - away.mean()), 0.0)
    return gap / spread if spread > 0 else math.inf


def _least_separation(right: int, trials: int, level: float) -> float:
    """Lower confidence bound on the distance, from the number of right guesses."""
    return gaussian_mu(accuracy_bound(right, trials, _ANY_DELTA, level), _ANY_DELTA)


def _composed(claim: Claim, noise_multiplier: float) -> float:
    """ε of the claim's steps with this noise; 0 when nothing bounds the noise."""
    if math.isinf(noise_multiplier):
        return 0.0
    epsilon = epsilon_under(claim)(noise_multiplier)
    assert epsilon is not None
    return epsilon


def _p_value(right: int, trials: int, distance: int, noise_multiplier: float) -> float:
    """Chance of as many right guesses under the claim; 1 when the claim is no noise at all."""
    if noise_multiplier == 0:
        return 1.0
    return float(stats.binom.sf(right - 1, trials, stats.norm.cdf(distance / (2 * noise_multiplier))))


def _ratio(distance: int, separation: float) -> float:
    return distance / separation if separation > 0 else math.inf
