"""What a result holds of unlearning."""

import json
from functools import lru_cache
from typing import Any

import pytest
from pydantic import ValidationError

from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.results.facts import with_verdicts
from dpaudit.results.result import Result, result_from_json
from dpaudit.results.unlearning import UnlearnedModel, UnlearningResult, UnlearningState
from dpaudit.scores.vulnerable_records import Exposed
from tests.small_audits import gaussian_audit, gaussian_scores, unbounded


@lru_cache
def forgetting(*, after: float = 1.5, epsilon: float | None = 1.0, method: str = "finetune") -> Result:
    """A result of unlearning whose bound after the method is ``after``."""
    audit = gaussian_audit(1.0, seed=1, records=300)
    (bound,) = audit.bounds("model")
    states = []
    for name, value in (("before", 2.0), ("after", after), ("retrained", 0.0)):
        attack = unbounded(gaussian_scores(value, seed=2, records=400)).model_copy(update={"bound": _at(bound, value)})
        exposed = Exposed(
            (7, 3) if value else (), (1.0, 0.5) if value else (), (0.001, 0.002) if value else (), 0.05, 10, 1e-5
        )
        values: dict[str, Any] = {"state": name, "attack": attack, "quality": 0.9, "exposed": exposed}
        states.append(UnlearningState(**values))
    found = UnlearningResult(
        method=method, epsilon=epsilon, forgotten=10, rest=50, references=8, models=40, metric="accuracy",
        found=[UnlearnedModel(model="model", stacked=True, states=states)],
    )  # fmt: skip
    return with_verdicts(audit.model_copy(update={"membership": None, "unlearning": found}))


def _at(bound: LowerBound, epsilon: float) -> LowerBound:
    return LowerBound(**{**vars(bound), "epsilon": epsilon, "ceiling": 6.0})


def test_the_verdict_is_on_what_the_method_leaves() -> None:
    """The bound after it contradicts a claim below it, not the bound before; without a claim there is no verdict."""
    for after, verdict in ((1.5, "contradicted"), (0.5, "consistent")):
        result = forgetting(after=after)
        assert [(each.subject, each.verdict) for each in result.comparisons] == [("unlearning from model", verdict)]
        assert [bound.epsilon for bound in result.bounds("unlearning from model")] == [after]
    assert forgetting(epsilon=None).comparisons == []


def test_a_result_of_unlearning_is_written_and_read() -> None:
    """Every value comes back, and each state has a row in the table of bounds."""
    result = forgetting()
    assert result_from_json(result.json(), where="here") == result
    rows = result.frame("bounds")
    assert dict(zip(rows["source"], rows["epsilon"], strict=True)) == {
        "unlearning, before": 2.0,
        "unlearning, after": 1.5,
        "unlearning, retrained": 0.0,
    }


def test_states_have_their_order() -> None:
    """The claim is about the second; another order would judge another."""
    table = json.loads(forgetting().json())["unlearning"]["found"][0]
    table["states"].reverse()
    with pytest.raises(ValidationError, match="in this order"):
        UnlearnedModel.model_validate_json(json.dumps(table))
