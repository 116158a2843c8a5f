"""Results to draw: one model, three, forty, and one with the worst names there are."""

import json
from functools import lru_cache
from typing import Any

import numpy as np

from dpaudit.accounting.accounted_claim import AccountedClaim
from dpaudit.accounting.claim import Claim
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.accounting.trade_off_curve import gaussian_trade_off
from dpaudit.results.facts import with_verdicts
from dpaudit.results.membership import AttackResult, ExposedRecords, MembershipResult
from dpaudit.results.result import ModelResult, Result, Utility
from dpaudit.scores.slices import Slice, Slices
from dpaudit.scores.vulnerable_records import Exposed, RecordRates
from tests.small_audits import DELTA, around, gaussian_audit, gaussian_scores, unbounded

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "quotes": "\"'`--><img src=x onerror=alert(2)>",
    "long": "x" * 10_000,
    "right-to-left": "نموذج \u202egnitseretni",
    "emoji": "🙈 model 🧑‍🔬",
    "template": "{{ 7 * 7 }}{% raw %}",
    "math": "$x_1$ \\frac{a}{b}",
    "broken": "\ud83d".encode("utf-8", "replace").decode(),
}


def small() -> Result:
    """One model, one attack, no claim."""
    return gaussian_audit(1.0, seed=1, records=800)


@lru_cache(maxsize=4)
def audit_of(names: tuple[str, ...], *, attacks: int, slices: int) -> Result:
    """Models of growing leakage; every third claims nothing."""
    rng = np.random.default_rng(7)
    outcomes: list[AttackResult] = []
    models: list[ModelResult] = []
    for index, name in enumerate(names):
        mu = 0.3 + 2.4 * index / max(1, len(names) - 1)
        claim = Claim(gaussian_epsilon(0.8, DELTA), DELTA, unit="record", adjacency="add-remove", source="the plan")
        grid = np.concatenate([[0.0], np.geomspace(1e-5, 1, 200)])
        curve = gaussian_trade_off(0.8)
        allowed = np.interp(grid, curve.fpr, curve.tpr).tolist()
        where = "privacy loss distribution of the mechanism"
        claimed = AccountedClaim(claim, "PLD", index % 2 == 0, "", grid.tolist(), allowed, where) if index % 3 else None
        models.append(
            ModelResult(
                name=name,
                trainer="dp-sgd",
                parameters={"noise_multiplier": 1.0, "epochs": 10},
                mechanism=None,
                accounted=claimed,
                utility=Utility(metric="accuracy", train=0.9, test=0.6 + 0.3 * rng.random()),
            )
        )
        for each in range(attacks):
            outcome = unbounded(gaussian_scores(mu, seed=1000 * index + each, records=1200))
            found = max(0.0, gaussian_epsilon(mu, DELTA) - 1.5 - each / 10)
            assert outcome.bound is not None
            bound = outcome.bound.__class__(
                **{**outcome.bound.__dict__, "epsilon": min(found, 6.0), "ceiling": 6.2, "confidence": 0.999}
            )
            outcomes.append(
                outcome.model_copy(
                    update={
                        "model": name,
                        "attack": f"attack-{each}",
                        "bound": bound,
                        "slices": _slices(rng, slices) if each == 0 and slices else None,
                    }
                )
            )
    three = Exposed((3, 17, 256), (2.0, 1.5, 1.1), (1e-6, 1e-5, 1e-4), 0.05, 1200, 1e-7)
    cards = RecordRates(0.1, 8, (1.0, 0.75, 0.625), (0.125, 0.0, 0.25))
    exposed = ExposedRecords(model=names[0], exposed=three, rates=cards, trained_on=(True, False, True))
    result = around(outcomes).model_copy(update={"models": models, "name": "audit", "title": "Privacy audit"})
    outcome_ = MembershipResult(design="one-run", attacks=outcomes, exposed=[exposed] if slices else [])
    return with_verdicts(result.model_copy(update={"membership": outcome_}))


def _slices(rng: np.random.Generator, count: int) -> Slices:
    parts = tuple(
        Slice("class", str(i), 50, 50, float(0.5 + 0.3 * rng.random()), 0.05, 0.02, float(rng.random() ** 3))
        for i in range(count)
    )
    return Slices(0.01, parts, ("class = rare",))


def three() -> Result:
    """As many models and attacks as the demo."""
    return audit_of(("no-dp", "dp-low-noise", "dp-high-noise"), attacks=3, slices=10)


def large() -> Result:
    """Forty models, twelve attacks, sixty slices."""
    return audit_of(tuple(f"release-{i:02d}-of-the-recommender" for i in range(40)), attacks=12, slices=60)


def hostile() -> Result:
    """Names that must be shown as they are."""
    result = audit_of(tuple(HOSTILE.values()), attacks=2, slices=3)
    nasty: dict[str, Any] = json.loads(result.json())
    nasty["title"] = nasty["name"] = nasty["data"]["name"] = nasty["data"]["licence"] = HOSTILE["script"]
    nasty["provenance"]["plan"] = "</pre>" + HOSTILE["quotes"]
    nasty["provenance"]["platform"] = nasty["provenance"]["created"] = HOSTILE["quotes"]
    for model in nasty["models"]:
        model["trainer"] = HOSTILE["quotes"]
        model["parameters"] = {HOSTILE["script"]: HOSTILE["quotes"], "long": HOSTILE["long"]}
        if model["accounted"] is not None:
            model["accounted"].update(note=HOSTILE["script"], accountant=HOSTILE["quotes"], curve=HOSTILE["script"])
    for attack in nasty["membership"]["attacks"]:
        attack["attack"] += HOSTILE["script"]
        attack["bound"]["assumptions"] = [HOSTILE["script"]]
    for found in nasty["comparisons"]:
        found["sentence"] = HOSTILE["quotes"] + HOSTILE["long"]
    return Result.model_validate_json(json.dumps(nasty))
