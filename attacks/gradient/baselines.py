"""What guessing from the prior alone scores, and the decoys that make a similarity a test.

Every similarity is printed beside its floor. Decoys are records of the same population that were never trained on: if
the reconstruction knew nothing of the true record, the true one would be its nearest among decoys once in decoys + 1
times, exactly. That needs no threshold and no assumption on the data.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from dpaudit.attacks.gradient.metrics import psnr
from dpaudit.attacks.gradient.table_columns import EncodedColumns
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class Floors:
    """PSNR in dB of guesses that saw no gradient, one value per true record.

    Args:
        blank: the darkest image the box allows.
        mean: the mean auxiliary record.
        class_mean: the mean auxiliary record of the true class; None without classes.
        nearest: the nearest auxiliary record, chosen with the truth at hand: no honest prior does better by copying.
    """

    blank: FloatArray
    mean: FloatArray
    class_mean: FloatArray | None
    nearest: FloatArray

    @property
    def best_honest(self) -> FloatArray:
        """The best floor an attacker without the gradient can reach, per record."""
        honest = np.maximum(self.blank, self.mean)
        return honest if self.class_mean is None else np.maximum(honest, self.class_mean)


def floors(
    truth: FloatArray,
    auxiliary: FloatArray,
    *,
    labels: IntArray | None = None,
    auxiliary_labels: IntArray | None = None,
    box: tuple[float, float] = (0.0, 1.0),
) -> Floors:
    """Floors of some records, from auxiliary records of the same population.

    Args:
        truth: shape (records, ...).
        auxiliary: shape (auxiliary records, ...), none of them among the true ones.
        labels: classes of the true records, when the attacker knows or restores them.
        auxiliary_labels: classes of the auxiliary records.
        box: smallest and largest value a feature can take.
    """
    true, other = check.finite("true records", truth), check.finite("auxiliary records", auxiliary)
    if true.shape[1:] != other.shape[1:]:
        raise InputError(f"auxiliary records have shape {other.shape[1:]}, the true records {true.shape[1:]}.")
    span = box[1] - box[0]
    class_mean = None
    if labels is not None and auxiliary_labels is not None:
        missing = sorted(set(labels.tolist()) - set(auxiliary_labels.tolist()))
        if missing:
            raise InputError(f"auxiliary records hold no record of class {missing[0]}.")
        means = np.stack([other[auxiliary_labels == c].mean(0) for c in labels])
        class_mean = psnr(means, true, span=span)
    flat_true, flat_other = true.reshape(len(true), -1), other.reshape(len(other), -1)
    squared = (flat_true**2).sum(1)[:, None] + (flat_other**2).sum(1) - 2 * flat_true @ flat_other.T
    return Floors(
        blank=psnr(np.full_like(true, box[0]), true, span=span),
        mean=psnr(np.broadcast_to(other.mean(0), true.shape), true, span=span),
        class_mean=class_mean,
        nearest=psnr(other[squared.argmin(1)], true, span=span),
    )


def prior_rows(auxiliary: FloatArray, columns: EncodedColumns, records: int) -> FloatArray:
    """The guess that saw no gradient: medians and most frequent categories, repeated; its accuracy is the floor."""
    guess = np.median(auxiliary, axis=0)
    for block in columns.blocks:
        counts = np.bincount(auxiliary[:, block].argmax(1), minlength=block.stop - block.start)
        guess[block] = np.eye(counts.size)[counts.argmax()]
    return np.tile(guess, (records, 1))


@dataclass(frozen=True)
class DecoyTest:
    """How often a reconstruction is nearer to its record than to every decoy.

    Args:
        identified: records whose reconstruction is nearest to them.
        records: records tried.
        decoys: decoys each is hidden among.
        p_value: probability of at least as many if the reconstructions knew nothing, exact.
        rank_p_values: one per record, (1 + decoys at least as near) / (1 + decoys).
    """

    identified: int
    records: int
    decoys: int
    p_value: float
    rank_p_values: FloatArray

    @property
    def kappa(self) -> float:
        """Probability of identifying a record by chance, exactly."""
        return 1 / (self.decoys + 1)


def decoy_test(reconstructed: FloatArray, truth: FloatArray, decoys: FloatArray) -> DecoyTest:
    """Hide every record among its own decoys and ask which the reconstruction is nearest to.

    Args:
        reconstructed: shape (records, ...), or several guesses for each, (records, guesses, ...): of a batch nobody
            tells the attacker which is which, so the true record and every decoy are compared with their nearest guess.
        truth: shape (records, ...).
        decoys: fresh records of the same population, shape (records, decoys, ...); ties count against the attack.

    >>> decoy_test(np.array([[0.9]]), np.array([[1.0]]), np.array([[[0.0], [0.5], [0.2]]])).rank_p_values
    array([0.25])
    """
    guesses = reconstructed[:, None] if reconstructed.ndim == truth.ndim else reconstructed
    if guesses.shape[:1] + guesses.shape[2:] != truth.shape or decoys.shape[:1] + decoys.shape[2:] != truth.shape:
        raise InputError(
            f"decoys must have shape (records, decoys, ...), got {decoys.shape} for {truth.shape} and "
            f"reconstructions {reconstructed.shape}."
        )
    records, number = decoys.shape[:2]
    candidates = np.concatenate([truth[:, None], decoys], axis=1)[:, :, None]
    squared = ((guesses[:, None] - candidates) ** 2).reshape(records, number + 1, guesses.shape[1], -1)
    nearest = squared.sum(3).min(2)
    own, others = nearest[:, 0], nearest[:, 1:]
    rank = (1 + (others <= own[:, None]).sum(1)) / (1 + number)
    identified = int((rank == 1 / (1 + number)).sum())
    p_value = float(binomtest(identified, records, 1 / (1 + number), alternative="greater").pvalue)
    return DecoyTest(identified, records, number, p_value, rank)
