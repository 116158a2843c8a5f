"""What steps cost whose noise has another law than independent Gaussian draws, by dp-accounting's accountants."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from dpaudit.accounting.claim import (
    Adjacency,
    Claim,
    GaussianSteps,
    LawSteps,
    Poisson,
    Sampling,
    Shuffled,
    TruncatedPoisson,
    Unit,
)
from dpaudit.accounting.law import Banded, DiscreteGaussian, GaussianNoise, Laplace, Law, TreeNoise
from dpaudit.accounting.mechanism import ORDERS, Accounted, epsilon
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

if TYPE_CHECKING:
    from dp_accounting import DpEvent


def law_epsilon(mechanism: GaussianSteps, law: Law, *, delta: float, adjacency: Adjacency = "add-remove") -> Accounted:
    """An upper bound on ε for steps with this noise.

    Args:
        mechanism: its noise multiplier is the law's scale over the clip norm (in L1 for Laplace), its steps and
            sampling are those of the training.
        law: of the noise. Banded: sampling is cyclic, so that every record can enter one step in ``len(bands)``
            (`Choquette-Choo and others (2023) <https://arxiv.org/abs/2306.08153>`_, Theorem 4). Tree: one epoch of
            disjoint batches, so that every record enters one step.
        delta: δ.
        adjacency: as in `epsilon`.

    Raises:
        InputError: no accountant is known for this law under this sampling or adjacency.

    >>> one = GaussianSteps(1.0, 1, Poisson(1.0))
    >>> round(law_epsilon(one, Laplace(), delta=0.0).epsilon, 3)  # by definition
    1.0
    """
    import dp_accounting
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    check.delta("delta", delta)
    if isinstance(law, GaussianNoise):
        return epsilon(mechanism, delta=delta, adjacency=adjacency)
    sigma = mechanism.noise_multiplier / (2 if adjacency == "replace-one" else 1)
    rate, steps = mechanism.sampling.rate, mechanism.steps
    if isinstance(law, TreeNoise):
        if not isinstance(mechanism.sampling, Shuffled) or steps > mechanism.sampling.batches_per_epoch:
            raise InputError(
                "tree noise is accounted for one epoch of disjoint batches, so for no more steps than those."
            )
    elif not isinstance(mechanism.sampling, (Poisson, TruncatedPoisson) if isinstance(law, Banded) else Poisson):
        raise InputError(f"{law.words} noise is accounted for Poisson sampling only, got {mechanism.sampling!r}.")
    if sigma == 0:
        return Accounted(math.inf, delta, adjacency, "no noise")
    match law:
        case Laplace():
            pld = PLDAccountant()
            pld.compose(_sampled(dp_accounting.LaplaceDpEvent(sigma), rate, steps))
            pure = steps * math.log1p(rate * math.expm1(1 / sigma))  # without δ, composed as it is
            return Accounted(min(pure, float(pld.get_epsilon(delta))), delta, adjacency, "PLD of Laplace")
        case DiscreteGaussian():
            rdp = RdpAccountant(ORDERS)
            rdp.compose(dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(sigma), steps))
            note = (
                "" if rate == 1 else "without amplification by sampling: none is known for this law in many dimensions"
            )
            return Accounted(float(rdp.get_epsilon(delta)), delta, adjacency, "zCDP of discrete Gaussian", note=note)
        case Banded(bands=bands):
            rounds = math.ceil(steps / len(bands))
            cyclic = replace(mechanism, steps=rounds, sampling=_of_group(mechanism.sampling, len(bands)))
            found = epsilon(cyclic, delta=delta, adjacency=adjacency)
            return replace(
                found,
                method=f"{found.method} of banded matrix",
                note=f"holds for cyclic sampling: every record can enter one step in {len(bands)}",
            )
        case TreeNoise():
            if adjacency == "add-remove":
                raise InputError("tree noise is accounted for a record that is zeroed out or replaced, not added.")
            rdp = RdpAccountant(ORDERS, dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
            rdp.compose(dp_accounting.SingleEpochTreeAggregationDpEvent(sigma, steps))
            return Accounted(float(rdp.get_epsilon(delta)), delta, adjacency, "RDP of one tree")


def _of_group(sampling: Sampling, groups: int) -> Sampling:
    """How the batches of one group of a cycle are drawn: from so many times fewer records, so many times as often."""
    rate = min(1.0, sampling.rate * groups)
    if isinstance(sampling, TruncatedPoisson):
        return TruncatedPoisson(rate, sampling.largest_batch, math.ceil(sampling.records / groups))
    return Poisson(rate)


def claim_of_law(steps: LawSteps, *, delta: float, adjacency: Adjacency, unit: Unit = "record") -> Claim:
    """The claim that follows from steps of a law: its ε is the accountant's.

    Raises:
        InputError: as `law_epsilon`.

    >>> once = LawSteps("laplace", 2.0, 1, Poisson(1.0))
    >>> round(claim_of_law(once, delta=0.0, adjacency="add-remove").epsilon, 3)
    0.5
    """
    found = law_epsilon(steps.with_noise(steps.noise_multiplier), steps.noise, delta=delta, adjacency=adjacency)
    source = f"{found.method} of {steps.steps} steps at noise multiplier {steps.noise_multiplier:g}"
    return Claim(found.epsilon, delta, unit, adjacency, "; ".join(filter(None, [source, found.note])), noise=steps)


def _sampled(event: "DpEvent", rate: float, steps: int) -> "DpEvent":
    import dp_accounting

    step = event if rate == 1 else dp_accounting.PoissonSampledDpEvent(rate, event)
    return dp_accounting.SelfComposedDpEvent(step, steps)
