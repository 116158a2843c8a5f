"""Queries: the same for every model, and refused where they make no sense."""

import numpy as np
import pytest

from dpaudit.data.queries import Flip, Noise, Shift, parse_query
from dpaudit.runtime.errors import InputError

IMAGE = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)


def test_noise_has_its_scale_and_is_the_same_again() -> None:
    """10,000 draws: the standard deviation is within 4 of its standard errors (0.7 % of it) of the scale."""
    (copy,) = Noise(0.2)(np.zeros((100, 100), np.float32), seed=1)
    assert copy.std() == pytest.approx(0.2, rel=4 * 0.0071)
    assert copy.dtype == np.float32
    np.testing.assert_array_equal(copy, Noise(0.2, copies=3)(np.zeros((100, 100), np.float32), seed=1)[0])


def test_images_move_as_by_hand() -> None:
    """Flip and shift against slices written out; a flip undoes itself."""
    (flipped,) = Flip()(IMAGE, seed=0)
    assert flipped[0, 0, :, 0].tolist() == [3, 2, 1, 0]
    np.testing.assert_array_equal(Flip()(flipped, seed=0)[0], IMAGE)
    (moved,) = Shift(down=1, right=-2)(IMAGE, seed=0)
    by_hand = np.zeros_like(IMAGE)
    by_hand[:, 1:, :2] = IMAGE[:, :2, 2:]
    np.testing.assert_array_equal(moved, by_hand)


@pytest.mark.parametrize(
    ("query", "features", "message"),
    [
        (Flip(), np.zeros((3, 5), np.float32), r"a flip needs images .*, got \(3, 5\); use noise"),
        (Shift(right=1), np.zeros((3, 5), np.float32), "a shift needs images"),
        (Shift(right=4), IMAGE, "shift must be at most 3, got 4"),
    ],
)
def test_what_cannot_be_asked_is_refused(query, features, message) -> None:  # type: ignore[no-untyped-def]
    """One clear line instead of an empty image."""
    with pytest.raises(InputError, match=message):
        query(features, seed=0)


def test_a_shift_by_nothing_and_noise_without_scale_are_refused() -> None:
    """They would only repeat the record."""
    with pytest.raises(InputError, match="other than 0"):
        Shift()
    with pytest.raises(InputError, match="scale"):
        Noise(0.0)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("noise:0.1", Noise(0.1)),
        ("noise:0.1:3", Noise(0.1, copies=3)),
        ("flip", Flip()),
        ("shift:-1:2", Shift(down=-1, right=2)),
    ],
)
def test_a_command_names_a_query_by_its_kind_and_numbers(text: str, query: object) -> None:
    """The same values as in a plan."""
    assert parse_query(text) == query


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("noise", "is no query; it is noise:SCALE"),
        ("noise:0.1:2.5", "is no query"),
        ("noise:often", "something else than a number"),
        ("noise:-1", "scale must be"),
        ("shift:0:0", "needs down or right"),
        ("shift:1", "is no query"),
        ("flip:2", "is no query"),
        ("blur:1", "is no query"),
    ],
)
def test_what_is_no_query_is_refused(text: str, said: str) -> None:
    """One line with the forms, or the query's own refusal."""
    with pytest.raises(InputError, match=said):
        parse_query(text)
