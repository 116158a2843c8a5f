"""A pool, one of its targets, and its references by record, for formulas written as naive loops."""

import numpy as np

from dpaudit.scores.signals import Signals
from tests.attacks.membership.pool import synthetic

POOL = synthetic(queries=2)
TARGET = POOL.target(3)


def split(signals: Signals) -> list[tuple[float, np.ndarray, np.ndarray]]:  # type: ignore[type-arg]
    """(φ of the target, φ of references with the record, φ of those without it) per record."""
    return [
        (phi, reference[inside], reference[~inside])
        for phi, reference, inside in zip(signals.phi, signals.reference.T, signals.included.T, strict=True)
    ]
