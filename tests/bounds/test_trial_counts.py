"""What is counted on scores: right guesses by a sort, ties that do not tell, no order that matters."""

import numpy as np

from dpaudit.bounds.one_run import one_run
from dpaudit.bounds.trial_counts import Guesses, count_outcomes, guess
from dpaudit.scores.scores import Scores

RNG = np.random.default_rng(0)
SCORES = Scores(RNG.normal(2, 1, 600), RNG.normal(0, 1, 580))


def test_ties_do_not_tell() -> None:
    """Equal scores carry no membership: guesses among them are right half of the time (false alarms 1e-4)."""
    flat = Scores(np.zeros(500), np.zeros(500))
    right = [guess(flat, 200, 100, seed=seed).correct for seed in range(200)]
    assert 150 - 4 * 5 / np.sqrt(200) * 2 < np.mean(right) < 150 + 4 * 5 / np.sqrt(200) * 2
    assert one_run(guess(flat, 500, 500, seed=0), 1e-6, 0.05) == 0


def test_guesses_are_those_of_a_sort() -> None:
    """Without ties: count by sorting, beside the partition."""
    order = np.argsort(SCORES.values)
    truth = SCORES.truth[order]
    for top, bottom in ((0, 7), (11, 0), (300, 400), (1180, 0), (590, 590)):
        right = int(truth[truth.size - top :].sum() + (~truth[:bottom]).sum())
        assert guess(SCORES, top, bottom, seed=0) == Guesses(1180, top + bottom, right)


def test_relabelling_changes_nothing() -> None:
    """Any increasing transformation of the scores, and any order of the records, gives the same counts."""
    shuffled = Scores(RNG.permutation(SCORES.member), RNG.permutation(SCORES.nonmember))
    stretched = Scores(np.exp(SCORES.member), np.exp(SCORES.nonmember))
    for other in (shuffled, stretched):
        assert guess(other, 200, 100, seed=0) == guess(SCORES, 200, 100, seed=0)
    assert count_outcomes(shuffled, 0.7) == count_outcomes(SCORES, 0.7) == count_outcomes(stretched, float(np.exp(0.7)))
