"""Was the model trained on the held-out part too? Then members and non-members are alike, and no leak would show.

Nothing proves that it was not. Three things can be said:

* The label of a canary was drawn among the classes, independently of all else. A model that never saw a held-out canary
  answers it rightly with probability 1/classes (mislabelled: 1/(classes - 1)) at most, so that the number of right
  answers has an exact binomial test.
* Of two classes the wrong one is known: there a model that answers most held-out mislabelled canaries with their wrong
  labels is only said to do so.
* Of other records a model may know what it never saw. Where it answers held-out records as well as its training
  records, and far better than a random forest that is cross-validated on the same records, the result says so. That
  decides nothing: a better kind of model does it too.
"""

import numpy as np
from scipy.stats import beta, binomtest, fisher_exact

from dpaudit.audits.experiment.sealed import Experiment
from dpaudit.data.columns import as_columns
from dpaudit.data.formats.arrays import ArrayFile
from dpaudit.data.formats.opening import open_records
from dpaudit.data.formats.table import CsvTable, ParquetTable
from dpaudit.results.result import Result
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

REFUSED = 1e-6  # a model is refused when right answers to held-out canaries are rarer than this
ALIKE = 0.01  # p-value from which accuracies on both sides are taken as alike
CERTAIN = 1e-3  # of each limit of the comparison with the forest
LOOKED_AT = 4000  # records, at most, that the forest is trained and tested on
COLUMNS = 256  # columns, at most, that it is given


def refuse_seen_canaries(experiment: Experiment, result: Result) -> None:
    """Refuse a model that answers the drawn labels of held-out canaries: it was trained on them.

    Raises:
        InputError: so many right answers are rarer than one in a million for a model that never saw them.
    """
    made, right = experiment.manifest, _right(result)
    if right is None or made.audited != "canaries" or made.classes is None:
        return
    chance = 1 / (made.classes - 1) if made.kind == "mislabelled" else 1 / made.classes
    count, trials = right[1], result.data.records - result.data.members
    if chance < 1 and binomtest(count, trials, chance, alternative="greater").pvalue < REFUSED:
        raise InputError(
            f"the model answers {count} of {trials} held-out canaries with the labels that were drawn for them; one "
            f"that never saw them does so with probability {chance:.3g} (p < {REFUSED:g}): it was trained on the "
            f"held-out canaries too. Train it on {made.train} alone."
        )


def better_than_expected(experiment: Experiment, result: Result, *, seed: int) -> str:
    """That held-out records are answered suspiciously well, in a sentence; empty when they are not, or nobody can say.

    Args:
        experiment: canaries, or a split whose files are still there; records are looked at where they are numbers or
            words.
        result: of the audit, with accuracies.
        seed: of the forest.
    """
    right, made = _right(result), experiment.manifest
    if right is None:
        return ""
    members = result.data.members
    others = result.data.records - members
    if made.kind == "mislabelled" and made.classes == 2:
        if binomtest(right[1], others, 0.5, alternative="greater").pvalue >= CERTAIN:
            return ""
        return (
            f"{result.models[0].name} answers {right[1]} of {others} held-out canaries with their wrong labels: see "
            f"that {made.heldout} was not trained on. If it was, this audit could see no leak."
        )
    if made.audited != "split" or experiment.unchecked:
        return ""
    table = np.array([[right[0], members - right[0]], [right[1], others - right[1]]])
    if fisher_exact(table).pvalue <= ALIKE:
        return ""
    held = right[1] / others
    lowest = float(beta.ppf(CERTAIN, right[1], others - right[1] + 1)) if right[1] else 0.0
    # The forest is asked only where it could matter.
    if lowest <= 1 / 2:
        return ""
    found = _forest(experiment, seed)
    if found is None:
        return ""
    hits, trials = found
    highest = float(beta.ppf(1 - CERTAIN, hits + 1, trials - hits)) if hits < trials else 1.0
    if lowest <= highest or 1 - held > (1 - hits / trials) / 2:
        return ""
    return (
        f"{result.models[0].name} answers {held:.1%} of the held-out records rightly and {right[0] / members:.1%} of "
        f"its training records, while a cross-validated random forest reaches {hits / trials:.1%}: see that "
        f"{made.heldout} was not trained on. If it was, this audit could see no leak."
    )


def _right(result: Result) -> tuple[int, int] | None:
    """Right answers among members, and among non-members."""
    utility = result.models[0].utility
    if utility is None or utility.metric != "accuracy" or utility.train is None or utility.test is None:
        return None
    members = result.data.members
    return round(utility.train * members), round(utility.test * (result.data.records - members))


def _forest(experiment: Experiment, seed: int) -> tuple[int, int] | None:
    """Right answers of a forest on records that it was not trained on, and how many these were; None without a way."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_predict

    features, labels = _records(experiment)
    if features is None or labels is None:
        return None
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(labels))[:LOOKED_AT]
    columns = rng.permutation(features.shape[1])[:COLUMNS]
    _, counts = np.unique(labels[rows], return_counts=True)
    if counts.size < 2 or counts.min() < 2:
        return None
    forest = RandomForestClassifier(100, random_state=seed % 2**31)
    found = cross_val_predict(forest, np.nan_to_num(features[np.ix_(rows, columns)]), labels[rows], cv=2)
    return int((found == labels[rows]).sum()), rows.size


def _records(experiment: Experiment) -> tuple[FloatArray | None, "np.ndarray[tuple[int], np.dtype[np.str_]] | None"]:
    """Features and labels of all records, where they are numbers or words."""
    made = experiment.manifest
    if made.label is None:
        return None, None
    parts = [open_records(path) for path in (experiment.train, experiment.heldout)]
    gone = {made.id, made.label, made.user}
    features = []
    for part in parts:
        if isinstance(part, CsvTable | ParquetTable):
            frame = part.frame()
            features.append(frame[[name for name in frame.columns if name not in gone]])
        elif isinstance(part, ArrayFile) and "features" in part.names and part.values(made.label).ndim == 1:
            features.append(part.arrays["features"])
        else:
            return None, None
    labels = np.concatenate([part.values(made.label).astype(str) for part in parts])
    if isinstance(features[0], np.ndarray):
        return as_columns(np.concatenate(features)), labels
    import pandas as pd

    return as_columns(pd.concat(features, ignore_index=True)), labels
