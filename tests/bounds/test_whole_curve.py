"""Counts of many trainings against the curve of the claimed mechanism."""

from dpaudit.bounds.hypothesis import Gaussian
from dpaudit.bounds.one_run_trade_off import one_run_trade_off
from dpaudit.bounds.trial_counts import Counts, Guesses
from dpaudit.bounds.whole_curve import counts_refute, whole_curve
from tests.bounds.claimed import CLAIM


def test_the_mechanisms_own_curve_refutes_more() -> None:
    """Subsampled noise leaks in rare large steps: its curve lies far below the line of its single (ε, δ)."""
    counts = Counts(300, 700, 10, 990)
    plain, curve = whole_curve(counts, 1e-5, 0.05, null=Gaussian()), CLAIM.curve(1.0, 1e-5)
    assert plain > 0
    assert counts_refute(counts, curve, 0.05)
    assert not counts_refute(Counts(100, 900, 10, 990), curve, 0.05)
    found = one_run_trade_off(Guesses(300, 60, 55), 1e-5, 0.05, null=CLAIM)
    assert found > one_run_trade_off(Guesses(300, 60, 40), 1e-5, 0.05, null=CLAIM)
