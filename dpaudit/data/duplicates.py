"""Records that are there twice: across the sides of an audit, and within one side."""

import string
import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dpaudit.data.columns import as_columns, count_records, label_columns, member_flags, standardise, texts
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray

SAMPLE = 4_000  # distinct records among which near neighbours are looked for
NUMBERS = 20_000_000  # numbers of that sample, at most: of wide records fewer
MANY = 100  # a column with more distinct values than this is no code or category
FEW = 10  # twenty columns with more values than this have neighbours by no chance
SIMILAR = 0.8  # share of three-word sequences that two texts have in common


@dataclass(frozen=True)
class Duplicates:
    """How many records have a copy, shape of every count: records, not pairs.

    Args:
        members: records given as members.
        nonmembers: records given as non-members.
        exact_members: members with an equal record among the non-members.
        exact_nonmembers: non-members with an equal record among the members.
        exact_within_members: members with an equal other member.
        exact_within_nonmembers: non-members with an equal other non-member.
        near_members: members without an equal, but with a nearly equal record among the non-members.
        near_nonmembers: the same, the other way round.
        near_within_members: members without an equal, but with a nearly equal other member.
        near_within_nonmembers: the same of non-members.
        distinct: different records.
        searched: distinct records among which near neighbours were looked for, 0 where the values are too few for
            it. Nearly equal ones outside this sample are counted only when they agree after rounding.
        expected: the records have few possible values (of all columns together, at most ten times as many as records),
            so that equal ones are to be expected.
        rule: what counts as equal and as nearly equal.
        sentence: what was found and what it does to the audit.
    """

    members: int
    nonmembers: int
    exact_members: int
    exact_nonmembers: int
    exact_within_members: int
    exact_within_nonmembers: int
    near_members: int
    near_nonmembers: int
    near_within_members: int
    near_within_nonmembers: int
    distinct: int
    searched: int
    expected: bool
    rule: str
    sentence: str


