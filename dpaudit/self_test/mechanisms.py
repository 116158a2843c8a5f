"""Simulated mechanisms whose true ε is known, as an attacker sees them: a score per trial, membership by fair coins."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.accounting.mechanism import epsilon
from dpaudit.bounds.hypothesis import MechanismFamily
from dpaudit.runtime.check import BoolArray, FloatArray

DELTA = 1e-5  # at which mechanisms are judged that do not bring a δ of their own
Generator = np.random.Generator
Simulate = Callable[[BoolArray, Generator], FloatArray]


@dataclass(frozen=True)
class Simulated:
    """A mechanism of known ε.

    Args:
        name: for the table.
        epsilon: the true ε.
        delta: the δ it holds for and is judged at.
        independent: True when each trial is a mechanism of its own; False when all canaries share one run.
        gaussian: True when every canary on its own is μ-Gaussian differentially private with exactly this ε.
        simulate: (membership of the trials, random generator) -> scores, higher = more likely in.
        midpoint: threshold midway between the worlds, known beforehand.
        own: the family of its own trade-off curve, where it has one.
    """

    name: str
    epsilon: float
    delta: float
    independent: bool
    gaussian: bool
    simulate: Simulate
    midpoint: float = 0.0
    own: MechanismFamily | None = None


def all_mechanisms() -> tuple[Simulated, ...]:
    """The mechanisms of the self-test."""
    return (
        null(),
        randomised_response(1.0),
        randomised_response(4.0),
        constant_ratio(1.0),
        gaussian(1.0),
        gaussian(2.5),
        subsampled(GaussianSteps(0.8, 20, Poisson(0.2))),
        correlated(1.0, 0.8),
        sometimes_everything(),
        catastrophe(2.0, 1e-3),
    )


def null() -> Simulated:
    """Scores that have nothing to do with membership."""
    return Simulated("null scores", 0.0, DELTA, True, True, lambda member, rng: rng.normal(size=member.size))


def randomised_response(epsilon: float) -> Simulated:
    """The coin itself, flipped with probability 1 / (1 + e^ε)."""

    def simulate(member: BoolArray, rng: Generator) -> FloatArray:
        return np.where(_told(member, epsilon, rng), 1.0, -1.0)

    return Simulated(f"randomised response ε={epsilon:g}", epsilon, DELTA, True, False, simulate)


def constant_ratio(epsilon: float) -> Simulated:
    """Randomised response spread over the line: every threshold has the same likelihood ratio, worst for maximisers."""

    def simulate(member: BoolArray, rng: Generator) -> FloatArray:
        told = np.where(_told(member, epsilon, rng), 1.0, -1.0)
        return np.asarray(told * rng.random(member.size), np.float64)

    return Simulated(f"constant likelihood ratio ε={epsilon:g}", epsilon, DELTA, True, False, simulate)


def gaussian(mu: float) -> Simulated:
    """One Gaussian release per trial."""

    def simulate(member: BoolArray, rng: Generator) -> FloatArray:
        return np.asarray(mu * member + rng.normal(size=member.size), np.float64)

    return Simulated(f"Gaussian μ={mu:g}", gaussian_epsilon(mu, DELTA), DELTA, True, True, simulate, mu / 2)


def subsampled(steps: GaussianSteps) -> Simulated:
    """Poisson-subsampled Gaussian steps, attacked by the exact likelihood ratio of all steps."""
    sigma, rate = steps.noise_multiplier, steps.sampling.rate

    def simulate(member: BoolArray, rng: Generator) -> FloatArray:
        drawn = (rng.random((member.size, steps.steps)) < rate) & member[:, None]
        x = drawn + sigma * rng.normal(size=drawn.shape)
        ratio = np.log1p(rate * np.expm1((2 * x - 1) / (2 * sigma**2)))
        return np.asarray(ratio.sum(axis=1), np.float64)

    truth, own = epsilon(steps, delta=DELTA).epsilon, MechanismFamily(steps, "add-remove")
    name = f"subsampled Gaussian q={rate:g} σ={sigma:g} T={steps.steps}"
    return Simulated(name, truth, DELTA, True, False, simulate, own=own)


def correlated(mu: float, correlation: float) -> Simulated:
    """One run whose noise is shared between canaries; each canary's own leak stays at most μ-Gaussian.

    The shared part of the noise can be estimated from the other canaries, so what protects one is the part of its own.
    """

    def simulate(member: BoolArray, rng: Generator) -> FloatArray:
        own = rng.normal(size=member.size)
        shared = math.sqrt(correlation / (1 - correlation)) * rng.normal()
        return np.asarray(mu * member + own + shared, np.float64)

    return Simulated("one run, shared noise", gaussian_epsilon(mu, DELTA), DELTA, False, True, simulate, mu / 2)


def sometimes_everything(share: float = 0.06, leak: float = 2.45) -> Simulated:
    """With probability ``share`` every canary is told by randomised response, else nothing is.

    Each canary on its own is 1-Gaussian differentially private, but together they break any test that takes them for
    independent.
    """

    def simulate(member: BoolArray, rng: Generator) -> FloatArray:
        told = np.where(_told(member, leak, rng), 1.0, -1.0)
        return told if rng.random() < share else rng.choice([-1.0, 1.0], size=member.size)

    truth = gaussian_epsilon(1.0, DELTA)
    return Simulated("one run, sometimes everything leaks", truth, DELTA, False, True, simulate)


def catastrophe(epsilon: float, delta: float) -> Simulated:
    """One run by randomised response that with probability δ tells everything: the use of δ that hurts most."""

    def simulate(member: BoolArray, rng: Generator) -> FloatArray:
        told = member if rng.random() < delta else _told(member, epsilon, rng)
        return np.where(told, 1.0, -1.0)

    return Simulated(f"one run, catastrophe with probability δ, ε={epsilon:g}", epsilon, delta, False, False, simulate)


def _told(member: BoolArray, epsilon: float, rng: Generator) -> BoolArray:
    told: BoolArray = member ^ (rng.random(member.size) < 1 / (1 + math.exp(epsilon)))
    return told
