"""Privacy risk score of a record, `Song and Mittal (2021) <https://arxiv.org/abs/2003.10595>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.attacks.membership._shadow import from_references
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class RiskScore:
    """Probability that a record with this φ was trained on, when half of the records were.

    Histograms of φ among members and among non-members of the reference models, per class, on equally filled bins.
    They are cross-fitted: the bins a record is judged by never saw that record on any model.

    Args:
        bins: of the histogram.
        folds: parts of the records.
        rows: learn from at most this many rows.
        seed: of the folds.

    Raises:
        InputError: there are no reference models.
    """

    bins: int = 15
    folds: int = 5
    rows: int = 200_000
    seed: int = 0

    version: ClassVar[str] = "risk-score/1"
    formula: ClassVar[str] = "P(φ | member) / (P(φ | member) + P(φ | non-member)), per class"
    paper: ClassVar[str] = "Song and Mittal (2021), arXiv 2003.10595"

    def __post_init__(self) -> None:
        check.integer("bins", self.bins, at_least=2)
        check.integer("folds", self.folds, at_least=2)
        check.integer("rows", self.rows, at_least=2)

    def __call__(self, signals: Signals) -> FloatArray:
        """Probabilities in (0, 1), shape (records,)."""
        return from_references(
            signals, _phi_and_class, self._fit_and_score, number=self.folds, seed=self.seed, rows=self.rows
        )

    def _fit_and_score(self, known: FloatArray, member: BoolArray, unknown: FloatArray) -> FloatArray:
        risk = np.empty(len(unknown))
        for label in np.unique(unknown[:, 1]):
            rows, asked = known[:, 1] == label, unknown[:, 1] == label
            if not rows.any():
                raise InputError(f"class {int(label)} is so rare that a fold of the records holds none of it.")
            edges = np.quantile(known[rows, 0], np.linspace(0, 1, self.bins + 1)[1:-1])
            bin_of = np.searchsorted(edges, known[rows, 0], side="right")
            # One more record on each side than was seen: an empty bin is no proof.
            inside = 1 + np.bincount(bin_of[member[rows]], minlength=self.bins)
            outside = 1 + np.bincount(bin_of[~member[rows]], minlength=self.bins)
            p_in, p_out = inside / inside.sum(), outside / outside.sum()
            risk[asked] = (p_in / (p_in + p_out))[np.searchsorted(edges, unknown[asked, 0], side="right")]
        return risk


def _phi_and_class(signals: Signals) -> FloatArray:
    labels = np.zeros(len(signals)) if signals.labels is None else signals.labels
    return np.column_stack([signals.phi, labels])
