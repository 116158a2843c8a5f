"""What δ takes from a bound is said in its note."""

from typing import Any

import numpy as np
import pytest

from dpaudit.bounds.accuracy import Accuracy
from dpaudit.bounds.choosing import Fixed, FixedGuesses
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.conditional import Conditional
from dpaudit.bounds.hypothesis import Definition
from dpaudit.bounds.one_run import OneRun
from dpaudit.bounds.sequential import Sequential
from dpaudit.scores.scores import Scores
from tests.bounds.claimed import RECORD


def test_the_price_of_m_delta_is_said() -> None:
    """20,000 canaries at δ = 1e-3: the δ term alone caps the bound; the note has both ceilings, nobody is warned."""
    rng = np.random.default_rng(0)
    scores = Scores(rng.normal(3, 1, 10_000), rng.normal(0, 1, 10_000))
    found = OneRun(FixedGuesses(1000, 1000, seed=0))(scores, delta=1e-3, confidence=0.95, **RECORD)
    free = OneRun(FixedGuesses(1000, 1000, seed=0))(scores, delta=0.0, confidence=0.95, **RECORD)
    assert f"could certify ε = {found.ceiling:.2f}, and {free.ceiling:.2f} at δ = 0" in found.note
    assert not free.note


@pytest.mark.parametrize(
    "bound",
    [
        ClopperPearson(Fixed(0.5)),
        Conditional(Fixed(0.5)),
        Accuracy(Fixed(0.5), "runs", Definition()),
        Sequential(Fixed(0.5), "runs", Definition()),
    ],
    ids=lambda bound: type(bound).__name__,
)
def test_a_delta_that_leaves_nothing_is_said(bound: Any) -> None:
    """200 + 200 perfect trials at δ = 0.99 certify nothing, which the note says; at δ = 0.1 they do, without a word."""
    scores = Scores(np.ones(200), np.zeros(200))
    found = bound(scores, delta=0.99, confidence=0.95, **RECORD)
    assert found.note == "at δ = 0.99 not even a perfect attack on these trials could certify anything"
    assert found.epsilon == found.ceiling == 0
    smaller = bound(scores, delta=0.1, confidence=0.95, **RECORD)
    assert smaller.epsilon > 0
    assert not smaller.note
