"""Labels are read as people write them, and refused where they could mean two things."""

from typing import Any

import numpy as np
import pytest

from dpaudit.data.labels import class_labels, recoded, shared_names
from dpaudit.runtime.errors import InputError


@pytest.mark.parametrize(
    ("labels", "codes", "names"),
    [
        ([2, 0, 1], [2, 0, 1], ()),
        ([1.0, 0.0, 3.0], [1, 0, 3], ()),
        ([True, False], [1, 0], ()),
        ([[1], [0]], [1, 0], ()),
        ([[0, 0, 1], [1, 0, 0]], [2, 0], ()),
        ([-1, 1, 1], [0, 1, 1], ("-1", "1")),
        ([-1.0, 1.0], [0, 1], ("-1", "1")),
        (["1", "10", "2"], [1, 10, 2], ()),
        (["True", "false"], [1, 0], ()),
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
        (np.array(["b", "a"], object), [1, 0], ("a", "b")),
    ],
)
def test_what_people_write_for_classes_is_taken(labels: Any, codes: list[int], names: tuple[str, ...]) -> None:
    """Each spelling has one meaning: the class numbers written out by hand."""
    found = class_labels("labels", labels)
    assert found.codes.dtype == np.int64
    assert found.codes.tolist() == codes
    assert found.names == names


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.5, 1.0], "must be classes, got 0.5; to predict numbers say task 'regression'"),
        ([1.0, float("nan"), 0.0], "missing in 1 of 3 records, the first at row 1"),
        (np.array(["a", None], object), "missing in 1 of 2 records"),
        ([-1, 0, 1], "number the classes from 0"),
        ([[1, 1], [0, 1]], "not one label for each record, nor one-hot"),
        ([10**9, 0], "these are no classes"),
        ([f"name {i}" for i in range(50)], "50 different words in 50 records"),
    ],
)
def test_what_could_mean_two_things_is_refused(labels: Any, message: str) -> None:
    """The message says what was found and the one-line mend."""
    with pytest.raises(InputError, match=message):
        class_labels("labels", labels)


def test_parts_share_their_classes() -> None:
    """A part without some class is coded as the whole is: as if all words had been sorted together."""
    whole = ["dog", "cat", "ant", "dog"]
    parts = [class_labels("labels", whole[:1]), class_labels("labels", whole[1:])]
    names = shared_names(parts)
    assert np.concatenate([recoded(part, names).codes for part in parts]).tolist() == [
        sorted(set(whole)).index(word) for word in whole
    ]
    only_ones, both = class_labels("labels", [1, 1]), class_labels("labels", [-1, 1])
    assert recoded(only_ones, shared_names([only_ones, both])).codes.tolist() == [1, 1]
