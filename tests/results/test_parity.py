"""The same facts get the same verdict at every door, and every rule of the judge decides something.

Each row is a claim beside what an audit knows. Its verdict follows from the definition of differential privacy, or from
what an audit may say at all, and is written here by hand.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld

from dpaudit.accounting import allowed_for_replaced
from dpaudit.accounting.accounted_claim import account
from dpaudit.accounting.claim import Claim, FixedSize, GaussianSteps, NoiseKnowledge, Poisson
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.accounting.mechanism import epsilon
from dpaudit.audits.plan import plan_from
from dpaudit.audits.predictions import attack_predictions
from dpaudit.audits.run import run
from dpaudit.audits.score import audit_scores
from dpaudit.bounds import verdict
from dpaudit.bounds.lower_bound import Finding, LowerBound
from dpaudit.bounds.verdict import Comparison
from dpaudit.data.member_choice import Coins, MemberChoice, NotRandom, RandomSplit
from dpaudit.gate.verify import verify
from dpaudit.results.facts import facts, with_verdicts
from dpaudit.results.ladder import LadderResult, RungResult
from dpaudit.results.result import ModelResult, Result, load_result, result_from_json
from dpaudit.testing import PrivacyViolation, assert_private
from dpaudit.trace import DpClaim, Manifest, TraceWriter
from tests.plugin import LOAD
from tests.small_audits import DELTA, around, claims, gaussian_scores, unbounded

pytest_plugins = ["pytester"]

CLAIM = Claim(2.0, DELTA, "record", "add-remove", "the table")
STEPS = GaussianSteps(1.0, 400, Poisson(0.05))  # ε = 6.70 at δ = 1e-5, as dp-accounting computes it
BROKEN = Finding("clipping", "violation", "a gradient of norm 100", "a change of 100", "at most 1", "clip", rung=1)
ODD = Finding("clipping", "warning", "a gradient of norm 100", "a change of 1.1", "at most 1", "clip", rung=1)


def bound(figure: float, ceiling: float = 9.0, **changes: Any) -> LowerBound:
    """A bound for `CLAIM`, with changes."""
    known: dict[str, Any] = {
        "delta": DELTA, "confidence": 0.95, "method": "one-run", "adjacency": "add-remove", "unit": "record",
        "assumptions": (), "trials": 1000,
    }  # fmt: skip
    return LowerBound(figure, ceiling=ceiling, **{**known, **changes})


@dataclass(frozen=True)
class Row:
    """A claim beside what an audit knows, and the verdict.

    Args:
        expected: the verdict.
        claim: what is claimed.
        scored: the bound from scores of members; None where the attacks allow none.
        other: bounds from coins of their own.
        findings: of checks.
        mechanism: that was run.
        noise: of the training.
        chosen: how members were chosen.
        auc: of the attack; None where none ran.
        equal: whether all scores are equal.
        members: of the 1000 records.
        says: what the sentence or a caveat must hold.
    """

    expected: str
    claim: Claim = CLAIM
    scored: LowerBound | None = None
    other: tuple[LowerBound, ...] = ()
    findings: tuple[Finding, ...] = ()
    mechanism: GaussianSteps | None = None
    noise: NoiseKnowledge = "unknown"
    chosen: MemberChoice | None = Coins()  # noqa: RUF009  # a frozen value
    auc: float | None = 0.52
    equal: bool = False
    members: int = 500
    says: str = ""

    @cached_property
    def result(self) -> Result:
        """What an audit of these facts hands to the judge: nothing judged yet."""
        frame = around([unbounded(gaussian_scores(0.0, seed=1, records=1000))])
        assert frame.membership is not None
        curve = {
            "curve": frame.membership.attacks[0].curve.model_copy(
                update={key: [0.0, 1.0] for key in ("fpr", "tpr", "low", "high")}
            )
        }
        attack = frame.membership.attacks[0].model_copy(
            update={
                "bound": self.scored, "auc": self.auc, "members": 500, "nonmembers": 500,
                **(curve if self.equal else {}),
            }
        )  # fmt: skip
        membership = frame.membership.model_copy(update={"attacks": [attack], "chosen": self.chosen})
        rungs = [
            RungResult(model="model", rung=1, name="", sees="", blind_to="", findings=list(self.findings)),
            *(RungResult(model="model", rung=2, name="", sees="", blind_to="", bound=each) for each in self.other),
        ]
        model = ModelResult(
            name="model", trainer="function", parameters={}, mechanism=self.mechanism, utility=None,
            noise=self.noise if self.mechanism is None else "accounted",
            accounted=account(None, self.claim, delta=DELTA, adjacency=self.claim.adjacency, unit=self.claim.unit),
        )  # fmt: skip
        return frame.model_copy(
            update={
                "membership": None if self.auc is None else membership,
                "ladder": LadderResult(rungs=rungs),
                "models": [model],
                "data": frame.data.model_copy(update={"records": 1000, "members": self.members}),
            }
        )

    @property
    def table(self) -> dict[str, Any]:
        """The claim as a claims file has it."""
        kept = ("epsilon", "delta", "unit", "adjacency")
        return {"kind": "epsilon", **{key: getattr(self.claim, key) for key in kept}}


REPLACED: dict[str, Any] = {"adjacency": "replace-one", "delta": 1e-4}  # (1 + e²) 1e-5 = 8.4e-5 is less
ROWS = {
    "a bound below": Row("consistent", scored=bound(1.0)),
    "a bound above": Row("contradicted", scored=bound(2.5)),
    "a bound that could not have been larger": Row("too weak", scored=bound(1.0, 1.9)),
    "coins of its own above": Row("contradicted", scored=bound(1.0), other=(bound(2.5),)),
    # What was run.
    "no noise": Row("contradicted", scored=bound(1.0), noise="none", says="added no noise"),
    "no noise, nothing attacked": Row("contradicted", auc=None, noise="none"),
    "no noise, wrong way": Row("contradicted", scored=bound(0.0), auc=0.1, noise="none"),
    "accounts to more": Row("contradicted", replace(CLAIM, epsilon=6.0), bound(1.0), mechanism=STEPS, says="6.7"),
    "accounts to as much": Row(
        "consistent", replace(CLAIM, epsilon=6.7), bound(1.0, method="one-shot"), mechanism=STEPS
    ),
    "an upper bound on the mechanism": Row(
        "consistent",
        # Batches of fixed size have ε from 1.69 to 1.88 here: the claim lies between what is certain and the limit.
        Claim(1.8, DELTA, "record", "replace-one", "the table"),
        bound(1.0, adjacency="replace-one"),
        mechanism=replace(STEPS, noise_multiplier=5.0, sampling=FixedSize(50, 1000)),
        says="which contradicts nothing",
    ),
    "a violation": Row("contradicted", scored=bound(0.0), findings=(BROKEN,), says="clipping"),
    "a warning": Row("consistent", scored=bound(0.0), findings=(ODD,)),
    "findings only": Row("too weak", auc=None, findings=(ODD,), says="nothing was attacked"),
    "violations only": Row("contradicted", auc=None, findings=(BROKEN,)),
    "nothing": Row("too weak", auc=None, says="nothing was attacked"),
    # Units.
    "user and record bounds": Row("consistent", scored=bound(0.5), other=(bound(3.0, unit="user"),)),
    "user and record bounds, user claim": Row(
        "contradicted", replace(CLAIM, unit="user"), bound(0.5), (bound(3.0, unit="user"),)
    ),
    "a user mechanism under a record claim": Row(
        "consistent", scored=bound(0.5), mechanism=replace(STEPS, unit="user")
    ),
    "a user bound under a record claim": Row(
        "no verdict", other=(bound(3.0, unit="user"),), auc=None, says="about one record"
    ),
    # How members were chosen.
    "not at random": Row("no verdict", scored=bound(3.0), chosen=NotRandom(), says="not chosen at random"),
    "not at random, no bound": Row("no verdict", chosen=NotRandom(), says="not chosen at random"),
    "not at random, coins of its own": Row("contradicted", other=(bound(2.5),), chosen=NotRandom()),
    "not at random, coins of its own below": Row(
        "consistent", other=(bound(1.0),), chosen=NotRandom(), says="not chosen at random"
    ),
    "an uneven split taken for fair coins": Row(
        "no verdict", scored=bound(2.5), chosen=None, members=830, says="fair coins do not give"
    ),
    "old and even": Row("contradicted", scored=bound(2.5), chosen=None),
    "wrong way": Row("no verdict", scored=bound(0.0), auc=0.018, says="--lower-is-member"),
    "by chance below one half": Row("consistent", scored=bound(0.0), auc=0.47),
    "all equal": Row("no verdict", scored=bound(0.0), auc=0.5, equal=True, says="All scores are equal"),
    "nobody said": Row(
        "consistent", scored=bound(1.0, **REPLACED), chosen=RandomSplit(stated=False), says="Nobody said"
    ),
    # Adjacency and δ.
    "replaced, within twice the claim": Row("consistent", scored=bound(3.9, **REPLACED), chosen=RandomSplit()),
    "replaced, above twice the claim": Row(
        "contradicted", scored=bound(4.1, **REPLACED), chosen=RandomSplit(), says="one record in means another out"
    ),
    "replaced, at the claim's own δ": Row(
        "no verdict", scored=bound(4.1, adjacency="replace-one"), chosen=RandomSplit(), says="at a larger δ"
    ),
    "replaced, by the mechanism": Row(
        "contradicted",
        replace(CLAIM, epsilon=gaussian_epsilon(0.5, DELTA)),
        bound(gaussian_epsilon(1.0, DELTA) + 0.1, adjacency="replace-one"),
        mechanism=GaussianSteps(2.0, 1, Poisson(1.0)),
        chosen=RandomSplit(),
    ),
    "added, under a claim for replaced": Row("no verdict", replace(CLAIM, adjacency="replace-one"), bound(3.0)),
    "a smaller δ": Row("no verdict", scored=bound(3.0, delta=1e-6), says="smaller than the claimed"),
    "a larger δ": Row("contradicted", scored=bound(3.0, delta=1e-4)),
}


def by_run(row: Row) -> Comparison:
    """The verdict that the result of a run, a score or an attack holds, written and read again."""
    found = result_from_json(with_verdicts(row.result).json(), where="here").comparison("model")
    assert found is not None
    return found


def by_verify(row: Row) -> str:
    """That of the gate on the same claim."""
    return verify(row.result, claims(row.table)).judgements[0].verdict


def by_assertion(row: Row) -> str:
    """That of `assert_private`, which knows the result alone."""
    try:
        assert_private(with_verdicts(row.result), when_weak="fail")
    except PrivacyViolation:
        return "contradicted"
    except AssertionError as error:
        return str(error).split(":")[0]
    return "consistent"


@pytest.mark.parametrize("name", ROWS)
def test_the_same_facts_get_the_same_verdict(name: str) -> None:
    """From Python, in a result and at the gate; and the sentence says why."""
    row = ROWS[name]
    assert verdict.judge(row.claim, facts(row.result, row.result.models[0])).verdict == row.expected
    found = by_run(row)
    assert (found.verdict, by_verify(row), by_assertion(row)) == (row.expected,) * 3
    assert row.says in " ".join([found.sentence, *found.caveats])
    gate = verify(row.result, claims(row.table))
    codes = {"contradicted": (1, 1), "no verdict": (3, 3), "too weak": (0, 3), "consistent": (0, 0)}
    assert (gate.exit_code(), gate.exit_code(require_power=True)) == codes[row.expected]
    assert row.says in gate.judgements[0].sentence


@pytest.mark.long
def test_the_pytest_plugin_gives_the_same_verdicts(pytester: pytest.Pytester) -> None:
    """Contradicted and without a verdict fail, too weak is skipped, consistent passes."""
    lines = []
    for number, row in enumerate(ROWS.values()):
        (pytester.path / f"{number}.json").write_text(row.result.json())
        keys = "\n".join(f"{key} = {json.dumps(value)}" for key, value in {"id": "x", **row.table}.items())
        (pytester.path / f"row{number:02}.claims.toml").write_text(f'result = "{number}.json"\n[[claim]]\n{keys}\n')
    found = pytester.runpytest_subprocess(*LOAD, "-p", "no:cacheprovider", "-v")
    outcome = {"contradicted": "FAILED", "no verdict": "FAILED", "too weak": "SKIPPED", "consistent": "PASSED"}
    for number, row in enumerate(ROWS.values()):
        lines.append(f"*row{number:02}.claims.toml::x {outcome[row.expected]}*")
    found.stdout.fnmatch_lines(lines)
    void = sum(row.expected == "no verdict" for row in ROWS.values())
    assert len([line for line in found.outlines if line.startswith("no verdict: ")]) == void


@pytest.mark.parametrize("rule", verdict.RULES)
def test_every_rule_decides_something(rule: verdict.Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one of its rules the judge gives another verdict, or leaves out a caveat, in at least one row."""

    def told(row: Row) -> tuple[str, bool]:
        try:
            found = verdict.judge(row.claim, facts(row.result, row.result.models[0]))
        except ValueError:  # a rule that follows met what this one keeps away
            return "no answer", False
        return found.verdict, row.says in " ".join([found.sentence, *found.caveats])

    whole = {name: told(row) for name, row in ROWS.items()}
    monkeypatch.setattr(verdict, "RULES", tuple(each for each in verdict.RULES if each is not rule))
    assert {name: told(row) for name, row in ROWS.items()} != whole


