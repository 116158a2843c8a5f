"""What a claim for added or removed records allows where one record is replaced by another."""

import math
import sys

from dpaudit.accounting.claim import Claim, FixedSize, GaussianSteps, Shuffled, too_small
from dpaudit.accounting.mechanism import epsilon


def replaced(epsilon: float, delta: float) -> tuple[float, float]:
    """(2ε, (1 + e^ε) δ): replacing is removing one record and adding another, so (ε, δ) holds twice.

    Group privacy of two: lemma 2.2 of `Vadhan (2017) <https://doi.org/10.1007/978-3-319-57048-8_7>`_.

    >>> replaced(1.0, 0.0)
    (2.0, 0.0)
    """
    if delta == 0:
        return 2 * epsilon, 0.0
    grown = 1 + math.exp(epsilon) if epsilon < math.log(sys.float_info.max) else math.inf
    return 2 * epsilon, min(1.0, grown * delta)


def allowed_for_replaced(claim: Claim, delta: float, mechanism: GaussianSteps | None = None) -> float | None:
    """The largest ε at ``delta`` that a claim for added or removed records allows for replaced ones.

    Args:
        claim: under ``add-remove`` or ``zero-out``.
        delta: at which replacing was measured.
        mechanism: what was run, where it is known. Its own accounting is tighter than the conversion by
            `replaced`, and is used where the claim is no larger than the mechanism's figure.

    Returns:
        None when nothing follows: without a mechanism only a δ of (1 + e^ε) times the claim's or more is limited.

    >>> claim = Claim(1.0, 1e-5, "record", "add-remove", "the paper")
    >>> allowed_for_replaced(claim, 1e-4), allowed_for_replaced(claim, 1e-5)
    (2.0, None)
    """
    limits = []
    if mechanism is not None and not isinstance(mechanism.sampling, FixedSize | Shuffled):
        own = epsilon(mechanism, delta=claim.delta, adjacency=claim.adjacency).epsilon
        if not too_small(own, claim.epsilon):
            limits.append(epsilon(mechanism, delta=delta, adjacency="replace-one").epsilon)
    twice, needed = replaced(claim.epsilon, claim.delta)
    if needed <= delta:
        limits.append(twice)
    return min(limits, default=None)
