import numpy as np
import pytest

from dpaudit.attacks.gradient.imprint import ImprintInversion, expected_isolated
from dpaudit.attacks.gradient.metrics import psnr
from dpaudit.attacks.gradient.scanner import scan
from dpaudit.attacks.gradient.servers.imprint import plant_imprint
from dpaudit.attacks.gradient.view import Arrays, BatchGradient
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from tests.attacks.gradient import mlp
from tests.attacks.gradient.mlp import Images


def test_imprint_yield_follows_the_law() -> None:
    """Records alone in one of K equal bins: n(1 - 1/K)^(n-1), by simulation of 20,000 batches (5 standard errors)."""
    rng = np.random.default_rng(0)
    for records, bins in ((16, 128), (64, 256), (100, 100)):
        alone = [(np.bincount(b, minlength=bins) == 1).sum() for b in rng.integers(bins, size=(20_000, records))]
        error = np.std(alone) / np.sqrt(20_000)
        assert expected_isolated(records, bins) == pytest.approx(np.mean(alone), abs=5 * error)


def test_imprint_recovers_what_is_alone_in_its_bin(images: Images) -> None:
    """On digits at batch 16 and 128 bins exactly the records alone in their bin come back, to 60 dB and better; their
    number is that of the law, 14.2 on average (5 standard errors over 20 batches, 0.26 each)."""
    x, y = images
    planted = plant_imprint(mlp.weights((64, 128, 10), seed=0), x[1000:])
    rng, alone_total = np.random.default_rng(0), 0
    for _ in range(20):
        rows = rng.choice(1000, 16, replace=False)
        best = _best(planted, x[rows], y[rows])
        bins = np.searchsorted(-planted[1], x[rows].mean(1))
        alone = np.bincount(bins, minlength=130)[bins] == 1
        assert (best[alone] > 60).all()
        alone_total += alone.sum()
    assert alone_total / 20 == pytest.approx(expected_isolated(16, 128), abs=5 * 0.26)


def test_noise_hides_the_module_at_the_price_of_records(images: Images) -> None:
    """Noise on the planted kernel, relative to its entries: the scanner warns up to 50 %. At 100 % it is silent, and
    less than half of the records come back; that the scanner does not see it is stated in `NOT_SEEN`."""
    x, y = images
    planted = plant_imprint(mlp.weights((64, 128, 10), seed=0), x[1000:])
    recovered, warned = [], []
    for share in (0.0, 0.001, 0.01, 0.2, 0.5, 1.0):
        noise = np.random.default_rng(1).normal(0, share / 64, planted[0].shape)
        noisy = (planted[0] + noise, *planted[1:])
        recovered.append(sum((_best(noisy, x[r : r + 16], y[r : r + 16]) > 40).sum() for r in range(0, 64, 16)))
        warned.append(any("imprint" in finding.check for finding in scan(noisy)))
    assert warned == [True] * 5 + [False]
    assert recovered[0] > 40
    assert recovered[-1] < recovered[0] / 2


def test_an_imprint_module_needs_two_dense_layers() -> None:
    """A single layer has nothing behind it that could pass every bin the same gradient."""
    with pytest.raises(InputError, match="the first of two dense layers"):
        plant_imprint(mlp.weights((6, 3), seed=0), np.ones((2, 6)))


def _best(planted: Arrays, x: FloatArray, y: IntArray) -> FloatArray:
    """PSNR of the nearest of all that the attack returns, for each record."""
    found = ImprintInversion()(BatchGradient(planted, mlp.gradient(planted, x, y), len(x), box=(0.0, 1.0))).records
    return np.array([psnr(found, np.broadcast_to(t, found.shape)).max() for t in x])
