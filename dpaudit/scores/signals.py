"""What an attacker observes. No membership truth of audited records is in here; it is joined to the scores afterwards.

Everything rests on the logit-scaled confidence φ = log(p_y / (1 - p_y)) = z_y - logsumexp over the other classes
(`Carlini et al. (2022) <https://arxiv.org/abs/2112.03570>`_), computed in float64 straight from the logits: it keeps
the order of losses that probabilities in float32 round to 0. The loss is softplus(-φ) and p_y is sigmoid(φ). Where a
task has no p_y (several labels, a regression), φ is the one number with softplus(-φ) = loss.
"""

from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import is_mapped, release, require_finite, select_records, some_rows
from dpaudit.scores.logit_scaled import logit_scaled_confidence


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
        reference_log_probabilities: of the reference models, shape (models, records, classes).
        known: other records whose membership the attacker is told; None when it knows of none.
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
    features: npt.NDArray[np.floating[Any]] | None = None
    reference_log_probabilities: FloatArray | None = None
    known: "Known | None" = None
    floored: int = 0

    def __post_init__(self) -> None:
        phi = check.vector("φ", self.phi)
        object.__setattr__(self, "phi", phi)
        if self.labels is not None:
            object.__setattr__(self, "labels", check.labels("labels", self.labels, length=phi.size))
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
        if self.reference_log_probabilities is not None and (
            self.log_probabilities is None
            or self.reference_log_probabilities.shape != (len(self.reference), *self.log_probabilities.shape)
        ):
            raise InputError(
                "log-probabilities of the references must have shape (models, records, classes) like the target's, "
                f"got {self.reference_log_probabilities.shape}."
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
        z = check.finite("logits", logits, ndim=2)
        y = check.labels("labels", labels, classes=z.shape[1], length=z.shape[0])
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

    def correct(self) -> BoolArray:
        """Whether the likeliest class is the true one, shape (records,)."""
        log_p, labels = self.classes()
        right: BoolArray = log_p.argmax(axis=1) == labels
        return right

    def with_references(self, reference: object, included: object) -> "Signals":
        """The same signals with φ of reference models (models, records) and who each was trained on, same shape."""
        phi = require_finite("reference signals", reference)
        return replace(self, reference=phi, included=np.asarray(included, bool))

    def take(self, rows: BoolArray) -> "Signals":
        """The signals of some records, by a mask (records,).

        >>> Signals(np.array([1.0, 2.0]), labels=np.array([0, 1])).take(np.array([False, True])).labels
        array([1])
        """
        log_p = self.reference_log_probabilities
        return replace(
            self,
            phi=self.phi[rows],
            labels=None if self.labels is None else self.labels[rows],
            log_probabilities=None if self.log_probabilities is None else self.log_probabilities[rows],
            reference=select_records(self.reference, rows),
            included=select_records(self.included, rows),
            queries=tuple(view.take(rows) for view in self.queries),
            checkpoints=tuple(view.take(rows) for view in self.checkpoints),
            features=None if self.features is None else self.features[rows],
            reference_log_probabilities=None if log_p is None else select_records(log_p, rows),
        )

    def told(self, rows: BoolArray, member: BoolArray) -> "Signals":
        """The other records, for an attacker who is told the membership of those in the mask ``rows``.

        The truth of the records in ``rows`` is spent: they are not audited any more.

        Args:
            rows: which records, shape (records,).
            member: membership of all records, shape (records,); only that of ``rows`` is looked at.
        """
        return replace(self.take(~rows), known=Known(self.take(rows), member[rows]))

    def __len__(self) -> int:
        return self.phi.size


@dataclass(frozen=True)
class Known:
    """Records of which the attacker knows whether the target was trained on them.

    Args:
        signals: of these records, under the same models.
        member: whether the target was trained on each, shape (records,).
    """

    signals: Signals
    member: BoolArray

    def __post_init__(self) -> None:
        member = check.flags("known membership", self.member, length=len(self.signals))
        object.__setattr__(self, "member", member)


@dataclass(frozen=True)
class PoolSignals:
    """Signals of a pool of models in complementary pairs: each model is a target, the others are its references.

    Models 2k and 2k + 1 share the records out between them. Leaving out the target *and* its partner leaves exactly
    as many models with a record as without it, whoever was the target; leaving out the target alone would show its
    membership in the counts.

    Args:
        phi: φ of every model, shape (models, records).
        included: which model was trained on which record, shape (models, records).
        labels: true classes, shape (records,); None where the task has none.
        log_probabilities: shape (models, records, classes); None when only φ is kept.
        population: φ of the models on records that none of them was trained on, shape (models, population).
        population_labels: true classes of those, shape (population,).
        queries: φ of the same models and records under other fixed queries, each (models, records).
        features: the records themselves, shape (records, ...).
        population_features: the records of the population, shape (population, ...).
        population_log_probabilities: shape (models, population, classes).
        query_log_probabilities: of the queries, each (models, records, classes); empty when only φ is kept.
        checkpoints: φ of the models at earlier points of their training, each (models, records), in order.

    Raises:
        InputError: shapes differ, or the models are not in complementary pairs.
    """

    phi: FloatArray
    included: BoolArray
    labels: IntArray | None = None
    log_probabilities: FloatArray | None = None
    population: FloatArray | None = None
    population_labels: IntArray | None = None
    queries: tuple[FloatArray, ...] = ()
    features: npt.NDArray[np.floating[Any]] | None = None
    population_features: npt.NDArray[np.floating[Any]] | None = None
    population_log_probabilities: FloatArray | None = None
    query_log_probabilities: tuple[FloatArray, ...] = ()
    checkpoints: tuple[FloatArray, ...] = ()

    def __post_init__(self) -> None:
        phi = require_finite("φ of the pool", self.phi)
        object.__setattr__(self, "phi", phi)
        if self.included.shape != phi.shape or self.included.dtype != np.bool_:
            raise InputError(f"included must be true/false of shape {phi.shape}, got {self.included.shape}.")
        pairs = zip(self.included[0::2], self.included[1::2], strict=False)
        if len(phi) < 2 or len(phi) % 2 or not all(np.array_equal(one, ~other) for one, other in pairs):
            raise InputError(
                f"the {len(phi)} models of a pool must come in complementary pairs: of models 2k and 2k + 1, exactly "
                "one is trained on each record."
            )
        if self.population is not None and self.population.shape[:1] != phi.shape[:1]:
            raise InputError(
                f"population signals must come from the {len(phi)} models, got shape {self.population.shape}."
            )
        for name, views in (("queries", self.queries), ("checkpoints", self.checkpoints)):
            for index, view in enumerate(views):
                if view.shape != phi.shape:
                    raise InputError(f"{name}[{index}] must have shape {phi.shape}, got {view.shape}.")
        if len(self.query_log_probabilities) not in (0, len(self.queries)):
            raise InputError(f"there must be log-probabilities for all {len(self.queries)} queries, or for none.")

    def __len__(self) -> int:
        return len(self.phi)

    def take(self, rows: BoolArray) -> "PoolSignals":
        """The signals of some records, by a mask (records,).

        >>> pool = PoolSignals(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[True, False], [False, True]]))
        >>> pool.take(np.array([False, True])).phi
        array([[2.],
               [4.]])
        """
        log_p = self.log_probabilities
        return replace(
            self,
            phi=select_records(self.phi, rows),
            included=select_records(self.included, rows),
            labels=None if self.labels is None else self.labels[rows],
            log_probabilities=None if log_p is None else select_records(log_p, rows),
            queries=tuple(select_records(query, rows) for query in self.queries),
            features=None if self.features is None else self.features[rows],
            query_log_probabilities=tuple(select_records(query, rows) for query in self.query_log_probabilities),
            checkpoints=tuple(select_records(checkpoint, rows) for checkpoint in self.checkpoints),
        )

    def _view(self, phi: FloatArray, model: int, rest: list[int], log_p: FloatArray | None) -> Signals:
        return Signals(
            _row(phi, model), self.labels, _row(log_p, model), some_rows(phi, rest), some_rows(self.included, rest)
        )

    def target(self, model: int) -> Signals:
        """One model as the target, all others but its partner as references. Its own membership is left out.

        >>> pool = PoolSignals(np.zeros((4, 1)), np.array([[True], [False], [False], [True]]))
        >>> pool.target(0).included
        array([[False],
               [ True]])
        """
        rest = [i for i in range(len(self)) if i // 2 != model // 2]
        logs = self.query_log_probabilities or (None,) * len(self.queries)
        population = None
        if self.population is not None:
            population = Signals(
                _row(self.population, model),
                self.population_labels,
                _row(self.population_log_probabilities, model),
                some_rows(self.population, rest),
                np.broadcast_to(np.zeros((1, 1), bool), (len(rest), self.population.shape[1])),
                features=self.population_features,
            )
        return Signals(
            _row(self.phi, model),
            self.labels,
            _row(self.log_probabilities, model),
            some_rows(self.phi, rest),
            some_rows(self.included, rest),
            population,
            queries=tuple(self._view(q, model, rest, log_p) for q, log_p in zip(self.queries, logs, strict=True)),
            checkpoints=tuple(self._view(phi, model, rest, None) for phi in self.checkpoints),
            features=self.features,
            reference_log_probabilities=(
                None if self.log_probabilities is None else some_rows(self.log_probabilities, rest)
            ),
        )


@overload
def _row(array: FloatArray, model: int) -> FloatArray: ...
@overload
def _row(array: None, model: int) -> None: ...
@overload
def _row(array: FloatArray | None, model: int) -> FloatArray | None: ...
def _row(array: FloatArray | None, model: int) -> FloatArray | None:
    """A copy of one model's, as float64, when the array is mapped."""
    if array is None or not is_mapped(array):
        return None if array is None else array[model]
    row = np.array(array[model], np.float64)
    release(array)
    return row
