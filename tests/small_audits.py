"""Audits of the Gaussian mechanism, whose ε, ROC and AUC are known in closed form."""

import json
from functools import lru_cache
from typing import Any

import numpy as np
import tomli_w
from scipy.stats import norm

from dpaudit.accounting.claim import Protection
from dpaudit.attacks.membership.loss import Loss
from dpaudit.audits.membership.judgement import FPRS, Terms, judge_attack, thin_curve
from dpaudit.audits.score import audit_scores
from dpaudit.data.member_choice import Coins
from dpaudit.gate.claims_file import Claims, claims_from
from dpaudit.results.membership import AttackResult, MembershipResult
from dpaudit.results.result import Result, result_from_json
from dpaudit.scores.roc import Roc, auc_standard_error
from dpaudit.scores.scores import Scores

DELTA = 1e-5
ABOUT = Protection("record", "add-remove", DELTA)


@lru_cache(maxsize=1)
def _frame() -> str:
    """A result to put attacks into: everything but the attack is the same in every audit here."""
    return audit_scores(range(40), [0, 1] * 20, delta=DELTA, name="model", chosen_by="coin").json()


def gaussian_scores(mu: float, *, seed: int, records: int) -> Scores:
    """A member's score is a standard normal shifted by ``mu``."""
    rng = np.random.default_rng(seed)
    coins = rng.random(records) < 0.5
    return Scores.join(rng.normal(size=records) + mu * coins, coins)


def unbounded(scores: Scores) -> AttackResult:
    """What an attack found, with a lower bound of 0 in place of the real one, which takes most of the time."""
    roc = Roc.of(scores)
    frame = result_from_json(_frame(), where="here").membership
    assert frame is not None
    return frame.attacks[0].model_copy(
        update={
            "attack": "attack-0",
            "members": roc.members,
            "nonmembers": roc.nonmembers,
            "auc": roc.auc,
            "auc_standard_error": auc_standard_error(scores),
            "advantage": roc.advantage,
            "tpr_at_fpr": [roc.tpr_at(fpr) for fpr in FPRS],
            "curve": thin_curve(roc),
        }
    )


def gaussian_audit(
    mu: float, *, seed: int, records: int = 1000, attacks: int = 1, design: str = "one-run", name: str = "model"
) -> Result:
    """A whole audit of such scores, each attack on fresh noise."""
    rng = np.random.default_rng(seed)
    terms = Terms(design, ABOUT, 1 - 0.05 / attacks, Coins())  # type: ignore[arg-type]
    outcomes = []
    for index in range(attacks):
        scores = gaussian_scores(mu, seed=int(rng.integers(2**31)), records=records)
        outcomes.append(
            judge_attack("model", f"attack-{index}", Loss(), scores, terms=terms, seed=int(rng.integers(2**31)))
        )
    return around(outcomes, design=design, name=name)


def around(outcomes: list[AttackResult], *, design: str = "one-run", name: str = "model") -> Result:
    """A result that holds these attacks."""
    frame = result_from_json(_frame(), where="here")
    found = MembershipResult(design=design, attacks=outcomes)
    return frame.model_copy(update={"name": name, "membership": found})


def auc(mu: float) -> float:
    """True AUC of `gaussian_audit`."""
    return float(norm.cdf(mu / np.sqrt(2)))


def tpr(mu: float, fpr: float) -> float:
    """True TPR of `gaussian_audit` at a true FPR."""
    return float(norm.cdf(mu - norm.isf(fpr)))


def claims(*tables: dict[str, Any], **settings: Any) -> Claims:
    """Claims with the ids ``claim-0``, ``claim-1``, ..."""
    return claims_from({"claim": [{"id": f"claim-{i}", **table} for i, table in enumerate(tables)], **settings})


def epsilon_claim(epsilon: float, **more: Any) -> dict[str, Any]:
    """A claim of kind epsilon at the audits' δ."""
    base = {"kind": "epsilon", "epsilon": epsilon, "delta": DELTA, "unit": "record", "adjacency": "add-remove"}
    return {**base, **more}


def ceiling(metric: str, at_most: float, **more: Any) -> dict[str, Any]:
    """A claim of kind ceiling."""
    return {"kind": "ceiling", "metric": metric, "max": at_most, **more}


def growth(metric: str, tolerance: float, **more: Any) -> dict[str, Any]:
    """A claim of kind no-growth."""
    return {"kind": "no-growth", "metric": metric, "tolerance": tolerance, **more}


def edited(result: Result, **changes: Any) -> Result:
    """A result with top-level fields of its JSON replaced."""
    return result_from_json(json.dumps({**json.loads(result.json()), **changes}), where="here")


def on_data(result: Result, fingerprint: str) -> Result:
    """The result as if its records had this fingerprint."""
    return result.model_copy(update={"data": result.data.model_copy(update={"fingerprint": fingerprint})})


def with_references(result: Result, references: int) -> Result:
    """The result as if its attacks had had so many reference models."""
    assert result.membership is not None
    return result.model_copy(update={"membership": result.membership.model_copy(update={"references": references})})


def with_plan(result: Result, seed: int, **tables: Any) -> Result:
    """The result as if it came from a plan with these tables and this seed."""
    update = {"seed": seed, "plan": tomli_w.dumps({"seed": seed, **tables})}
    return result.model_copy(update={"provenance": result.provenance.model_copy(update=update)})
