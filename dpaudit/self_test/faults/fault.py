"""One known fault, and the inspection that must detect it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dpaudit.accounting.claim import Claim, GaussianSteps, LawSteps, Poisson, Shuffled
from dpaudit.accounting.composed import epsilon_under
from dpaudit.bounds.lower_bound import Finding

# The training every mechanism is claimed to be part of: 60,000 records, q 0.01, σ 1, 1,000 steps.
DP_SGD_CLAIM = Claim(1.83, 1e-5, "record", "add-remove", "PLD accountant", GaussianSteps(1.0, 1000, Poisson(0.01)))
# The federated training: 5 % of the clients in each of 100 rounds, z 1.
FEDERATED_CLAIM = Claim(3.50, 1e-5, "user", "add-remove", "PLD accountant", GaussianSteps(1.0, 100, Poisson(0.05)))
# One training of 64 steps with noise that is correlated over them: batches of a sixteenth, and one epoch of a tree.
BANDED_CLAIM = Claim(
    7.31,
    1e-5,
    "record",
    "add-remove",
    "PLD accountant",
    noise=LawSteps("banded:1,0.5,0.25,0.125:64", 1.0, 64, Poisson(1 / 16)),
)
TREE_CLAIM = Claim(
    15.2, 1e-5, "record", "zero-out", "Rényi accountant", noise=LawSteps("tree:64", 1.0, 64, Shuffled(64))
)


@dataclass(frozen=True)
class Detection:
    """What one inspection observed.

    Args:
        check: name of the check or bound that detected it; empty when none did.
        noise_multiplier: measured, where the rung measures it; None otherwise.
        epsilon: measured lower bound or computed truth, where the rung gives one; None otherwise.
    """

    check: str
    noise_multiplier: float | None = None
    epsilon: float | None = None


@dataclass(frozen=True)
class Fault:
    """A broken mechanism or pipeline.

    Args:
        name: what it is called in tables and tests.
        fault: what is wrong, in one sentence.
        subject: what has the fault.
        rung: rung of the ladder that must detect it.
        inspect: seed -> what that rung observed.
        claim: the claim on it.
        noise_multiplier: the σ there really is, 0 where there is effectively none; None where it is no single number.
        epsilon: the true ε where it does not follow from ``noise_multiplier``.
        tensorflow: whether the inspection imports TensorFlow.
    """

    name: str
    fault: str
    subject: str
    rung: int
    inspect: Callable[[int], Detection]
    claim: Claim
    noise_multiplier: float | None = None
    epsilon: float | None = None
    tensorflow: bool = False

    @property
    def true_epsilon(self) -> float | None:
        """ε there really is, by the accountant; None where it is not known. Takes seconds."""
        if self.epsilon is not None or self.noise_multiplier is None:
            return self.epsilon
        return _true_epsilon(self.claim, self.noise_multiplier)


@lru_cache(maxsize=64)
def _true_epsilon(claim: Claim, noise_multiplier: float) -> float | None:
    return epsilon_under(claim)(noise_multiplier) if noise_multiplier > 0 else math.inf


def first_violation(findings: Sequence[Finding], noise_multiplier: float | None = None) -> Detection:
    """The first finding that contradicts a claim, with the noise measured where the noise is what it is about."""
    for finding in findings:
        if finding.severity == "violation":
            measured = noise_multiplier if finding.check in ("noise", "sensitivity") else None
            return Detection(finding.check, measured, finding.true_epsilon)
    return Detection("", noise_multiplier)
