"""Records made to be remembered: what is put behind a coin when real records leak too little to see.

A canary's record is chosen before its coin falls and never from what the audited model says about it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from dpaudit.data.dataset import Dataset
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

CanaryKind = Literal["mislabelled", "blank", "out-of-distribution", "sparse", "clipbkd", "found"]
KINDS: tuple[str, ...] = get_args(CanaryKind)

SHARE_ON = 0.1  # of the features of a sparse canary: of 0.02, 0.05, 0.1 and 0.2 the one that public models told best
AnyT = TypeVar("AnyT", bound=np.generic)
Predictor = Callable[[npt.NDArray[np.float32]], FloatArray]


def canaries(kind: CanaryKind, source: Dataset, count: int, *, seed: int, predict: Predictor | None = None) -> Dataset:
    """Canary records in the shape of a data set.

    Args:
        kind: ``mislabelled``: records with another label (`Nasr et al. (2021) <https://arxiv.org/abs/2101.04535>`_);
            ``blank``: all features zero, labels in turn; ``out-of-distribution``: uniform noise over the range of the
            features, labels at random; ``sparse``: a tenth of the features, drawn at random for each canary, at their
            largest value and the others at their smallest, labels at random; ``clipbkd``: the direction in which the
            records vary least, at their largest norm (`Jagielski et al. (2020) <https://arxiv.org/abs/2006.07709>`_);
            ``found``: of the records with another label, those that ``predict`` is most surprised by.
        source: records to start from, which must not be among the audited ones; multiclass or binary.
        count: how many.
        seed: of what is random.
        predict: a public model, features -> logits, for ``found``.

    Raises:
        InputError: too few records to start from, or a public model where none is used, or none where one is.

    >>> from dpaudit.data.bundled import digits
    >>> blank = canaries("blank", digits(), 3, seed=0)
    >>> blank.labels.tolist(), float(blank.features.max())
    ([0, 1, 2], 0.0)
    """
    check.one_of("kind", kind, KINDS)
    wanted = check.integer("count", count, at_least=1)
    if (predict is not None) != (kind == "found"):
        raise InputError(f"predict is for canaries of kind 'found', and they need it; got kind {kind!r}.")
    labels = source.classes
    classes = int(labels.max()) + 1
    if classes < 2:
        raise InputError(f"canaries need a data set of at least 2 classes, got {classes}.")
    rng = np.random.default_rng(seed)
    shape = (wanted, *source.features.shape[1:])
    if kind in ("mislabelled", "found"):
        if len(source) < wanted:
            raise InputError(f"{wanted} canaries need as many records to start from, got {len(source)}.")
        chosen = rng.permutation(len(source))
        features = source.features[chosen]
        wrong = (labels[chosen] + rng.integers(1, classes, len(chosen))) % classes
        if predict is not None:
            order = np.argsort(-_surprise(predict(features), wrong), kind="stable")
            features, wrong = features[order], wrong[order]
        features, made = features[:wanted], wrong[:wanted]
    elif kind == "blank":
        features, made = np.zeros(shape, np.float32), np.arange(wanted) % classes
    elif kind == "out-of-distribution":
        low, high = source.features.min(axis=0), source.features.max(axis=0)
        features, made = rng.uniform(low, high, shape).astype(np.float32), rng.integers(0, classes, wanted)
    elif kind == "sparse":
        features, made = sparse_patterns(source.features, wanted, rng), rng.integers(0, classes, wanted)
    else:
        features, made = _clipbkd(source, wanted), np.arange(wanted) % classes
    return replace(
        source,
        name=f"{kind} canaries of {source.name}",
        features=features,
        labels=made.astype(np.int64),
        users=None,
        groups={},
        rows=None,
    )


def sparse_patterns(features: npt.NDArray[AnyT], count: int, rng: np.random.Generator) -> npt.NDArray[AnyT]:
    """Records with a tenth of the features at their largest value, others at their smallest; shape (count, ...).

    Few features that are on are shared by two of them, so that their gradients overlap little.
    """
    low, high = features.min(axis=0), features.max(axis=0)
    return np.where(rng.random((count, *low.shape)) < SHARE_ON, high, low)


def _surprise(logits: FloatArray, labels: npt.NDArray[np.int64]) -> FloatArray:
    """Cross-entropy of each record, shape (records,)."""
    if logits.shape[1] == 1:
        return np.logaddexp(0.0, np.where(labels == 1, -logits[:, 0], logits[:, 0]))
    return np.asarray(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels])


def _clipbkd(source: Dataset, count: int) -> npt.NDArray[np.float32]:
    flat = source.features.reshape(len(source), -1).astype(np.float64)
    if flat.shape[1] < count:
        raise InputError(f"clipbkd has {flat.shape[1]} directions, one for each feature, got {count} canaries.")
    _, _, directions = np.linalg.svd(flat, full_matrices=True)
    scale = np.linalg.norm(flat, axis=1).max()
    least: npt.NDArray[np.float32] = (directions[::-1][:count] * scale).astype(np.float32)
    return least.reshape(count, *source.features.shape[1:])