def duplicates(features: object, labels: object, member: object, *, seed: int = 0) -> Duplicates:
    """Count equal and nearly equal records across the sides and within each.

    Equal: all values and the label are equal; 0.0 equals -0.0, and a missing value equals a missing value. Rows are
    compared by a hash of 64 bits: among a million different rows a chance agreement has probability 3e-8.

    Nearly equal, of numbers: equal after rounding to 20 binary digits (about six decimal ones, coarser than float32),
    looked for among all records; or, among a sample of 4,000 distinct ones, nearer than a thousandth of the median
    distance to the nearest neighbour (a tenth where 20 columns have more than 10 values), each column standardised,
    with equal labels. Both are looked for only where two columns have more than 100 values, or 20 more than 10. In d
    independent continuous columns a record has such a neighbour by chance with a probability of about 0.001 to the
    power of d (0.1 from 20 columns on). In a single column chance neighbours are common.

    Nearly equal, of texts: equal without case, punctuation and spacing, looked for among all; or, among a sample of
    4,000, at least 80 % of all sequences of three words in common (Jaccard; Broder 1997).

    Args:
        features: numbers of shape (records, ...), NaN for a missing one; a data frame; or one text for each record.
        labels: shape (records,) or (records, outputs), a part of the record; None when there are none.
        member: who was trained on, shape (records,).
        seed: of the sample.

    Raises:
        InputError: shapes that do not agree, or records on one side only.

    >>> found = duplicates(["A cat sat.", "a cat sat", "a dog"], None, [True, False, False])
    >>> found.exact_members, found.near_members
    (0, 1)
    """
    records = count_records(features)
    inside = member_flags(member, records)
    rng = np.random.default_rng(check.integer("seed", seed, at_least=0))
    words = texts(features)
    beside = label_columns(labels, records)
    if words is not None:
        label = _hashed(beside)
        rows = _identified(_hashed_words(words) ^ label)
        near = [_identified(_hashed_words([_plain(text) for text in words]) ^ label)]
        first = _sample(rows, SAMPLE, rng)
        pairs = _similar([words[row] for row in first], label[first])
        expected = False
        rule = f"texts equal without case, punctuation and spacing, or {SIMILAR:.0%} of three-word sequences in common"
    else:
        label = _hashed(beside)
        whole, rounded = _hashed_rows(features, records, label)
        rows = _identified(whole)
        wide = int(np.prod(np.shape(features)[1:], dtype=np.int64))  # type: ignore[arg-type]  # a table has a shape
        first = _sample(rows, max(100, min(SAMPLE, NUMBERS // wide)), rng)
        some = as_columns(features, first)
        values = _values(np.concatenate([some, beside[first]], axis=1))
        expected = bool(np.log(values).sum() <= np.log(10 * records))
        values = values[:wide]
        near, pairs, rule = [], np.empty((0, 2), np.int64), "equal values; nearly equal ones were not looked for"
        spread = _spread(values)
        if _continuous(values, first.size) or spread:
            near = [_identified(rounded)]
            pairs = _neighbours(some, label[first], 0.1 if spread else 1e-3)
            rule = "equal in six digits, or far nearer than neighbours are"
        else:
            first = first[:0]
    across, within = _copies(rows, inside)
    near_across, near_within = np.zeros(records, bool), np.zeros(records, bool)
    for groups in near:
        other, own = _copies(groups, inside)
        near_across |= other
        near_within |= own
    other, own = _paired(pairs, first, rows, inside)
    near_across = (near_across | other) & ~across
    near_within = (near_within | own) & ~within
    distinct = int(rows.max()) + 1
    sides = {"members": inside, "nonmembers": ~inside}
    masks = {"exact_": across, "exact_within_": within, "near_": near_across, "near_within_": near_within}
    counts = {of + name: int((mask & side).sum()) for of, mask in masks.items() for name, side in sides.items()}
    members = int(inside.sum())
    sentence = _sentence(list(counts.values()), members, records - members, distinct, expected)
    return Duplicates(
        members,
        records - members,
        **counts,
        distinct=distinct,
        searched=first.size,
        expected=expected,
        rule=rule,
        sentence=sentence,
    )


def copies(features: object, labels: object) -> IntArray:
    """Number of each distinct record, shape (records,): equal ones have equal numbers.

    Equal as in `duplicates`; and where that rule looks for nearly equal ones, also after rounding: to 20 binary digits
    of two columns with many values, and to fewer of more columns, 60 in all but at least 12 (a ten-thousandth) each,
    so that other last digits rarely fall on the two sides of a border.

    Args:
        features: numbers of shape (records, ...).
        labels: shape (records,) or (records, outputs), a part of the record; None when there are none.

    >>> copies([[0.0, 1.0], [-0.0, 1.0], [2.0, 1.0]], None)
    array([0, 0, 1])
    """
    records = count_records(features)
    wide = int(np.prod(np.shape(features)[1:], dtype=np.int64))  # type: ignore[arg-type]  # arrays have a shape
    rows = np.random.default_rng(0).permutation(records)[: max(100, min(SAMPLE, NUMBERS // wide))]
    values = _values(as_columns(features, rows))
    many = max(1, int((values > min(MANY, rows.size // 2)).sum()))
    digits = int(np.clip(-(-60 // many), 12, 20))
    whole, rounded = _hashed_rows(features, records, _hashed(label_columns(labels, records)), digits)
    return _identified(rounded if _spread(values) or _continuous(values, rows.size) else whole)


def _spread(values: IntArray) -> bool:
    """Whether so many columns vary that near neighbours are no chance."""
    return int((values > FEW).sum()) >= 20


def _continuous(values: IntArray, records: int) -> bool:
    """Whether two columns have values of their own for most records."""
    return int((values > min(MANY, records // 2)).sum()) >= 2


def _hashed(values: FloatArray) -> npt.NDArray[np.uint64]:
    """A hash of each row; equal rows have equal ones, and so have rows that differ in the sign of 0 or kind of NaN."""
    from pandas.util import hash_array

    clean = values + 0.0  # -0.0 becomes 0.0
    clean[np.isnan(clean)] = np.nan
    bits = np.ascontiguousarray(clean.T).view(np.uint64)
    mixed = np.full(len(values), 0x9E3779B97F4A7C15, np.uint64)
    for column in bits:
        mixed = hash_array(mixed ^ column)
    return mixed


def _hashed_rows(
    features: object, records: int, label: npt.NDArray[np.uint64], digits: int = 20
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Hashes of the rows, and of the rows after rounding, with their labels; arrays are read block by block."""
    array = np.asarray(features) if not hasattr(features, "iloc") else as_columns(features)
    if array.dtype.kind not in "fiub":
        array = as_columns(array)
    whole, rounded = np.empty(records, np.uint64), np.empty(records, np.uint64)
    step = max(1, 2**20 // max(1, array[0].size))
    for start in range(0, records, step):
        here = slice(start, start + step)
        block = as_columns(array[here])
        whole[here], rounded[here] = _hashed(block) ^ label[here], _hashed(_rounded(block, digits)) ^ label[here]
    return whole, rounded


def _hashed_words(words: list[str]) -> npt.NDArray[np.uint64]:
    from pandas.util import hash_array

    return hash_array(np.array(words, object), categorize=False)


def _identified(hashes: npt.NDArray[np.uint64]) -> IntArray:
    """Number of each distinct hash, 0 to their number - 1, in the order of their first rows."""
    import pandas as pd

    return pd.factorize(hashes)[0].astype(np.int64)


def _sample(rows: IntArray, most: int, rng: np.random.Generator) -> IntArray:
    """First row of some of the distinct records."""
    _, first = np.unique(rows, return_index=True)
    return np.sort(rng.permutation(first)[:most])


def _copies(rows: IntArray, inside: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Who has an equal on the other side, and who has another equal on their own."""
    of_members, of_all = np.bincount(rows[inside], minlength=int(rows.max()) + 1), np.bincount(rows)
    of_others = of_all - of_members
    across = np.where(inside, of_others[rows], of_members[rows]) > 0
    within = np.where(inside, of_members[rows], of_others[rows]) > 1
    return across, within


def _paired(pairs: IntArray, first: IntArray, rows: IntArray, inside: BoolArray) -> tuple[BoolArray, BoolArray]:
    """The same from pairs of distinct records that are nearly equal, places in ``first``."""
    has = np.zeros((int(rows.max()) + 1, 2), bool)  # does a distinct record occur outside, inside?
    has[rows, inside.astype(np.int64)] = True
    near = np.zeros_like(has)
    if pairs.size:
        one, two = rows[first[pairs[:, 0]]], rows[first[pairs[:, 1]]]
        np.logical_or.at(near, one, has[two])
        np.logical_or.at(near, two, has[one])
    return near[rows, (~inside).astype(np.int64)], near[rows, inside.astype(np.int64)]


def _values(values: FloatArray) -> IntArray:
    """Number of different values of each column."""
    return np.array([np.unique(column).size for column in values.T], np.int64)


def _rounded(values: FloatArray, digits: int = 20) -> FloatArray:
    """Values in float32 with so many binary digits of its 24."""
    cut = np.uint32(1 << (24 - digits))
    with np.errstate(over="ignore", under="ignore"):  # a value beyond float32 is infinite there
        whole = np.ascontiguousarray(values, np.float32)
    short = ((whole.view(np.uint32) + cut // 2) & ~(cut - np.uint32(1))).view(np.float32)
    return np.where(np.isfinite(whole), short, whole).astype(np.float64)


def _neighbours(values: FloatArray, label: npt.NDArray[np.uint64], share: float) -> IntArray:
    """Pairs nearer than a share of the median distance to the nearest neighbour, with equal labels."""
    from sklearn.neighbors import NearestNeighbors

    if len(values) < 10:
        return np.empty((0, 2), np.int64)
    scaled = np.concatenate([standardise(values), np.isnan(values)], axis=1)
    scaled = scaled[:, scaled.std(axis=0) > 0]
    distances, places = NearestNeighbors(n_neighbors=2).fit(scaled).kneighbors()
    near = distances <= share * np.median(distances[:, 0])
    one, two = np.repeat(np.arange(len(values)), 2)[near.ravel()], places[near]
    same = label[one] == label[two]
    return np.stack([one[same], two[same]], axis=1)


_NO_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().translate(_NO_PUNCTUATION).split())


def _similar(words: list[str], label: npt.NDArray[np.uint64]) -> IntArray:
    """Pairs of texts with most of their three-word sequences in common, and equal labels."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        ngram_range=(3, 3), token_pattern=r"\w+", binary=True, norm=None, alternate_sign=False, n_features=2**20
    )
    shingles = vectorizer.transform([text[:20_000] for text in words])
    sizes = np.asarray(shingles.sum(axis=1)).ravel()
    common = (shingles @ shingles.T).tocoo()
    upper = common.row < common.col
    one, two, both = common.row[upper], common.col[upper], common.data[upper]
    alike = (both >= SIMILAR * (sizes[one] + sizes[two] - both)) & (label[one] == label[two])
    pairs: IntArray = np.stack([one[alike], two[alike]], axis=1).astype(np.int64)
    return pairs


def _sentence(counts: list[int], members: int, nonmembers: int, distinct: int, expected: bool) -> str:
    exact_m, exact_n, own_m, own_n, near_m, near_n, near_own_m, near_own_n = counts
    if not any(counts):
        return "No equal or nearly equal records were found."
    if expected:
        return (
            f"The {members + nonmembers:,} records have only {distinct:,} different values, so equal ones are to be "
            f"expected: {exact_m:,} of {members:,} members have an equal among the non-members. An attack cannot tell "
            "equal records apart; bounds stay valid and see less."
        )
    said = []
    if exact_m + exact_n + near_m + near_n:
        said.append(
            f"{_both(exact_m, near_m)} of {members:,} members have a copy among the non-members, and "
            f"{_both(exact_n, near_n)} of {nonmembers:,} non-members one among the members. An attack can hardly tell "
            "copies apart: bounds stay valid, but the audit sees less."
        )
    if own_m + near_own_m:
        said.append(
            f"{_both(own_m, near_own_m)} of {members:,} members have a copy among the members. Leaving one of them out "
            "does not take its content out of the training, so a claim for single records does not cover what all "
            "copies reveal, and a bound on one of them speaks of that copy only."
        )
    if own_n + near_own_n:
        said.append(
            f"{_both(own_n, near_own_n)} of {nonmembers:,} non-members have a copy among the non-members; they count "
            "as more evidence than they are."
        )
    return " ".join(said)


def _both(exact: int, near: int) -> str:
    return f"{exact + near:,} ({exact:,} equal, {near:,} nearly)"
