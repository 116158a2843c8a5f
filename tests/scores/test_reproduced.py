"""Texts in generations: what counts as the same, as nearly the same, and as a long run."""

import numpy as np
import pytest

from dpaudit.runtime.errors import InputError
from dpaudit.scores.reproduced import find_reproduced
from tests.small_language_model import sentences


def test_each_kind_is_told_from_the_others() -> None:
    """A copy; a copy in capitals; four fifths of it; a half of it; another text."""
    text = "one two three four five six seven eight nine ten eleven twelve"
    words = text.split()
    written = [f"so: {text}.", text.upper(), " ".join(words[:11]), " ".join(words[:6]), "something else entirely here"]
    found = [find_reproduced([text], [one], run=6) for one in written]
    assert [bool(each.verbatim[0]) for each in found] == [True, False, False, False, False]
    assert [bool(each.near[0]) for each in found] == [True, True, True, False, False]
    assert [bool(each.run[0]) for each in found] == [True, False, True, True, False]


def test_parts_of_two_generations_are_no_copy() -> None:
    """A text must be in one of them."""
    text = "one two three four five six seven eight"
    found = find_reproduced([text], ["one two three four", "five six seven eight"], run=5)
    assert not np.any([found.verbatim, found.near, found.run])


def test_containment_beside_brute_force() -> None:
    """Near is what sets of three words say, on texts of which some are cut and shuffled."""
    rng = np.random.default_rng(1)
    texts = sentences(60, seed=1)
    written = [" ".join(rng.permutation(text.split())[: rng.integers(3, 12)]) for text in texts[:20]]
    written += [" ".join(text.split()[:-1]) for text in texts[20:40]]

    def threes(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[at : at + 3]) for at in range(len(words) - 2)}

    wanted = [
        any(text in one or len(threes(text) & threes(one)) >= 0.8 * len(threes(text)) for one in written)
        for text in texts
    ]
    assert 0 < sum(wanted) < 60
    assert find_reproduced(texts, written).near.tolist() == wanted


def test_short_texts_have_no_sequences() -> None:
    """Two words are reproduced word for word or not at all."""
    found = find_reproduced(["two words"], ["Two Words", "and two words"])
    assert (found.verbatim[0], found.near[0]) == (True, True)
    assert not find_reproduced(["two words"], ["Two Words"]).near[0]


def test_nothing_to_look_for_is_refused() -> None:
    """No texts, or no generations."""
    with pytest.raises(InputError, match="got 0 and 1"):
        find_reproduced([], ["a"])
