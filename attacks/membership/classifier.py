"""Attackers trained by scikit-learn on reference models, or on the target, `Shokri et al. (2017) <https://arxiv.org/abs/1610.05820>`_."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from dpaudit.attacks.membership._shadow import from_references
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.signals import Signals

ClassifierName = Literal["logistic", "mlp", "forest", "neighbours"]
MODELS: tuple[str, ...] = ("logistic", "mlp", "forest", "neighbours")


@dataclass(frozen=True)
class Classifier:
    """A classifier learns from the reference models what members look like, and scores the target.

    Its features are φ of the record (and of its queries and checkpoints) and, where all classes are known, the margin,
    the sorted probabilities and the true class. It is cross-fitted over records: no record is scored by a classifier
    that saw the same record on any model.

    Args:
        model: ``logistic`` regression, ``mlp``, random ``forest`` or k-nearest ``neighbours``.
        folds: parts of the records, at least 2.
        rows: learn from at most this many rows.
        seed: of the folds and of the classifier.

    Raises:
        InputError: there are no reference models.
    """

    model: ClassifierName = "logistic"
    folds: int = 3
    rows: int = 20_000
    seed: int = 0

    version: ClassVar[str] = "classifier/1"
    formula: ClassVar[str] = "log-odds of membership by a classifier of φ, margin, sorted log-probabilities and class"
    paper: ClassVar[str] = "Shokri et al. (2017), arXiv 1610.05820"

    def __post_init__(self) -> None:
        check.one_of("model", self.model, MODELS)
        check.integer("folds", self.folds, at_least=2)
        check.integer("rows", self.rows, at_least=2)

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        # What the target shows and the references do not (all probabilities) would be learnt from nothing.
        full = signals.reference_log_probabilities is not None
        return from_references(
            signals,
            lambda observed: features(observed, full=full),
            self._fit_and_score,
            number=self.folds,
            seed=self.seed,
            rows=self.rows,
        )

    def _fit_and_score(self, known: FloatArray, member: BoolArray, unknown: FloatArray) -> FloatArray:
        return _fit_and_score(self.model, self.seed, known, member, unknown)


@dataclass(frozen=True)
class ClassifierOnTarget:
    """A classifier learns from the target itself, for an attacker who knows the membership of other records.

    The attack without reference models that TensorFlow Privacy trains. It learns from a random part of the audited
    records; their truth is spent, and only the others are audited. What a classifier tells about a record then rests
    on that record's signals and on spent truth alone, which the lower bounds allow for; scoring the parts in turn
    would let the truth of one part into the scores of another.

    Args:
        model: as in `Classifier`.
        spends: share of the records whose membership is given away, in (0, 1).
        seed: of the choice and of the classifier.

    Raises:
        InputError: the signals hold no known records, or those are all members, or none is.

    >>> phi, member = np.array([3.0, -1.0, 2.5, -2.0, 2.0, -1.5]), np.array([1, 0, 1, 0, 1, 0], bool)
    >>> ClassifierOnTarget()(Signals(phi).told(np.arange(6) < 4, member)) > 0
    array([ True, False])
    """

    model: ClassifierName = "logistic"
    spends: float = 0.5
    seed: int = 0

    version: ClassVar[str] = "classifier-on-target/1"
    formula: ClassVar[str] = "as classifier, learnt from records of the target whose truth is spent"
    paper: ClassVar[str] = "Shokri et al. (2017), arXiv 1610.05820, and TensorFlow Privacy's trained attackers"

    def __post_init__(self) -> None:
        check.one_of("model", self.model, MODELS)
        check.open_unit("spends", self.spends)

    def spent(self, records: int) -> BoolArray:
        """Which of the records the attacker is told about, shape (records,); chosen blindly."""
        rows = np.zeros(records, bool)
        rows[np.random.default_rng(self.seed).permutation(records)[: round(self.spends * records)]] = True
        return rows

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        known = signals.known
        if known is None or known.member.all() or not known.member.any():
            raise InputError("classifier-on-target needs records known to be members and records known to be none.")
        full = signals.log_probabilities is not None and signals.labels is not None
        table = features(known.signals, full=full)
        return _fit_and_score(self.model, self.seed, table, known.member, features(signals, full=full))


def _fit_and_score(
    model: ClassifierName, seed: int, known: FloatArray, member: BoolArray, unknown: FloatArray
) -> FloatArray:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), _estimator(model, seed, rows=len(known))).fit(known, member)
    # A share of exactly 0 or 1 (all trees agree) has no finite log-odds; the order is kept.
    share = fitted.predict_proba(unknown)[:, 1]
    clipped = np.clip(share, 1e-12, 1 - 1e-12)
    log_odds: FloatArray = np.log(clipped) - np.log1p(-clipped)
    return log_odds


def _estimator(model: ClassifierName, seed: int, *, rows: int) -> Any:
    # The grids of TensorFlow Privacy's attackers, narrowed to one setting each: nothing is tuned on a target.
    match model:
        case "logistic":
            from sklearn.linear_model import LogisticRegression

            return LogisticRegression(max_iter=1000)
        case "mlp":
            from sklearn.neural_network import MLPClassifier

            return MLPClassifier((64,), early_stopping=True, random_state=seed)
        case "forest":
            from sklearn.ensemble import RandomForestClassifier

            return RandomForestClassifier(min_samples_leaf=5, random_state=seed)
        case "neighbours":
            from sklearn.neighbors import KNeighborsClassifier

            return KNeighborsClassifier(min(50, rows))


def features(signals: Signals, *, full: bool) -> FloatArray:
    """What a trained attacker looks at, shape (records, features); ``full`` takes the probabilities of all classes."""
    columns = [view.phi for view in (signals, *signals.queries, *signals.checkpoints)]
    if full:
        log_p, labels = signals.classes()
        own = np.arange(log_p.shape[1]) == labels[:, None]
        columns.append(log_p[own] - np.where(own, -np.inf, log_p).max(axis=1))
        columns.extend(np.sort(log_p, axis=1)[:, ::-1].T)
        columns.extend(own.astype(np.float64).T)
    return np.column_stack(columns)
