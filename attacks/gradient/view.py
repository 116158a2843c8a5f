"""What the attacker sees, with exactly the knowledge stated. Ground truth is not in here and cannot be reached.

Every array is copied when a view is made, so a view holds nothing of the records it was computed from. What is None
is unknown to the attacker; an attack that needs it says so (`require_known`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError

Arrays = tuple[FloatArray, ...]
KnownValue = TypeVar("KnownValue")


@dataclass(frozen=True)
class BatchGradient:
    """The gradient of the mean loss of a batch, at known weights. A batch of 1 is one record's gradient.

    Args:
        weights: arrays of the model, in the model's order (Keras layout: a dense kernel is (inputs, outputs)).
        gradient: one array per weight array.
        batch_size: records in the batch.
        labels: their classes, shape (batch,).
        box: smallest and largest value a feature can take.
        sent: which coordinates were transmitted when the update was compressed, one mask per weight array.
        noise: standard deviation of the noise on every coordinate, when the defence is published.
        clip: norm each record's gradient was clipped to, when the defence is published; None when none was.

    Raises:
        InputError: the gradient is of another model, zero, or not finite.

    >>> BatchGradient((np.ones((2, 1)),), (np.array([[0.5], [1.0]]),), batch_size=1).batch_size
    1
    """

    weights: Arrays
    gradient: Arrays
    batch_size: int | None = None
    labels: IntArray | None = None
    box: tuple[float, float] | None = None
    sent: tuple[BoolArray, ...] | None = None
    noise: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.clip is not None:
            check.positive("clip", self.clip)
        _own(self, "gradient", self.batch_size)
        _check_sent(self.sent, self.weights)
        check.nonnegative("noise", self.noise)


@dataclass(frozen=True)
class ClientUpdate:
    """What a federated client sends back: its weights after local training minus those it was given.

    Args:
        weights: arrays of the model the client was given.
        update: after minus before, one array per weight array. The sign is opposite to a gradient's.
        learning_rate: of the client's plain SGD.
        epochs: local passes over the client's records.
        local_batch: records per local step.
        records: records of the client.
        labels: their classes, shape (records,), in the client's order when that is known.
        order_known: whether the client goes through its records in order; otherwise it shuffles every epoch.
        box: smallest and largest value a feature can take.
        sent: which coordinates were transmitted when the update was compressed.
        clip: norm the whole update was clipped to, when the defence is published; None when it was not.
        noise: standard deviation of the noise on every coordinate, when the defence is published.
    """

    weights: Arrays
    update: Arrays
    learning_rate: float | None = None
    epochs: int | None = None
    local_batch: int | None = None
    records: int | None = None
    labels: IntArray | None = None
    order_known: bool = False
    box: tuple[float, float] | None = None
    sent: tuple[BoolArray, ...] | None = None
    clip: float | None = None
    noise: float = 0.0

    def __post_init__(self) -> None:
        check.nonnegative("noise", self.noise)
        if self.clip is not None:
            check.positive("clip", self.clip)
        if self.learning_rate is not None:
            check.positive("learning_rate", self.learning_rate)
        if self.epochs is not None:
            check.integer("epochs", self.epochs, at_least=1)
        if self.local_batch is not None:
            check.integer("local_batch", self.local_batch, at_least=1, at_most=self.records)
        _own(self, "update", self.records)
        _check_sent(self.sent, self.weights)

    @property
    def steps(self) -> int:
        """Local SGD steps the client made."""
        records = require_known("records", self.records, "a client update")
        batch = require_known("local_batch", self.local_batch, "a client update")
        return require_known("epochs", self.epochs, "a client update") * -(-records // batch)

    def as_gradient(self) -> BatchGradient:
        """The average gradient along the client's path, -update / (learning rate · steps): exact for one step."""
        scale = -1.0 / (
            require_known("learning_rate", self.learning_rate, "reading an update as a gradient") * self.steps
        )
        return BatchGradient(
            self.weights, tuple(scale * u for u in self.update), self.records, self.labels, self.box, self.sent,
            noise=abs(scale) * self.noise,
        )  # fmt: skip


@dataclass(frozen=True)
class SecureSum:
    """Under secure aggregation the server sees only the sum of its clients' gradients.

    Args:
        weights: arrays of the model all clients were given.
        total: sum over the clients of the gradient of each client's mean loss.
        clients: how many clients are in the sum.
        records_per_client: records in each client's batch, the same for all.
        box: smallest and largest value a feature can take.
    """

    weights: Arrays
    total: Arrays
    clients: int
    records_per_client: int | None = None
    box: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check.integer("clients", self.clients, at_least=1)
        _own(self, "total", self.records_per_client)

    def as_gradient(self) -> BatchGradient:
        """The same as one batch of all clients' records: equal batch sizes make the mean of means the mean."""
        records = require_known("records_per_client", self.records_per_client, "reading a secure sum as one batch")
        return BatchGradient(
            self.weights, tuple(t / self.clients for t in self.total), records * self.clients, box=self.box
        )


