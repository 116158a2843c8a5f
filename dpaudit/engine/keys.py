"""Keys of random streams, and numpy generators on them, without TensorFlow."""

import hashlib

import numpy as np
import numpy.typing as npt


def key(seed: int, model: int, purpose: str, *counters: int) -> npt.NDArray[np.uint64]:
    """128 bits for one purpose of one model, as two words; ``counters`` tell steps apart."""
    text = ":".join([str(int(seed)), str(int(model)), purpose, *(str(int(counter)) for counter in counters)])
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], np.uint64)


def generator(seed: int, model: int, purpose: str, *counters: int) -> np.random.Generator:
    """numpy's Philox on that key.

    >>> int(generator(1, 0, "batches", 3).integers(100)) == int(generator(1, 0, "batches", 3).integers(100))
    True
    """
    return np.random.Generator(np.random.Philox(key=key(seed, model, purpose, *counters)))
