"""Logarithms of surprises, exact where probabilities round to 0 or 1."""

import numpy as np

from dpaudit.runtime.check import FloatArray


def log_of_minus_log_one_minus(log_p: FloatArray) -> FloatArray:
    """log(-log(1 - p)) from log p < 0, any shape.

    >>> log_of_minus_log_one_minus(np.array([-1.0, -1000.0])).round(4)
    array([-7.794e-01, -1.000e+03])
    """
    small = log_p < -36.0  # -log(1 - p) = p to double precision
    result: FloatArray = np.where(small, log_p, np.log(-np.log1p(-np.exp(np.where(small, -1.0, log_p)))))
    return result
