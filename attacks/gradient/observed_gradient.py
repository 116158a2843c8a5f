"""The victims' side: what a client computes and sends. It knows the records; what it hands out is a view."""

from typing import Literal

import numpy as np

from dpaudit.attacks.gradient.defences import Defence
from dpaudit.attacks.gradient.victims import Victims
from dpaudit.attacks.gradient.view import BatchGradient, ClientUpdate
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf

NONE = Defence()
Knows = Literal["labels", "order"]


def batch_gradient(
    victims: Victims,
    records: FloatArray,
    labels: IntArray,
    *,
    box: tuple[float, float] = (0.0, 1.0),
    defence: Defence = NONE,
    knows: tuple[Knows, ...] = (),
    seed: int = 0,
) -> BatchGradient:
    """The gradient of a batch as an eavesdropper sees it, who knows the defence.

    Args:
        victims: the model.
        records: shape (batch, ...), inside the box.
        labels: shape (batch,).
        box: smallest and largest value a feature can take.
        defence: what the client does before sending.
        knows: ``labels`` when the attacker knows them.
        seed: of the defence's noise.
    """
    x, targets = _checked(victims, records, labels, box)
    parameters = victims.at(victims.weights)
    each = tuple(g.numpy() for g in victims.gradients(parameters, x[:, None], targets[:, None]))
    arrays, sent = defence.compressed(defence.mean(each, np.random.default_rng(seed)))
    shown = labels if "labels" in knows else None
    clip = defence.clip if np.isfinite(defence.clip) else None
    return BatchGradient(victims.weights, arrays, len(x), shown, box, sent, defence.deviation / len(x), clip)


def fedavg_update(
    victims: Victims,
    records: FloatArray,
    labels: IntArray,
    *,
    learning_rate: float,
    epochs: int,
    local_batch: int,
    box: tuple[float, float] = (0.0, 1.0),
    defence: Defence = NONE,
    knows: tuple[Knows, ...] = (),
    seed: int = 0,
) -> ClientUpdate:
    """What a FedAvg client sends after local SGD; arguments as in `batch_gradient`.

    Args:
        victims: the model the client was given.
        records: the client's records, shape (records, ...).
        labels: shape (records,).
        learning_rate: of the local SGD.
        epochs: local epochs.
        local_batch: records per local step.
        box: smallest and largest value a feature can take.
        defence: what the client does before sending; it clips the whole update.
        knows: ``labels``; ``order`` when the client goes through its records in order instead of shuffling.
        seed: of the client's shuffles and of the noise.
    """
    x, targets = _checked(victims, records, labels, box)
    check.integer("local_batch", local_batch, at_least=1, at_most=len(x))
    rng = np.random.default_rng(seed)
    steps = []
    for _ in range(epochs):
        order = np.arange(len(x)) if "order" in knows or local_batch == len(x) else rng.permutation(len(x))
        for start in range(0, len(x), local_batch):
            rows = order[start : start + local_batch]
            steps.append((tf.constant(x[None, rows]), tf.constant(targets[None, rows])))
    update = tuple(u.numpy() for u in victims.updates(victims.at(victims.weights), steps, learning_rate))
    arrays, sent = defence.compressed(defence.mean(update, rng))
    return ClientUpdate(
        victims.weights, arrays, learning_rate, epochs, local_batch, len(x), labels if "labels" in knows else None,
        order_known="order" in knows, box=box, sent=sent, clip=defence.clip if np.isfinite(defence.clip) else None,
    )  # fmt: skip


def _checked(
    victims: Victims, records: FloatArray, labels: IntArray, box: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    x = check.finite("records", records)
    if x.shape[1:] != victims.record_shape:
        raise InputError(f"records have shape {x.shape[1:]}, the model takes {victims.record_shape}.")
    if x.min() < box[0] or x.max() > box[1]:
        raise InputError(f"records must lie in the box [{box[0]}, {box[1]}], got [{x.min():g}, {x.max():g}].")
    clean = check.labels("labels", labels, classes=victims.classes, length=len(x))
    return x, np.eye(victims.classes)[clean]
