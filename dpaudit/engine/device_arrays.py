"""Records as a compiled program keeps them, for all copies and steps."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dpaudit.engine.cost import cost, is_prepared
from dpaudit.engine.network import Network
from dpaudit.runtime.tensorflow import tf


class Held(NamedTuple):
    """All records as the program keeps them: inputs, prepared for the first layer where that fits, and targets."""

    inputs: Any
    targets: Any
    is_prepared: bool

    @classmethod
    def of(cls, network: Network, features: npt.NDArray[np.float32], targets: npt.NDArray[np.generic]) -> "Held":
        """Of these records."""
        if not is_prepared(cost(network), len(features)):
            return cls(tf.constant(features, tf.float32), tf.constant(targets), False)
        prepare = _preparation(network)
        parts = [
            prepare(tf.constant(features[start : start + 256], tf.float32)) for start in range(0, len(features), 256)
        ]
        return cls(tf.concat(parts, axis=0), tf.constant(targets), True)


@lru_cache(maxsize=16)
def _preparation(network: Network) -> Callable[[Any], Any]:
    def prepare(x: Any) -> Any:
        return network.prepared(x[None])[0]

    return tf.function(prepare, reduce_retracing=True, autograph=False)  # type: ignore[no-any-return]
