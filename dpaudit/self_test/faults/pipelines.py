"""Whole pipelines whose training step is private and whose other steps are not; only an audit from outside sees them.

Each is a function (canary present?, seed) -> what is published, as one number an auditor would look at. The private
part of all of them is a noisy sum of ε = 1; the rest of the data is drawn from the seed, but for the best of three.
"""

import numpy as np

from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.runtime.check import FloatArray

RECORDS = 100
DELTA = 1e-5
CLAIMED = 1.0
_SIGMA = 1 / gaussian_mu(CLAIMED, DELTA)


def private_mean(present: bool, seed: int) -> float:
    """A right pipeline: records in [0, 1], their noisy sum; the canary is a 1."""
    rng = np.random.default_rng(seed)
    return float(_data(present, rng).sum() + rng.normal(0.0, _SIGMA))


def private_vocabulary(present: bool, seed: int) -> float:
    """A noisy count for each word of the private texts, and for no other word: the canary brings a word of its own."""
    rng = np.random.default_rng(seed)
    words = set(rng.integers(0, 20, RECORDS).tolist())
    vocabulary = words | ({20} if present else set())
    counts = {word: rng.normal(1.0, _SIGMA) for word in vocabulary}
    return float(len(counts))


def private_normalisation(present: bool, seed: int) -> float:
    """Records are divided by the private maximum before the noisy sum; the canary is ten times the others."""
    rng = np.random.default_rng(seed)
    data = np.append(rng.random(RECORDS), 10.0 if present else 0.5)
    return -float((data / data.max()).sum() + rng.normal(0.0, _SIGMA))


def private_early_stopping(present: bool, seed: int) -> float:
    """Training stops when the exact loss on private validation data turns up; the canary delays that by its loss."""
    rng = np.random.default_rng(seed)
    validation = np.append(rng.normal(0.0, 0.1, RECORDS), 8.0 if present else 0.0)
    weight, best, step = 0.0, np.inf, 0
    while step < 200:
        weight += 0.001
        loss = float(((validation - weight) ** 2).mean())
        if loss > best:
            break
        best, step = loss, step + 1
    return float(step)


def private_selection(present: bool, seed: int) -> float:
    """Of three private models the one with the best exact score on private data is published, and named."""
    rng = np.random.default_rng(seed)
    candidates = np.array([0.2, 0.5, 0.8])
    data = _data(present, rng) * 0.1 + (0.9 if present else 0.0)
    noisy = candidates + rng.normal(0.0, 1e-3, 3)
    scores = -np.abs(noisy[:, None] - data.max()).sum(axis=1)
    return float(np.argmax(scores))


def best_of_three(present: bool, seed: int) -> float:
    """Three private sums of ε = 1 each; the one with the best validation score, here the largest, is published.

    ε is 3: the published sum lies below that of the data without the canary with probability 1/8 when the canary is
    out, and e⁻³/8 when it is in.
    """
    return _best_of_three(present, seed, CLAIMED)


def best_of_three_paid_for(present: bool, seed: int) -> float:
    """The same with sums of ε = 1/3 each, which compose to the claim."""
    return _best_of_three(present, seed, CLAIMED / 3)


def _best_of_three(present: bool, seed: int, epsilon: float) -> float:
    total = _data(present, np.random.default_rng(0)).sum()  # of the same other records in every run
    return float(total + np.random.default_rng(seed).laplace(0.0, 1 / epsilon, 3).max())


def _data(present: bool, rng: np.random.Generator) -> FloatArray:
    return np.append(rng.random(RECORDS), 1.0 if present else 0.0)
