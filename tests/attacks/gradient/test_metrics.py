import numpy as np
import pytest
from scipy.stats import binomtest

from dpaudit.attacks.gradient.baselines import decoy_test, floors
from dpaudit.attacks.gradient.metrics import (
    assignment,
    fidelity,
    label_accuracy,
    label_chance,
    mse,
    psnr,
    ssim,
)
from dpaudit.attacks.gradient.view import Reconstruction
from dpaudit.data.bundled import digits
from dpaudit.runtime.errors import InputError


def test_psnr_of_a_known_error() -> None:
    """An error of 0.1 everywhere is 20 dB, by definition."""
    assert psnr(np.full((1, 5), 0.1), np.zeros((1, 5)))[0] == pytest.approx(20.0)


def test_psnr_is_capped_so_that_exact_is_a_number() -> None:
    """An exact reconstruction is reported at the cap, not as infinity."""
    assert psnr(np.zeros((1, 5)), np.zeros((1, 5)))[0] == pytest.approx(150.0)


@pytest.mark.tf
@pytest.mark.parametrize("side", [8, 28])
def test_ssim_agrees_with_tensorflow(side: int) -> None:
    """tf.image.ssim with the same window is the reference, to float32 precision."""
    from dpaudit.runtime.tensorflow import tf

    rng = np.random.default_rng(0)
    a, b = rng.random((2, 5, side, side, 3))
    reference = tf.image.ssim(a, (a + b) / 2, 1.0, filter_size=min(11, side - 1)).numpy()
    assert ssim(a, (a + b) / 2) == pytest.approx(reference, abs=1e-5)


def test_assignment_undoes_a_shuffle() -> None:
    """A shuffled batch is matched back record for record."""
    rng = np.random.default_rng(0)
    x, order = rng.random((9, 20)), rng.permutation(9)
    assert (x[order][assignment(x[order], x)] == x).all()


def test_label_accuracy_of_guessing_is_zero() -> None:
    """The prior's best guess scores 0 ± 0.05 after chance correction and random labels less, over 2,000 batches."""
    rng = np.random.default_rng(0)
    chance = label_chance(np.full(10, 0.1), 64, seed=1)
    batches = rng.integers(10, size=(2000, 64))
    guessed = [label_accuracy(np.arange(64) % 10, y, chance=chance) for y in batches]
    drawn = [label_accuracy(rng.integers(10, size=64), y, chance=chance) for y in batches]
    assert abs(np.mean(guessed)) < 0.05
    assert np.mean(drawn) < 0


def test_the_uniform_guess_overlaps_much() -> None:
    """At ten balanced classes guessing overlaps by 0.35 at batch 4, 0.69 at 16 and 0.845 at 64: "86 %" is chance."""
    for batch, expected in ((4, 0.35), (16, 0.69), (64, 0.845)):
        assert label_chance(np.full(10, 0.1), batch, seed=0) == pytest.approx(expected, abs=0.01)


def test_fidelity_fills_what_is_missing_with_the_prior() -> None:
    """A record the attack gave nothing for has the error of the prior's guess, and says so."""
    truth = np.array([[0.0, 0.0], [1.0, 1.0]])
    found = fidelity(Reconstruction(np.array([[1.0, 1.0]])), truth, prior=np.array([0.5, 0.5]))
    assert found.mse == pytest.approx([0.25, 0.0])
    assert found.found.tolist() == [0.0, 1.0]


def test_records_outside_the_box_are_refused() -> None:
    """Images that were not scaled to the box are an input error, not a strange PSNR."""
    with pytest.raises(InputError, match=r"must lie in the box \[0.0, 1.0\], got \[0, 255\]"):
        fidelity(Reconstruction(np.zeros((1, 2))), np.array([[0.0, 255.0]]), prior=np.zeros(2))


def test_floors_are_those_of_their_definitions() -> None:
    """Each floor equals the PSNR of the guess it names, computed here by hand."""
    data = digits()
    x, y = data.features.astype(np.float64), data.classes
    found = floors(x[:20], x[500:], labels=y[:20], auxiliary_labels=y[500:])
    class_mean = np.stack([x[500:][y[500:] == c].mean(0) for c in y[:20]])
    assert found.class_mean == pytest.approx(-10 * np.log10(mse(class_mean, x[:20])))
    brute = np.array([((x[500:] - image) ** 2).reshape(-1, 64).mean(1).min() for image in x[:20]])
    assert found.nearest == pytest.approx(-10 * np.log10(brute))
    assert (found.best_honest >= found.blank).all()


def test_decoys_reject_at_most_at_the_level() -> None:
    """200 audits whose reconstructions know nothing: at level 5 % at most 5 % reject, up to the binomial's 99.9 %
    quantile (20 of 200); the p-value is exact, so this fails for a right test once in a thousand seeds."""
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(200):
        truth, guesses = rng.random((2, 20, 16))
        rejected += decoy_test(guesses, truth, rng.random((20, 9, 16))).p_value <= 0.05
    assert rejected <= 20


def test_decoys_are_fair_to_batches() -> None:
    """400 records, each hidden among 19 decoys, with 4 guesses that know nothing: identified once in 20, two-sided
    exact test at 0.1 % false alarms."""
    rng = np.random.default_rng(0)
    test = decoy_test(rng.random((400, 4, 6)), rng.random((400, 6)), rng.random((400, 19, 6)))
    assert binomtest(test.identified, 400, 1 / 20).pvalue > 1e-3


def test_decoys_see_a_reconstruction() -> None:
    """A reconstruction at 20 dB is told from decoys every time."""
    rng = np.random.default_rng(0)
    truth = rng.random((20, 16))
    found = decoy_test(truth + rng.normal(0, 0.1, truth.shape), truth, rng.random((20, 9, 16)))
    assert found.identified == 20
    assert found.p_value == pytest.approx(0.1**20)
    assert found.kappa == 0.1
