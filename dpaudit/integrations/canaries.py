"""Canary clients in somebody else's federation: directions that both sides can draw again. numpy only."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check


def canary_direction(size: int, *, seed: int, canary: int) -> npt.NDArray[np.float64]:
    """A random unit vector that is fixed by (seed, canary).

    >>> direction = canary_direction(1000, seed=1, canary=0)
    >>> round(float(direction @ direction), 6), abs(float(direction @ canary_direction(1000, seed=1, canary=1))) < 0.2
    (1.0, True)
    """
    check.integer("size", size, at_least=2)
    vector = np.random.default_rng((seed, canary)).normal(size=size)
    return np.asarray(vector / np.linalg.norm(vector))


def canary_model(
    sent: Sequence[npt.NDArray[np.generic]], *, norm: float, seed: int, canary: int
) -> list[npt.NDArray[np.generic]]:
    """What a canary client answers with: the model it was sent, moved by ``norm`` along its direction."""
    check.positive("norm", norm)
    sizes = [int(array.size) for array in sent]
    direction = norm * canary_direction(sum(sizes), seed=seed, canary=canary)
    parts = np.split(direction, np.cumsum(sizes)[:-1])
    return [(array + part.reshape(array.shape)).astype(array.dtype) for array, part in zip(sent, parts, strict=True)]
