"""Claims on unlearning, in a claims file."""

from typing import Any

import pytest

from dpaudit.gate.claims_file import claims_from
from dpaudit.gate.claims_from_result import write_claims
from dpaudit.gate.verify import Gate, verify
from dpaudit.results.result import Result
from dpaudit.runtime.errors import InputError
from tests.results.test_unlearning import forgetting
from tests.small_audits import DELTA, gaussian_audit


def judged(result: Result, **claim: Any) -> Gate:
    table = {"id": "c", "kind": "unlearning", "model": "model", "delta": DELTA, **claim}
    return verify(result, claims_from({"claim": [table]}))


@pytest.mark.parametrize(("epsilon", "verdict", "code"), [(1.0, "contradicted", 1), (2.0, "consistent", 0)])
@pytest.mark.long
def test_the_bound_after_unlearning_decides(epsilon: float, verdict: str, code: int) -> None:
    """Measured are 1.5 of what was forgotten; what the models held before, 2.0, decides nothing."""
    gate = judged(forgetting(), epsilon=epsilon)
    assert (gate.judgements[0].verdict, gate.exit_code()) == (verdict, code)
    assert gate.judgements[0].measured == "ε ≥ 1.5 (could see 6)"
    assert gate.judgements[0].claimed == f"forgotten by finetune within ε ≤ {epsilon:g} at δ = 1e-05"
    assert gate.false_alarms == pytest.approx(0.05)  # of the one bound that was used


def test_a_claim_at_another_delta_is_not_judged_by_this_bound() -> None:
    """(ε, δ) at a larger δ allows more than what was measured at the smaller."""
    assert judged(forgetting(), epsilon=1.0, delta=1e-3).judgements[0].verdict == "no verdict"


def test_a_result_without_unlearning_is_refused() -> None:
    """The line says which table of a plan measures it."""
    with pytest.raises(InputError, match=r"measured no unlearning from 'model'; a plan with .unlearning. does"):
        judged(gaussian_audit(0.5, seed=1, records=100), epsilon=1.0)


def test_a_claim_of_the_plan_is_written_into_a_claims_file() -> None:
    """It passes on the result it was written from; one that is contradicted is left out, with the reason."""
    assert 'kind = "unlearning"' in write_claims(forgetting(after=0.5), where="result.json")
    with pytest.raises(InputError, match="model-unlearning: contradicted"):
        write_claims(forgetting(), where="result.json")
