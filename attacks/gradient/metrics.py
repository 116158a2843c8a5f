"""How close a reconstruction is. The only place where reconstructions and the truth meet.

A similarity means nothing without its floor (`dpaudit.attacks.gradient.baselines`): guessing from the prior alone
already scores, and a low PSNR is no evidence for a small ε.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d
from scipy.optimize import linear_sum_assignment

from dpaudit.attacks.gradient.label_recovery import whole_counts
from dpaudit.attacks.gradient.table_columns import EncodedColumns
from dpaudit.attacks.gradient.view import Reconstruction
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError


def mse(records: FloatArray, truth: FloatArray) -> FloatArray:
    """Mean squared error of each record, shape (records,).

    >>> mse(np.array([[0.0, 1.0]]), np.array([[0.0, 0.0]]))
    array([0.5])
    """
    if records.shape != truth.shape:
        raise InputError(f"reconstructions have shape {records.shape}, the records {truth.shape}.")
    return np.asarray(((records - truth) ** 2).reshape(len(truth), -1).mean(1))


def psnr(records: FloatArray, truth: FloatArray, *, span: float = 1.0, cap: float = 150.0) -> FloatArray:
    """Peak signal-to-noise ratio of each record in dB, at most ``cap``; ``span`` is largest minus smallest value.

    >>> psnr(np.array([[0.0, 0.1]]), np.array([[0.0, 0.0]])).round(1)
    array([23.])
    """
    smallest = check.positive("span", span) ** 2 * 10 ** (-cap / 10)
    return np.asarray(10 * np.log10(span**2 / np.maximum(mse(records, truth), smallest)))


def ssim(records: FloatArray, truth: FloatArray, *, span: float = 1.0) -> FloatArray:
    """Structural similarity of each image, in [-1, 1]; shapes (images, height, width, channels).

    Gaussian window of 11 pixels and σ 1.5, as `Wang et al. (2004) <https://doi.org/10.1109/TIP.2003.819861>`_; on
    images smaller than that the largest odd window that fits.
    """
    if records.ndim != 4 or records.shape != truth.shape:
        raise InputError(f"SSIM wants images (n, height, width, channels), got {records.shape} and {truth.shape}.")
    size = min(11, *(side - 1 + side % 2 for side in records.shape[1:3]))
    offsets = np.arange(size) - size // 2
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    margin = size // 2

    def local_mean(images: FloatArray) -> FloatArray:
        smooth = correlate1d(correlate1d(images, window, axis=1), window, axis=2)
        height, width = images.shape[1:3]
        return np.asarray(smooth[:, margin : height - margin, margin : width - margin])

    x, y = records.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = local_mean(x), local_mean(y)
    var_x, var_y = local_mean(x * x) - mean_x**2, local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    values = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    values /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return np.asarray(values.mean((1, 2, 3)))


def assignment(records: FloatArray, truth: FloatArray) -> IntArray:
    """Which reconstruction belongs to which record: index of the reconstruction for each record, least total error.

    There may be more reconstructions than records, never fewer.

    >>> assignment(np.array([[1.0], [0.0], [5.0]]), np.array([[0.1], [0.9]]))
    array([1, 0])
    """
    if len(records) < len(truth) or records.shape[1:] != truth.shape[1:]:
        raise InputError(f"cannot match reconstructions {records.shape} to records {truth.shape}.")
    a, b = records.reshape(len(records), -1), truth.reshape(len(truth), -1)
    cost = ((b[:, None] - a[None]) ** 2).mean(2)
    return np.asarray(linear_sum_assignment(cost)[1], np.int64)


def label_chance(prior: FloatArray, batch: int, *, draws: int = 4000, seed: int) -> float:
    """Average overlap that the best guess from class frequencies alone reaches, by simulation.

    Args:
        prior: class frequencies, shape (classes,), adding up to 1.
        batch: records in a batch.
        draws: simulated batches.
        seed: of the simulation.

    >>> round(label_chance(np.full(10, 0.1), 64, seed=0), 2)
    0.85
    """
    frequencies = check.vector("prior", prior)
    if not np.isclose(frequencies.sum(), 1) or (frequencies < 0).any():
        raise InputError(f"prior must be frequencies that add up to 1, got a sum of {frequencies.sum():g}.")
    counts = np.random.default_rng(seed).multinomial(check.integer("batch", batch, at_least=1), frequencies, draws)
    guess = whole_counts(batch * frequencies, batch)
    return float(np.minimum(counts, guess).sum(1).mean()) / batch


def label_accuracy(labels: IntArray, truth: IntArray, *, chance: float) -> float:
    """Overlap of two multisets of classes, corrected for chance: 0 is what the prior alone reaches, 1 is all right.

    Args:
        labels: reconstructed classes, shape (batch,), in any order.
        truth: true classes, shape (batch,).
        chance: overlap without the gradient, from `label_chance`; on ten balanced classes and a batch of 64 it is
            already 0.85.

    >>> label_accuracy(np.array([0, 1]), np.array([1, 0]), chance=0.2)
    1.0
    """
    if not 0 <= check.number("chance", chance) < 1:
        raise InputError(f"chance must be in [0, 1), got {chance!r}.")
    return (overlap(labels, truth) - chance) / (1 - chance)


def overlap(labels: IntArray, truth: IntArray) -> float:
    """Share of the true classes found, as multisets.

    >>> overlap(np.array([1, 1, 2]), np.array([1, 2, 2])).__round__(3)
    0.667
    """
    clean = check.labels("labels", labels, length=len(truth))
    true = check.labels("true labels", truth)
    classes = int(max(clean.max(), true.max())) + 1
    return float(np.minimum(np.bincount(clean, minlength=classes), np.bincount(true, minlength=classes)).sum()) / len(
        truth
    )


def values_right(rows: FloatArray, truth: FloatArray, columns: EncodedColumns, *, tolerance: FloatArray) -> BoolArray:
    """Whether each value of a table is right, (rows, columns), numbers first; rows matched by the caller.

    Args:
        rows: encoded reconstructions, (rows, width).
        truth: encoded rows, (rows, width).
        columns: the encoding.
        tolerance: largest error that counts as right in each number, (numbers,).
    """
    numbers = columns.numbers
    right = [np.abs((rows - truth)[:, numbers]) <= tolerance, columns.codes(rows) == columns.codes(truth)]
    return np.concatenate(right, axis=1)


def surer_half(right: BoolArray, confidence: FloatArray, numbers: int) -> float:
    """Share of right values among the half of the numbers and the half of the categories with the most confidence.

    Args:
        right: as `values_right` gives it.
        confidence: in each value, larger is surer, of the same shape; compared among numbers and among categories.
        numbers: how many columns are numbers.

    >>> surer_half(np.array([[True, False], [False, True]]), np.array([[0.9, 0.2], [0.1, 0.8]]), 1)
    1.0
    """
    parts = []
    for kind in (slice(0, numbers), slice(numbers, None)):
        ordered = right[:, kind].ravel()[np.argsort(-confidence[:, kind].ravel(), kind="stable")]
        parts.append(ordered[: -(-ordered.size // 2)])
    return float(np.concatenate(parts).mean())


@dataclass(frozen=True)
class Fidelity:
    """Similarity of a matched batch to the truth; every array has one value per true record.

    Args:
        mse: mean squared error.
        psnr: in dB.
        ssim: structural similarity; None when the records are not images.
        matched: the reconstruction of each record, (records, ...).
        found: whether the attack returned anything for the record; a record left out has the error of ``prior``.
        order: which of the attack's records is each; beyond their number where it returned none.
    """

    mse: FloatArray
    psnr: FloatArray
    ssim: FloatArray | None
    matched: FloatArray
    found: FloatArray
    order: IntArray


def fidelity(
    reconstruction: Reconstruction, truth: FloatArray, *, prior: FloatArray, box: tuple[float, float] = (0.0, 1.0)
) -> Fidelity:
    """Join a reconstruction to the truth: match by assignment, then measure.

    Args:
        reconstruction: what the attack returned, in any order.
        truth: the records, shape (records, ...).
        prior: the guess for a record the attack gave nothing for, shape (...): the mean record, for example.
        box: smallest and largest value a feature can take.
    """
    low, high = box
    true = check.finite("true records", truth)
    if true.min() < low - 1e-9 or true.max() > high + 1e-9:
        raise InputError(f"true records must lie in the box [{low}, {high}], got [{true.min():g}, {true.max():g}].")
    found = np.clip(reconstruction.records.reshape(-1, *true.shape[1:]), low, high)
    missing = max(0, len(true) - len(found))
    filler = np.broadcast_to(check.finite("prior", prior), true.shape[1:])
    every = np.concatenate([found, np.repeat(filler[None], missing, axis=0)])
    order = assignment(every, true)
    matched = every[order]
    image = true.ndim == 4
    return Fidelity(
        mse=mse(matched, true),
        psnr=psnr(matched, true, span=high - low),
        ssim=ssim(matched, true, span=high - low) if image else None,
        matched=matched,
        found=(order < len(found)).astype(np.float64),
        order=order,
    )
