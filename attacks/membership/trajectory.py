"""Loss trajectory, `Liu et al. (2022) <https://arxiv.org/abs/2208.14933>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.attacks.membership._shadow import from_references
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class Trajectory:
    """How the loss of a record fell over the training: a logistic regression on φ at every checkpoint.

    It learns from the reference models' checkpoints; the checkpoints of the target are given, or distilled copies'.

    Args:
        folds: parts of the records; none is scored by a regression that saw it.
        rows: learn from at most this many rows.
        seed: of the folds.

    Raises:
        InputError: there are no checkpoints, or no reference models.
    """

    folds: int = 3
    rows: int = 20_000
    seed: int = 0

    version: ClassVar[str] = "trajectory/1"
    formula: ClassVar[str] = "log-odds of membership by logistic regression on (φ_1, ..., φ_T)"
    paper: ClassVar[str] = "Liu et al. (2022), arXiv 2208.14933"

    def __post_init__(self) -> None:
        check.integer("folds", self.folds, at_least=2)
        check.integer("rows", self.rows, at_least=2)

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        if not signals.checkpoints:
            raise InputError("trajectory needs checkpoints: signals of the target and the references along training.")
        return from_references(
            signals,
            lambda observed: np.column_stack([view.phi for view in (*observed.checkpoints, observed)]),
            _logistic,
            number=self.folds,
            seed=self.seed,
            rows=self.rows,
        )


def _logistic(known: FloatArray, member: BoolArray, unknown: FloatArray) -> FloatArray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(known, member)
    log_odds: FloatArray = fitted.decision_function(unknown)
    return log_odds
