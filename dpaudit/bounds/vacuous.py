"""What δ takes from a bound before any score is seen; every bound says it in its note."""

LARGE = 0.8  # share of the ceiling at δ = 0 below which the price of δ is said


def price_of_delta(delta: float, ceiling: float, without: float | None = None) -> str:
    """What δ alone does to the ceiling of a bound, in one sentence; empty where that is little.

    Args:
        delta: δ of the bound.
        ceiling: ε that a perfect attack on the same trials could certify at this δ.
        without: ε that it could certify at δ = 0, where the two can be compared.

    >>> price_of_delta(1e-5, 8.13, 10.41)
    'at δ = 1e-05 a perfect attack on these trials could certify ε = 8.13, and 10.41 at δ = 0'
    >>> price_of_delta(0.99, 0.0)
    'at δ = 0.99 not even a perfect attack on these trials could certify anything'
    >>> price_of_delta(1e-9, 10.4, 10.41)
    ''
    """
    if delta > 0 and ceiling <= 0:
        return f"at δ = {delta:g} not even a perfect attack on these trials could certify anything"
    if without is None or ceiling >= LARGE * without:
        return ""
    return (
        f"at δ = {delta:g} a perfect attack on these trials could certify ε = {ceiling:.2f}, and {without:.2f} at δ = 0"
    )
