"""Small experiments for the tests: a table, a split of it, and predictions of it with a leak or without."""

from pathlib import Path

import numpy as np
import pandas as pd

from dpaudit.audits.experiment.sealed import Experiment
from dpaudit.audits.experiment.split import split_data


def table(records: int = 600, *, seed: int = 0) -> pd.DataFrame:
    """Two features, a user with some records, and a label that they say little about."""
    rng = np.random.default_rng(seed)
    made: pd.DataFrame = pd.DataFrame(
        {
            "x": rng.normal(size=records).round(3),
            "code": [f"{number:04d}" for number in rng.integers(0, 9999, records)],
            "who": rng.integers(0, records // 4, records),
            "label": rng.choice(["no", "yes"], records),
        }
    )
    return made


def experiment(folder: Path, records: int = 600, *, seed: int = 1, user: str | None = None) -> Experiment:
    """A split of that table, in ``folder/e``."""
    table(records).to_csv(folder / "data.csv", index=False)
    return split_data(folder / "data.csv", folder / "e", seed=seed, user=user)


def predictions(made: Experiment, *, leak: float, seed: int = 2) -> pd.DataFrame:
    """Probabilities of the classes, in another order than the records; members are answered better by ``leak``."""
    rng = np.random.default_rng(seed)
    assert made.labels is not None
    logit = rng.normal(size=len(made.ids)) + leak * made.included
    right = 1 / (1 + np.exp(-logit))
    yes = np.where(made.labels == "yes", right, 1 - right)
    order = rng.permutation(len(yes))
    found: pd.DataFrame = pd.DataFrame({"yes": yes[order], "no": 1 - yes[order], made.manifest.id: made.ids[order]})
    return found
