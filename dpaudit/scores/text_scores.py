"""Membership scores of texts from the log-probabilities of their tokens. Higher means "more likely a member".

A score is about a record, never about a token.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dpaudit.data.token_logprobs import TokenLogprobs
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.from_outputs import from_loss
from dpaudit.scores.signals import Signals

SHARE = 0.2  # of the tokens of a record that min-k and min-k++ look at, as most papers report it


@dataclass(frozen=True)
class TextScore:
    """A score of texts.

    Args:
        name: as it is asked for.
        version: of its definition here.
        formula: in words and signs; log p is the log-probability of a token.
        paper: where it is from.
        compute: from a table to scores, shape (records,).
    """

    name: str
    version: str
    formula: str
    paper: str
    compute: Callable[[TokenLogprobs], FloatArray]

    def __call__(self, table: TokenLogprobs) -> FloatArray:
        """Scores, shape (records,).

        Raises:
            InputError: the table has not what it needs.
        """
        return self.compute(table)


def held(values: FloatArray) -> FloatArray:
    """Log-probabilities with the smallest finite one in the place of -inf, which is known of them at least."""
    return np.maximum(values, values[np.isfinite(values)].min())


def weighted_sums(table: TokenLogprobs, values: FloatArray) -> FloatArray:
    """Sum over the tokens of each record of value times weight, shape (records,)."""
    each = values if table.weights is None else values * table.weights
    return np.add.reduceat(each, table.starts)


def weighted_means(table: TokenLogprobs, values: FloatArray) -> FloatArray:
    """Mean over the tokens of each record, by weight, shape (records,)."""
    return weighted_sums(table, values) / weighted_sums(table, np.ones_like(values))


def lowest_means(table: TokenLogprobs, values: FloatArray, share: float = SHARE) -> FloatArray:
    """Mean of the lowest values of each record, a share of its tokens but at least one, shape (records,).

    >>> import numpy as np
    >>> table = TokenLogprobs(np.array(["a"]), np.array([10]), np.arange(-10.0, 0.0))
    >>> lowest_means(table, table.logprobs)
    array([-9.5])
    """
    ordered = values[np.lexsort((values, table.owner))]
    kept = np.maximum(1, np.floor(share * table.lengths + 1e-9).astype(np.int64))
    place = np.arange(values.size) - np.repeat(table.starts, table.lengths)
    total = np.add.reduceat(np.where(place < np.repeat(kept, table.lengths), ordered, 0.0), table.starts)
    return np.asarray(total / kept, np.float64)


def reference_means(table: TokenLogprobs) -> FloatArray:
    """Mean log-probability of each token over all reference models, shape (tokens,).

    Those that were trained on the record count as well: with few models that lost less than leaving them out, which
    changes how many there are from record to record.

    Raises:
        InputError: there is no reference.
    """
    if not table.references:
        raise InputError("it needs a reference model: columns 'reference.NAME' of log-probabilities.")
    means: FloatArray = np.mean([held(values) for values in table.references.values()], axis=0)
    return means


def _perplexity(table: TokenLogprobs) -> FloatArray:
    return weighted_means(table, held(table.logprobs))


def _loss(table: TokenLogprobs) -> FloatArray:
    return weighted_sums(table, held(table.logprobs))


def _zlib(table: TokenLogprobs) -> FloatArray:
    if table.compressed is None:
        raise InputError("it needs the texts (a column 'text') or their compressed lengths (a column 'zlib').")
    return _perplexity(table) / table.compressed


def _min_k(table: TokenLogprobs) -> FloatArray:
    return lowest_means(table, held(table.logprobs))


def _min_k_plus_plus(table: TokenLogprobs) -> FloatArray:
    if table.mean is None or table.deviation is None:
        raise InputError("it needs the columns 'mean' and 'deviation' of the log-probabilities at each position.")
    some = table.deviation > 0  # where nothing varies, no token is more or less likely than the others
    standard = (held(table.logprobs) - table.mean) / np.where(some, table.deviation, 1.0)
    return lowest_means(table, np.where(some, standard, 0.0))


def _reference(table: TokenLogprobs) -> FloatArray:
    return weighted_means(table, held(table.logprobs) - reference_means(table))


def _error_zone(table: TokenLogprobs) -> FloatArray:
    if table.top is None:
        raise InputError("it needs the column 'top': whether the likeliest token was the right one.")
    gain = np.where(table.top, 0.0, held(table.logprobs) - reference_means(table))
    up, down = (weighted_sums(table, np.maximum(part, 0.0)) for part in (gain, -gain))
    moved = up + down
    return np.where(moved > 0, up / np.where(moved > 0, moved, 1.0), 1.0)


_CARLINI = "Carlini et al. (2021), arXiv 2012.07805"
TEXT_SCORES: Mapping[str, TextScore] = {
    score.name: score
    for score in (
        TextScore("loss", "text-loss/1", "sum of log p: minus the loss of the whole record", _CARLINI, _loss),
        TextScore("perplexity", "perplexity/1", "mean of log p: minus log-perplexity", _CARLINI, _perplexity),
        TextScore("zlib", "zlib/1", "mean of log p / length of the text compressed by zlib", _CARLINI, _zlib),
        TextScore(
            "min-k",
            "min-k/1",
            f"mean of the lowest {SHARE:.0%} of log p",
            "Shi et al. (2024), arXiv 2310.16789",
            _min_k,
        ),
        TextScore(
            "min-k++",
            "min-k++/1",
            f"mean of the lowest {SHARE:.0%} of (log p - mean) / deviation, both under the prediction",
            "Zhang et al. (2024), arXiv 2404.02936",
            _min_k_plus_plus,
        ),
        TextScore(
            "reference",
            "reference-difference/1",
            "mean of log p minus that of the mean log p of the references",
            _CARLINI,
            _reference,
        ),
        TextScore(
            "ez",
            "ez/1",
            "P / (P + N): sums of the gains (P) and losses (N) of log p over the references where the likeliest token "
            "is wrong; the order of P / N, 1 where there is neither",
            "Ilić et al. (2026), arXiv 2601.12104",
            _error_zone,
        ),
    )
}


def sequence_signals(table: TokenLogprobs, population: TokenLogprobs | None = None) -> Signals:
    """Signals of the records for attacks with reference models: the loss is the log-perplexity of a record.

    Args:
        table: with columns of references.
        population: further records that no model was trained on, with the same references.

    >>> import numpy as np
    >>> sequence_signals(TokenLogprobs(np.array(["a"]), np.array([2]), np.log([0.5, 0.5]))).loss
    array([0.69314718])
    """
    own = from_loss(-_perplexity(table))
    if not table.references:
        return Signals(own.values, floored=own.floored)
    phi = [from_loss(-weighted_means(table, held(values))).values for values in table.references.values()]
    included: BoolArray = np.stack([table.included[name] for name in table.references])
    others = None
    if population is not None:
        if any(flags.any() for flags in population.included.values()):
            raise InputError("a reference model was trained on records of the population, which none may have seen.")
        others = sequence_signals(population)
    return Signals(own.values, reference=np.stack(phi), included=included, population=others, floored=own.floored)
