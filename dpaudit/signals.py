"""What an attacker observes. No membership truth is in here; it is joined to the scores afterwards.

Everything rests on the logit-scaled confidence φ = log(p_y / (1 - p_y)) = z_y - logsumexp over the other classes
(`Carlini et al. (2022) <https://arxiv.org/abs/2112.03570>`_), computed in float64 straight from the logits: it keeps
the order of losses that probabilities in float32 round to 0. The loss is softplus(-φ) and p_y is sigmoid(φ). Where a
task has no p_y (several labels, a regression), φ is the one number with softplus(-φ) = loss.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import log_softmax, logsumexp

from dpaudit import _check
from dpaudit._check import BoolArray, FloatArray, IntArray
from dpaudit.errors import InputError

# Below it a loss or a probability is a rounding to 0, not a measurement.
FLOOR = 1e-300


@dataclass(frozen=True)
class Signals:
    """Signals of one target model, and of reference models when there are any.

    Args:
        phi: φ of the target, shape (records,).
        labels: true classes, shape (records,); None where the task has none.
        log_probabilities: of the target, shape (records, classes); None when only φ or losses are known.
        reference: φ of the reference models, shape (models, records).
        included: which reference model was trained on which record, shape (models, records). The references are the
            attacker's own models, so this is the attacker's knowledge and not the target's membership.
        population: signals of the same models on records known to be outside the target's training data and outside
            the audited records; None when the attacker has none. Its ``included`` is all false.
        queries: the same models and records seen through other fixed queries (an augmentation, a perturbation).
        checkpoints: the same records at earlier checkpoints of the target and of the references, in order.
        features: the records themselves, shape (records, ...), for attacks that look at them.
        floored: how many values of φ were cut off at the smallest number the input could still tell from 0.
    """

    phi: FloatArray
    labels: IntArray | None = None
    log_probabilities: FloatArray | None = None
    reference: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    included: BoolArray = field(default_factory=lambda: np.empty((0, 0), bool))
    population: "Signals | None" = None
    queries: "tuple[Signals, ...]" = ()
    checkpoints: "tuple[Signals, ...]" = ()
    features: FloatArray | None = None
    floored: int = 0

    def __post_init__(self) -> None:
        phi = _check.vector("φ", self.phi)
        object.__setattr__(self, "phi", phi)
        if self.labels is not None:
            object.__setattr__(self, "labels", _check.labels("labels", self.labels, length=phi.size))
        if self.log_probabilities is not None and self.log_probabilities.shape[:1] != phi.shape:
            raise InputError(f"log_probabilities must have {phi.size} rows, got shape {self.log_probabilities.shape}.")
        if self.features is not None and self.features.shape[:1] != phi.shape:
            raise InputError(f"features must have {phi.size} rows, got shape {self.features.shape}.")
        if self.reference.size == 0:
            object.__setattr__(self, "reference", np.empty((0, phi.size)))
            object.__setattr__(self, "included", np.empty((0, phi.size), bool))
        if self.reference.ndim != 2 or self.reference.shape[1] != phi.size:
            raise InputError(f"reference signals must have shape (models, {phi.size}), got {self.reference.shape}.")
        if self.included.shape != self.reference.shape:
            raise InputError(
                f"included must have the shape of the reference signals {self.reference.shape}, "
                f"got {self.included.shape}."
            )
        self._check_companions()

    def _check_companions(self) -> None:
        if self.population is not None and len(self.population.reference) != len(self.reference):
            raise InputError(
                f"population signals must come from the same {len(self.reference)} reference models, "
                f"got {len(self.population.reference)}."
            )
        for name, others in (("queries", self.queries), ("checkpoints", self.checkpoints)):
            for index, other in enumerate(others):
                if other.reference.shape != self.reference.shape or len(other) != len(self):
                    raise InputError(
                        f"{name}[{index}] must hold {len(self)} records under {len(self.reference)} reference models, "
                        f"got {len(other)} under {len(other.reference)}."
                    )

    @classmethod
    def from_logits(cls, logits: object, labels: object, *, population: "Signals | None" = None) -> "Signals":
        """From a classifier's logits (records, classes) and true classes (records,).

        >>> Signals.from_logits([[2.0, 0.0], [0.0, 1.0]], [0, 0]).phi
        array([ 2., -1.])
        """
        z = _check.finite("logits", logits, ndim=2)
        y = _check.labels("labels", labels, classes=z.shape[1], length=z.shape[0])
        return cls(
            phi=logit_scaled_confidence(z, y),
            labels=y,
            log_probabilities=log_softmax(z, axis=1),
            population=population,
        )

    @property
    def loss(self) -> FloatArray:
        """Cross-entropy of the target, shape (records,)."""
        return np.logaddexp(0.0, -self.phi)

    @property
    def log_loss(self) -> FloatArray:
        """Logarithm of the loss, exact where the loss itself rounds to 0, shape (records,)."""
        large = self.phi > 36.0  # softplus(-φ) = exp(-φ) to double precision
        return np.where(large, -self.phi, np.log(np.logaddexp(0.0, -np.where(large, 0.0, self.phi))))

    def classes(self) -> tuple[FloatArray, IntArray]:
        """Log-probabilities (records, classes) and true classes (records,).

        Raises:
            InputError: one of them is not known.
        """
        if self.log_probabilities is None or self.labels is None:
            raise InputError(
                "this attack needs the probabilities of all classes and the true classes, but the signals hold "
                "only one number per record."
            )
        return self.log_probabilities, self.labels

    def with_references(self, reference: object, included: object) -> "Signals":
        """The same signals with φ of reference models (models, records) and who each was trained on, same shape."""
        phi = _check.finite("reference signals", reference, ndim=2)
        return replace(self, reference=phi, included=np.asarray(included, bool))

    def __len__(self) -> int:
        return self.phi.size


def logit_scaled_confidence(logits: FloatArray, labels: IntArray) -> FloatArray:
    """φ = z_y - logsumexp of the other logits, for logits (..., records, classes) and labels (records,).

    Raises:
        InputError: fewer than two classes.

    >>> logit_scaled_confidence(np.array([[3.0, 1.0]]), np.array([1]))
    array([-2.])
    """
    if logits.shape[-1] < 2:
        raise InputError(f"logits must have at least 2 classes, got shape {logits.shape}.")
    own = np.arange(logits.shape[-1]) == labels[:, None]
    true_class = np.take_along_axis(logits, np.broadcast_to(labels[:, None], (*logits.shape[:-1], 1)), axis=-1)[..., 0]
    others: FloatArray = logsumexp(np.where(own, -np.inf, logits), axis=-1)
    return np.asarray(true_class, np.float64) - others
