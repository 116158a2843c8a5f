"""The victims' side: what a client computes and sends. It knows the records; what it hands out is a view."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from dpaudit.attacks.gradient.defences import Defence
from dpaudit.attacks.gradient.dense_objective import ByLayer
from dpaudit.attacks.gradient.differentiable import in_double
from dpaudit.attacks.gradient.losses import cross_entropy
from dpaudit.attacks.gradient.victims import Victims
from dpaudit.attacks.gradient.view import BatchGradient, ClientUpdate
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf

NONE = Defence()
Knows = Literal["labels", "order"]


@dataclass(frozen=True)
class LocalSteps:
    """Plain SGD of a FedAvg client.

    Args:
        learning_rate: of every step.
        epochs: passes over the client's records.
        batch: records per step.
        in_order: whether it goes through its records in order instead of shuffling.
    """

    learning_rate: float
    epochs: int
    batch: int
    in_order: bool = False


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
    shown = labels if "labels" in knows else None
    return replace(_gradient(victims, x, targets, defence, seed), labels=shown, box=box)


def text_gradient(
    victims: Victims, tokens: FloatArray, counted: FloatArray, *, defence: Defence = NONE, seed: int = 0
) -> BatchGradient:
    """The gradient of a batch of texts, each with the mean loss over its tokens that count.

    Args:
        victims: the language model; see `text_victims`.
        tokens: shape (texts, 1 + positions); the first of each is given, the others are predicted.
        counted: 1 where the loss of a token counts and 0 behind the end of a text, shape (texts, positions).
        defence: what the client does before sending.
        seed: of the defence's noise.
    """
    x, targets = next_tokens(victims, tokens, counted)
    return _gradient(victims, x, targets, defence, seed)


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
    local = LocalSteps(learning_rate, epochs, local_batch, in_order="order" in knows)
    shown = labels if "labels" in knows else None
    return replace(_update(victims, x, targets, local, defence, seed), labels=shown, box=box)


def text_update(
    victims: Victims,
    tokens: FloatArray,
    counted: FloatArray,
    local: LocalSteps,
    *,
    defence: Defence = NONE,
    seed: int = 0,
) -> ClientUpdate:
    """What a FedAvg client with texts sends after local SGD; arguments as in `text_gradient`."""
    x, targets = next_tokens(victims, tokens, counted)
    return _update(victims, x, targets, local, defence, seed)


def text_victims(model: Any) -> Victims:
    """A language model in double precision, from tokens (positions,) to logits (positions, vocabulary)."""
    return Victims(ByLayer.of(in_double(model, twice=False), cross_entropy))


def _gradient(victims: Victims, x: FloatArray, targets: FloatArray, defence: Defence, seed: int) -> BatchGradient:
    each = tuple(g.numpy() for g in victims.gradients(victims.at(victims.weights), x[:, None], targets[:, None]))
    arrays, sent = defence.compressed(defence.mean(each, np.random.default_rng(seed)))
    return BatchGradient(
        victims.weights, arrays, len(x), sent=sent, noise=defence.deviation / len(x), clip=defence.published_clip
    )


def _update(
    victims: Victims, x: FloatArray, targets: FloatArray, local: LocalSteps, defence: Defence, seed: int
) -> ClientUpdate:
    check.integer("local_batch", local.batch, at_least=1, at_most=len(x))
    rng = np.random.default_rng(seed)
    steps = []
    for _ in range(local.epochs):
        order = np.arange(len(x)) if local.in_order or local.batch == len(x) else rng.permutation(len(x))
        for start in range(0, len(x), local.batch):
            rows = order[start : start + local.batch]
            steps.append((tf.constant(x[None, rows]), tf.constant(targets[None, rows])))
    moved = victims.updates(victims.at(victims.weights), steps, local.learning_rate)
    arrays, sent = defence.compressed(defence.mean(tuple(u.numpy() for u in moved), rng))
    return ClientUpdate(
        victims.weights, arrays, local.learning_rate, local.epochs, local.batch, len(x), order_known=local.in_order,
        sent=sent, clip=defence.published_clip, noise=defence.deviation,
    )  # fmt: skip


def next_tokens(victims: Victims, tokens: FloatArray, counted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Tokens (texts, positions), and the next ones as probabilities times their weight in the mean of their text."""
    x = check.finite("tokens", tokens)
    if x.shape[1:] != (1 + victims.record_shape[0],):
        raise InputError(f"texts have {x.shape[1:]} tokens, the model takes {victims.record_shape[0]} and the next.")
    if counted.shape != (len(x), x.shape[1] - 1) or not counted.any(1).all():
        raise InputError("counted must say of every token but the first whether it counts, and one of each text must.")
    weight = counted / counted.sum(1, keepdims=True)
    return x[:, :-1], np.eye(victims.classes)[x[:, 1:].astype(int)] * weight[..., None]


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
