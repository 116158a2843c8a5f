import numpy as np
import pytest

from dpaudit.data.bundled import digits, mnist_5000
from tests.attacks.gradient.mlp import Images


@pytest.fixture(scope="session")
def images() -> Images:
    """8x8 digits, flat, float64, and their classes."""
    data = digits()
    return data.features.reshape(len(data), -1).astype(np.float64), data.classes


@pytest.fixture(scope="session")
def mnist() -> Images:
    """MNIST-5000, flat, float64, in a fixed random order, and the classes."""
    data = mnist_5000()
    order = np.random.default_rng(0).permutation(len(data))
    return data.features.reshape(len(data), -1)[order].astype(np.float64), data.classes[order]
