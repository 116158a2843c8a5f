"""Gradients of many models at once: per-example norms, and sums of clipped per-example gradients.

One backward pass gives the gradient of every layer's output; norms and weighted sums follow from that and the
layer's input (`dpaudit.engine.per_example_clipping`), so no per-example gradient is held where a cheaper exact form
exists.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from dpaudit.engine.layers import WeightedLayer
from dpaudit.engine.network import Network, Parameters
from dpaudit.engine.per_example_clipping import Contribution
from dpaudit.engine.randomness import Stream
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf

# Outputs (models, examples, ...) and targets -> one loss per model and example.
ExampleLoss = Callable[[Any, Any], Any]


class ClippedSum(NamedTuple):
    """Sum of clipped per-example gradients of each model.

    Args:
        gradients: one tensor per trainable variable, each with a leading model axis.
        norms: L2 norm of each example's gradient before clipping, shape (models, examples).
        losses: shape (models, examples).
    """

    gradients: list[Any]
    norms: Any
    losses: Any


class PlainSum(NamedTuple):
    """Sum of the examples' gradients of each model.

    Args:
        gradients: one tensor per trainable variable, each with a leading model axis.
        losses: shape (models, examples).
        moved: running averages after the batch, in the order of ``network.moving``.
    """

    gradients: list[Any]
    losses: Any
    moved: list[Any]


def clipped_sum(
    network: Network,
    parameters: Parameters,
    x: Any,
    targets: Any,
    *,
    loss: ExampleLoss,
    clip: float,
    present: Any = None,
    dropout: Stream | None = None,
    is_prepared: bool = False,
    bounded: bool = False,
) -> ClippedSum:
    """Σ over examples of g · min(1, clip / |g|), g the gradient of one example's loss over all trained variables.

    Args:
        network: what is differentiated.
        parameters: where.
        x: inputs, (examples, ...) or (models, examples, ...).
        targets: of the same leading shape.
        loss: per example.
        clip: L2 norm above which an example's gradient is scaled down.
        present: 1 for examples that count and 0 for padding, shape (models, examples); None counts all.
        dropout: randomness of dropout; None switches it off.
        is_prepared: x is what ``network.prepared`` gave.
        bounded: leave out examples whose norm is not finite, at some cost; otherwise the sum is NaN with them.

    Raises:
        InputError: the loss is not one value per model and example, or a layer mixes the examples.

    Guarantees:
        Up to float32 rounding, adding or removing one example changes each model's sum by at most ``clip`` in L2 norm;
        when ``bounded``, also one whose gradient is NaN, infinite or too long for its norm to be a number.
    """
    require_per_example(network)
    meetings, losses, _ = _meetings(network, parameters, x, targets, loss, dropout, is_prepared)
    contributions = [meeting.contribution() for meeting in meetings]
    norms = _norms(contributions)
    finite = tf.math.is_finite(norms)
    weights = tf.where(finite, clip / tf.maximum(norms, clip), tf.zeros_like(norms))
    if present is not None:
        weights *= present

    if bounded:  # 0 times NaN is NaN, so a weight of 0 does not leave an example out
        contributions = [meeting.only(finite).contribution() for meeting in meetings]
    return ClippedSum(_sums(contributions, weights), norms, losses)


def plain_sum(
    network: Network,
    parameters: Parameters,
    x: Any,
    targets: Any,
    *,
    loss: ExampleLoss,
    present: Any = None,
    dropout: Stream | None = None,
    is_prepared: bool = False,
) -> PlainSum:
    """Σ over examples of their gradients without clipping, and the losses; arguments as in `clipped_sum`.

    A BatchNormalization takes the statistics of the examples that count, which are then one batch.
    """
    batch = None
    if network.moving:
        batch = tf.ones(tf.shape(targets)[:2]) if present is None else present
    meetings, losses, moved = _meetings(network, parameters, x, targets, loss, dropout, is_prepared, batch)
    contributions = [meeting.contribution() for meeting in meetings]
    return PlainSum(_sums(contributions, tf.ones_like(losses) if present is None else present), losses, moved)


def per_example_norms(network: Network, parameters: Parameters, x: Any, targets: Any, *, loss: ExampleLoss) -> Any:
    """L2 norm of each example's gradient over all trained variables, shape (models, examples)."""
    require_per_example(network)
    meetings, _, _ = _meetings(network, parameters, x, targets, loss, None, False)
    return _norms([meeting.contribution() for meeting in meetings])


def require_per_example(network: Network) -> None:
    """Refuse a network in which a training mixes the examples of a batch."""
    if network.moving:
        raise InputError(
            f"{network.variables[network.moving[0]].name} is an average over a batch, so no example has a gradient of "
            "its own; use GroupNormalization or LayerNormalization, or freeze the layer."
        )


class _Meeting(NamedTuple):
    """A layer's input and the gradient of its output: (models or 1, examples, ...) and (models, examples, ...)."""

    layer: WeightedLayer
    a: Any
    d: Any

    def contribution(self) -> Contribution:
        return self.layer.contribution(self.a, self.d)

    def only(self, kept: Any) -> "_Meeting":
        """Zeros in the place of the other examples; an input the models share is kept while any model keeps it."""
        shared = self.a.shape[0] < kept.shape[0]
        a = _only(tf.reduce_any(kept, axis=0, keepdims=True) if shared else kept, self.a)
        return self._replace(a=a, d=_only(kept, self.d))


def _only(kept: Any, x: Any) -> Any:
    return tf.where(tf.reshape(kept, [x.shape[0], -1] + [1] * (x.shape.rank - 2)), x, tf.zeros_like(x))


def _meetings(
    network: Network,
    parameters: Parameters,
    x: Any,
    targets: Any,
    loss: ExampleLoss,
    dropout: Stream | None,
    is_prepared: bool,
    batch: Any = None,
) -> tuple[list[_Meeting], Any, list[Any]]:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        inputs = x if is_prepared else network.per_model(x)
        outputs, taps, moved = network.traced(
            parameters, inputs, dropout, tape.watch, is_prepared=is_prepared, batch=batch
        )
        losses = loss(outputs, targets)
        if losses.shape.rank != 2:
            raise InputError(f"the loss must be per example, of shape (models, examples), got {tuple(losses.shape)}.")
        # Of a batch that is mixed, padding must not act on the others through what they share.
        total = tf.reduce_sum(losses if batch is None else losses * batch)
    slopes = tape.gradient(total, [tap.z for tap in taps], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    pairs = zip(taps, slopes, strict=True)
    return [_Meeting(tap.node.weighted, tap.a, slope) for tap, slope in pairs], losses, moved  # type: ignore[arg-type]


def _norms(contributions: list[Contribution]) -> Any:
    squares = tf.add_n([contribution.squared_norms for contribution in contributions])
    return tf.sqrt(tf.maximum(squares, 0.0))  # the sum over pairs of positions can round to a little below 0


def _sums(contributions: list[Contribution], weights: Any) -> list[Any]:
    return [gradient for contribution in contributions for gradient in contribution.weighted_sum(weights)]
