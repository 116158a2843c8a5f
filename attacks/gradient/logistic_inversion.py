"""The last record behind a released logistic regression, when all others are known.

`Balle, Cherubin and Hayes (2022) <https://arxiv.org/abs/2201.04845>`_: at the optimum the gradients of all records and
the penalty add up to zero, so what the known records leave over is the unknown record's gradient, and a linear model's
gradient is its input times its residual. No gradient was ever seen; the model alone gives the record away.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

from dpaudit.attacks.gradient.candidate_attack import PrivacyUnits
from dpaudit.attacks.gradient.view import FinalModel, GradientView, Reconstruction
from dpaudit.runtime import check
from dpaudit.runtime.errors import AuditFailed, InputError


@dataclass(frozen=True)
class LogisticInversion:
    """The unknown record and its class, in closed form, from an L2-penalised logistic regression.

    Args:
        penalty: λ of the objective Σ loss + λ/2 |W|²; 1/C in scikit-learn.
        penalise_intercept: whether λ also acts on the intercept; scikit-learn's does not.
    """

    penalty: float
    penalise_intercept: bool = False

    def __post_init__(self) -> None:
        check.nonnegative("penalty", self.penalty)

    def __call__(self, view: GradientView, *, known: PrivacyUnits) -> Reconstruction:
        """The missing record, from the model and all other records.

        Args:
            view: a final model with a kernel (inputs, classes) and a bias (classes,); one column for two classes.
            known: every record but one.
        """
        if not isinstance(view, FinalModel):
            raise InputError(f"logistic inversion reads a released model, got a {type(view).__name__}.")
        if len(view.weights) != 2 or view.weights[0].ndim != 2 or view.weights[1].shape != view.weights[0].shape[1:]:
            raise InputError(
                f"logistic inversion needs one kernel and one bias, got shapes {[w.shape for w in view.weights]}."
            )
        kernel, bias = view.weights
        features = known.features.astype(np.float64)
        logits = features @ kernel + bias
        if bias.size == 1:
            residual = expit(logits) - known.labels[:, None]
        else:
            residual = softmax(logits, axis=1) - np.eye(bias.size)[known.labels]
        left = -(residual.sum(0) + (self.penalty * bias if self.penalise_intercept else 0.0))
        gradient = -(features.T @ residual + self.penalty * kernel)
        if not np.abs(left).max() > 1e-9:
            raise AuditFailed(
                "logistic inversion: nothing is left for the unknown record; it is fitted perfectly, or not missing."
            )
        record = gradient @ left / (left @ left)
        label = int(left[0] < 0) if bias.size == 1 else int(np.argmin(left))
        return Reconstruction(record[None] if view.box is None else np.clip(record[None], *view.box), np.array([label]))
