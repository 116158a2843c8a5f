"""Scores of texts beside a plain implementation, record by record, on a real small model's predictions."""

import zlib
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from dpaudit.data.token_columns import token_logprobs
from dpaudit.data.token_logprobs import TokenLogprobs
from dpaudit.integrations.keras_text import keras_token_logprobs
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.text_scores import TEXT_SCORES, sequence_signals
from tests.small_language_model import CharacterModel, encode, sentences


class Seen(NamedTuple):
    """Full predictions of the target and of two references for each text, and the table made of them."""

    texts: list[str]
    table: TokenLogprobs
    target: list[FloatArray]
    references: list[list[FloatArray]]


@pytest.fixture(scope="module")
def seen() -> Seen:
    """Forty sentences, half of them trained on."""
    texts = sentences(40, seed=5)
    target, first, second = (CharacterModel.trained(part) for part in (texts[:20], texts[::2], sentences(20, seed=6)))
    references = {"half": first, "public": second}
    table = keras_token_logprobs(
        target, texts, encode, begin=10, references=references, columns={"included.half": np.arange(40) % 2 == 0}
    )

    def predictions(model: CharacterModel) -> list[FloatArray]:
        return [model(np.array([[10, *encode(text)]]))[0, :-1] for text in texts]

    return Seen(texts, table, predictions(target), [predictions(first), predictions(second)])


def plain(name: str, text: str, logits: FloatArray, references: list[FloatArray]) -> float:
    """One score of one text as the papers and their code have it, token by token."""
    codes = encode(text)
    log_p = [float(row[code]) for row, code in zip(logits, codes, strict=True)]
    lowest = max(1, int(0.2 * len(codes) + 1e-9))
    if name == "loss":
        return sum(log_p)
    if name == "perplexity":
        return -float(np.log(np.exp(-sum(log_p) / len(log_p))))
    if name == "zlib":
        return sum(log_p) / len(log_p) / len(zlib.compress(bytes(text, "utf-8")))
    if name == "min-k":
        return float(np.mean(sorted(log_p)[:lowest]))
    if name == "min-k++":
        standard = []
        for row, value in zip(logits, log_p, strict=True):
            shares = np.exp(row)
            mu = float((shares * row).sum())
            sigma = float((shares * np.square(row)).sum()) - mu * mu
            standard.append((value - mu) / np.sqrt(sigma))
        return float(np.mean(sorted(standard)[:lowest]))
    base = [float(np.mean([other[place][code] for other in references])) for place, code in enumerate(codes)]
    if name == "reference":
        return float(np.mean([own - other for own, other in zip(log_p, base, strict=True)]))
    assert name == "ez"
    gains = [
        own - other
        for row, code, own, other in zip(logits, codes, log_p, base, strict=True)
        if int(row.argmax()) != code
    ]
    up, down = sum(gain for gain in gains if gain > 0), -sum(gain for gain in gains if gain < 0)
    return up / (up + down) if up + down else 1.0


@pytest.mark.parametrize("name", TEXT_SCORES)
@pytest.mark.long
def test_every_score_is_that_of_a_plain_implementation(name: str, seen: Seen) -> None:
    """To 1e-6, on every text."""
    wanted = [
        plain(name, text, seen.target[row], [reference[row] for reference in seen.references])
        for row, text in enumerate(seen.texts)
    ]
    np.testing.assert_allclose(TEXT_SCORES[name](seen.table), wanted, rtol=1e-6, atol=1e-6)


def test_the_error_zone_has_the_order_of_the_published_ratio(seen: Seen) -> None:
    """P / (P + N) rises with P / N, which is what Ilić et al. (2026) define."""
    score = TEXT_SCORES["ez"](seen.table)
    finite = score < 1
    ratio = score[finite] / (1 - score[finite])
    assert (np.argsort(ratio, kind="stable") == np.argsort(score[finite], kind="stable")).all()


def test_loss_of_a_record_is_that_of_the_signals(seen: Seen) -> None:
    """The attacks with references see the log-perplexity of a record as its loss."""
    signals = sequence_signals(seen.table)
    np.testing.assert_allclose(signals.loss, -TEXT_SCORES["perplexity"](seen.table), rtol=1e-9)
    assert signals.included.tolist() == [[True, False] * 20, [False] * 40]


def test_weights_count_each_token_as_often_as_they_say() -> None:
    """A weight of 2 is a token that is there twice."""
    once = token_logprobs({"id": ["a"], "logprobs": [[-1.0, -4.0]], "weights": [[2.0, 1.0]]})
    twice = token_logprobs({"id": ["a"], "logprobs": [[-1.0, -1.0, -4.0]]})
    for name in ("loss", "perplexity"):
        assert TEXT_SCORES[name](once) == pytest.approx(TEXT_SCORES[name](twice))


def test_scores_without_what_they_need_say_what_that_is(seen: Seen) -> None:
    """A column, or a reference model."""
    bare = replace(seen.table, mean=None, top=None, texts=None, references={}, included={})
    for name, needed in {"zlib": "'text'", "min-k++": "'mean'", "ez": "'top'", "reference": "reference.NAME"}.items():
        with pytest.raises(InputError, match=needed):
            TEXT_SCORES[name](bare)


def test_a_token_that_was_not_listed_counts_as_the_least_likely_that_was() -> None:
    """It is known to be at most as likely as that, so that nothing is invented."""
    table = token_logprobs({"id": ["a", "b"], "logprobs": [[-1.0, -np.inf], [-5.0]], "top_k": [5, 5]})
    assert TEXT_SCORES["loss"](table).tolist() == [-6.0, -5.0]


def test_a_population_that_a_reference_was_trained_on_is_refused(seen: Seen) -> None:
    """Its records must be outside of every model."""
    with pytest.raises(InputError, match="trained on records of the population"):
        sequence_signals(seen.table, seen.table)
