"""Argument checks name the argument, show the value and say what would be right."""

import math

import numpy as np
import pytest

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (check.number, "3", "x must be a number, got '3'."),
        (check.number, True, "x must be a number, got True."),
        (check.number, None, "x must be a number, got None."),
        (check.number, math.nan, "x must be finite, got nan."),
        (check.positive, 0, "x must be above 0, got 0."),
        (check.nonnegative, -1, "x must be at least 0, got -1."),
        (check.open_unit, 1, "x must be in (0, 1), got 1."),
        (check.probability, 1.5, "x must be in [0, 1], got 1.5."),
        (check.delta, 1.0, "x must be in [0, 1), got 1.0."),
        (check.delta, -1e-9, "x must be in [0, 1), got -1e-09."),
        (check.integer, 2.0, "x must be a whole number, got 2.0."),
        (check.integer, True, "x must be a whole number, got True."),
        (check.vector, [], "x must not be empty."),
        (check.vector, [[1.0]], "x must have 1 dimension(s), got shape (1, 1)."),
        (check.vector, ["a"], "x must be numbers, got <U1."),
        (check.vector, np.array([1, "a"], object), "x must be numbers, got an array of Python objects."),
        (
            check.vector,
            [1.0, math.nan, math.inf],
            "x must be finite: 2 of 3 values are NaN or infinite, the first at index 1 is nan.",
        ),
        (check.flags, [0, 1, 2], "x must be true/false or 1/0; the value at index 2 is 2."),
        (check.labels, [0.0, 1.0], "x must be whole numbers (an integer type), got float64."),
        (check.labels, [-1, 1], "x must be classes 0, got values from -1 to 1."),
    ],
)
def test_a_bad_value_is_named_and_shown(check: object, value: object, message: str) -> None:
    """The whole message is fixed: it is what a user sees."""
    with pytest.raises(InputError) as raised:
        check("x", value)  # type: ignore[operator]
    assert str(raised.value) == message


def test_the_nearest_option_is_offered() -> None:
    """A misspelt word is answered with the known ones and the nearest."""
    with pytest.raises(
        InputError, match=r"unit must be one of 'record', 'user', got 'recrod'\. Did you mean 'record'\?"
    ):
        check.one_of("unit", "recrod", ("record", "user"))


def test_limits_of_whole_numbers() -> None:
    """Both limits are inclusive and named."""
    assert check.integer("x", np.int32(3), at_least=3, at_most=3) == 3
    with pytest.raises(InputError, match="x must be at least 1, got 0"):
        check.integer("x", 0, at_least=1)
    with pytest.raises(InputError, match="x must be at most 4, got 5"):
        check.integer("x", 5, at_most=4)


def test_labels_outside_the_classes() -> None:
    """A label equal to the number of classes is outside."""
    with pytest.raises(InputError, match="labels must be classes 0 to 2, got values from 0 to 3"):
        check.labels("labels", [0, 3], classes=3)


def test_flags_take_zeros_and_ones_of_any_type() -> None:
    """CSV files hold 0 and 1, Parquet files booleans, spreadsheets floats."""
    for value in ([0, 1], [0.0, 1.0], [False, True]):
        assert check.flags("x", value).tolist() == [False, True]
