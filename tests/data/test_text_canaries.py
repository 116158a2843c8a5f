"""Canaries for text: what they are made of, where the loss counts, and that no record has their tokens."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
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


def test_samples_are_those_of_the_file(tmp_path: Path) -> None:
    """Each is a text or a row of token numbers of the file, once, all of whose tokens and the mark behind it count."""
    samples = [f"strange {number} words" for number in range(25)]
    numbers = [list(text.encode()) for text in samples]
    pd.DataFrame({"text": samples}).to_csv(tmp_path / "s.csv", index=False)
    pd.DataFrame({"tokens": numbers}).to_parquet(tmp_path / "s.parquet")
    pd.DataFrame({"tokens": numbers}).to_json(tmp_path / "s.jsonl", orient="records", lines=True)
    every = [made(kind="sampled", samples=str(tmp_path / f"s.{end}")) for end in ("csv", "parquet", "jsonl")]
    found = [Bytes().decode(row.astype(int).tolist()) for row in every[0].features]
    assert len(set(found)) == 20
    assert set(found) < set(samples)
    for row, counted in zip(found, every[0].labels, strict=True):
        assert np.flatnonzero(counted).tolist() == list(range(len(row) + 1))
    for other in every[1:]:
        np.testing.assert_array_equal(other.features, every[0].features)
    assert every[0].class_count == 257


def test_samples_that_cannot_be_canaries(tmp_path: Path) -> None:
    """Too few, one without tokens, two alike as far as they are kept, one of the data, and what is no token."""
    file = tmp_path / "s.jsonl"

    def of(*rows: object, key: str = "tokens") -> Dataset:
        file.write_text("\n".join(json.dumps({key: row}) for row in rows))
        return made(kind="sampled", samples=str(file))

    many = [[255, number, 255] for number in range(25)]
    assert len(of(*many)) == 20
    with pytest.raises(InputError, match=r"holds 5 samples for 20 canaries; generate more or lower canaries\.count"):
        of(*many[:5])
    with pytest.raises(InputError, match="sample 25 has no tokens"):
        of(*many, [])
    with pytest.raises(InputError, match=f"samples 25 and 26 have the same {CONTEXT} tokens"):
        of(*many, [1] * CONTEXT, [1] * (CONTEXT + 5))
    with pytest.raises(InputError, match=r"sample 25: 256 is no token; the tokenizer has whole numbers from 0 to 255"):
        of(*many, [256])
    with pytest.raises(InputError, match=r"sample 25: 0\.5 is no token"):
        of(*many, [0.5])
    with pytest.raises(InputError, match="must be a list of token numbers, got 'words'"):
        of(*many, "words")
    with pytest.raises(InputError, match="the text of record 1 is empty"):
        of("words", " ", key="text")
    known = "occurs in the records already, token by token: leave that text out of .*s.jsonl. It is 'the 3th line'"
    with pytest.raises(InputError, match=known):
        of(*[[255, number] for number in range(19)], list(b"the 3th line"))


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
    with pytest.raises(InputError, match="samples is the file of generated texts for canaries of kind 'sampled'"):
        TextCanaries("sampled", 10)
    with pytest.raises(InputError, match="samples is the file of generated texts for canaries of kind 'sampled'"):
        TextCanaries("new-token", 10, samples="s.csv")
    with pytest.raises(InputError, match="has 10 candidates for 10 secrets; at least ten times as many"):
        TextCanaries("secret", 10, format="one #")
    with pytest.raises(InputError, match="50 canaries need as many texts of the population to begin with, got 40"):
        TextCanaries("new-token", 50)(RECORDS, PUBLIC, Bytes(), seed=1)
    with pytest.raises(InputError, match="has 33 tokens; context is 24"):
        TextCanaries("secret", 10, format="a" * 30 + "###")(RECORDS, PUBLIC, Bytes(), seed=1)
