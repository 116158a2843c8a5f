"""What an attacker who sees every step learns of some records: how far the model went along each one's gradient.

The gradient of a record, clipped, is what a step adds when the record is in its batch, so the product of a step with it
is the statistic of `Nasr et al. (2023) <https://arxiv.org/abs/2302.07956>`_. No record's gradient is ever held: its
product with a direction is the derivative of its loss along that direction, which forward differentiation gives for
all records at once.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from dpaudit.data.dataset import Task
from dpaudit.engine.gradients import per_example_norms, require_per_example
from dpaudit.engine.losses import per_example_loss
from dpaudit.engine.network import Network, Parameters
from dpaudit.runtime.tensorflow import tf


@lru_cache(maxsize=16)
def dot_products(network: Network, task: Task, clip: float | None) -> Callable[[Parameters, Parameters, Any, Any], Any]:
    """A program: parameters before and after a step, records and targets -> products, shape (models, records).

    The product is that of (before - after) with a record's gradient before the step, clipped to ``clip``: positive
    where the step went the way the record would have it.

    Args:
        network: of the parameters.
        task: which loss.
        clip: L2 norm a gradient is clipped to; None leaves it as it is.

    Raises:
        InputError: a layer mixes the examples of a batch.
    """
    require_per_example(network)
    loss = partial(per_example_loss, task)

    # Traced for each number of models: the layers need to know it.
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def products(before: Parameters, after: Parameters, x: Any, targets: Any) -> Any:
        targets = tf.convert_to_tensor(targets)
        targets = tf.repeat(targets[None], network.copies(before), axis=0)
        moved = [old - new for old, new in zip(before, after, strict=True)]
        with tf.autodiff.ForwardAccumulator(primals=list(before), tangents=moved) as forward:
            losses = loss(network.forward(before, x), targets)
        along = forward.jvp(losses, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        if clip is None:
            return along
        norms = per_example_norms(network, before, x, targets, loss=loss)
        return along * clip / tf.maximum(norms, clip)

    return products  # type: ignore[no-any-return]  # tf.function has no types
