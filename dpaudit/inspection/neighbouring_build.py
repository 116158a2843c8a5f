"""A training built again on one record more and one fewer: what it takes from the number of records must not change.

Under add-remove adjacency the number of records is private. A divisor that is computed from it scales the noise, and
every coordinate of every release shows the scale (opacus #571 and #819).
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from scipy import optimize, stats

from dpaudit.bounds.lower_bound import Finding
from dpaudit.runtime.pytorch import torch_module

_MOST = 700.0  # ε beyond which float64 has no number


def compare_neighbours(
    build: Callable[[], Any], divisor: Callable[[Any], float], *, here: float, records: int, values: int, delta: float
) -> list[Finding]:
    """A finding where the divisor of the noisy sum differs between neighbouring data sets.

    Args:
        build: the factory; it is called for each neighbour, with every loader that it makes of ``records`` records
            holding one fewer, or the last one twice.
        divisor: of what it returns.
        here: divisor of what it returned on the data themselves.
        records: in the data.
        values: numbers released in the whole training, all under noise of the one scale or the other.
        delta: at which the ε of the two scales is given.
    """
    found: dict[int, float] = {}
    for change in (-1, 1):
        if records + change < 1:
            continue
        with _loaders_of(records, change):
            found[records + change] = divisor(build())
    worst = max(found, key=lambda count: abs(math.log(found[count] / here)))
    if found[worst] == here:
        return []
    finding = Finding(
        check="divisor",
        severity="violation",
        fed=f"the same training on {records} and on {worst} records",
        observed=f"the noisy sum is divided by {here:g} and by {found[worst]:g}: the scale of the noise shows which",
        expected="one divisor for neighbouring data sets; with add-remove adjacency the number of records is private",
        remedy="set optimizer.expected_batch_size to a number that is fixed before the data are seen",
        rung=0,
    )
    return [replace(finding, true_epsilon=epsilon_of_scales(found[worst] / here, values, delta))]


def epsilon_of_scales(ratio: float, values: int, delta: float) -> float:
    """ε that two Gaussian noises of different scale have at δ, when so many values are seen; both directions.

    The log-likelihood ratio of N(0, 1) and N(0, r²) in n values is n ln r + (1/r² - 1)‖x‖²/2, so the most powerful test
    is a threshold on ‖x‖², which is chi-squared.

    Args:
        ratio: of the two standard deviations.
        values: number of independent values.
        delta: δ, above 0.

    >>> round(epsilon_of_scales(1.5, 4, 1e-5), 2)
    15.43
    >>> epsilon_of_scales(2.0, 100_000, 1e-5)
    inf
    """
    wide = max(ratio, 1 / ratio)
    return 0.0 if wide == 1 else max(_epsilon(wide, values, delta), _epsilon(1 / wide, values, delta))


def _epsilon(ratio: float, values: int, delta: float) -> float:
    """ε of P = N(0, r²) against Q = N(0, 1)."""
    law = stats.chi2(values)

    def excess(epsilon: float) -> float:
        # p/q > e^ε  <=>  -n ln r + (1 - 1/r²) s/2 > ε, with s = ‖x‖²
        threshold = 2 * (epsilon + values * math.log(ratio)) / (1 - ratio**-2)
        side = law.sf if ratio > 1 else law.cdf
        of_p, of_q = float(side(threshold / ratio**2)), float(side(threshold))
        return of_p - math.exp(epsilon) * of_q - delta

    if excess(0.0) <= 0:
        return 0.0
    return math.inf if excess(_MOST) > 0 else float(optimize.brentq(excess, 0.0, _MOST))


@contextmanager
def _loaders_of(records: int, change: int) -> Iterator[None]:
    """While it holds, a new loader of so many records has one record fewer, or its last one twice."""
    data = torch_module("torch.utils.data")
    original = data.DataLoader.__init__

    def init(self: Any, dataset: Any, *args: Any, **kwargs: Any) -> None:
        if hasattr(dataset, "__len__") and len(dataset) == records:
            kept = [*range(records + min(change, 0)), *([records - 1] * max(change, 0))]
            dataset = data.Subset(dataset, kept)
        original(self, dataset, *args, **kwargs)

    data.DataLoader.__init__ = init
    try:
        yield
    finally:
        data.DataLoader.__init__ = original
