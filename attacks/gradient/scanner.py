"""Looks at a model a client is asked to train for layers made to leak: imprint modules and trap weights."""

import numpy as np

from dpaudit.attacks.gradient.linear_layer import dense_layers
from dpaudit.attacks.gradient.view import Arrays
from dpaudit.bounds.lower_bound import Finding
from dpaudit.runtime.check import FloatArray

_SAME_DIRECTION = 0.9999  # cosine; independent columns of 20 or more inputs are never this close
_REMEDY = "Do not train this model on private records; ask the server why the layer has this structure."


def scan(weights: Arrays) -> tuple[Finding, ...]:
    """Findings about every dense layer with a bias; empty for an honest model.

    An imprint module is a layer in which more than half of the neurons measure the same direction with different
    thresholds. Trap weights are columns whose positive half mirrors the negative half, shrunk by one factor.

    >>> scan((np.random.default_rng(0).normal(size=(64, 32)), np.zeros(32)))
    ()
    """
    findings = []
    for number, (kernel, bias) in enumerate(dense_layers(weights)):
        place = f"dense layer {number} {weights[kernel].shape}"
        same = _parallel_neurons(weights[kernel])
        if same > 1 and same > weights[bias].size / 2 and np.unique(weights[bias]).size > weights[bias].size / 2:
            findings.append(
                _finding(place, "imprint module", f"{same} of {weights[bias].size} neurons measure one direction")
            )
        traps = _mirrored_neurons(weights[kernel])
        if traps > weights[bias].size / 2:
            findings.append(
                _finding(
                    place, "trap weights", f"{traps} of {weights[bias].size} neurons have mirrored, shrunk weights"
                )
            )
    return tuple(findings)


def _finding(place: str, what: str, observed: str) -> Finding:
    return Finding(
        check=f"malicious layers: {what}",
        severity="violation",
        fed=place,
        observed=observed,
        expected="columns of a dense layer point in different directions and are not mirrored",
        remedy=_REMEDY,
        rung=1,
    )


def _parallel_neurons(kernel: FloatArray) -> int:
    """Size of the largest group of columns parallel to its first member."""
    norms = np.linalg.norm(kernel, axis=0)
    if kernel.shape[0] < 2 or not (norms > 0).any():
        return 0
    unit = kernel[:, norms > 0] / norms[norms > 0]
    return int((unit.T @ unit > _SAME_DIRECTION).sum(0).max())


def _mirrored_neurons(kernel: FloatArray) -> int:
    """Columns with as many positive as negative entries whose sorted sizes have one ratio other than 1."""
    mirrored = 0
    for column in kernel.T:
        positive, negative = np.sort(column[column > 0]), np.sort(-column[column < 0])
        if positive.size != negative.size or positive.size < 2:
            continue
        ratio = positive / negative
        mirrored += bool(np.ptp(ratio) < 1e-4 * ratio.mean() and abs(ratio.mean() - 1) > 1e-3)
    return mirrored