def test_ceilings_are_not_judged_by_scores_that_show_nothing() -> None:
    """An AUC of 0.018 is no AUC "within 0.55", nor is one of members who differ as data."""
    for row in (ROWS["wrong way"], ROWS["not at random"], ROWS["all equal"]):
        found = verify(row.result, claims({"kind": "ceiling", "metric": "auc", "max": 0.55})).judgements[0]
        assert found.verdict == "no verdict"
        assert row.says in found.sentence


def scores(shift: float, members: int, nonmembers: int, seed: int = 3) -> tuple[Any, Any]:
    """Normal scores of members, shifted, and of non-members."""
    rng = np.random.default_rng(seed)
    truth = np.arange(members + nonmembers) < members
    return rng.normal(size=truth.size) + shift * truth, truth


SCORED: dict[str, tuple[str, Callable[[], Result]]] = {
    "leak": ("contradicted", lambda: audit_scores(*scores(4, 1000, 1000), epsilon=1.0, chosen_by="coin")),
    "no leak, uneven split": ("consistent", lambda: audit_scores(*scores(0, 5000, 1000), epsilon=1.0)),
    "wrong way": ("no verdict", lambda: audit_scores(*scores(-3, 1000, 1000), epsilon=1.0, chosen_by="coin")),
    "wrong way, said so": (
        "contradicted",
        lambda: audit_scores(*scores(-4, 1000, 1000), epsilon=1.0, chosen_by="coin", lower_is_member=True),
    ),
    "all equal": ("no verdict", lambda: audit_scores(np.zeros(200), np.arange(200) < 100, epsilon=1.0)),
    "not at random": ("no verdict", lambda: audit_scores(*scores(4, 1000, 1000), epsilon=1.0, chosen_by="other")),
    "predictions, wrong way": (
        "no verdict",
        lambda: attack_predictions(
            (np.tile([0.6, 0.4], (100, 1)), [0] * 100), (np.tile([0.99, 0.01], (100, 1)), [0] * 100),
            attacks=["loss"], epsilon=1.0,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.long
def test_scores_and_predictions_get_the_verdict_of_the_gate(name: str) -> None:
    """What ``score`` and ``attack`` say, ``verify`` says of their result, and so does pytest. Seeds are fixed."""
    expected, make = SCORED[name]
    result = make()
    found = result.comparisons[0]
    assert found.verdict == expected, found.sentence
    table = {"kind": "epsilon", "epsilon": 1.0, "delta": DELTA, "unit": "record", "adjacency": "add-remove"}
    assert verify(result, claims(table)).judgements[0].verdict == expected


def test_a_trace_gets_the_verdict_of_the_gate(tmp_path: Path) -> None:
    """A claimed ε that its own noise does not give is contradicted; one that it gives is too weak without an attack."""
    true = gaussian_epsilon(2**0.5 / 2.0, DELTA)
    for share, expected in ((1.0, "too weak"), (0.8, "contradicted")):
        stated = DpClaim(
            epsilon=share * true, delta=DELTA, clip=1.0, noise_multiplier=2.0, sampler="all", clients=4, of=4, rounds=2
        )
        folder = tmp_path / str(share)
        with TraceWriter(
            folder, Manifest(weight_names=["w"], shapes=[(50, 1)], framework="test", dp_claim=stated)
        ) as writer:
            rng, model = np.random.default_rng(1), np.zeros((50, 1))
            for _ in range(2):
                after = model + rng.normal(0, 0.5, (50, 1))
                writer.round(before=[model], after=[after], clip=1.0)
                model = after
        result = run(
            plan_from({"schema": 1, "name": "p", "seed": 1, "trace": {"path": str(folder)}}),
            folder=tmp_path / "run" / str(share),
        )
        found = result.comparisons[0]
        assert found.verdict == expected, found.sentence
        table = {
            "kind": "epsilon", "epsilon": found.claim.epsilon, "delta": DELTA, "unit": "user",
            "adjacency": "add-remove",
        }  # fmt: skip
        assert verify(result, claims(table)).judgements[0].verdict == expected


@pytest.mark.tf
def test_a_plan_gets_the_verdict_of_the_gate(tmp_path: Path) -> None:
    """A trainer without noise that claims ε = 3.7 is contradicted by ``run`` and by ``verify``, and one of which nobody
    knows it is not; also where the result is of an older kind that records no noise.
    """
    claim = {"epsilon": 3.7, "delta": DELTA}
    models = [
        {"name": "quiet", "trainer": "sgd", "epochs": 1, "claim": claim},
        {
            "name": "unknown",
            "trainer": "function",
            "train": "tests.training.reference_models.pool_functions:train",
            "claim": claim,
        },
    ]
    table = {
        "schema": 1, "name": "p", "seed": 1, "data": {"source": "breast-cancer"}, "model": models,
        "architecture": {"kind": "mlp", "hidden": []}, "membership": {"attacks": ["loss"]},
    }  # fmt: skip
    result = run(plan_from(table), folder=tmp_path / "run", trust=True)
    assert [model.noise for model in result.models] == ["none", "unknown"]
    older = result.model_copy(update={"models": [each.model_copy(update={"noise": None}) for each in result.models]})
    for name, expected in (("quiet", "contradicted"), ("unknown", "consistent")):
        found = result.comparison(name)
        assert found is not None
        assert found.verdict == expected, found.sentence
        row = {"kind": "epsilon", "model": name, "unit": "record", "adjacency": "add-remove", **claim}
        for each in (result, older):
            assert verify(each, claims(row)).judgements[0].verdict == expected


def test_a_stored_result_of_before_says_by_its_trainer_that_there_was_no_noise() -> None:
    """A result.json that records DP-SGD without a mechanism contradicts every finite ε, by arithmetic alone."""
    result = load_result(Path(__file__).parents[1] / "results" / "result_of_schema_1.json")
    assert (result.models[0].trainer, result.models[0].mechanism) == ("dp-sgd", None)
    row = {"kind": "epsilon", "epsilon": 3.7, "delta": 1e-5, "unit": "record", "adjacency": "add-remove"}
    gate = verify(result, claims({**row, "model": "no-dp"}))
    assert (gate.judgements[0].verdict, gate.exit_code()) == ("contradicted", 1)
    assert "added no noise" in gate.judgements[0].sentence


@pytest.mark.parametrize("noise", [0.7, 1.0, 3.0])
@pytest.mark.long
def test_replacing_is_limited_as_dp_accounting_says(noise: float) -> None:
    """ε of a mechanism for replaced records is that of twice the sensitivity, and the conversion is never below it."""
    steps = GaussianSteps(noise, 1, Poisson(1.0))
    claim = replace(CLAIM, epsilon=epsilon(steps, delta=DELTA).epsilon)
    theirs = pld.from_gaussian_mechanism(noise / 2).get_epsilon_for_delta(DELTA)
    assert allowed_for_replaced(claim, DELTA, steps) == pytest.approx(theirs, rel=1e-3)
    twice = 2 * claim.epsilon
    needed = (1 + np.exp(claim.epsilon)) * DELTA
    if needed < 1:
        assert pld.from_gaussian_mechanism(noise / 2).get_epsilon_for_delta(needed) <= twice
        assert allowed_for_replaced(claim, needed) == pytest.approx(twice)
    assert allowed_for_replaced(claim, 0.99 * min(needed, 1.0)) is None
    # A claim far above the mechanism's own figure is not held to the mechanism.
    assert allowed_for_replaced(replace(claim, epsilon=2 * claim.epsilon), DELTA, steps) is None
