"""(n, p)-extraction from one forward pass, beside direct sampling and the published formula."""

import math

import numpy as np
import pytest

from dpaudit.integrations.keras_text import keras_token_logprobs
from dpaudit.scores.extraction import extractable, log_probability_of_records, log_queries
from tests.small_language_model import CharacterModel, encode, sentences


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.7, 4)])
@pytest.mark.long
def test_direct_sampling_agrees(temperature: float, top_k: int | None) -> None:
    """Samples of a real model give the rest of a record as often as one forward pass says: |z| < 3 for six records.

    With right probabilities it fails by chance with probability 2 %; the seed is fixed.
    """
    rng = np.random.default_rng(7)
    texts = sentences(30, seed=8)
    model = CharacterModel.trained(texts * 3 + sentences(30, seed=9))
    prefixes, size, draws = [len(text) - 6 for text in texts], 6, 2000
    table = keras_token_logprobs(model, texts, encode, given=prefixes, temperature=temperature, top_k=top_k)
    probabilities = np.exp(log_probability_of_records(table))
    checked = 0
    for row in np.argsort(-np.minimum(probabilities, 1 - probabilities))[:6]:
        codes = encode(texts[row])
        hits = 0
        for _ in range(draws):
            written = codes[: prefixes[row]]
            for _ in range(size):
                logits = np.log(model.after(written)) / temperature
                if top_k is not None:
                    logits[np.argsort(logits)[:-top_k]] = -np.inf
                shares = np.exp(logits - logits.max())
                written = [*written, int(rng.choice(shares.size, p=shares / shares.sum()))]
                if written[-1] != codes[len(written) - 1]:
                    break
            hits += written == codes
        p = float(probabilities[row])
        assert abs(hits - draws * p) < 3 * math.sqrt(draws * p * (1 - p)), (row, hits, draws * p)
        checked += 0.01 < p < 0.99
    assert checked >= 3


@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
def test_number_of_samples_is_the_published_formula(p: float) -> None:
    """n = log(1 - p) / log(1 - p_z), Hayes et al. (2024), where both logarithms are numbers."""
    for p_z in (0.9, 0.1, 1e-4, 1e-12):
        wanted = math.log(1 - p) / math.log1p(-p_z)
        assert math.exp(log_queries([math.log(p_z)], p)[0]) == pytest.approx(wanted, rel=1e-9)


def test_the_definition_is_met_at_the_number_and_not_below_it() -> None:
    """1 - (1 - p_z)^n reaches p with as many samples and not with one less."""
    for p_z in (0.3, 0.02, 0.001):
        n = math.ceil(math.log(1 - 0.9) / math.log1p(-p_z))
        assert 1 - (1 - p_z) ** n >= 0.9 > 1 - (1 - p_z) ** (n - 1)
        assert extractable([math.log(p_z)], n, 0.9)[0]
        assert not extractable([math.log(p_z)], n - 1, 0.9)[0]


def test_the_ends() -> None:
    """A certain record needs one sample, an impossible one no number is enough for, and 1e-500 is no 0."""
    assert extractable([0.0], 1, 0.999).all()
    assert not extractable([-np.inf], 10**18, 1e-9).any()
    assert log_queries([-1151.3], 0.5)[0] == pytest.approx(1151.3 + math.log(math.log(2)), rel=1e-9)
