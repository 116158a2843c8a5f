"""What gradient matching minimises: how far the gradient of a guess is from the one observed."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from dpaudit.attacks.gradient.label_recovery import LabelCounts, SingleLabel
from dpaudit.attacks.gradient.victims import Victims
from dpaudit.attacks.gradient.view import BatchGradient, ClientUpdate, GradientView, SecureSum, require_known
from dpaudit.engine.network import Parameters
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf

Distance = Literal["euclidean", "cosine"]


class Setting(NamedTuple):
    """How victims computed what they sent; numbers only, so that a traced program is reused for equal settings.

    Args:
        records: records per victim.
        copies: guesses per record: one per epoch when the client shuffles, otherwise 1.
        epochs: local epochs; 0 for a plain gradient.
        local_batch: records per local step; 0 for a plain gradient.
        clip: published norm of the clipping, of each record's gradient or of the whole update; 0 for none.
    """

    records: int
    copies: int
    epochs: int
    local_batch: int
    clip: float


class Observed(NamedTuple):
    """What several victims of one model sent, stacked.

    Args:
        arrays: observed gradients or updates, one (views, ...) tensor per weight array.
        sent: 1 where a coordinate was transmitted, like ``arrays``; None when all were.
        parameters: weights the victims were given, with a leading axis of 1.
        learning_rate: of the clients; 0 for a plain gradient.
    """

    arrays: tuple[Any, ...]
    sent: tuple[Any, ...] | None
    parameters: Parameters
    learning_rate: Any


def stack_views(victims: Victims, views: Sequence[GradientView]) -> tuple[Observed, Setting, tuple[float, float]]:
    """Stack views of one model; also the setting and the box they share.

    Raises:
        InputError: the views do not go together, or lack what gradient matching needs.
    """
    if not views:
        raise InputError("gradient matching needs at least one view.")
    clean = [view.as_gradient() if isinstance(view, SecureSum) else view for view in views]
    first = clean[0]
    for view in clean:
        if not isinstance(view, BatchGradient | ClientUpdate):
            raise InputError(f"gradient matching reads gradients or updates, got a {type(view).__name__}.")
        _same_setting(first, view)
    assert isinstance(first, BatchGradient | ClientUpdate)  # checked above
    columns = zip(*(v.update if isinstance(v, ClientUpdate) else v.gradient for v in clean), strict=True)  # type: ignore[union-attr]
    masks = None
    if first.sent is not None:
        sent = zip(*(require_known("sent", v.sent, "matching compressed updates") for v in clean), strict=True)  # type: ignore[union-attr]
        masks = tuple(tf.constant(np.stack(column), tf.float64) for column in sent)
    if isinstance(first, ClientUpdate):
        records = require_known("records", first.records, "matching an update")
        batch = require_known("local_batch", first.local_batch, "matching an update")
        epochs = require_known("epochs", first.epochs, "matching an update")
        learning_rate = require_known("learning_rate", first.learning_rate, "matching an update")
        copies = epochs if not first.order_known and batch < records else 1
        setting = Setting(records, copies, epochs, batch, first.clip or 0.0)
    else:
        setting = Setting(
            require_known("batch_size", first.batch_size, "gradient matching"), 1, 0, 0, first.clip or 0.0
        )
        learning_rate = 0.0
    observed = Observed(
        tuple(tf.constant(np.stack(column), tf.float64) for column in columns),
        masks,
        victims.at(first.weights),
        tf.constant(learning_rate, tf.float64),
    )
    return observed, setting, require_known("box", first.box, "gradient matching")


def predict_updates(victims: Victims, observed: Observed, setting: Setting, x: Any, targets: Any) -> list[Any]:
    """What victims would have sent for records (guesses, copies · records, ...)."""
    if setting.epochs == 0:
        return victims.gradients(observed.parameters, x, targets, clip=setting.clip or None)
    steps = []
    for epoch in range(setting.epochs):
        offset = setting.records * (epoch if setting.copies > 1 else 0)
        for start in range(0, setting.records, setting.local_batch):
            rows = slice(offset + start, offset + min(start + setting.local_batch, setting.records))
            steps.append((x[:, rows], targets[:, rows]))
    updates = victims.updates(observed.parameters, steps, observed.learning_rate)
    if not setting.clip:
        return updates
    squared = tf.add_n([tf.reduce_sum(u**2, list(range(1, len(u.shape)))) for u in updates])
    factor = setting.clip / tf.maximum(tf.sqrt(tf.maximum(squared, 1e-300)), setting.clip)
    return [u * tf.reshape(factor, [-1] + [1] * (len(u.shape) - 1)) for u in updates]


def distances_to_victims(kind: Distance, guesses: Sequence[Any], observed: Observed, which: Any) -> Any:
    """Distance of each guess to the victim it belongs to, shape (guesses,).

    Args:
        kind: squared Euclidean over the observed norm, or one minus the cosine; both 1 for a guess of zero.
        guesses: what the guesses would have sent, one (guesses, ...) tensor per weight array.
        observed: what the victims sent.
        which: the victim of each guess, (guesses,).
    """
    square = product = guessed = norm = 0.0
    for i, everything in enumerate(guesses):
        guess, true = everything, tf.gather(observed.arrays[i], which)
        if observed.sent is not None:
            mask = tf.gather(observed.sent[i], which)
            guess, true = guess * mask, true * mask
        axes = list(range(1, len(guess.shape)))
        square += tf.reduce_sum((guess - true) ** 2, axes)
        product += tf.reduce_sum(guess * true, axes)
        guessed += tf.reduce_sum(guess**2, axes)
        norm += tf.reduce_sum(true**2, axes)
    if kind == "euclidean":
        return square / norm
    return 1 - product / tf.sqrt(tf.maximum(guessed * norm, 1e-300))


def disagreement(setting: Setting, x: Any) -> Any:
    """How far the epochs' mean records are apart, (guesses,): a client sees the same records every epoch."""
    if setting.copies == 1:
        return tf.zeros([x.shape[0]], tf.float64)
    split = tf.reshape(x, [x.shape[0], setting.copies, setting.records, -1])
    means = tf.reduce_mean(split, axis=2)
    return tf.reduce_mean((means - tf.reduce_mean(means, axis=1, keepdims=True)) ** 2, axis=[1, 2])


