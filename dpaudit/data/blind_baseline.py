"""Can members be told from non-members without the model? Then they differ as data, and no audit of them holds.

`Das, Zhang and Tramèr (2024) <https://arxiv.org/abs/2406.16201>`_: published membership tests were beaten by
classifiers that never saw the model, because members had been split off by date or source.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dpaudit.data import surest
from dpaudit.data.columns import as_columns, count_records, label_columns, member_flags, standardise, texts
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError

LEVEL = 1e-3
SIDE = 10_000  # records (or users) of each side that are looked at, at most
NUMBERS = 20_000_000  # numbers of a table that are looked at, at most; wide records are fewer
PIXELS = 200_000_000  # the same of images, which are read block by block
BOOSTED = 48  # columns that boosting is given: more cost time, and most of many say nothing
POINTS = 50  # of the ROC curve

RowScorer = Callable[[IntArray, IntArray], FloatArray]  # rows to learn from, rows to score -> scores of the latter


@dataclass(frozen=True)
class BlindBaseline:
    """Whether a classifier that never saw the model tells members from non-members.

    Args:
        auc: of the scores out of fold, mean of both halves; for the classifier named.
        p_value: exact, for the whole family of tests made (halves, classifiers, numbers of guesses), by Bonferroni.
        attainable: the smallest p-value that members at these scores could have given. Above the level nothing could
            have been found.
        level: probability of a false alarm, at most.
        records: records given.
        tested: units tested: all, or a sample of both sides.
        unit: ``records`` or ``users``.
        representation: what the classifiers were given.
        classifier: the one with the smallest p-value.
        differs: members and non-members were told apart at this level.
        fpr: false-positive rates of the ROC curve, for description.
        tpr: true-positive rates.
        sentence: all this in words.
    """

    auc: float
    p_value: float
    attainable: float
    level: float
    records: int
    tested: int
    unit: str
    representation: str
    classifier: str
    differs: bool
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    sentence: str


class _Units(NamedTuple):
    """What was dealt out as one: rows looked at, the unit of each, and who is a member."""

    rows: IntArray  # into the records given
    owner: IntArray  # unit of each of these rows
    member: BoolArray  # of each unit
    size: FloatArray | None  # records of the user of each row, when users are the units


def blind_baseline(
    features: object,
    labels: object,
    member: object,
    *,
    seed: int,
    level: float = LEVEL,
    groups: object = None,
) -> BlindBaseline:
    """Try to tell members from non-members by their records alone; the model and its outputs never enter.

    Units are dealt into two halves with equal shares of members. Classifiers learn from one half and score the other,
    then the other way round. Given the first half and all records, a split at random makes every choice of as many
    members in the second half equally likely. So each half has an exact test (`surest.p_value`), for independent coins
    of one probability and for random splits of fixed sizes, whatever the classifiers do. (A split stratified by class
    is more even than that; it raised fewer alarms when measured.) The p-values of both halves, of the classifiers and
    of the numbers of guesses share the level by Bonferroni, which needs no independence. Scores of the two halves are
    never pooled for a test: they depend on each other.

    Two classifiers: a linear one for many small shifts, gradient boosting for few large or crooked ones. Boosting gets
    the labels and, of many columns, those that differ most within the half it learns from. Images become brightness
    statistics and thumbnails of at most 16 × 16: sources differ in brightness, contrast, grain and framing, and these
    keep all four in some hundred columns. Texts become words and pairs of words (linear), and lengths and shares of
    kinds of characters (boosting). At most 10,000 units of a side are looked at, and fewer of more than 1,000 columns
    or 10,000 pixels: what such a sample leaves unseen is in the sentence. From 10,000 of each side a difference is
    found with probability 0.95 when it makes 54 of 100 guesses on the surest half right; 120,000 would show 51.

    Args:
        features: numbers of shape (records, ...), NaN for a missing one; a data frame; or one text for each record.
        labels: shape (records,) or (records, outputs), a part of the record; None when there are none.
        member: who was trained on, shape (records,).
        seed: of the halves and the sample.
        level: probability of a false alarm, at most. The default of 0.001 is one audit in a thousand.
        groups: whose record it is, shape (records,), when users and not records were chosen.

    Raises:
        InputError: shapes that do not agree, fewer than two units on a side, a user on both sides.

    >>> rng = np.random.default_rng(1)
    >>> member = rng.random(400) < 0.5
    >>> records = rng.normal(size=(400, 3))
    >>> blind_baseline(records, None, member, seed=1).differs
    False
    >>> print(blind_baseline(records + 3 * member[:, None], None, member, seed=1).sentence.split(" (")[0])
    Members and non-members differ as data: a classifier that never saw the model tells them apart
    """
    alpha = check.open_unit("level", level)
    records = count_records(features)
    flags = member_flags(member, records)
    words = texts(features)
    shape = (records,) if words is not None else np.shape(features)  # type: ignore[arg-type]  # anything has a shape
    numbers = max(1, int(np.prod(shape[1:], dtype=np.int64)))
    rng = np.random.default_rng(check.integer("seed", seed, at_least=0))
    most = (PIXELS if len(shape) >= 3 else NUMBERS) // (2 * numbers)
    units = _units(flags, groups, max(100, min(SIDE, most)), rng)
    classifiers, representation = _classifiers(features, words, labels, records, units, seed)
    half = _halves(units.member, rng)
    guesses = [surest.sizes(int((half == side).sum())) for side in (0, 1)]
    tests = len(classifiers) * sum(map(len, guesses))
    found: dict[str, tuple[float, list[FloatArray]]] = {}
    least = 1.0
    rows_of_unit = np.bincount(units.owner)
    for name, score in classifiers.items():
        p, out = 1.0, []
        for side in (0, 1):
            learn, judge = np.flatnonzero(half[units.owner] != side), np.flatnonzero(half[units.owner] == side)
            mean = np.bincount(units.owner[judge], score(learn, judge), half.size) / rows_of_unit
            here = np.round(mean[half == side], 9)  # the last bits of a sum are no difference between units
            out.append(here)
            for size in guesses[side]:
                reached, possible = surest.p_value(here, units.member[half == side], size)
                p, least = min(p, reached), min(least, possible)
        found[name] = (min(1.0, p * tests), out)
    best = min(found, key=lambda name: found[name][0])
    p, out = found[best]
    sides = [units.member[half == side] for side in (0, 1)]
    fpr, tpr = _curve(out, sides)
    auc = float(np.mean([_auc(scores, side) for scores, side in zip(out, sides, strict=True)]))
    unit = "records" if groups is None else "users"
    reach = min(1.0, least * tests)
    looked_at = f"{half.size:,}{f' of {records:,}' if groups is None and half.size < records else ''} {unit}"
    unseen = _smallest_found(alpha / tests, min(2 * sizes[0] for sizes in guesses))
    sentence = _sentence(auc, p, reach, alpha, looked_at, unseen)
    return BlindBaseline(
        auc, p, reach, alpha, records, half.size, unit, representation, best, p <= alpha, fpr, tpr, sentence
    )


def _units(flags: BoolArray, groups: object, side: int, rng: np.random.Generator) -> _Units:
    """At most ``side`` units of each side; of users with many records, some of each."""
    owner: IntArray = np.arange(flags.size)
    if groups is not None:
        if np.shape(groups) != flags.shape:  # type: ignore[arg-type]  # anything has a shape
            raise InputError(f"groups must have shape ({flags.size},), got {np.shape(groups)}.")  # type: ignore[arg-type]
        import pandas as pd

        owner = pd.factorize(np.asarray(groups), use_na_sentinel=False)[0].astype(np.int64)
    whole = np.bincount(owner)
    inside = np.bincount(owner[flags], minlength=whole.size)
    torn = np.flatnonzero((inside > 0) & (inside < whole))
    if torn.size:
        raise InputError(
            f"groups: {torn.size} user(s) have records on both sides, the first in row "
            f"{int(np.flatnonzero(owner == torn[0])[0])}; a user is a member or not as a whole."
        )
    picked = []
    for ones in (np.flatnonzero(inside > 0), np.flatnonzero(inside == 0)):
        if ones.size < 2:
            raise InputError(
                f"telling members from non-members needs at least 2 of each, got {(inside > 0).sum()} and "
                f"{(inside == 0).sum()}."
            )
        picked.append(rng.permutation(ones)[:side])
    # Members often come first in a file. In a random order nothing can depend on where a record stood.
    kept = rng.permutation(np.concatenate(picked))
    place = np.full(whole.size, -1)
    place[kept] = np.arange(kept.size)
    if groups is None:
        return _Units(kept, np.arange(kept.size), flags[kept], None)
    rows = rng.permutation(np.flatnonzero(place[owner] >= 0))
    if rows.size > 2 * side:
        by_user = rows[np.argsort(owner[rows], kind="stable")]
        first = np.r_[0, np.flatnonzero(np.diff(owner[by_user])) + 1]
        turn = np.arange(by_user.size) - np.repeat(first, np.diff(np.r_[first, by_user.size]))
        rows = rng.permutation(by_user[turn < max(1, 2 * side // kept.size)])
    return _Units(rows, place[owner[rows]], inside[kept] > 0, whole[owner[rows]].astype(np.float64))


def _halves(member: BoolArray, rng: np.random.Generator) -> npt.NDArray[np.int8]:
    """Half of each unit, 0 or 1, with equal shares of members in both."""
    half = np.empty(member.size, np.int8)
    for ones in (np.flatnonzero(member), np.flatnonzero(~member)):
        half[rng.permutation(ones)] = np.arange(ones.size) % 2
    return half


def _classifiers(
    features: object, words: list[str] | None, labels: object, records: int, units: _Units, seed: int
) -> tuple[dict[str, RowScorer], str]:
    """The classifiers by name, each a function of rows to learn from and rows to score; and what they are given."""
    beside = label_columns(labels, records, units.rows)
    if units.size is not None:
        beside = np.column_stack([beside, units.size])
    truth = units.member[units.owner]
    told = "" if labels is None else " and labels"
    if words is not None:
        some = [words[row] for row in units.rows]
        matrix = _bag(some, beside)
        values = np.concatenate([beside, _characters(some)], axis=1)
        return {
            "logistic regression": lambda learn, judge: _logistic(matrix, truth, learn, judge),
            "gradient boosting": lambda learn, judge: boosted_trees(values, beside.shape[1], truth, learn, judge, seed),
        }, f"words, pairs of words and kinds of characters{told}"
    shape = np.shape(features)  # type: ignore[arg-type]  # anything has a shape
    if len(shape) >= 3:
        values = np.concatenate([beside, _image(np.asarray(features), units.rows)], axis=1)
        name = f"thumbnails and brightness statistics of images{told}"
    else:
        values = np.concatenate([beside, as_columns(features, units.rows)], axis=1)
        name = f"{values.shape[1] - beside.shape[1]} columns{told}"
    if np.isinf(values).any():
        values = np.clip(values, -np.finfo(np.float64).max, np.finfo(np.float64).max)
    linear = np.concatenate([standardise(values), _one_hot(values)], axis=1)
    return {
        "linear": lambda learn, judge: _linear(linear, truth, learn, judge),
        "gradient boosting": lambda learn, judge: boosted_trees(values, beside.shape[1], truth, learn, judge, seed),
    }, name


def _linear(values: FloatArray, truth: BoolArray, learn: IntArray, judge: IntArray) -> FloatArray:
    """Least squares with a penalty, both sides with equal weight: solved in one step."""
    from sklearn.linear_model import RidgeClassifier

    kept = _most_different(values[learn], truth[learn], 1000, 0)
    model = RidgeClassifier(alpha=1.0 + 0.01 * learn.size, class_weight="balanced", solver="cholesky")
    model.fit(values[np.ix_(learn, kept)], truth[learn])
    return np.asarray(model.decision_function(values[np.ix_(judge, kept)]), np.float64)


def boosted_trees(
    values: FloatArray, always: int, truth: BoolArray, learn: IntArray, judge: IntArray, seed: int
) -> FloatArray:
    """Scores of boosted trees on the rows to judge, learnt on the others, shape (judge,)."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    kept = _most_different(standardise(values[learn]), truth[learn], BOOSTED, always)
    model = HistGradientBoostingClassifier(
        max_iter=40 if learn.size > 500 else 20,
        max_leaf_nodes=int(np.clip(learn.size // 30, 3, 15)),
        min_samples_leaf=int(np.clip(learn.size // 20, 3, 20)),
        # No weights: ranks need none, and binning weighted values takes fifty times as long as all trees.
        early_stopping=False,
        random_state=seed,
    )
    # Threads that wait for each other take longer than so few trees: 20 times on a busy machine. The bits are the same.
    with threadpool_limits(1, user_api="openmp"):
        model.fit(values[np.ix_(learn, kept)], truth[learn])
        return np.asarray(model.decision_function(values[np.ix_(judge, kept)]), np.float64)


def _logistic(matrix: Any, truth: BoolArray, learn: IntArray, judge: IntArray) -> FloatArray:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10.0, class_weight="balanced", solver="liblinear", tol=1e-2, max_iter=1000)
    model.fit(matrix[learn], truth[learn])
    return np.asarray(model.decision_function(matrix[judge]), np.float64)


def _most_different(values: FloatArray, truth: BoolArray, wanted: int, always: int) -> IntArray:
    """Columns whose values or squares differ most between the sides, and the first ``always`` in any case."""
    if values.shape[1] <= wanted:
        return np.arange(values.shape[1])
    contrast = truth / truth.sum() - ~truth / (~truth).sum()
    gap = np.maximum(np.abs(contrast @ values), np.abs(contrast @ values**2) / 2)
    gap[: min(always, wanted)] = np.inf
    return np.sort(np.argsort(-gap, kind="stable")[:wanted])


def _one_hot(values: FloatArray, most: int = 16) -> FloatArray:
    """A column for each value of the columns with few values, for a classifier that knows only slopes."""
    made = []
    for column in values.T[:256]:
        few = np.unique(column)
        few = few[~np.isnan(few)]
        if 2 < few.size <= most:
            made.append(column[:, None] == few)
        if np.isnan(column).any():
            made.append(np.isnan(column)[:, None])
    return np.concatenate(made, axis=1).astype(np.float64) if made else np.empty((len(values), 0))


def _image(images: npt.NDArray[np.generic], rows: IntArray, side: int = 16) -> FloatArray:
    """Statistics of each image and channel, and its means over at most 16 × 16 blocks: what sources differ in."""
    if images.dtype.kind not in "fiub":
        raise InputError(f"features must be numbers, got {images.dtype}.")
    if 0 in images.shape:
        raise InputError(f"features must have shape (records, ...), got {images.shape}.")
    parts = []
    at_once = max(1, 2**22 // images[0].size)
    for start in range(0, rows.size, at_once):
        part = rows[start : start + at_once]
        some = images[part].astype(np.float64)
        some = some.reshape(*some.shape[:3], -1)
        flat = some.reshape(len(some), -1, some.shape[-1])
        small = some
        for axis in (1, 2):
            edges = np.unique(np.linspace(0, some.shape[axis], min(side, some.shape[axis]) + 1).astype(np.int64))
            widths = np.diff(edges).reshape([-1 if at == axis else 1 for at in range(4)])
            small = np.add.reduceat(small, edges[:-1], axis=axis) / widths
        steps = [np.abs(np.diff(some, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2) if some.shape[axis] > 1]
        stats = [flat.mean(axis=1), flat.std(axis=1), flat.min(axis=1), flat.max(axis=1), *steps]
        parts.append(np.concatenate([*stats, small.reshape(len(some), -1)], axis=1))
    return np.concatenate(parts)


def _bag(words: list[str], beside: FloatArray) -> Any:
    """Words and pairs of words, weighed by how rare they are; the labels beside them."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    counts = HashingVectorizer(ngram_range=(1, 2), n_features=2**18, alternate_sign=False, norm=None).transform(words)
    bag = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    return hstack([bag, csr_matrix(standardise(beside) / 3), csr_matrix(_one_hot(beside) / 3)]).tocsr()


def _characters(words: list[str]) -> FloatArray:
    """Lengths and shares of kinds of characters, shape (texts, 7)."""
    return np.array(
        [
            (
                len(text),
                text.count(" "),
                text.count("\n"),
                sum(map(str.isdigit, text)) / (len(text) or 1),
                sum(map(str.isupper, text)) / (len(text) or 1),
                sum(map(str.isalpha, text)) / (len(text) or 1),
                0 if text.isascii() else sum(c > "\x7f" for c in text) / len(text),
            )
            for text in (text[:10_000] for text in words)
        ],
        np.float64,
    )


def _auc(scores: FloatArray, member: BoolArray) -> float:
    from scipy.stats import rankdata

    inside = int(member.sum())
    ranks = rankdata(scores)[member].sum() - inside * (inside + 1) / 2
    return float(ranks / (inside * (member.size - inside)))


def _curve(out: list[FloatArray], sides: list[BoolArray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """ROC of the ranks within each half, at no more than `POINTS` points."""
    from scipy.stats import rankdata
    from sklearn.metrics import roc_curve

    ranks = np.concatenate([rankdata(scores) / scores.size for scores in out])
    fpr, tpr, _ = roc_curve(np.concatenate(sides), ranks)
    kept = np.unique(np.linspace(0, fpr.size - 1, POINTS).astype(np.int64))
    return tuple(fpr[kept].tolist()), tuple(tpr[kept].tolist())


def _smallest_found(level: float, guesses: int) -> float:
    """Share of right guesses that a test at this level finds with probability 0.95, by the normal approximation."""
    from scipy.special import ndtri

    return float(min(1.0, 0.5 - (ndtri(level) + ndtri(0.05)) / (2 * np.sqrt(guesses))))


def _sentence(auc: float, p: float, reach: float, level: float, looked_at: str, unseen: float) -> str:
    if p <= level:
        return (
            "Members and non-members differ as data: a classifier that never saw the model tells them apart "
            f"(AUC {auc:.2f}, p = {p:.1g}, level {level:g}, {looked_at}). What an attack finds here may come "
            "from the data and not from the model, so no ε and no verdict can follow."
        )
    if reach > level:
        return (
            f"Whether members and non-members differ as data cannot be seen: {looked_at}, as they are, are too "
            f"few or too equal for a test at level {level:g} (its smallest p is {reach:.1g})."
        )
    return (
        "No classifier that never saw the model told members from non-members "
        f"(AUC {auc:.2f}, p = {p:.1g}, level {level:g}, {looked_at}). Small differences "
        f"can remain unseen: those with which fewer than {100 * unseen:.0f} of 100 sure guesses are right."
    )
