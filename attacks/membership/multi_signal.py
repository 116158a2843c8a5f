"""LiRA on several signals at once: the joint Gaussian of `Carlini et al. (2022)
<https://arxiv.org/abs/2112.03570>`_, section VI-C.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.attacks.membership._moments import Moments, require_models
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class MultiSignalLira:
    """Likelihood ratio of a vector of signals (φ, and that of every query), with their correlation taken in.

    Averaging the ratios of single signals, as `Lira` does, counts two copies of the same signal twice. Each record
    has its own mean; the covariance of the residuals is pooled over records, one for each side, and widened by
    (1 + 1/n) for the mean being estimated.

    Raises:
        InputError: there are no queries, or a record has fewer than two references on a side.
    """

    version: ClassVar[str] = "multi-signal-lira/1"
    formula: ClassVar[str] = "log N(φ; μ_in, (1 + 1/n)Σ_in) - log N(φ; μ_out, (1 + 1/n)Σ_out), φ a vector"
    paper: ClassVar[str] = "Carlini et al. (2022), arXiv 2112.03570, section VI-C"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        if not signals.queries:
            raise InputError("multi-signal-lira needs queries: the other signals of the same records.")
        views = (signals, *signals.queries)
        target = np.stack([view.phi for view in views], axis=-1)
        reference = np.stack([view.reference for view in views], axis=-1)
        with_record = _log_density(target, reference, signals.included)
        return with_record - _log_density(target, reference, ~signals.included)


def _log_density(target: FloatArray, reference: FloatArray, where: BoolArray) -> FloatArray:
    """Of ``target`` (records, signals) under the references (models, records, signals) with ``where``."""
    fitted = [Moments.of(reference[..., signal], where) for signal in range(reference.shape[-1])]
    require_models(fitted[0], 2, "a pooled covariance")
    mean = np.stack([moments.mean for moments in fitted], axis=-1)
    count = fitted[0].count
    residual = (reference - mean)[where]
    covariance = residual.T @ residual / float((count - 1).sum())
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise InputError("two of the signals are copies of each other: their covariance is singular.") from error
    inflation = 1 + 1 / count
    z = np.linalg.solve(factor, (target - mean).T)
    squared: FloatArray = np.einsum("sr,sr->r", z, z) / inflation
    signals = target.shape[1]
    density: FloatArray = -0.5 * (squared + signals * np.log(2 * np.pi * inflation)) - np.log(np.diag(factor)).sum()
    return density
