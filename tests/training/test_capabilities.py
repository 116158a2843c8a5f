"""A trainer from elsewhere can say all that our own say, and one that says nothing gets a clear reason."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.accounting.claim import Claim, GaussianSteps, Poisson
from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.ladder import run as ladder
from dpaudit.audits.ladder.settings import LadderSettings
from dpaudit.audits.membership import run as membership
from dpaudit.audits.membership.reference_models import observed_pool
from dpaudit.audits.plan import plan_from
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.data.inclusion import complementary_pairs, fair_coins
from dpaudit.inspection.mechanism import Mechanism, Stated
from dpaudit.inspection.under_test import UnderTest
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.progress import Silent
from dpaudit.training.architecture import Mlp
from dpaudit.training.capabilities import (
    adds_noise,
    at_epoch,
    outside_code,
    probe,
    reference_trainer,
    require_records,
)
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.federated.aggregation import FixedClip, PlainMean
from dpaudit.training.federated.participation import PoissonClients
from dpaudit.training.federated.trainer import Federated
from dpaudit.training.function import Function
from dpaudit.training.on_engine import on_engine
from dpaudit.training.reference_models.pool import Pool
from dpaudit.training.sgd import Sgd
from dpaudit.training.tf_privacy import TFPrivacy
from dpaudit.training.trainer import TrainedModel
from tests.small_audits import ABOUT
from tests.training.reference_models.pool_functions import data

NOISE, STEPS = 2.0, 4


@dataclass(frozen=True)
class Bare:
    """The mean of the members, and nothing said of itself."""

    weight: float = 1.0

    def __call__(self, dataset: Any, included: Any, *, seed: int) -> TrainedModel:
        return self.restore({"mean": dataset.features[included].mean(axis=0)}, dataset)

    def restore(self, weights: dict[str, Any], dataset: Any) -> TrainedModel:
        scale = self.weight * np.stack([weights["mean"], -weights["mean"]], axis=1)
        return TrainedModel(lambda features: (features @ scale).astype(np.float64), weights)

    def mechanism(self, records: int) -> GaussianSteps | None:
        return GaussianSteps(NOISE, STEPS, Poisson(0.1))


@dataclass(frozen=True)
class Rich(Bare):
    """The same, with every capability; ``noisy`` tells whether its step adds the noise that it states."""

    epochs: int = 3
    noisy: bool = True

    def reference(self, dataset: Any) -> "Rich":
        return replace(self, weight=10.0)

    def at_epoch(self, epochs: int) -> "Rich":
        return replace(self, epochs=epochs, weight=self.weight * epochs / self.epochs)

    def adds_noise(self) -> bool:
        return self.noisy

    def records_needed(self) -> int:
        return 4

    def probe(self, dataset: Any, *, seed: int) -> UnderTest:
        rng = np.random.default_rng(seed)

        def release(gradients: Any) -> Any:
            flat = np.concatenate([np.reshape(part, (len(part), -1)) for part in gradients], axis=1)
            factor = np.minimum(1.0, 1.0 / np.maximum(np.linalg.norm(flat, axis=1), 1e-30))
            sums = [np.tensordot(factor, part.astype(np.float64), axes=1) for part in gradients]
            return [(part + self.noisy * NOISE * rng.normal(size=part.shape)) / 16 for part in sums]

        return UnderTest(Mechanism(release, batch_size=16), Stated(1.0, NOISE, 16, "zero-out"))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both under names, as an entry point would give them."""
    points = {"bare": f"{__name__}:Bare", "rich": f"{__name__}:Rich"}
    whole = registry.names
    names: Callable[[str], dict[str, str]] = lambda kind: {**whole(kind), **(points if kind == "trainers" else {})}  # noqa: E731
    monkeypatch.setattr(registry, "names", names)


def audit_of(trainer: Any, folder: Path) -> Audit:
    dataset, population = data(), data().take(np.arange(10))
    member = fair_coins(len(dataset), seed=1)
    claim = Claim(1.0, 1e-5, "record", "add-remove", "the test", mechanism=trainer.mechanism(len(dataset)))
    model = replace(trainer(dataset, member, seed=2), mechanism=trainer.mechanism(len(dataset)))
    return Audit(
        dataset=dataset, member=member, population=population, subjects=(Subject("model", trainer, model, claim),),
        protection=ABOUT, design="one-run", confidence=0.95, seed=3, folder=folder,
        progress=Silent(),
    )  # fmt: skip


@pytest.mark.usefixtures("registered")
def test_plan_asks_a_registered_trainer_for_checkpoints() -> None:
    """The one that can stop earlier is taken; the other is refused before anything is trained."""

    def table(trainer: str) -> dict[str, Any]:
        membership = {"attacks": ["loss"], "references": 4, "checkpoints": [1, 2]}
        return {
            "schema": 1, "name": "theirs", "seed": 1, "data": {"source": "digits"},
            "model": [{"name": "one", "trainer": trainer}], "membership": membership,
        }  # fmt: skip

    assert plan_from(table("rich")).trainers()["one"] == Rich()
    with pytest.raises(InputError, match="model 'one': checkpoints need a trainer with a method at_epoch, and Bare"):
        plan_from(table("bare"))


