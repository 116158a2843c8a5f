"""Claims that are written from a result pass on it, and fail on a result that leaks more."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dpaudit import audit_scores, load_claims, load_result, verify
from dpaudit.gate.claims_file import CeilingClaim, EpsilonClaim
from dpaudit.gate.claims_from_result import write_claims
from dpaudit.results.result import Result
from dpaudit.runtime.errors import InputError
from tests.reports.results import HOSTILE, audit_of
from tests.small_audits import gaussian_audit

EVERY_TABLE = Path(__file__).parents[1] / "results" / "result_of_schema_1.json"


def only(result: Result, *tables: str) -> Result:
    """The result without all tables but these."""
    every = ("membership", "federated", "ladder", "gradient", "prior", "trace")
    return result.model_copy(update={table: None for table in every if table not in tables})


def kept(result: Result) -> Result:
    """The result as if its models kept what they claim: a claim of ε ≤ 40, no finding, few records restored."""
    models = [
        model
        if model.accounted is None
        else model.model_copy(
            update={
                "accounted": replace(model.accounted, claim=replace(model.accounted.claim, epsilon=40.0)),
                "noise": "unknown",
            }
        )
        for model in result.models
    ]
    update: dict[str, Any] = {"models": models}
    if result.ladder is not None:
        rungs = [rung.model_copy(update={"findings": []}) for rung in result.ladder.rungs]
        update["ladder"] = result.ladder.model_copy(update={"rungs": rungs})
    if result.gradient is not None:
        cells = [cell.model_copy(update={"identified": 2, "victims": 30}) for cell in result.gradient.cells]
        update["gradient"] = result.gradient.model_copy(update={"cells": cells})
    return result.model_copy(update=update)


@pytest.mark.parametrize(
    "tables",
    [("membership",), ("gradient",), ("ladder",), ("federated",), ("prior",), ("membership", "gradient", "ladder")],
    ids=" ".join,
)
def test_they_pass_as_they_are(tables: tuple[str, ...], tmp_path: Path) -> None:
    """Whatever the audit measured: exit code 0, and every claim is judged on the result it was written from."""
    result = kept(only(load_result(EVERY_TABLE), *tables))
    (tmp_path / "claims.toml").write_text(write_claims(result, where="result.json"), encoding="utf-8")
    claims = load_claims(tmp_path / "claims.toml")
    gate = verify(result, claims)
    assert gate.exit_code() == 0
    assert len(gate.judgements) == len(claims.claim)
    kinds = {claim.kind for claim in claims.claim}
    assert "epsilon" in kinds
    assert ("ceiling" in kinds) == bool({"membership", "gradient", "prior"} & {*tables})


def test_membership_is_held_to_what_was_measured(tmp_path: Path) -> None:
    """The ceilings lie above what was measured, below what a result that leaks far more measures, which fails."""
    result = gaussian_audit(0.5, seed=1, records=4000, attacks=3)
    (tmp_path / "claims.toml").write_text(write_claims(result, where="here"), encoding="utf-8")
    claims = load_claims(tmp_path / "claims.toml")
    ceilings = {claim.metric: claim.max for claim in claims.claim if isinstance(claim, CeilingClaim)}
    assert set(ceilings) == {"auc", "tpr@fpr=0.01"}
    assert result.membership is not None
    assert max(attack.auc for attack in result.membership.attacks) < ceilings["auc"] < 0.7
    assert verify(gaussian_audit(1.5, seed=2, records=4000, attacks=3), claims).exit_code() == 1


def test_many_models_of_any_name_pass_together(tmp_path: Path) -> None:
    """The error level is that of all claims together; a name may hold quotes, brackets and control characters."""
    result = audit_of(tuple(HOSTILE.values()), attacks=2, slices=0)
    short = [model for model in result.models if len(model.name) < 100]
    some = result.model_copy(update={"models": short})
    (tmp_path / "claims.toml").write_text(write_claims(some, where="r.json"), encoding="utf-8")
    claims = load_claims(tmp_path / "claims.toml")
    assert verify(some, claims).exit_code() == 0
    assert {claim.model for claim in claims.claim if isinstance(claim, CeilingClaim)} == {m.name for m in short}


@pytest.mark.long
def test_a_claim_that_the_result_contradicts_is_left_out_with_the_reason() -> None:
    """It stands in a comment, never as a claim."""
    member = [True, False] * 500
    scores = [row % 100 + 50 * inside for row, inside in enumerate(member)]
    result = audit_scores(scores, member, epsilon=0.1, chosen_by="coin")
    assert result.contradicted
    text = write_claims(result, where="r.json")
    assert "# - scores-epsilon: contradicted." in text
    assert 'kind = "epsilon"' not in text


def test_what_claims_an_epsilon_is_held_to_it(tmp_path: Path) -> None:
    """With its δ, unit and adjacency, to the last digit."""
    result = load_result(EVERY_TABLE)
    (tmp_path / "claims.toml").write_text(write_claims(result, where="r.json"), encoding="utf-8")
    claims = load_claims(tmp_path / "claims.toml")
    for claim in claims.claim:
        if isinstance(claim, EpsilonClaim):
            model = next(model for model in result.models if model.name == claim.model)
            assert model.accounted is not None
            stated = model.accounted.claim
            assert (claim.epsilon, claim.delta, claim.unit) == (stated.epsilon, stated.delta, stated.unit)


def test_a_result_with_nothing_to_claim_is_refused() -> None:
    """In one line."""
    empty = only(gaussian_audit(0.3, seed=1))
    with pytest.raises(InputError, match="nothing in this result can be claimed"):
        write_claims(empty, where="r.json")
