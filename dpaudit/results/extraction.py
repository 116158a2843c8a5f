"""What can be extracted from a language model: by sampling, by ranking secrets, and as seen in what it wrote."""

from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, model_validator

from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.scores.extraction import extractable, log_queries


class ExtractionPoint(BaseModel):
    """Records that n samples hold with probability p or more.

    Args:
        n: samples for each record.
        p: probability.
        extracted: number of records.
        share: of all records.
        low: lower end of its exact 95 % interval, the records being a random sample of others like them.
        high: upper end.
    """

    n: int
    p: float
    extracted: int
    share: float
    low: float
    high: float


class ExtractionSide(BaseModel):
    """Records under sampling.

    Args:
        log_probabilities: that one sample is the record, of every record, the likeliest first; -Infinity is never.
        rows: of the likeliest records in the file, from 0 on, in the same order.
        texts: of those, only where raw records were asked for.
        points: the curves over n and p.
    """

    log_probabilities: list[float] = Field(min_length=1)
    rows: list[int] = []
    texts: list[str] = []
    points: list[ExtractionPoint]

    @model_validator(mode="after")
    def _in_order(self) -> "ExtractionSide":
        if sorted(self.log_probabilities, reverse=True) != self.log_probabilities or self.log_probabilities[0] > 0:
            raise ValueError("log-probabilities must fall from one to the next, from 0 on")
        return self

    def extracted(self, n: int, p: float) -> int:
        """How many records are (n, p)-extractable."""
        return int(extractable(self.log_probabilities, n, p).sum())

    def least_queries(self, p: float) -> float:
        """Samples after which the likeliest record is among them with probability p, as a power of ten."""
        return float(log_queries(self.log_probabilities[:1], p)[0] / np.log(10))


class ExposedSecret(BaseModel):
    """How much likelier a planted secret is than others of its form (Carlini et al. 2019).

    Args:
        row: of the secret in its file, from 0 on.
        by_rank: bits, from its rank among the candidates.
        by_fit: bits, from a skew-normal fit to the candidates.
        first: whether no candidate is as likely, so that the rank says no more than that.
    """

    row: int
    by_rank: float
    by_fit: float
    first: bool


class ReproducedTexts(BaseModel):
    """Training texts in what the model wrote.

    Args:
        texts: looked for.
        generations: looked through.
        verbatim: texts that a generation holds character by character.
        near: texts that a generation holds, at least 80 % of their three-word sequences.
        run: texts that share so many words in a row with a generation.
        words: how many in a row.
        rows: of the near ones in their file, from 0 on.
        shown: those texts, only where raw records were asked for.
    """

    texts: int
    generations: int
    verbatim: int
    near: int
    run: int
    words: int
    rows: list[int] = []
    shown: list[str] = []


class ExtractionResult(BaseModel):
    """What can be extracted.

    Args:
        model: what is sampled from, as among the models of the result.
        of: which records: of a file, canaries or texts of a plan.
        temperature: of the sampler.
        top_k: how many of the likeliest tokens the sampler draws from; None for all.
        records: that the model was trained on.
        others: that it was not: what is extractable of them was never memorised.
        candidates: how many secrets of the same form the planted ones were ranked among; 0 without any.
        secrets: exposure of each planted one.
        reproduced: in generations; None without a file of them.
    """

    model: str = ""
    of: Literal["records", "canaries", "texts"] = "records"
    temperature: float
    top_k: int | None
    records: ExtractionSide
    others: ExtractionSide | None = None
    candidates: int = 0
    secrets: list[ExposedSecret] = []
    reproduced: ReproducedTexts | None = None

    def bounds(self, model: str) -> list[LowerBound]:
        """None: how well a text can be extracted bounds no ε."""
        return []
