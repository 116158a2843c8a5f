"""A δ so large that no attack could certify anything is said, with one that would do."""

import sys
import warnings
from collections.abc import Callable


def warn_if_vacuous(method: str, delta: float, ceiling_at: Callable[[float], float]) -> None:
    """Warn when δ alone brings the ceiling of a bound to 0, and name the largest power of ten at which it would not.

    Args:
        method: name of the bound.
        delta: δ of the bound.
        ceiling_at: ε that a perfect attack on the same trials could certify at a δ.

    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_if_vacuous("accuracy", 0.3, lambda delta: max(0.0, 0.05 - delta))
    >>> str(caught[0].message).split(": ")[1]
    'even a perfect attack certifies nothing; use δ ≤ 0.01, or the one-run trade-off bound.'
    """
    if delta == 0 or ceiling_at(delta) > 0:
        return
    smaller = (10.0**-power for power in range(1, 16))
    works = next((each for each in smaller if each < delta and ceiling_at(each) > 0), None)
    if works is None:
        return  # too few trials for any δ, which the ceiling says
    other = "more trials" if "trade-off" in method else "the one-run trade-off bound"
    warn_caller(
        f"δ = {delta:g} is too large for the {method} bound on these trials: even a perfect attack certifies nothing; "
        f"use δ ≤ {works:g}, or {other}."
    )


def warn_caller(message: str) -> None:
    """Warn at the line that called into dpaudit, however many of its own calls lie between."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "dpaudit":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
