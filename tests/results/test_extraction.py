"""What a result says of texts and of extraction is checked when it is read."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from dpaudit.audits.extract import audit_extraction
from dpaudit.data.token_columns import token_logprobs
from dpaudit.results.extraction import ExtractionResult, ExtractionSide
from dpaudit.results.result import result_from_json
from dpaudit.results.text import TextResult


def test_log_probabilities_fall_and_are_none_above_zero() -> None:
    """Another order, or a number above 0, is no result of ours."""
    assert ExtractionSide(log_probabilities=[0.0, -1.0, -np.inf], points=[]).extracted(1, 0.5) == 1
    for wrong in ([-1.0, 0.0], [0.5], []):
        with pytest.raises(ValidationError):
            ExtractionSide(log_probabilities=wrong, points=[])


def test_least_samples_are_a_power_of_ten() -> None:
    """A record of probability 1/2 needs one sample for p = 1/2; one that is never drawn needs infinitely many."""
    assert ExtractionSide(log_probabilities=[np.log(0.5)], points=[]).least_queries(0.5) == pytest.approx(
        0.0, abs=1e-12
    )
    assert ExtractionSide(log_probabilities=[-np.inf], points=[]).least_queries(0.5) == np.inf


def test_a_result_of_one_model_alone_is_still_read() -> None:
    """Before plans could have several, the field held an object or null, and no name of a model."""
    table = token_logprobs({"id": ["a"], "logprobs": [[-1.0]]})
    result = audit_extraction(table)
    old = json.loads(result.json())
    (old["extraction"],) = old["extraction"]
    del old["extraction"]["model"], old["extraction"]["of"]
    assert result_from_json(json.dumps(old), where="here").extraction_from("text") == result.extraction[0]
    assert result_from_json(json.dumps({**old, "extraction": None}), where="here").extraction == []


def test_extraction_bounds_no_epsilon() -> None:
    """Its result has no lower bound for any model."""
    side = ExtractionSide(log_probabilities=[-1.0], points=[])
    assert ExtractionResult(temperature=1.0, top_k=None, records=side).bounds("model") == []


def test_texts_are_read_back() -> None:
    """Every field of what an audit of texts says."""
    found = TextResult(
        decides="loss", stated=True, tokens=9, tokenizer="", perplexity=(2.0, 3.0), floored=0, formulas={"loss": "sum"}
    )
    assert TextResult.model_validate_json(found.model_dump_json()) == found