def test_references_come_from_the_trainer_that_is_named(tmp_path: Path) -> None:
    """Weight 10 in place of 1 makes every belief of a reference ten times as large; without the method it is 1."""
    dataset = data()
    included = complementary_pairs(4, len(dataset), seed=1)

    def seen(trainer: Any, name: str) -> Any:
        pool = observed_pool(Pool(trainer, dataset, included, None, seed=1, folder=tmp_path / name), Silent())
        assert pool.log_probabilities is not None
        return pool.phi

    plain, theirs = seen(Bare(), "bare"), seen(Rich(), "rich")
    np.testing.assert_allclose(theirs, 10 * plain, rtol=1e-5)
    assert reference_trainer(Bare(), dataset) == Bare()


@pytest.mark.long
def test_checkpoints_of_a_foreign_trainer_reach_the_attack(tmp_path: Path) -> None:
    """Target and references are seen at both checkpoints, and what the attack needs is there."""
    settings = membership.MembershipSettings(attacks=["trajectory"], references=4, checkpoints=[1, 2])
    outcome = membership.audit_membership(settings, audit_of(Rich(), tmp_path))
    assert [found.attack for found in outcome.attacks] == ["trajectory"]
    assert outcome.stacked == ["model"]


@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.long
def test_forensics_ask_the_step_of_a_foreign_trainer(tmp_path: Path, noisy: bool) -> None:
    """Level 1e-6: with its noise nothing is found, without it the missing noise is."""
    (found,) = ladder.audit_ladder(LadderSettings(rungs=[1]), audit_of(Rich(noisy=noisy), tmp_path)).rungs
    assert found.skipped == ""
    assert ("noise" in {finding.check for finding in found.findings}) is not noisy


def test_what_a_trainer_lacks_is_a_reason(tmp_path: Path) -> None:
    """Every rung that needs what a bare trainer has not says so, and the others run."""
    settings = LadderSettings(rungs=[1, 2, 3], canaries=10, score="white-box")
    reasons = [found.skipped for found in ladder.audit_ladder(settings, audit_of(Bare(), tmp_path)).rungs]
    assert (
        reasons[:2]
        == [
            "the gradients of a Bare trainer cannot be chosen from outside; write a factory for its step and use "
            "`dpaudit inspect`"
        ]
        * 2
    )
    assert reasons[2].startswith("the steps of a Bare trainer cannot be watched, because the stacked engine does not")
    with pytest.raises(InputError, match="needs at least 4"):
        require_records(Rich(), np.array([[True, True, True, False]]), name="four")
    require_records(Bare(), np.array([False]), name="one")


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        (Sgd(Mlp()), False),
        (DpSgd(Mlp(), l2_norm_clip=None), False),
        (DpSgd(Mlp(), noise_multiplier=0.0), False),
        (DpSgd(Mlp(), noise_multiplier=0.5), True),
        (TFPrivacy(Mlp(), 1.0, 0.0), False),
        (TFPrivacy(Mlp(), 1.0, 1.0), True),
        (Federated(Mlp(), aggregator=PlainMean()), False),
        (Federated(Mlp(), aggregator=FixedClip(1.0, 0.0), participation=PoissonClients(0.5)), False),
        (Federated(Mlp(), aggregator=FixedClip(1.0, 1.0), participation=PoissonClients(0.5)), True),
        (Function("package.module:train"), None),
        (Function("package.module:train", noise_multiplier=1.0, steps=1, rate=1.0), True),
        (Bare(), None),
        (Rich(noisy=False), False),
    ],
)
def test_noise_is_told_absent_or_unknown(trainer: Any, expected: bool | None) -> None:
    """Without noise no ε holds; of code that nobody sees into, and that says nothing, it is unknown."""
    assert adds_noise(trainer) is expected


def test_code_that_a_plan_names_is_told() -> None:
    """A name is code to be trusted; a function that is there already, and a trainer that says nothing, name none."""
    assert outside_code(Function("package.module:train")) == "package.module:train"
    assert outside_code(Function(data)) is None
    assert outside_code(Bare()) is None


def test_steps_are_watched_on_the_engine_only() -> None:
    """Our engine's trainer is its own, what runs other code is none, and training until an accuracy is none."""
    dataset, dp = data(), DpSgd(Mlp())
    assert on_engine(dp, dataset) is dp
    for other in (TFPrivacy(Mlp(), 1.0, 1.0), Sgd(Mlp(), until_accuracy=0.9), Bare()):
        assert isinstance(on_engine(other, dataset), Skipped)
    assert isinstance(probe(DpSgd(Mlp(), l2_norm_clip=None), dataset, seed=1), Skipped)
    assert at_epoch(Rich(), 1).weight == pytest.approx(1 / 3)  # type: ignore[attr-defined]
