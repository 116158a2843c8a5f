"""Experiments on mechanisms of known ε: right claims are contradicted no more often than the level says."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from dpaudit.audits.experiment.audit import audit_experiment
from dpaudit.audits.experiment.sealed import Experiment
from dpaudit.audits.experiment.split import split_data

LEVEL = 0.05
EPSILON = 1.0


def randomized_response(made: Experiment, rng: np.random.Generator) -> pd.DataFrame:
    """Of each unit whether it was included, told rightly with probability e^ε / (1 + e^ε): exactly ε, and tight."""
    units = made.ids if made.users is None else made.users
    names, place = np.unique(units, return_inverse=True)
    truth = np.zeros(names.size, bool)
    truth[place] = made.included
    right = rng.random(names.size) < 1 / (1 + math.exp(-EPSILON))
    said = np.where(right, truth, ~truth) + 1e-3 * rng.random(names.size)
    found: pd.DataFrame = pd.DataFrame({"dpaudit_id": made.ids, "score": said[place]})
    return found


def noisy_counts(made: Experiment, rng: np.random.Generator) -> pd.DataFrame:
    """Class probabilities from a histogram of the training records with Laplace noise of scale 1/ε in every cell.

    A record lies in one cell, so that the histogram is ε-private when one is added or removed.
    """
    train = pd.read_csv(made.train)
    everyone = pd.concat([train, pd.read_csv(made.heldout)])
    counts = np.zeros((30, 2))
    np.add.at(counts, (train["cell"].to_numpy(), train["label"].to_numpy()), 1)
    noisy = np.clip(counts + rng.laplace(0, 1 / EPSILON, counts.shape), 0.1, None)
    p = (noisy / noisy.sum(axis=1, keepdims=True))[everyone["cell"].to_numpy()]
    found: pd.DataFrame = pd.DataFrame({"dpaudit_id": everyone["dpaudit_id"], "0": p[:, 0], "1": p[:, 1]})
    return found


CASES: list[Any] = [
    (randomized_response, None, 0.5, 100),
    (randomized_response, "who", 0.5, 100),
    pytest.param(randomized_response, None, 0.8, 200, marks=pytest.mark.slow),
    pytest.param(noisy_counts, None, 0.5, 200, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("mechanism", "user", "share", "trials"), CASES)
@pytest.mark.long
def test_right_claims_are_rarely_contradicted(
    mechanism: Any, user: str | None, share: float, trials: int, tmp_path: Path
) -> None:
    """Experiments on a mechanism of exactly ε = 1 that claims it: of 100 at most 15 contradicted, where 5 are allowed.

    At a level of 5 % more than 15 of 100 (23 of 200) come once in 10,000 such tests or more rarely; contradictions in
    28 % (20 %) of the experiments are seen with probability 0.998. Of the tight mechanism more experiments than that
    measure above a quarter of its ε, so that a claim of that would be found out.
    """
    wrong, too_small = 0, 0
    most = int(binom.ppf(1 - 1e-4, trials, LEVEL))
    for seed in range(trials):
        rng = np.random.default_rng([seed, 7])
        folder = tmp_path / str(seed)
        folder.mkdir()
        frame = pd.DataFrame({"cell": rng.integers(0, 30, 300), "label": rng.integers(0, 2, 300)})
        frame.assign(who=np.arange(300) // 2).to_csv(folder / "d.csv", index=False)
        made = split_data(folder / "d.csv", folder / "e", user=user, share=share, seed=seed)
        given = mechanism(made, rng)
        found = audit_experiment(made, given, epsilon=EPSILON, delta=0.0)
        wrong += found.contradicted
        bound = found.comparisons[0].strongest
        too_small += bound is not None and bound.epsilon > EPSILON / 4
    assert wrong <= most
    assert mechanism is not randomized_response or too_small > most
