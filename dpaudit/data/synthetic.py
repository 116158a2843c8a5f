"""Data made on the spot, with a known truth."""

import numpy as np

from dpaudit.data.dataset import Dataset


def line() -> Dataset:
    """A thousand points of y = 2x + 1 + noise, a hundred of each of ten users; a regression that must find 2 and 1.

    x is uniform in [-1, 1], the noise normal with standard deviation 0.1.

    >>> data = line()
    >>> slope, intercept = np.polyfit(data.features[:, 0], data.labels, 1)
    >>> round(float(slope), 1), round(float(intercept), 1)
    (2.0, 1.0)
    """
    rng = np.random.default_rng(20230802)
    x = rng.uniform(-1, 1, (1000, 1)).astype(np.float32)
    y = 2 * x[:, 0] + 1 + rng.normal(0, 0.1, 1000)
    return Dataset("line", x, y, "regression", np.repeat(np.arange(10), 100), licence="none needed: made on the spot")
