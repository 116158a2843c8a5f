"""Looks at a model that a client is asked to train for structure made to leak: the client's defence.

Three rules, each with a level for freshly initialised weights (`LEVEL`) and a margin above what trained ones showed.
They read weights alone, so they see how a model was made and not what it does to a client's records; `NOT_SEEN` says
what passes.
"""

from collections.abc import Mapping, Set

import numpy as np
from scipy.special import betainc
from scipy.stats import binom, chi2, norm

from dpaudit.attacks.gradient.linear_layer import DenseLayer, dense_layers
from dpaudit.attacks.gradient.view import Arrays
from dpaudit.bounds.lower_bound import Finding, Unchecked
from dpaudit.runtime.check import FloatArray

LEVEL = 1e-6  # of an alarm on a dense layer with independent, symmetric weights
PARALLEL = 0.8  # cosine to the common direction
RULES = {  # statistic -> where an alarm begins; trained networks stay below (benchmarks/honest_networks.py)
    "share of a hidden layer's neurons that measure one direction": 0.5,
    "how many times less the sums of its neurons' weights vary than independent ones": 2.0,
    "largest over second largest column of the head": 3.0,
    "logits between one class's bias and the nearest other": 10.0,
}
SHARE, LESS, LARGEST, GAP = RULES
_REMEDY = "Do not train this model on private records; ask the server why the layer has this structure."

NOT_SEEN = (
    Unchecked(
        "imprint modules under strong noise",
        "with noise of three quarters of its entries and more, one isolates fewer records and passes",
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
    found = []
    for number, layer in enumerate(dense_layers(weights)):
        seen = _of_layer(weights, layer)
        over = {rule for rule, value in seen.items() if value > RULES[rule]}
        place, unit = f"dense layer {number} {weights[layer.kernel].shape}", _unit(weights[layer.kernel])
        if SHARE in over and _parallel_by_chance(seen[SHARE], unit) < LEVEL:
            found.append(_finding("imprint module", place, seen, {SHARE}))
        if LESS in over and _mirrored_by_chance(unit) < LEVEL and _negative(unit):
            found.append(_finding("trap weights", place, seen, {LESS}))
        if over & {LARGEST, GAP}:
            found.append(_finding("fishing for a class", place, seen, over))
    return tuple(found)


def statistics(weights: Arrays) -> dict[str, float]:
    """The largest of each statistic of `RULES` over a model's dense layers; 0 where none has it."""
    each = [_of_layer(weights, layer) for layer in dense_layers(weights)]
    return {rule: max((seen.get(rule, 0.0) for seen in each), default=0.0) for rule in RULES}


def _finding(what: str, place: str, seen: Mapping[str, float], rules: Set[str]) -> Finding:
    return Finding(
        check=f"malicious layers: {what}",
        severity="warning",  # it contradicts no ε
        fed=place,
        observed="; ".join(f"{rule}: {min(seen[rule], 1e6):.3g}" for rule in RULES if rule in rules),
        expected="at most " + "; ".join(f"{RULES[rule]:g}" for rule in RULES if rule in rules),
        remedy=_REMEDY,
        rung=1,
    )


def _of_layer(weights: Arrays, layer: DenseLayer) -> dict[str, float]:
    kernel, bias = weights[layer.kernel], np.sort(weights[layer.bias])
    if layer.bias == len(weights) - 1:
        norms = np.sort(np.linalg.norm(kernel, axis=0))
        if norms.size < 2 or norms[-1] == 0:
            return {}
        gap = 0.0 if bias.size < 3 else float(max(bias[1] - bias[0], bias[-1] - bias[-2]))
        return {LARGEST: float(norms[-1] / max(norms[-2], 1e-300)), GAP: gap}
    unit = _unit(kernel)
    if kernel.shape[0] < 2 or unit.shape[1] < 2:
        return {}
    along = _common_direction(unit) @ unit
    same = max((along > PARALLEL).sum(), (along < -PARALLEL).sum())
    return {SHARE: float(same / kernel.shape[1]), LESS: float(1 / max(unit.sum(0).var(ddof=1), 1e-300))}


def _unit(kernel: FloatArray) -> FloatArray:
    """Columns of length 1, those of zeros left out."""
    norms = np.linalg.norm(kernel, axis=0)
    return np.asarray(kernel[:, norms > 0] / norms[norms > 0])


def _common_direction(unit: FloatArray) -> FloatArray:
    """The leading left singular vector, by power iteration: exact enough where most columns are near it."""
    along = np.random.default_rng(0).normal(size=unit.shape[1])
    for _ in range(100):
        along = unit.T @ (unit @ along)
        along /= np.linalg.norm(along)
    direction = unit @ along
    return np.asarray(direction / np.linalg.norm(direction))


def _parallel_by_chance(share: float, unit: FloatArray) -> float:
    """Bound on the probability that so many of independent, uniform directions are near one of them.

    Two columns near the common direction are within twice its angle of each other.
    """
    inputs, count = unit.shape
    cosine = np.cos(2 * np.arccos(PARALLEL))
    near = betainc((inputs - 1) / 2, 0.5, 1 - cosine**2) / 2
    return float(count * binom.sf(np.ceil(share * count) - 2, count - 1, near))


def _mirrored_by_chance(unit: FloatArray) -> float:
    """Probability that sums of independent weights vary so little; they have variance 1 in unit columns."""
    degrees = unit.shape[1] - 1
    return float(chi2.cdf(degrees * unit.sum(0).var(ddof=1), degrees))


def _negative(unit: FloatArray) -> bool:
    """Whether the sums are below 0 on average, by more than chance allows."""
    sums = unit.sum(0)
    error = np.sqrt(max(sums.var(ddof=1), 1e-300) / sums.size)
    return bool(norm.cdf(sums.mean() / error) < LEVEL)
