"""Members that differ from non-members as data are told apart, and those dealt out at random are not."""

import inspect
import itertools
import json
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, hypergeom

from dpaudit.data import blind_baseline as module
from dpaudit.data import surest
from dpaudit.data.blind_baseline import BlindBaseline, blind_baseline
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError

Choose = Callable[[np.random.Generator, int], BoolArray]


def _coins(p: float) -> Choose:
    return lambda rng, records: rng.random(records) < p


def _split(share: float) -> Choose:
    return lambda rng, records: rng.permutation(records) < round(share * records)


HOW = {
    "fair coins": _coins(0.5),
    "coins of 0.1": _coins(0.1),
    "coins of 0.9": _coins(0.9),
    "a split of a half": _split(0.5),
    "a split of 0.02": _split(0.02),
    "a split of 0.98": _split(0.98),
}


def _tables(ways: list[str], audits: int) -> list[BlindBaseline]:
    """Audits of small tables with ties, a missing value, labels and an uneven column; members first, as in files."""
    found = []
    for seed in range(audits):
        how = ways[seed // 2 % len(ways)]
        rng = np.random.default_rng([seed, list(HOW).index(how)])
        records = 40 if seed % 2 and "0.02" not in how and "0.98" not in how else 120
        member = HOW[how](rng, records)
        if not 2 <= member.sum() <= records - 2:
            continue  # two of each are asked for; how many members there are is no part of the null
        table = np.column_stack([rng.normal(size=records), rng.integers(0, 3, records), rng.exponential(size=records)])
        table[rng.random(records) < 0.2, 2] = np.nan
        order = np.argsort(~member, kind="stable")
        found.append(blind_baseline(table[order], rng.integers(0, 2, records), member[order], seed=seed, level=0.05))
    return found


@pytest.mark.long
def test_false_alarms_are_rare() -> None:
    """Random members raise alarms at no more than the level, 84 audits of three ways at 0.05; false-alarm rate 0.1 %.

    Alarms four times as often as stated would be seen with probability 0.9; each way has a thousand audits in the
    next test.
    """
    found = _tables(["coins of 0.1", "a split of a half", "a split of 0.98"], 84)
    assert len(found) > 60
    assert binomtest(sum(each.differs for each in found), len(found), 0.05, alternative="greater").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_false_alarms_are_rare_in_a_thousand_audits(how: str) -> None:
    """The same with 1,000 audits, at 0.05 and at one in a hundred; false-alarm rate 0.1 % each."""
    found = _tables([how], 1000)
    for level in (0.05, 0.01):
        alarms = sum(each.p_value <= level for each in found)
        assert binomtest(alarms, len(found), level, alternative="greater").pvalue > 1e-3


@pytest.mark.slow
def test_a_split_stratified_by_class_raises_no_more_alarms() -> None:
    """Shares that are the same in each class: 300 audits at 0.05; false-alarm rate 0.1 %."""
    alarms = 0
    for seed in range(300):
        rng = np.random.default_rng([17, seed])
        classes = rng.integers(0, 3, 60)
        member = np.zeros(60, bool)
        for each in range(3):
            rows = rng.permutation(np.flatnonzero(classes == each))
            member[rows[: rows.size // 2]] = True
        alarms += blind_baseline(rng.normal(size=(60, 2)), classes, member, seed=seed, level=0.05).differs
    assert binomtest(alarms, 300, 0.05, alternative="greater").pvalue > 1e-3


@pytest.mark.long
def test_false_alarms_are_rare_for_images_texts_and_users() -> None:
    """Random members among images, texts and users: 20 audits of each at 0.05; false-alarm rate 0.1 %."""
    alarms = 0
    vocabulary = np.array([f"word{i}" for i in range(50)])
    for seed in range(20):
        rng = np.random.default_rng([7, seed])
        member = rng.random(100) < 0.5
        images = rng.random((100, 10, 9, 3))
        texts = [" ".join(vocabulary[rng.integers(0, 50, 12)]) for _ in range(100)]
        rows = np.repeat(np.arange(100), rng.integers(1, 9, 100))
        of_users = rng.normal(size=(100, 2))[rows]  # rows of one user are alike
        alarms += blind_baseline(images, None, member, seed=seed, level=0.05).differs
        alarms += blind_baseline(texts, None, member, seed=seed, level=0.05).differs
        alarms += blind_baseline(of_users, None, member[rows], seed=seed, level=0.05, groups=rows).differs
    assert binomtest(alarms, 60, 0.05, alternative="greater").pvalue > 1e-3


def test_scores_of_records_learned_from_would_raise_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier that judges what it learned from finds a difference where there is none: the halves matter."""
    honest = module.boosted_trees

    def leaking(values, always, truth, learn, judge, seed):
        return honest(values, always, truth, judge, judge, seed)

    rng = np.random.default_rng(16)
    member, features = rng.random(600) < 0.5, rng.normal(size=(600, 5))
    assert not blind_baseline(features, None, member, seed=1).differs
    monkeypatch.setattr(module, "boosted_trees", leaking)
    assert blind_baseline(features, None, member, seed=1).differs


def test_rows_of_users_counted_as_records_would_raise_alarms() -> None:
    """Without the users, rows of one user give its membership away: the unit of the test matters."""
    rng = np.random.default_rng(3)
    rows = np.repeat(np.arange(60), 20)
    member = (rng.random(60) < 0.5)[rows]
    features = rng.normal(size=(60, 2))[rows]
    assert blind_baseline(features, None, member, seed=1).differs
    assert not blind_baseline(features, None, member, seed=1, groups=rows).differs


@pytest.mark.long
def test_the_p_value_is_that_of_all_ways_to_deal_out_members() -> None:
    """Against the count over every choice of members, with ties: equal to twelve digits, and never too small."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        units, size = int(rng.integers(4, 10)), 2
        members = int(rng.integers(1, units))
        scores = rng.integers(0, 4, units).astype(float)
        scores[:2] = 0, 3
        values = []
        for chosen in itertools.combinations(range(units), members):
            member = np.isin(np.arange(units), chosen)
            value, least = surest.p_value(scores, member, size)
            values.append(value)
        assert least == pytest.approx(min(values), rel=1e-12)
        for value in set(values):
            reached = np.mean([other <= value * (1 + 1e-9) for other in values])
            assert reached == pytest.approx(value, rel=1e-12)


def test_the_tail_is_the_hypergeometric_one() -> None:
    """With as many guesses as units a guess is right exactly where it is a member: scipy's own tail, far out too."""
    for units, members, top, inside in [(2000, 1000, 1000, 620), (1000, 20, 50, 9), (500, 490, 100, 100)]:
        right = inside + (units - top) - (members - inside)
        expected = hypergeom.sf(inside - 1, units, members, top)
        assert surest.tail(right, top, units - top, units, members) == pytest.approx(expected, rel=1e-9)


def test_equal_records_are_no_difference() -> None:
    """Records that are all the same give p = 1 exactly."""
    found = blind_baseline(np.ones((500, 4)), None, np.arange(500) % 3 == 0, seed=1)
    assert (found.p_value, found.auc, found.differs) == (1.0, 0.5, False)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.long
def test_a_split_by_date_is_caught(share: float) -> None:
    """A column that drifts with time, members before a day: told apart as a number, a date, and a word."""
    rng = np.random.default_rng(2)
    days = np.sort(rng.integers(0, 2000, 1500))
    member = np.arange(1500) < share * 1500
    drift = pd.DataFrame(rng.normal(size=(1500, 5)), columns=list("abcde")).assign(a=days + rng.normal(0, 200, 1500))
    dates = pd.Timestamp("2019-01-01") + pd.to_timedelta(days, "D")
    assert blind_baseline(drift, None, member, seed=1).differs
    for column in (dates, dates.strftime("%Y-%m-%d"), dates.tz_localize("Europe/Paris")):
        assert blind_baseline(drift.drop(columns="a").assign(day=column), None, member, seed=1).differs


@pytest.mark.long
def test_a_split_by_source_is_caught() -> None:
    """Two hospitals with the same means and other spreads and gaps, and one with another name."""
    rng = np.random.default_rng(3)
    member = rng.random(1500) < 0.5
    spread = rng.normal(size=(1500, 6)) * np.where(member, 1.0, 1.8)[:, None]
    assert blind_baseline(spread, None, member, seed=1).differs
    gaps = rng.normal(size=(1500, 6))
    gaps[member & (rng.random(1500) < 0.4), 2] = np.nan
    assert blind_baseline(gaps, None, member, seed=1).differs
    named = pd.DataFrame({"x": rng.normal(size=1500), "site": np.where(member, "north", "south")})
    named.loc[rng.random(1500) < 0.5, "site"] = "east"
    assert blind_baseline(named, None, member, seed=1).differs
    assert blind_baseline(named.astype({"site": "category"}), None, member, seed=1).differs


@pytest.mark.long
def test_one_drifting_column_among_many_is_caught() -> None:
    """Of 1,500 columns one differs."""
    rng = np.random.default_rng(4)
    member = rng.random(800) < 0.5
    wide = rng.normal(size=(800, 1500))
    wide[:, 700] += 1.5 * member
    assert blind_baseline(wide, None, member, seed=1).differs


def test_a_difference_in_few_records_is_caught() -> None:
    """One source of 2 % that lies on one side only, which leaves the AUC near 0.5 and would give a bound of ε."""
    rng = np.random.default_rng(6)
    member = rng.random(4000) < 0.5
    features = rng.normal(size=(4000, 4))
    features[member & (rng.random(4000) < 0.04), 1] = 7.5
    found = blind_baseline(features, None, member, seed=1)
    assert found.differs
    assert found.auc < 0.55


@pytest.mark.long
def test_other_labels_are_caught() -> None:
    """The label is part of the record: classes, several outputs and targets of regression that differ."""
    rng = np.random.default_rng(8)
    member = rng.random(2000) < 0.4
    same = rng.normal(size=(2000, 3))
    classes = np.where(rng.random(2000) < np.where(member, 0.7, 0.4), 1, rng.integers(0, 10, 2000))
    targets = rng.normal(size=2000) + member
    assert not blind_baseline(same, None, member, seed=1).differs
    assert blind_baseline(same, classes, member, seed=1).differs
    assert blind_baseline(same, np.array(list("abcdefghij"))[classes], member, seed=1).differs
    assert blind_baseline(same, targets, member, seed=1).differs
    assert blind_baseline(same, np.stack([rng.normal(size=2000), targets], axis=1), member, seed=1).differs
    assert blind_baseline(["the same text"] * 2000, classes, member, seed=1).differs
    crossed = np.where(member, same[:, 0] > 0, same[:, 0] < 0).astype(int)  # either alone is the same on both sides
    assert blind_baseline(same, crossed, member, seed=1).differs


@pytest.mark.long
def test_texts_of_other_words_or_length_are_caught() -> None:
    """A vocabulary that changed a little, a later year, and longer texts."""
    rng = np.random.default_rng(9)
    vocabulary = np.array([f"word{i}" for i in range(400)])
    member = rng.random(800) < 0.5
    for number, late in enumerate(["election", "2024", ""]):
        texts = [" ".join(vocabulary[rng.integers(0, 400, 30 + 12 * (number == 2 and m))]) for m in member]
        texts = [f"{text} {late}" if m and rng.random() < 0.4 else text for m, text in zip(member, texts, strict=True)]
        assert blind_baseline(texts, None, member, seed=1).differs
        assert blind_baseline(pd.Series(texts, index=np.arange(800)[::-1]), None, member, seed=1).differs


@pytest.mark.parametrize("shape", [(12, 12), (32, 40, 3)])
@pytest.mark.long
def test_images_of_another_brightness_or_grain_are_caught(shape: tuple[int, ...]) -> None:
    """Images that are a little brighter, noisier in their grain, or marked in a corner."""
    rng = np.random.default_rng(10)
    member = rng.random(600) < 0.5
    images = rng.integers(0, 200, (600, *shape)).astype(np.float32)
    images += 40 * rng.normal(size=(600, *[1] * len(shape)))
    inside = member.reshape(-1, *[1] * len(shape))
    marked = images.copy()
    marked[member, -2:, -2:] = 255
    assert blind_baseline(images + 60 * inside, None, member, seed=1).differs
    assert blind_baseline(images * np.where(inside, 1.1, 1.0), None, member, seed=1).differs
    assert blind_baseline(marked, None, member, seed=1).differs
    assert not blind_baseline(images, None, member, seed=1).differs


def test_users_of_another_size_are_caught() -> None:
    """How many records a user has is part of the user."""
    rng = np.random.default_rng(11)
    member = rng.random(400) < 0.5
    rows = np.repeat(np.arange(400), rng.poisson(np.where(member, 9, 5)) + 1)
    found = blind_baseline(rng.normal(size=(rows.size, 2)), None, member[rows], seed=1, groups=rows)
    assert (found.differs, found.unit, found.tested) == (True, "users", 400)


def test_the_model_never_enters() -> None:
    """No argument could carry a model or its outputs, and neither the order of records nor a row number matters."""
    assert list(inspect.signature(blind_baseline).parameters) == [
        "features", "labels", "member", "seed", "level", "groups",
    ]  # fmt: skip
    rng = np.random.default_rng(12)
    features = rng.normal(size=(1000, 3))
    member = np.arange(1000) < 500  # the first half of the file
    assert not blind_baseline(features, None, member, seed=1).differs


def test_what_is_found_is_plain_numbers_and_repeats_itself() -> None:
    """JSON keeps all of it; the same seed gives the same; the curve runs from 0 to 1."""
    rng = np.random.default_rng(13)
    member = rng.random(300) < 0.3
    features = rng.normal(size=(300, 3)) + 2 * member[:, None]
    found = blind_baseline(features, None, member, seed=1)
    assert json.loads(json.dumps(asdict(found)))["p_value"] == found.p_value
    assert found == blind_baseline(features, None, member, seed=1)
    assert (found.fpr[0], found.tpr[0], found.fpr[-1], found.tpr[-1]) == (0, 0, 1, 1)
    assert len(found.fpr) == len(found.tpr) <= 50
    assert found.auc > 0.95
    assert found.sentence.startswith("Members and non-members differ as data")


def test_too_few_records_are_named_as_such() -> None:
    """Where no outcome could reach the level, the sentence says so and nothing is found."""
    features = np.r_[np.zeros(6), np.ones(6)][:, None]
    found = blind_baseline(features, None, np.arange(12) >= 6, seed=1)
    assert not found.differs
    assert found.p_value >= found.attainable > found.level
    assert "too few" in found.sentence
    assert "too equal" in blind_baseline(np.ones(500), None, np.arange(500) % 2, seed=1).sentence


def test_of_very_many_records_a_sample_is_tested() -> None:
    """At most 10,000 of a side, and of 2 % members all."""
    rng = np.random.default_rng(14)
    member = rng.permutation(60_000) < 1200
    found = blind_baseline(rng.normal(size=(60_000, 2)), None, member, seed=1)
    assert (found.records, found.tested) == (60_000, 11_200)


@pytest.mark.parametrize("huge", [np.inf, -np.inf, 1e308])
def test_huge_and_infinite_values_are_values(huge: float) -> None:
    """They neither end the audit nor hide a difference."""
    rng = np.random.default_rng(15)
    member = rng.random(400) < 0.5
    features = rng.normal(size=(400, 2))
    features[::7, 1] = huge
    assert not blind_baseline(features, None, member, seed=1).differs
    assert blind_baseline(features + 2 * member[:, None], None, member, seed=1).differs


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"member": np.ones(10, bool)}, "both sides"),
        ({"member": np.arange(10) == 0}, "at least 2 of each"),
        ({"labels": np.zeros(9)}, "labels must have 10 rows"),
        ({"groups": np.zeros(9)}, "groups must have shape"),
        ({"groups": np.arange(10) // 3}, "records on both sides"),
        ({"features": [*["a"] * 9, 1.0]}, "record 9 is no text"),
        ({"features": np.zeros((10, 2), complex)}, "numbers, dates or words"),
        ({"features": np.zeros((10, 0))}, "must have shape"),
        ({"features": 3.0}, "must hold records"),
        ({"level": 1.0}, "level must be in"),
    ],
)
def test_bad_input_is_named(changed: dict[str, object], message: str) -> None:
    """Each message says what is wrong."""
    call: dict[str, object] = {"features": np.zeros((10, 2)), "labels": None, "member": np.arange(10) < 5, "seed": 1}
    with pytest.raises(InputError, match=message):
        blind_baseline(**{**call, **changed})  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.long
def test_what_a_sample_leaves_unseen_is_in_the_sentence() -> None:
    """Of 30,000 records 20,000 are looked at; a test of 5,000 guesses at 0.001 / 8 sees 54 right of 100.

    By hand: (3.66 + 1.645) / (2 √5000) = 0.0375 over one half. Members by chance: an alarm once in 1,000.
    """
    rng = np.random.default_rng(3)
    found = blind_baseline(rng.normal(size=(30_000, 2)), None, rng.random(30_000) < 0.5, seed=1)
    assert "20,000 of 30,000 records" in found.sentence
    assert "fewer than 54 of 100 sure guesses are right" in found.sentence
