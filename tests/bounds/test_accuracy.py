"""The accuracy bound says on what it rests."""

import numpy as np
import pytest

from dpaudit.bounds.accuracy import Accuracy
from dpaudit.bounds.choosing import Fixed
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores
from tests.bounds.claimed import RECORD


def test_canaries_of_one_run_are_independent_only_by_name() -> None:
    """The accuracy bound says on what it rests; there is no default."""
    with pytest.raises(TypeError):
        Accuracy(Fixed(0.0))  # type: ignore[call-arg]
    with pytest.raises(InputError, match="trials must be one of"):
        Accuracy(Fixed(0.0), "one-run")  # type: ignore[arg-type]
    scores = Scores(np.ones(50), np.zeros(50))
    named = Accuracy(Fixed(0.5), "one-run-assumed-independent")(scores, delta=1e-5, confidence=0.95, **RECORD)
    assert "assumed, not proved" in named.assumptions[1]
    assert named.family
