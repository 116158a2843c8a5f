"""Copies that were planted are counted, on the side where they are, and none where there are none."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from dpaudit.data.duplicates import Duplicates, duplicates
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

MEMBER = np.arange(1000) < 500


def _table(columns: int = 10) -> FloatArray:
    return np.random.default_rng(1).normal(size=(1000, columns))


def _counts(found: Duplicates) -> dict[str, int]:
    return {name: value for name, value in asdict(found).items() if name.startswith(("exact", "near")) and value}


def test_equal_records_are_counted_on_each_side() -> None:
    """Three members are equal to one non-member, two of the members to each other; by brute force over all pairs."""
    table = _table()
    table[:3] = table[900]
    table[700] = table[701]
    found = duplicates(table, None, MEMBER)
    equal = (table[:, None] == table[None]).all(axis=2) & ~np.eye(1000, dtype=bool)
    brute = {
        "exact_members": int(equal[:500, 500:].any(axis=1).sum()),
        "exact_nonmembers": int(equal[500:, :500].any(axis=1).sum()),
        "exact_within_members": int(equal[:500, :500].any(axis=1).sum()),
        "exact_within_nonmembers": int(equal[500:, 500:].any(axis=1).sum()),
    }
    assert _counts(found) == brute
    assert brute == dict(zip(brute, (3, 1, 3, 2), strict=True))
    assert found.distinct == 996
    assert "3 (3 equal, 0 nearly) of 500 members have a copy among the non-members" in found.sentence


def test_the_sign_of_zero_and_a_missing_value_make_no_difference() -> None:
    """-0.0 is 0.0, and two missing values are equal."""
    table = _table()
    table[0], table[600] = 0.0, -0.0
    table[1, 3] = np.nan
    table[601] = table[1]
    assert _counts(duplicates(table, None, MEMBER)) == {"exact_members": 2, "exact_nonmembers": 2}


def test_last_digits_are_nearly_equal() -> None:
    """Through float32, with six digits as a CSV keeps them, and with another last bit."""
    table = _table()
    table[500:510] = table[:10].astype(np.float32)
    table[510:520] = [[float(f"{value:.6g}") for value in row] for row in table[10:20]]
    table[520:530] = np.nextafter(table[20:30], 9)
    assert _counts(duplicates(table, None, MEMBER)) == {"near_members": 30, "near_nonmembers": 30}


def test_among_many_records_rounded_ones_are_still_found() -> None:
    """Beyond the sample for neighbours, copies through float32 are found among all."""
    table = np.random.default_rng(2).normal(size=(50_000, 3))
    table[49_000:] = table[:1000].astype(np.float32)
    found = duplicates(table, None, np.arange(50_000) < 25_000)
    assert (found.near_members, found.near_nonmembers, found.searched) == (1000, 1000, 4000)


def test_a_label_is_part_of_the_record() -> None:
    """Equal features with other labels are no copies."""
    table = _table()
    table[500] = table[0]
    table[501] = table[1] * (1 + 1e-6)
    labels = np.arange(1000) % 2
    assert _counts(duplicates(table, labels, MEMBER)) == {"exact_members": 1, "exact_nonmembers": 1} | {
        "near_members": 1, "near_nonmembers": 1,
    }  # fmt: skip
    labels[:2] = 1 - labels[:2]
    assert _counts(duplicates(table, labels, MEMBER)) == {}


@pytest.mark.parametrize("columns", [1, 2, 3, 10, 40])
@pytest.mark.long
def test_random_records_have_no_copies(columns: int) -> None:
    """20 tables of 4,000 normal records: chance of one near copy 0.001^columns a record, 0.06 in all at two columns."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = duplicates(rng.normal(size=(4000, columns)), None, rng.random(4000) < 0.5)
        assert _counts(found) == {}
        assert found.sentence == "No equal or nearly equal records were found."


def test_few_possible_values_have_equal_records_by_nature() -> None:
    """Three columns of 0 and 1: all are equal to others, and the sentence says that this is to be expected."""
    rng = np.random.default_rng(3)
    found = duplicates(rng.integers(0, 2, (1000, 3)), None, MEMBER)
    assert found.expected
    assert (found.exact_members, found.near_members, found.distinct) == (500, 0, 8)
    assert "only 8 different values" in found.sentence


def test_images_with_a_little_noise_are_nearly_equal() -> None:
    """A pixel's worth of noise, as saving as JPEG leaves; other images of the same kind are not."""
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (1000, 16, 16)).astype(np.float32)
    images[500:520] = np.clip(images[:20] + rng.integers(-2, 3, (20, 16, 16)), 0, 255)
    assert _counts(duplicates(images, None, MEMBER)) == {"near_members": 20, "near_nonmembers": 20}


def test_texts_in_other_case_or_with_small_edits_are_nearly_equal() -> None:
    """Case, spacing and punctuation; one word of sixty changed; another text of the same words is none."""
    rng = np.random.default_rng(5)
    vocabulary = np.array([f"word{i}" for i in range(300)])
    texts = [" ".join(vocabulary[rng.integers(0, 300, 60)]) for _ in range(1000)]
    texts[500] = texts[0]
    texts[501] = texts[1].upper().replace(" ", "  ") + " !"
    texts[502] = texts[2].replace(texts[2].split()[30], "other", 1)
    texts[503] = " ".join(reversed(texts[3].split()))
    expected = {"exact_members": 1, "exact_nonmembers": 1, "near_members": 2, "near_nonmembers": 2}
    assert _counts(duplicates(texts, None, MEMBER)) == expected
    assert _counts(duplicates(np.array(texts), np.zeros(1000), MEMBER)) == expected
    assert _counts(duplicates(texts, MEMBER, MEMBER)) == {}


def test_data_frames_of_words_and_dates_are_compared_by_value() -> None:
    """Words, categories and dates, with a missing one."""
    rng = np.random.default_rng(6)
    table = pd.DataFrame({"x": rng.normal(size=1000), "y": rng.normal(size=1000)})
    table["name"] = np.array(["anna", "bert", "carl"])[rng.integers(0, 3, 1000)]
    table["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, 1000), "D")
    table.loc[3, "name"] = None
    table.iloc[500:505] = table.iloc[:5].to_numpy()
    table["kind"] = table["name"].astype("category")
    table.loc[505] = table.loc[5]
    table.loc[505, "name"] = "dora"
    assert _counts(duplicates(table, None, MEMBER)) == {"exact_members": 5, "exact_nonmembers": 5}


def test_what_is_found_is_plain_numbers() -> None:
    """JSON keeps all of it, and copies on one side only are said on that side."""
    table = _table()
    table[1], table[901] = table[0], table[900]
    found = duplicates(table, None, MEMBER)
    assert json.loads(json.dumps(asdict(found))) == asdict(found)
    assert "does not take its content out of the training" in found.sentence
    assert "non-members have a copy among the non-members" in found.sentence
    assert "An attack can hardly tell" not in found.sentence


def test_bad_input_is_named() -> None:
    """Labels of another length, and records on one side only."""
    with pytest.raises(InputError, match="labels must have 1000 rows"):
        duplicates(_table(), np.zeros(3), MEMBER)
    with pytest.raises(InputError, match="both sides"):
        duplicates(_table(), None, np.ones(1000, bool))
