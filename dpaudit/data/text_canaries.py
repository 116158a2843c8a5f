"""Canaries for language models: texts made to be remembered, checked on their tokens."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from dpaudit.data.dataset import Dataset
from dpaudit.data.text import rows_of_tokens
from dpaudit.data.text_samples import read_samples
from dpaudit.data.tokens import TextTokenizer
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.strict import Strict

TextCanaryKind = Literal["new-token", "random-tokens", "sampled", "secret"]
DIGIT = "#"
AUDITED = "Audited are"  # how the note begins that says which records are canaries


@dataclass(frozen=True)
class TextCanaries(Strict):
    """Canaries behind fair coins, in a training that all other records take part in.

    Args:
        kind: ``new-token``: the first half of a text of the population, and a token of its own that no text has
            (`Panda et al. (2025) <https://arxiv.org/abs/2503.06808>`_); ``random-tokens``: tokens at random;
            ``sampled``: texts that a public model generated at a high temperature (`Mitchell et al. (2026)
            <https://arxiv.org/abs/2606.10481>`_); ``secret``: a text of ``format`` with digits at random
            (`Carlini et al. (2019) <https://arxiv.org/abs/1802.08232>`_).
        count: how many.
        loss_on: ``canary``: on the new token alone, or from the first digit on; ``all``: on every token, as it always
            is for ``random-tokens`` and ``sampled``.
        format: of a secret, with ``#`` for each digit, such as ``my number is ########``.
        samples: file of the texts that a public model generated, as for `dpaudit.data.text_samples.read_samples`;
            ``count`` of them are taken at random.
    """

    kind: TextCanaryKind
    count: int
    loss_on: Literal["canary", "all"] = "canary"
    format: str | None = None
    samples: str | None = None

    def __post_init__(self) -> None:
        check.integer("count", self.count, at_least=10)
        if (self.format is not None) != (self.kind == "secret"):
            raise InputError("format is for canaries of kind 'secret', and they need one with a # for each digit.")
        if (self.samples is not None) != (self.kind == "sampled"):
            raise InputError("samples is the file of generated texts for canaries of kind 'sampled', which need it.")
        if self.format is not None and self.candidates < 10 * self.count:
            raise InputError(
                f"format {self.format!r} has {self.candidates} candidates for {self.count} secrets; at least ten times "
                "as many are needed: write more #."
            )

    @property
    def candidates(self) -> int:
        """Secrets of the format that there could be."""
        return int(10 ** (self.format or "").count(DIGIT))

    def __call__(self, records: Dataset, population: Dataset, tokenizer: TextTokenizer, *, seed: int) -> Dataset:
        """The canaries, with as large a vocabulary as records and population must have beside them.

        Args:
            records: trained on; no canary may occur in them.
            population: public texts that new tokens are put behind.
            tokenizer: of all of them.
            seed: of what is random.

        Raises:
            InputError: too few public texts or samples, a secret that is longer than the context, a canary that occurs
                in the records.
        """
        rng = np.random.default_rng(seed)
        context = records.features.shape[1] - 1
        if self.kind == "new-token":
            tokens, counted, size = self._new_tokens(population, tokenizer.end, rng)
        elif self.kind == "random-tokens":
            body = rng.integers(0, tokenizer.end, (self.count, context))
            tokens = np.concatenate([np.full((self.count, 1), tokenizer.end), body], axis=1).astype(np.float32)
            counted, size = np.ones((self.count, context), np.float32), tokenizer.end + 1
        else:
            drawn = self._samples if self.kind == "sampled" else self._secrets
            tokens, counted = drawn(context, tokenizer, rng)
            size = tokenizer.end + 1
        mend = "take another seed." if self.samples is None else f"leave that text out of {self.samples}."
        _refuse_known(tokens, counted, [records, population], tokenizer, mend)
        return replace(
            population,
            name=f"{self.kind} canaries of {records.name}",
            features=tokens,
            labels=counted,
            users=None,
            groups={},
            rows=None,
            class_count=size,
            notes=(self._said(),),
        )

    def _said(self) -> str:
        what = "" if self.format is None else f" ({self.format!r}: {self.candidates:,} candidates)"
        return (
            f"{AUDITED} {self.count} canaries of kind {self.kind!r}{what}, each there with probability 1/2; every "
            "other text is always there."
        )

    def _new_tokens(
        self, population: Dataset, end: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], int]:
        if len(population) < self.count:
            raise InputError(
                f"{self.count} canaries need as many texts of the population to begin with, got {len(population)}; "
                "raise data.population or lower canaries.count."
            )
        half = population.features.shape[1] // 2
        chosen = rng.permutation(len(population))[: self.count]
        tokens = np.full((self.count, population.features.shape[1]), end, np.float32)
        counted = np.zeros((self.count, population.features.shape[1] - 1), np.float32)
        for row, text in enumerate(population.features[chosen]):
            marks = np.flatnonzero(text[1:half] == end)
            length = 1 + int(marks[0]) if marks.size else half
            tokens[row, :length] = text[:length]
            tokens[row, length] = end + 1 + row
            counted[row, : length if self.loss_on == "all" else 0] = 1
            counted[row, length - 1] = 1
        return tokens, counted, end + 1 + self.count

    def _samples(
        self, context: int, tokenizer: TextTokenizer, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        assert self.samples is not None
        samples = read_samples(self.samples, tokenizer, context=context)
        if len(samples) < self.count:
            raise InputError(
                f"{self.samples} holds {len(samples)} samples for {self.count} canaries; generate more or lower "
                "canaries.count."
            )
        chosen = rng.permutation(len(samples))[: self.count]
        tokens, counted, _ = rows_of_tokens([samples[row] for row in chosen], context, tokenizer)
        return tokens, counted

    def _secrets(
        self, context: int, tokenizer: TextTokenizer, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        assert self.format is not None
        drawn: dict[str, None] = {}
        while len(drawn) < self.count:
            drawn.setdefault(_filled(self.format, rng.integers(0, 10, self.format.count(DIGIT))))
        encoded = tokenizer.encode(list(drawn))
        if max(map(len, encoded)) > context:
            raise InputError(f"format {self.format!r} has {max(map(len, encoded))} tokens; context is {context}.")
        tokens, counted, _ = rows_of_tokens(encoded, context, tokenizer)
        if self.loss_on == "canary":
            same = int(np.argmin((tokens == tokens[0]).all(axis=0)))  # the first token that is not that of all
            counted[:, : same - 1] = 0
        return tokens, counted


def _filled(pattern: str, digits: npt.NDArray[np.int64]) -> str:
    remaining = iter(digits)
    return "".join(str(next(remaining)) if letter == DIGIT else letter for letter in pattern)


def _refuse_known(
    tokens: npt.NDArray[np.float32],
    counted: npt.NDArray[np.float32],
    others: list[Dataset],
    tokenizer: TextTokenizer,
    mend: str,
) -> None:
    """Refuse canaries whose tokens up to the last that counts occur in other records, or in another canary."""
    rows = [
        "".join(chr(int(t)) for t in row[1 : 2 + np.flatnonzero(on)[-1]])
        for row, on in zip(tokens, counted, strict=True)
    ]
    canaries = [row.rstrip(chr(tokenizer.end)) for row in rows]
    if len(set(canaries)) < len(canaries):
        raise InputError("two canaries have the same tokens; give the format more digits, or another seed.")
    known = "".join("".join(map(chr, row.astype(int).tolist())) for data in others for row in data.features)
    for place, canary in enumerate(canaries):
        if canary in known:
            text = tokenizer.decode([ord(token) for token in canary])
            raise InputError(f"canary {place} occurs in the records already, token by token: {mend} It is {text!r}.")
