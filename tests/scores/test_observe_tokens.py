"""From predictions to a table: nothing but the chosen numbers is kept, and they are right."""

import numpy as np
import pytest

from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores import observe_tokens as module
from dpaudit.scores.observe_tokens import observe_tokens

LOGITS = np.random.default_rng(3).normal(scale=2.0, size=(50, 7))


def predict(tokens: IntArray, inside: BoolArray) -> object:
    """The next token depends on the last one alone."""
    return LOGITS[tokens % 50]


def softmax(logits: FloatArray) -> FloatArray:
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def test_batches_and_padding_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of different lengths, one by one, two by two or together."""
    sequences = [[1, 2, 3], [4, 5], [6, 0, 1, 2, 3, 4]]
    shapes: list[tuple[int, ...]] = []

    def seen(tokens: IntArray, inside: BoolArray) -> object:
        shapes.append(tokens.shape)
        return predict(tokens, inside)

    all_ = observe_tokens(seen, sequences)
    for together, wanted in ((1, [(1, 3), (1, 2), (1, 6)]), (6, [(2, 3), (1, 6)])):
        shapes.clear()
        monkeypatch.setattr(module, "TOGETHER", together)
        one = observe_tokens(seen, sequences)
        assert one.logprobs.tolist() == all_.logprobs.tolist()
        assert shapes == wanted
    expected = [np.log(softmax(LOGITS[row[at]])[row[at + 1]]) for row in sequences for at in range(len(row) - 1)]
    np.testing.assert_allclose(all_.logprobs, expected, rtol=1e-12)


def test_temperature_and_top_k_are_those_of_the_sampler() -> None:
    """Logits are divided first; of the k likeliest the shares are made to sum to 1, the others are never drawn."""
    table = observe_tokens(predict, [[1, token] for token in range(7)], temperature=0.5, top_k=3)
    kept = np.sort(LOGITS[1])[-3:]
    wanted = np.where(LOGITS[1] >= kept[0], LOGITS[1] / 0.5, -np.inf)
    np.testing.assert_allclose(np.exp(table.logprobs), np.exp(wanted) / np.exp(wanted).sum(), rtol=1e-12)
    assert (table.top_k, table.temperature) == (3, 0.5)
    assert np.isneginf(table.logprobs).sum() == 4


def test_a_prefix_is_given_and_not_scored() -> None:
    """Only what follows it is in the table."""
    whole, rest = (observe_tokens(predict, [[1, 2, 3, 4]], given=given) for given in (1, 3))
    assert rest.logprobs.tolist() == whole.logprobs[2:].tolist()


def test_blocks_of_positions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long records are worked on in parts."""
    sequence = [list(range(7)) * 3]
    whole = observe_tokens(predict, sequence)
    monkeypatch.setattr(module, "BLOCK", 14)
    assert observe_tokens(predict, sequence).logprobs.tolist() == whole.logprobs.tolist()


def test_probabilities_are_read_as_such() -> None:
    """The same numbers as from logits."""
    table = observe_tokens(lambda tokens, inside: softmax(LOGITS[tokens]), [[1, 2, 3]], kind="probabilities")
    np.testing.assert_allclose(table.logprobs, observe_tokens(predict, [[1, 2, 3]]).logprobs, rtol=1e-12)
    with pytest.raises(InputError, match="Logits, perhaps"):
        observe_tokens(predict, [[1, 2, 3]], kind="probabilities")


def test_what_cannot_be_scored_is_refused() -> None:
    """A record of one token, a token beyond the vocabulary, a model of another shape."""
    with pytest.raises(InputError, match=r"record 1 has 1 token\(s\), and 1 are given"):
        observe_tokens(predict, [[1, 2], [3]])
    with pytest.raises(InputError, match="up to 9, got"):
        observe_tokens(predict, [[1, 9]])
    with pytest.raises(InputError, match="must return"):
        observe_tokens(lambda tokens, inside: np.zeros((1, 7)), [[1, 2]])
