"""An exact test of whether scores know who is a member, by the right guesses among the surest ones."""

import numpy as np

from dpaudit.runtime.check import BoolArray, FloatArray

SMALLEST = float(np.finfo(np.float64).tiny)  # a p-value below what a float can hold is given as this


def sizes(units: int) -> tuple[int, ...]:
    """How many are guessed to be members, and as many to be non-members: a quarter, and the surest hundredth.

    A quarter on each side is the share at which a shift of a normal score is seen best (27 %, Kelley 1939). The surest
    hundredth sees a difference in few records, which is what bounds of ε feed on. Of few units more are guessed, so
    that right guesses alone can be rare enough.

    >>> sizes(20), sizes(1000)
    ((10,), (250, 20))
    """
    most = units // 2
    return tuple(dict.fromkeys(min(most, max(share, 20)) for share in (units // 4, units // 100)))


def p_value(scores: FloatArray, member: BoolArray, size: int) -> tuple[float, float]:
    """Probability of at least as many right guesses, when membership was dealt out at random over these scores.

    The guesses are the highest and the lowest scores, as near to ``size`` of each as whole groups of equal scores
    allow. They depend on the scores alone. Under the null the members are a uniform draw without replacement, so the
    number of right guesses follows a hypergeometric law with three classes. The sum over it is exact for every number
    of units, every share of members and every pattern of ties. Equal scores alone give 1.

    Args:
        scores: shape (units,).
        member: shape (units,), which must not have entered the scores.
        size: guesses wanted on each side.

    Returns:
        The p-value, and the smallest one that members at these scores could have given.

    >>> np.round(p_value(np.arange(6.0), np.array([False, False, True, False, True, True]), 3), 6)  # 10 and 1 of 20
    array([0.5 , 0.05])
    >>> p_value(np.ones(6), np.array([False, False, False, True, True, True]), 3)
    (1.0, 1.0)
    """
    _, counts = np.unique(scores, return_counts=True)
    if counts.size == 1:
        return 1.0, 1.0
    from_top = np.cumsum(counts[::-1])[:-1]
    above = int(np.abs(from_top - size).argmin())
    from_bottom = np.cumsum(counts)[: counts.size - 1 - above]
    top, bottom = int(from_top[above]), int(from_bottom[np.abs(from_bottom - size).argmin()])
    ordered = member[np.argsort(scores, kind="stable")]
    right = int(ordered[-top:].sum()) + int((~ordered[:bottom]).sum())
    units, members = member.size, int(member.sum())
    most = min(top, members) + min(bottom, units - members)
    return tail(right, top, bottom, units, members), tail(most, top, bottom, units, members)


def tail(right: int, top: int, bottom: int, units: int, members: int) -> float:
    """Probability of at least ``right`` members in the top plus non-members in the bottom, of a uniform draw.

    >>> tail(6, 3, 3, 6, 3)
    0.05...
    """
    from scipy.stats import hypergeom

    inside = np.arange(max(0, members - (units - top)), min(top, members) + 1)
    most = inside + bottom - right  # of the bottom may be members
    inside, most = inside[most >= 0], most[most >= 0]
    chance = hypergeom.pmf(inside, units, members, top) @ hypergeom.cdf(most, units - top, members - inside, bottom)
    return float(np.clip(chance, SMALLEST, 1.0))
