"""Compression keeps what it says, and counts its bytes."""

import numpy as np
import pytest

from dpaudit.runtime.tensorflow import tf
from dpaudit.training.federated.compression import EightBit, RandomMask, Sign, TopK, Whole

pytestmark = pytest.mark.tf


def test_compression_keeps_what_it_says_and_counts_its_bytes() -> None:
    """Top-k keeps the largest, mask and 8-bit are unbiased (4,000 draws, 5 s.e.), sign keeps signs; bytes count."""
    row = np.linspace(-1, 1, 20, dtype=np.float32) ** 3
    from dpaudit.engine.randomness import Stream

    many = tf.constant(np.tile(row, (4000, 1)))
    keys = Stream.start(1, range(4000), "test").keys
    top = TopK(0.2)(many, keys=keys).numpy()[0]
    assert set(np.flatnonzero(top)) == {0, 1, 18, 19}
    np.testing.assert_array_equal(top[[0, 1, 18, 19]], row[[0, 1, 18, 19]])
    masked = RandomMask(0.25)(many, keys=keys).numpy()
    assert (masked != 0).mean() == pytest.approx(0.25, abs=0.01)
    assert np.abs(masked.mean(axis=0) - row).max() < 5 * 3**0.5 / 4000**0.5
    coarse = EightBit()(many, keys=keys).numpy()
    assert np.abs(coarse - row).max() <= 2 / 255 + 1e-6
    assert np.abs(coarse.mean(axis=0) - row).max() < 5 * (2 / 255) / 4000**0.5
    np.testing.assert_allclose(Sign()(many, keys=keys).numpy()[0], np.sign(row) * np.abs(row).mean(), rtol=1e-5)
    sizes = [c.bytes_per_client(1000) for c in (Whole(), TopK(0.1), RandomMask(0.1), EightBit(), Sign())]
    assert sizes == [4000, 800, 408, 1008, 129]