def total_variation(x: Any) -> Any:
    """Mean absolute difference of neighbouring pixels, (guesses,); 0 for records that are not images."""
    if len(x.shape) != 5:
        return tf.zeros([x.shape[0]], x.dtype)
    down = tf.reduce_mean(tf.abs(x[:, :, 1:] - x[:, :, :-1]), axis=[1, 2, 3, 4])
    return down + tf.reduce_mean(tf.abs(x[:, :, :, 1:] - x[:, :, :, :-1]), axis=[1, 2, 3, 4])


def merged_epochs(x: FloatArray, labels: IntArray, copies: int) -> tuple[FloatArray, IntArray]:
    """One guess per record from one per epoch: matched to the first epoch by assignment, then averaged."""
    epochs = x.reshape(copies, -1, *x.shape[1:])
    first = epochs[0].reshape(len(epochs[0]), -1)
    total = epochs[0].copy()
    for other in epochs[1:]:
        cost = ((first[:, None] - other.reshape(len(other), -1)[None]) ** 2).sum(2)
        total += other[linear_sum_assignment(cost)[1]]
    return total / copies, labels[: len(epochs[0])]


def restored_labels(view: GradientView) -> IntArray:
    """The labels a view states, or those that its gradient reveals."""
    if isinstance(view, BatchGradient | ClientUpdate) and view.labels is not None:
        return view.labels
    size = view.records if isinstance(view, ClientUpdate) else getattr(view, "batch_size", None)
    return SingleLabel()(view) if size == 1 else LabelCounts()(view)


def one_hot(labels: Sequence[IntArray], classes: int) -> FloatArray:
    """Class probabilities (views, records, classes) of known labels."""
    if max(int(y.max()) for y in labels) >= classes:
        raise InputError(f"labels go up to {max(int(y.max()) for y in labels)}, but the model has {classes} classes.")
    return np.eye(classes)[np.stack(labels)]


def _same_setting(first: Any, other: Any) -> None:
    if type(first) is not type(other):
        raise InputError(
            f"views attacked together must be alike, got {type(first).__name__} and {type(other).__name__}."
        )
    names = ("batch_size", "box", "clip") if isinstance(first, BatchGradient) else (
        "records", "box", "learning_rate", "epochs", "local_batch", "order_known", "clip"
    )  # fmt: skip
    for name in names:
        if getattr(first, name) != getattr(other, name):
            raise InputError(
                f"views attacked together must share {name}, got {getattr(first, name)!r} and {getattr(other, name)!r}."
            )
    if (first.sent is None) != (other.sent is None):
        raise InputError("views attacked together must all say which coordinates were sent, or none of them.")
    if len(first.weights) != len(other.weights) or not all(map(np.array_equal, first.weights, other.weights)):
        raise InputError("views attacked together must be of the same weights; attack each of them alone.")
