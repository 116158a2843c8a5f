"""What an attacker who sees a step of the stacked engine learns of some records."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit.data.dataset import Dataset
from dpaudit.engine.dot_products import dot_products
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.tensorflow import tf
from dpaudit.scores.from_outputs import phi
from dpaudit.training.keras_model import keras_targets, network_inputs

if TYPE_CHECKING:
    from dpaudit.engine.network import Network
    from dpaudit.training.watched import StepMeasure


def measure_steps(network: "Network", records: Dataset, *, clip: float | None, along_gradients: bool) -> "StepMeasure":
    """How records are scored by a step: along their gradients, or by how far they are believed after it.

    Args:
        network: of the models.
        records: that are scored.
        clip: L2 norm a gradient is clipped to; None leaves it as it is.
        along_gradients: which of the two.
    """
    if along_gradients:
        along = dot_products(network, records.task, clip)
        return lambda before, after: np.asarray(
            along(tuple(before), tuple(after), network_inputs(records), keras_targets(records)), np.float64
        )
    features = tf.constant(records.features)

    def belief(_: Sequence[Any], after: Sequence[Any]) -> FloatArray:
        outputs = network.inference(network.copies(tuple(after)))(tuple(after), features).numpy()
        return phi(outputs, records.labels, task=records.task).values

    return belief
