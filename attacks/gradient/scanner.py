"""Looks at a model that a client is asked to train for structure made to leak: the client's defence.

Three rules, each with a level for freshly initialised weights (`LEVEL`) and a margin above what trained ones showed.
They read weights alone, so they see how a model was made and not what it does to a client's records; `NOT_SEEN` says
what passes.
"""

import numpy as np
from scipy.special import betainc
from scipy.stats import binom, chi2, norm

from dpaudit.attacks.gradient.linear_layer import DenseLayer, dense_layers
from dpaudit.attacks.gradient.view import Arrays
from dpaudit.bounds.lower_bound import Finding, Unchecked
from dpaudit.runtime.check import FloatArray

LEVEL = 1e-6  # of an alarm on a dense layer with independent, symmetric weights
PARALLEL = 0.95  # cosine to the common direction; noise of a third of the kernel's entries leaves more
SPREAD = 0.5  # of the variance of the columns' sums that independent weights have; trained layers had 0.7 and more
OUTSTANDING = 3.0  # largest over second largest column of a head; trained heads had 1.6 and less
APART = 10.0  # logits between one class's bias and the nearest other; trained heads had 4 and less
_REMEDY = "Do not train this model on private records; ask the server why the layer has this structure."

NOT_SEEN = (
    Unchecked(
        "imprint modules under strong noise",
        "with noise of half its entries' size and more, one isolates fewer records and passes",
    ),
    Unchecked("biases fitted to data", "neurons that a low bias keeps silent look like those of a trained model"),
    Unchecked(
        "trap weights drawn apart", "positive weights smaller than the negative ones, but not their mirror image, look "
        "like those of a trained model"
    ),
    Unchecked("other layers", "convolutions, attention, embeddings and layers without a bias are not looked at"),
    Unchecked("one output", "a single logit has no other class to compare with"),
    Unchecked(
        "statistics of batch normalisation",
        "moving averages help an attack and are in every trained model",
    ),
    Unchecked("an honest model", "its gradient leaks too; no alarm does not mean that nothing leaks"),
)  # fmt: skip


def scan(weights: Arrays) -> tuple[Finding, ...]:
    """Findings about every dense layer with a bias; empty for an honest model.

    - An imprint module is a hidden layer in which more than half of the neurons measure one direction.
    - Trap weights are columns of a hidden layer whose sums vary much less than independent weights allow, because
      their positive half mirrors the negative half, and are negative on average.
    - Fishing for a class is a head in which one class's column is much larger than every other, or one class's bias far
      from every other.

    >>> scan((np.random.default_rng(0).normal(size=(64, 32)), np.zeros(32), np.ones((32, 2)), np.zeros(2)))
    ()
    """
    findings = []
    layers = dense_layers(weights)
    for number, layer in enumerate(layers):
        place = f"dense layer {number} {weights[layer.kernel].shape}"
        last = layer.bias == len(weights) - 1
        for what, observed in _head(weights, layer) if last else _hidden(weights[layer.kernel]):
            findings.append(
                Finding(
                    check=f"malicious layers: {what}",
                    severity="violation",
                    fed=place,
                    observed=observed,
                    expected="columns of a dense layer that point in different directions, are no mirror images and "
                    "are of similar size",
                    remedy=_REMEDY,
                    rung=1,
                )
            )
    return tuple(findings)


def _hidden(kernel: FloatArray) -> list[tuple[str, str]]:
    norms = np.linalg.norm(kernel, axis=0)
    inputs, neurons = kernel.shape
    if inputs < 2 or (norms > 0).sum() < 2:
        return []
    unit = kernel[:, norms > 0] / norms[norms > 0]
    found = []
    same = int((np.abs(_common_direction(unit) @ unit) > PARALLEL).sum())
    if same > neurons / 2 and _parallel_by_chance(same, unit) < LEVEL:
        found.append(("imprint module", f"{same} of {neurons} neurons measure one direction"))
    spread, mean = float(unit.sum(0).var(ddof=1)), float(unit.sum(0).mean())
    count = unit.shape[1]
    rare = chi2.cdf((count - 1) * spread, count - 1) < LEVEL
    below = norm.cdf(mean / np.sqrt(max(spread, 1e-300) / count)) < LEVEL
    if spread < SPREAD and rare and below:
        observed = f"the sums of {count} neurons' weights vary {spread:.2g} times as much as independent ones, below 0"
        found.append(("trap weights", observed))
    return found


def _head(weights: Arrays, layer: DenseLayer) -> list[tuple[str, str]]:
    norms, bias = np.sort(np.linalg.norm(weights[layer.kernel], axis=0)), np.sort(weights[layer.bias])
    if norms.size < 2 or norms[-1] == 0:
        return []
    found = []
    if norms[-1] > OUTSTANDING * norms[-2]:
        found.append(f"one class's weights are {norms[-1] / max(norms[-2], 1e-300):.2g} times as large as any other's")
    gap = 0.0 if bias.size < 3 else float(max(bias[1] - bias[0], bias[-1] - bias[-2]))
    if gap > APART:
        found.append(f"one class's bias is {gap:.2g} logits from every other")
    return [("fishing for a class", " and ".join(found))] if found else []


def _common_direction(unit: FloatArray) -> FloatArray:
    """The leading left singular vector, by power iteration: exact enough where most columns are near it."""
    along = np.random.default_rng(0).normal(size=unit.shape[1])
    for _ in range(100):
        along = unit.T @ (unit @ along)
        along /= np.linalg.norm(along)
    direction = unit @ along
    return np.asarray(direction / np.linalg.norm(direction))


def _parallel_by_chance(same: int, unit: FloatArray) -> float:
    """Bound on the probability that so many of independent, uniform directions are near one of them.

    Two columns near the common direction are within twice its angle of each other.
    """
    inputs, count = unit.shape
    cosine = np.cos(2 * np.arccos(PARALLEL))
    near = betainc((inputs - 1) / 2, 0.5, 1 - cosine**2)
    return float(count * binom.sf(same - 2, count - 1, near))
