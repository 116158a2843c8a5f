"""How often a text would be extracted by sampling, from the log-probabilities of its tokens.

`Hayes et al. (2024) <https://arxiv.org/abs/2410.19482>`_: a record is (n, p)-discoverably extractable when n samples of
what follows its prefix hold the rest of it, word for word, with probability p or more. One forward pass says how likely
a sample is the rest, so nothing needs to be sampled.
"""

import numpy as np

from dpaudit.data.token_logprobs import TokenLogprobs
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray


def log_probability_of_records(table: TokenLogprobs) -> FloatArray:
    """Log-probability that one sample is the record, shape (records,); -inf where the sampler never draws it.

    Of a record with a prefix it is that of the rest: the prefix is masked out of the table. Weights only say which
    tokens count.

    >>> log_probability_of_records(TokenLogprobs(np.array(["a"]), np.array([2]), np.array([-1.0, -2.0])))
    array([-3.])
    """
    return np.add.reduceat(table.logprobs, table.starts)


def log_queries(log_probability: object, p: float) -> FloatArray:
    """Logarithm of the number of samples that hold the record with probability p: log(log(1 - p) / log(1 - p_z)).

    Args:
        log_probability: log p_z of each record, at most 0; -inf is never.
        p: probability in (0, 1).

    >>> np.exp(log_queries(np.log([0.5, 0.01]), 0.9)).round(2)
    array([  3.32, 229.11])
    """
    level = check.open_unit("p", p)
    values = np.asarray(log_probability, np.float64)
    # log(-log(1 - p_z)) is log p_z to double precision where p_z is small, also where p_z itself is no number any more.
    with np.errstate(divide="ignore"):
        near = np.log(-np.log1p(-np.exp(np.maximum(values, -37.0))))
    never = np.where(values > -37.0, near, values)
    result: FloatArray = np.log(-np.log1p(-level)) - never
    return result


def extractable(log_probability: object, n: int, p: float) -> BoolArray:
    """Which records are (n, p)-extractable, shape (records,).

    >>> extractable(np.log([0.5, 0.01]), 100, 0.9)
    array([ True, False])
    """
    return np.asarray(log_queries(log_probability, p) <= np.log(check.integer("n", n, at_least=1)) + 1e-12)
