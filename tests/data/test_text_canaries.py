"""Canaries for text: what they are made of, where the loss counts, and that no record has their tokens."""

import numpy as np
import pytest

from dpaudit.data.dataset import Dataset
from dpaudit.data.text import NamedTexts, TextRoles, as_records
from dpaudit.data.text_canaries import TextCanaries
from dpaudit.data.tokens import Bytes
from dpaudit.runtime.errors import InputError

CONTEXT = 24


def records(texts: list[str]) -> Dataset:
    return as_records(NamedTexts("some", texts), TextRoles(context=CONTEXT))


RECORDS = records([f"the {number}th line of a play" for number in range(30)])
PUBLIC = records([f"public {number}" * (1 + number % 3) for number in range(40)])


def made(**settings: object) -> Dataset:
    return TextCanaries(count=20, **settings)(RECORDS, PUBLIC, Bytes(), seed=1)  # type: ignore[arg-type]


def test_a_new_token_is_its_canary_s_own() -> None:
    """Each is half a public text and one token that nothing else has; the loss counts there, or on all of it."""
    alone, whole = made(kind="new-token"), made(kind="new-token", loss_on="all")
    assert alone.class_count == 257 + 20
    prefixes = {row.tobytes()[: 4 * 3] for row in PUBLIC.features}
    for number, (row, counted, every) in enumerate(zip(alone.features, alone.labels, whole.labels, strict=True)):
        (place,) = np.flatnonzero(row > 256)
        assert row[place] == 257 + number
        assert 2 <= place <= CONTEXT // 2
        assert np.flatnonzero(counted).tolist() == [place - 1]
        assert np.flatnonzero(every).tolist() == list(range(place))
        assert row.tobytes()[: 4 * 3] in prefixes
    np.testing.assert_array_equal(alone.features, whole.features)


def test_random_tokens_are_uniform_and_all_count() -> None:
    """As many as the context, none a mark; the mean is that of uniform tokens within four standard errors (seeded)."""
    canaries = made(kind="random-tokens")
    assert canaries.labels.all()
    assert canaries.features[:, 1:].max() < 256
    error = 256 / np.sqrt(12 * canaries.labels.size)
    assert abs(canaries.features[:, 1:].mean() - 127.5) < 4 * error


def test_a_secret_counts_from_its_first_digit_on() -> None:
    """Each is the format with digits; what all secrets share before the digits does not count, unless asked for."""
    canaries = made(kind="secret", format="code ######!")
    texts = [Bytes().decode(row.astype(int)) for row in canaries.features]
    assert len(set(texts)) == 20
    for text, counted in zip(texts, canaries.labels, strict=True):
        assert text.startswith("code ")
        assert text[5:11].isdigit()
        assert text[11:] == "!"
        assert np.flatnonzero(counted).tolist() == list(range(5, 13))  # six digits, the sign, the mark
    assert made(kind="secret", format="code ######!", loss_on="all").labels[:, :5].all()
    assert TextCanaries("secret", 20, format="code ######!").candidates == 10**6


def test_tokens_that_a_record_has_are_refused() -> None:
    """A secret that a record spells out is found by its tokens, wherever in the record it stands."""
    secret = TextCanaries("secret", 10, format="pin ####")
    first = Bytes().decode(secret(RECORDS, PUBLIC, Bytes(), seed=3).features[4].astype(int))
    known = records([*(f"line {number}" for number in range(5)), f"my {first} ok"])
    with pytest.raises(InputError, match="canary 4 occurs in the records already, token by token"):
        secret(known, PUBLIC, Bytes(), seed=3)


def test_settings_that_do_not_fit() -> None:
    """A format without a secret, too few candidates, too few public texts, a format beyond the context."""
    with pytest.raises(InputError, match="format is for canaries of kind 'secret'"):
        TextCanaries("new-token", 10, format="#")
    with pytest.raises(InputError, match="format is for canaries of kind 'secret'"):
        TextCanaries("secret", 10)
    with pytest.raises(InputError, match="has 10 candidates for 10 secrets; at least ten times as many"):
        TextCanaries("secret", 10, format="one #")
    with pytest.raises(InputError, match="50 canaries need as many texts of the population to begin with, got 40"):
        TextCanaries("new-token", 50)(RECORDS, PUBLIC, Bytes(), seed=1)
    with pytest.raises(InputError, match="has 33 tokens; context is 24"):
        TextCanaries("secret", 10, format="a" * 30 + "###")(RECORDS, PUBLIC, Bytes(), seed=1)
