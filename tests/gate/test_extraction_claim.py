"""Claims on extraction: arithmetic on the records that were measured."""

import math
from typing import Any

import numpy as np
import pytest

from dpaudit.audits.extract import audit_extraction
from dpaudit.data.token_columns import token_logprobs
from dpaudit.gate.claims_file import claims_from
from dpaudit.gate.verify import Gate, verify
from dpaudit.results.result import Result
from dpaudit.runtime.errors import InputError
from tests.small_audits import gaussian_audit


def measured(probabilities: list[float]) -> Result:
    """Records that one sample is with these probabilities."""
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities)
    table = {
        "id": [str(row) for row in range(len(logs))],
        "logprobs": [[value] for value in logs],
        "top_k": [40] * len(logs),
        "temperature": [0.8] * len(logs),
    }
    return audit_extraction(token_logprobs(table))


def judged(result: Result, **claim: Any) -> Gate:
    return verify(result, claims_from({"claim": [{"id": "c", "kind": "extraction", **claim}]}))


def test_no_record_is_extractable_until_one_is() -> None:
    """(10,000, 0.9): a record needs p_z ≥ 1 - 0.1^(1/10,000) = 0.000230232, by the definition."""
    edge = 1 - 0.1 ** (1 / 10_000)
    for probability, verdict, code in ((edge * 0.999, "consistent", 0), (edge * 1.001, "contradicted", 1)):
        gate = judged(measured([0.0, 1e-9, probability]), n=10_000, p=0.9)
        assert gate.judgements[0].verdict == verdict
        assert gate.exit_code(require_power=True) == code
        assert gate.false_alarms == 0
    assert gate.judgements[0].sentence == (
        "1 of 3 records is (10,000, 0.9)-extractable at temperature 0.8, top-k 40, 0 allowed; the likeliest needs "
        f"{math.log(0.1) / math.log1p(-edge * 1.001):.3g} samples."
    )


def test_some_can_be_allowed() -> None:
    """``max`` records may be extractable, and one more may not."""
    result = measured([0.9, 0.8, 1e-9])
    assert judged(result, n=10, p=0.5, max=2).judgements[0].verdict == "consistent"
    assert judged(result, n=10, p=0.5, max=1).judgements[0].verdict == "contradicted"


def test_records_that_are_never_drawn() -> None:
    """No number of samples is enough, so that none is named, and none are extractable."""
    table = token_logprobs({"id": ["a", "b"], "logprobs": [[-np.inf, -1.0], [-np.inf, -1.0]], "top_k": [5, 5]})
    found = judged(audit_extraction(table), n=10**9, p=0.001).judgements[0]
    assert (
        found.sentence == "0 of 2 records are (1,000,000,000, 0.001)-extractable at temperature 1, top-k 5, 0 allowed."
    )


def test_a_result_without_extraction_is_no_evidence() -> None:
    """It is an error, and no pass."""
    with pytest.raises(InputError, match="measured no extraction; `dpaudit extract`"):
        judged(gaussian_audit(0.3, seed=1, records=400), n=10, p=0.5)


@pytest.mark.parametrize("wrong", [{"n": 0, "p": 0.5}, {"n": 1, "p": 1.0}, {"n": 1}, {"n": 1, "p": 0.5, "max": -1}])
def test_wrong_claims_are_refused(wrong: dict[str, Any]) -> None:
    """No samples, a probability of 1, a missing key, a negative number."""
    with pytest.raises(InputError):
        judged(measured([0.5]), **wrong)
