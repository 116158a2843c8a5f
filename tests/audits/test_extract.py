"""Extraction as an audit: curves, exposure, generations, and what is refused."""

import math
from pathlib import Path

import numpy as np
import pytest

from dpaudit.attacks.membership.exposure import exposure, extrapolated_exposure
from dpaudit.audits.extract import audit_extraction
from dpaudit.data.token_columns import token_logprobs
from dpaudit.data.token_files import write_token_logprobs
from dpaudit.data.token_logprobs import TokenLogprobs
from dpaudit.results.extraction import ExtractionResult
from dpaudit.results.result import result_from_json
from dpaudit.runtime.errors import InputError
from dpaudit.scores.intervals import interval


def table(name: str, logs: object, **more: object) -> TokenLogprobs:
    """Records of one token each."""
    values = np.asarray(logs, np.float64)
    ids = [f"{name}{row}" for row in range(values.size)]
    return token_logprobs({"id": ids, "logprobs": [[value] for value in values], **more})


def found(*args: object, **more: object) -> ExtractionResult:
    (outcome,) = audit_extraction(*args, **more).extraction  # type: ignore[arg-type]
    return outcome


def test_curves_count_records_and_have_exact_intervals() -> None:
    """Of records that a sample is with probability 1/2, 1/100 and 0, by definition and by Clopper and Pearson."""
    logs = [math.log(0.5)] * 3 + [math.log(0.01)] * 5 + [-5000.0] * 2
    got = found(table("a", logs), n=[1, 4, 300, 10**9], p=[0.9])
    assert [point.extracted for point in got.records.points] == [0, 3, 8, 8]
    low, high = interval(3, 10, 0.95)
    assert [got.records.points[1].low, got.records.points[1].high] == pytest.approx([float(low), float(high)])


def test_a_sampler_that_never_draws_a_token_extracts_nothing() -> None:
    """Outside of its top-k the probability is an exact 0."""
    got = found(table("a", [-np.inf, -1.0], top_k=[5, 5]), n=[10**9], p=[0.001])
    assert got.records.points[0].extracted == 1
    assert got.records.log_probabilities == [-1.0, -np.inf]
    assert (got.top_k, got.temperature) == (5, 1.0)


def test_others_are_a_curve_of_their_own() -> None:
    """What the model knows without having seen it."""
    got = found(table("a", [-1.0] * 4), others=table("b", [-1.0, -20.0]), n=[10], p=[0.5])
    assert got.others is not None
    assert (got.records.points[0].share, got.others.points[0].share) == (1.0, 0.5)


def test_exposure_by_rank_and_by_fit() -> None:
    """Both are those of the Secret Sharer; the rank says where it can say no more."""
    rng = np.random.default_rng(1)
    others = rng.normal(20, 2, 400)
    got = found(table("a", [-5.0, -20.0]), candidates=table("c", -others))
    np.testing.assert_allclose([each.by_rank for each in got.secrets], exposure([5.0, 20.0], others))
    np.testing.assert_allclose([each.by_fit for each in got.secrets], extrapolated_exposure([5.0, 20.0], others))
    assert [each.first for each in got.secrets] == [True, False]
    assert got.secrets[0].by_fit > got.secrets[0].by_rank == math.log2(401)


def test_texts_in_generations(tmp_path: Path) -> None:
    """From a list or from a file; the texts themselves only when asked."""
    records = table("a", [-1.0, -1.0], text=["one two three four five", "six seven eight"])
    (tmp_path / "gen.txt").write_text("well, one two three four five!\nnothing\n")
    got = found(records, generations=tmp_path / "gen.txt", run=3)
    assert got.reproduced is not None
    assert (got.reproduced.verbatim, got.reproduced.near, got.reproduced.generations) == (1, 1, 2)
    assert (got.reproduced.rows, got.reproduced.shown) == ([0], [])
    shown = found(records, generations=["one two three four five"], run=3, show_records=True)
    assert shown.reproduced is not None
    assert shown.reproduced.shown == ["one two three four five"]
    assert shown.records.texts == ["one two three four five", "six seven eight"]


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """With records that are never drawn, too."""
    write_token_logprobs(tmp_path / "a.parquet", table("a", [-np.inf, -1.0], top_k=[5, 5]))
    result = audit_extraction(tmp_path / "a.parquet")
    assert result_from_json(result.json(), where="here") == result
    assert result.bounds("text") == []


def test_wrong_input_is_refused() -> None:
    """One line each."""
    records = table("a", [-1.0, -2.0])
    with pytest.raises(InputError, match="n must be at least 1"):
        audit_extraction(records, n=[0])
    with pytest.raises(InputError, match="p must be in"):
        audit_extraction(records, p=[1.0])
    with pytest.raises(InputError, match="at least one n"):
        audit_extraction(records, n=[])
    with pytest.raises(InputError, match="no column 'text', so there is nothing to look for"):
        audit_extraction(records, generations=["a"])
    with pytest.raises(InputError, match="no column 'text', so there is no record to show"):
        audit_extraction(records, show_records=True)
    with pytest.raises(InputError, match="10 references that differ, got 2"):
        audit_extraction(records, candidates=table("c", [-1.0, -2.0]))
    with pytest.raises(InputError, match="without top_k"):
        audit_extraction(table("a", [-np.inf, -1], top_k=[5, 5]), candidates=table("c", [-1.0, -2.0], top_k=[5, 5]))
    with pytest.raises(InputError, match="records and others: the temperature"):
        audit_extraction(records, others=table("b", [-1.0], temperature=[0.5]))