@dataclass(frozen=True)
class NoisyReleases:
    """Every release of a DP-SGD or DP-FedAvg run: noisy sums of clipped contributions and the weights they moved.

    Args:
        weights: flat weights before each release, shape (steps, parameters).
        releases: the noisy sums, shape (steps, parameters).
        clip: norm every record's (or user's) contribution is clipped to.
        noise_multiplier: standard deviation of the noise over ``clip``.
        rate: probability that a record (or user) takes part in a step; 1 for full batches.
        known_took_part: which records known to the attacker were in each sum, shape (steps, known); None: all of them.
    """

    weights: FloatArray
    releases: FloatArray
    clip: float
    noise_multiplier: float
    rate: float = 1.0
    known_took_part: BoolArray | None = None

    def __post_init__(self) -> None:
        for name in ("weights", "releases"):
            values = np.array(getattr(self, name))
            if values.dtype not in (np.float32, np.float64):
                raise InputError(f"{name} of a trace must be float32 or float64, got {values.dtype}.")
            if values.ndim != 2 or not np.isfinite(values).all():
                raise InputError(f"{name} of a trace must be finite, shape (steps, parameters), got {values.shape}.")
            object.__setattr__(self, name, values)
        if self.weights.shape != self.releases.shape:
            raise InputError(
                f"releases have shape {self.releases.shape}, but weights {self.weights.shape}: another model?"
            )
        check.positive("clip", self.clip)
        check.nonnegative("noise_multiplier", self.noise_multiplier)
        if not 0 < check.number("rate", self.rate) <= 1:
            raise InputError(f"rate must be in (0, 1], got {self.rate!r}.")
        if self.known_took_part is not None:
            object.__setattr__(self, "known_took_part", np.array(self.known_took_part, bool))

    @property
    def steps(self) -> int:
        """Number of releases."""
        return int(self.weights.shape[0])


GradientView = BatchGradient | ClientUpdate | SecureSum | NoisyReleases


@dataclass(frozen=True)
class Reconstruction:
    """What an attack returns.

    Args:
        records: reconstructed records, shape (records, ...).
        labels: reconstructed classes, shape (records,); None when the attack gives none.
        objective: what the attack minimised, at its best restart; None for closed forms.
        confidence: of the attack in each value of a table, larger is surer, (records, columns), numbers first and
            comparable among themselves, as categories are; None where it has none.
    """

    records: FloatArray
    labels: IntArray | None = None
    objective: float | None = None
    confidence: FloatArray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "records", check.finite("reconstructed records", self.records))


def require_known(name: str, value: KnownValue | None, needed_by: str) -> KnownValue:
    """The value, or a refusal naming what the attacker would have to know.

    >>> require_known("batch_size", 4, "SPEAR")
    4
    """
    if value is None:
        raise InputError(f"{needed_by} needs {name}, and this view says the attacker does not know it.")
    return value


def gradient_of(view: GradientView, attack: str) -> BatchGradient:
    """The view as a batch gradient, for attacks that read one; a trace is refused."""
    if isinstance(view, BatchGradient):
        return view
    if isinstance(view, ClientUpdate | SecureSum):
        return view.as_gradient()
    raise InputError(f"{attack} reads a gradient or an update, got a {type(view).__name__}.")


def _arrays(name: str, arrays: Sequence[npt.ArrayLike]) -> Arrays:
    clean = tuple(check.finite(f"{name}[{i}]", array) for i, array in enumerate(arrays))
    if not clean:
        raise InputError(f"{name} must hold at least one array.")
    return clean


def _own(view: BatchGradient | ClientUpdate | SecureSum, name: str, records: int | None) -> None:
    """Check a view of gradients, ``name``, of so many records, and let it hold copies."""
    clean_weights, clean = _arrays("weights", view.weights), _arrays(name, getattr(view, name))
    if [a.shape for a in clean_weights] != [a.shape for a in clean]:
        raise InputError(
            f"{name} has shapes {[a.shape for a in clean]}, but the weights have {[a.shape for a in clean_weights]}: "
            f"it comes from another model."
        )
    if not any(array.any() for array in clean):
        raise InputError(f"{name} is zero everywhere: it carries nothing to attack.")
    labels = getattr(view, "labels", None)
    _check_knowledge(records, labels, view.box)
    copied = {"weights": clean_weights, name: clean}
    for field, value in (copied if labels is None else {**copied, "labels": np.array(labels, np.int64)}).items():
        object.__setattr__(view, field, value)


def _check_knowledge(records: int | None, labels: IntArray | None, box: tuple[float, float] | None) -> None:
    if records is not None:
        check.integer("number of records", records, at_least=1)
    if labels is not None:
        check.labels("labels", labels, length=require_known("the number of records", records, "a view with labels"))
    if box is not None and not check.number("box[0]", box[0]) < check.number("box[1]", box[1]):
        raise InputError(f"box must be (smallest, largest), got {box!r}.")


def _check_sent(sent: tuple[BoolArray, ...] | None, weights: Arrays) -> None:
    if sent is not None and [np.shape(s) for s in sent] != [w.shape for w in weights]:
        raise InputError("sent must hold one mask per weight array, of the same shape.")
