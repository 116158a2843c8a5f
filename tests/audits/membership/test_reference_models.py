"""Membership inference with reference models in a plan: what is trained, attacked, tested and written down."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic_core import to_json

from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.membership.run import MembershipSettings, audit_membership, find_exposed_records
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.data.bundled import digits
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import complementary_pairs, fair_coins
from dpaudit.data.load import load
from dpaudit.engine.schedules import Cosine, Steps
from dpaudit.results.membership import MembershipResult
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.progress import Silent
from dpaudit.scores.from_outputs import log_probabilities
from dpaudit.training.architecture import Mlp
from dpaudit.training.capabilities import at_epoch, reference_trainer
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.on_engine import on_engine
from dpaudit.training.sgd import Sgd
from dpaudit.training.tf_privacy import TFPrivacy
from dpaudit.training.trainer import TrainedModel
from tests.attacks.membership.pool import synthetic
from tests.small_audits import ABOUT


def key(row: np.ndarray) -> bytes:  # type: ignore[type-arg]
    """A record, and what lies within the rounding of it."""
    return np.asarray(np.round(row, 2) + 0.0, np.float32).tobytes()


class Memory:
    """Adds 2 to the true class's logit of what it has seen, noise of its own to everything."""

    fingerprint = "memory"

    def mechanism(self, records: int) -> None:
        return None

    def restore(self, weights: object, dataset: Dataset) -> TrainedModel:
        raise NotImplementedError

    def __call__(self, dataset: Dataset, included: np.ndarray, *, seed: int) -> TrainedModel:  # type: ignore[type-arg]
        seen = {key(row) for row in dataset.features[included]}
        label = {key(row): int(y) for row, y in zip(dataset.features, dataset.labels, strict=True)}

        def predict(features: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            rng = np.random.default_rng(seed)
            logits = np.zeros((len(features), 3))
            margin = 2.0 * np.array([key(row) in seen for row in features]) + rng.normal(0, 1, len(features))
            logits[np.arange(len(features)), [label.get(key(row), 0) for row in features]] = margin
            return logits

        return TrainedModel(predict, {})


def audit(folder: Path) -> Audit:
    rng = np.random.default_rng(0)
    everything = Dataset("points", rng.normal(size=(500, 2)).astype(np.float32), rng.integers(0, 3, 500))
    records, population = everything.take(np.arange(400)), everything.take(np.arange(400, 500))
    member = fair_coins(400, seed=1)
    trainer = Memory()
    subject = Subject("memory", trainer, trainer(records, member, seed=5), None)
    return Audit(
        records, member, population, (subject,), ABOUT, "one-run", 0.95, 3, folder, Silent()
    )  # fmt: skip


@pytest.mark.long
def test_references_targets_slices_and_exposed_records(tmp_path: Path) -> None:
    """A leak of two standard deviations is found by every attack with references and on every target of the pool.

    LiRA's AUC is about Φ(2/√2) = 0.921 with many references; with 14 it must be above 0.85. With 8 pairs a single
    record's p-value is 1/256 at best, too large for 400 of them, which the outcome says.
    """
    settings = MembershipSettings(
        attacks=["loss", "auto", "lira", "rmia"],
        references=16,
        slices=["class", "classified"],
    )
    outcome = audit_membership(settings, audit(tmp_path))
    found = {one.attack: one for one in outcome.attacks}
    assert found["auto"].version == "base/1"
    assert found["lira"].auc > 0.85
    assert {part.by for part in found["lira"].slices.found} == {"class", "classified"}  # type: ignore[union-attr]
    pools = {one.attack: one for one in outcome.pools}
    assert pools["lira"].over_targets.targets == 16
    assert pools["lira"].over_targets.auc.mean > 0.85
    for one in pools.values():
        assert one.null.low < one.null.auc < one.null.high
    assert outcome.exposed[0].exposed.smallest_p == 0.5**8
    # A threshold that accuses nobody is infinite.
    assert MembershipResult.model_validate_json(to_json(outcome.model_dump(), inf_nan_mode="strings")) == outcome
    stored = sorted((tmp_path / "references").iterdir())
    again = audit_membership(settings, audit(tmp_path))
    assert again == outcome
    assert sorted((tmp_path / "references").iterdir()) == stored


def test_exposed_records_are_named_by_their_row_in_the_source(tmp_path: Path) -> None:
    """One record in four is memorised, 32 models list most of them; they have the numbers of the file, not of the part.

    The population takes every second row of the source, so all numbers are odd. A listed record is found in most of
    the models trained with it and accused in few of the others, which is what it is listed for.
    """
    given = audit(tmp_path)
    everything = Dataset("points", given.dataset.features.repeat(2, axis=0), given.dataset.labels.repeat(2))
    odd = everything.take(np.arange(len(everything)) % 2 == 1)
    pool = synthetic(32, len(odd), seed=1, shift=0.0)
    leaking = replace(pool, phi=pool.phi + 8.0 * pool.included * (np.arange(len(odd)) % 4 == 0))
    member = fair_coins(len(odd), seed=9)
    found = find_exposed_records("memory", leaking, odd.source_rows, member, fdr=0.05)
    assert found.trained_on is not None
    place = {int(row): index for index, row in enumerate(odd.source_rows)}
    assert list(found.trained_on) == [bool(member[place[row]]) for row in found.exposed.records]
    assert len(set(found.trained_on)) == 2
    assert len(found.exposed.records) > 80
    assert all(record % 2 == 1 for record in found.exposed.records)
    assert found.rates is not None
    assert found.rates.models == 16
    assert np.mean(found.rates.tpr) > 0.7 > 0.3 > np.mean(found.rates.fprs)


def test_slices_by_a_column_and_an_attack_that_spends_truth(tmp_path: Path) -> None:
    """A column of the data gives slices; an attack that is told half of the truth is judged on the other half."""
    given = audit(tmp_path)
    region = np.where(np.arange(400) % 2 == 0, "north", "south")
    region[:1] = "pole"
    settings = MembershipSettings(attacks=["loss", "classifier-on-target"], slices=["class", "region"])
    outcome = audit_membership(settings, replace(given, dataset=replace(given.dataset, groups={"region": region})))
    loss, told = outcome.attacks
    assert {part.value for part in loss.slices.found if part.by == "region"} == {"north", "south"}  # type: ignore[union-attr]
    assert loss.slices.left_out == ("region = pole",)  # type: ignore[union-attr]
    assert (loss.spent, loss.members + loss.nonmembers) == (0, 400)
    assert (told.spent, told.members + told.nonmembers) == (200, 200)
    assert told.slices is not None
    assert sum(part.members for part in told.slices.found if part.by == "class") == told.members


@pytest.mark.long
def test_queries_reach_every_attack_that_can_use_them(tmp_path: Path) -> None:
    """Four noisy copies, each answered with noise of its own: their mean has an AUC of Φ(2√5/√2) = 0.999 at best.

    LiRA with many references and one question has 0.921 at best, which must be beaten; the other attacks must run.
    """
    settings = MembershipSettings(
        attacks=["lira", "multi-signal-lira", "robustness", "ranges", "label-only"],
        references=8,
        queries=[{"kind": "noise", "scale": 1e-6, "copies": 4}],
    )
    outcome = audit_membership(settings, audit(tmp_path))
    found = {one.attack: one for one in outcome.attacks}
    assert found["lira"].auc > 0.95
    assert found["multi-signal-lira"].auc > 0.95
    assert found["robustness"].auc > 0.75
    assert {one.attack for one in outcome.pools} == set(found)
    assert all(one.null.low < one.null.auc < one.null.high for one in outcome.pools)


@pytest.mark.parametrize(
    ("trainer", "epochs", "message"),
    [
        (Memory(), 1, "need a trainer with a method at_epoch, and Memory has none"),
        (Sgd(Mlp((4,)), epochs=3), 3, "checkpoints must be at most 2, got 3"),
        (Sgd(Mlp((4,)), until_accuracy=1.0), 3, "need a fixed number of epochs"),
        (DpSgd(Mlp((4,)), learning_rate=Cosine(0.1)), 3, "need a constant learning_rate"),
    ],
)
def test_checkpoints_that_are_no_shorter_training_are_refused(trainer, epochs, message) -> None:  # type: ignore[no-untyped-def]
    """A checkpoint must be what the training held at that moment."""
    with pytest.raises(InputError, match=message):
        at_epoch(trainer, epochs)


@pytest.mark.tf
def test_a_checkpoint_is_the_training_at_that_moment() -> None:
    """After one epoch at rate 0.1 a second one at rate 1e-12 changes nothing: the same weights as one epoch alone."""
    given = load("digits").take(np.arange(120))
    whole = DpSgd(Mlp((8,)), noise_multiplier=0.5, epochs=2, batch_size=20, compiled=False)
    stopped = replace(whole, learning_rate=Steps(0.1, (0.5,), 1e-11))
    included = np.arange(120) % 2 == 0
    one, two = at_epoch(whole, 1)(given, included, seed=3), stopped(given, included, seed=3)
    np.testing.assert_allclose(one.predict(given.features), two.predict(given.features), atol=1e-5)


@pytest.mark.tf
def test_a_trajectory_from_a_plan(tmp_path: Path) -> None:
    """Checkpoints of target and references feed the trajectory attack; another run trains no reference again."""
    given = load("digits").take(np.arange(200))
    records, population = given.take(np.arange(160)), given.take(np.arange(160, 200))
    trainer = DpSgd(Mlp((16,)), l2_norm_clip=None, epochs=6, batch_size=16, learning_rate=0.5, compiled=False)
    member = fair_coins(160, seed=1)
    seeded = replace(audit(tmp_path), dataset=records, member=member, population=population, subjects=())
    model = trainer(records, member, seed=seeded.training_seed("net"))
    seeded = replace(seeded, subjects=(Subject("net", trainer, model, None),))
    outcome = audit_membership(
        MembershipSettings(attacks=["trajectory", "loss"], references=4, checkpoints=[1, 3]), seeded
    )
    assert [one.attack for one in outcome.pools] == ["trajectory", "loss"]
    stored = sorted((tmp_path / "references").iterdir())
    assert (
        audit_membership(MembershipSettings(attacks=["trajectory", "loss"], references=4, checkpoints=[1, 3]), seeded)
        == outcome
    )
    assert sorted((tmp_path / "references").iterdir()) == stored


@pytest.mark.parametrize("references", [2, 5])
def test_references_come_in_pairs(references: int) -> None:
    """Two would leave none when a pair is left out; an odd number has no pairs."""
    with pytest.raises(ValueError, match="trained in pairs"):
        MembershipSettings(attacks=["loss"], references=references)


def test_complementary_pairs() -> None:
    """Each pair shares the records out in halves; the same seed gives the same halves whatever the number of pairs."""
    included = complementary_pairs(6, 11, seed=4)
    np.testing.assert_array_equal(included[0::2], ~included[1::2])
    assert set(included.sum(axis=1)) == {5, 6}
    np.testing.assert_array_equal(complementary_pairs(4, 11, seed=4), included[:4])
    with pytest.raises(InputError, match="even number, got 3"):
        complementary_pairs(3, 10, seed=0)


@pytest.mark.tf
def test_references_of_tensorflow_privacy_are_stacked() -> None:
    """The recipe goes to the engine whole; microbatches of several examples and Adagrad stay with their own code."""
    data = digits()
    theirs = TFPrivacy(Mlp((16,)), 1.5, 0.7, epochs=3, batch_size=40, learning_rate=0.2, optimizer="vectorized-adam")
    assert reference_trainer(theirs, data) == DpSgd(
        Mlp((16,)), 1.5, 0.7, 3, 40, 0.2, optimizer="adam", sampling="shuffled", drop_remainder=True
    )
    ours = reference_trainer(theirs, data)
    assert isinstance(ours, DpSgd)
    assert ours.mechanism(711) == theirs.mechanism(711)
    for kept in (replace(theirs, num_microbatches=20), replace(theirs, optimizer="adagrad")):
        assert reference_trainer(kept, data) is kept
    assert isinstance(on_engine(theirs, data), Skipped)  # what is audited comes from their code


@pytest.mark.tf
@pytest.mark.parametrize("optimizer", ["vectorized-sgd", pytest.param("vectorized-adam", marks=pytest.mark.slow)])
def test_stacked_references_are_like_tensorflow_privacys_models(optimizer: Any) -> None:
    """Mean losses on members and on others of 16 stacked and 6 of their models differ by less than four standard
    errors, and by less than a tenth. A false alarm has probability 0.01 for each of the two (t with five degrees of
    freedom); the seeds are fixed.
    """
    data = digits()
    rate = 0.5 if optimizer == "vectorized-sgd" else 0.01
    theirs = TFPrivacy(Mlp((16,)), 1.0, 0.5, epochs=5, batch_size=50, learning_rate=rate, optimizer=optimizer)
    ours = reference_trainer(theirs, data)
    assert isinstance(ours, DpSgd)
    row = fair_coins(len(data), seed=8)
    many = ours.train_many(data, np.tile(row, (16, 1)), seeds=range(16))
    few = [theirs(data, row, seed=seed) for seed in range(6)]
    for part in (row, ~row):
        chosen = data.take(part)

        def loss(model: TrainedModel, chosen: Dataset = chosen) -> float:
            seen = log_probabilities(model.predict(chosen.features), kind="logits")
            return float(-seen[np.arange(len(chosen)), chosen.classes].mean())

        one, other = np.array([loss(model) for model in many]), np.array([loss(model) for model in few])
        error = np.hypot(one.std(ddof=1) / 4, other.std(ddof=1) / np.sqrt(6))
        assert abs(one.mean() - other.mean()) < min(4 * error, 0.1 * other.mean())
