"""The ladder on trained models: which rung ran, what it found, and that it is a fair experiment."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from dpaudit.accounting.claim import Claim
from dpaudit.audits import run as pipeline
from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.ladder.run import audit_ladder
from dpaudit.audits.ladder.settings import LadderSettings
from dpaudit.audits.plan import plan_from
from dpaudit.data.bundled import digits
from dpaudit.data.canaries import canaries
from dpaudit.data.inclusion import fair_coins
from dpaudit.reports.html import page
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.progress import Silent
from dpaudit.training.function import Function
from dpaudit.training.trainer import TrainedModel
from tests.small_audits import ABOUT
from tests.training.reference_models.pool_functions import data


@pytest.fixture(autouse=True)
def short_inspections(monkeypatch):
    """A tenth of the time and fewer calls: what is found here is a factor of two, and found with 160 calls too."""
    monkeypatch.setattr("dpaudit.inspection.ask.CALLS", 160)
    monkeypatch.setattr("dpaudit.inspection.ask.SECONDS", 1.0)


def memoriser(dataset, included, *, seed):
    """Nearest neighbour: believes a label in proportion to how near it has seen it."""
    features = dataset.features[included].reshape(int(included.sum()), -1)
    labels = dataset.classes[included]

    def predict(asked):
        flat = asked.reshape(len(asked), -1)
        distance = ((flat[:, None] - features[None]) ** 2).sum(axis=2)
        near = [np.where(labels == c, -distance, -np.inf).max(axis=1, initial=-1e3) for c in range(10)]
        return np.stack(near, axis=1)

    return predict


def constant(dataset, included, *, seed):
    return lambda features: np.tile(np.arange(10.0), (len(features), 1))


def audit_of(trainer, tmp_path, *, epsilon=None, is_trained=True):
    """300 digits behind coins and one model; where the audit trains models of its own, it need not be trained."""
    data = digits().take(np.arange(300))
    population = digits().take(np.arange(300, 700))
    member = fair_coins(len(data), seed=1)
    untrained = TrainedModel(lambda features: np.zeros((len(features), 10)), {}, trainer.mechanism(int(member.sum())))
    model = trainer(data, member, seed=3) if is_trained else untrained
    claim = None if epsilon is None else Claim(epsilon, 1e-5, "record", "add-remove", "the test")
    return Audit(
        dataset=data, member=member, population=population,
        subjects=(Subject("model", trainer, model, claim),), protection=ABOUT, design="one-run",
        confidence=0.95, seed=7, folder=Path(tmp_path), progress=Silent(),
    )  # fmt: skip


def test_a_memoriser_is_seen_by_one_run_and_by_many(tmp_path):
    """It leaks every canary: 200 canaries and 60 runs both certify ε > 2 at 95 %."""
    settings = LadderSettings(rungs=[1, 3, 4], canaries=200, runs=60)
    outcome = audit_ladder(settings, audit_of(Function(memoriser), tmp_path))
    assert [(rung.rung, bool(rung.skipped)) for rung in outcome.rungs] == [(1, True), (3, False), (4, False)]
    assert all(bound.epsilon > 1.5 for bound in outcome.bounds("model"))
    assert settings.bounds() == len(outcome.bounds("model")) == 2


def test_a_model_that_ignores_its_data_leaks_nothing(tmp_path):
    """Scores do not depend on the coins, so a bound above 0 has probability 5 % at most; fixed seed."""

    outcome = audit_ladder(LadderSettings(rungs=[3], canaries=50), audit_of(Function(constant), tmp_path))
    assert outcome.bounds("model")[0].epsilon == 0.0


def test_a_claim_that_does_not_follow_from_the_training_is_found(tmp_path):
    """σ 1, 1,000 steps, rate 0.01 is ε = 1.83; 1.0 is claimed."""
    trainer = Function(memoriser, noise_multiplier=1.0, steps=1000, rate=0.01)
    audit = audit_of(trainer, tmp_path, epsilon=1.0)
    subject = replace(audit.subjects[0], model=replace(audit.subjects[0].model, mechanism=trainer.mechanism(300)))
    outcome = audit_ladder(LadderSettings(rungs=[0]), replace(audit, subjects=(subject,)))
    assert [finding.check for finding in outcome.findings("model")] == ["claimed figure"]
    assert outcome.findings("model")[0].true_epsilon == pytest.approx(1.828, rel=1e-2)


def test_a_claim_that_no_rung_could_test_is_said_to_be_untested(tmp_path):
    """A function's step cannot be asked for its noise: its claim is too weakly tested, never without a verdict."""
    clouds = data()
    np.savez(tmp_path / "clouds.npz", features=clouds.features, labels=clouds.labels)
    model = {"name": "m", "trainer": "function", "train": "tests.training.reference_models.pool_functions:train"}
    table = {
        "schema": 1,
        "name": "p",
        "seed": 1,
        "data": {"source": str(tmp_path / "clouds.npz")},
        "model": [{**model, "noise_multiplier": 1.0, "steps": 10, "rate": 0.1}],
        "ladder": {"rungs": [1]},
    }
    result = pipeline.run(plan_from(table), folder=tmp_path / "r", trust=True)
    assert [found.verdict for found in result.comparisons] == ["too weak"]
    assert "nothing was attacked" in result.comparisons[0].sentence
    assert "was not tested" in page(result)


@pytest.mark.tf
def test_the_projects_dp_sgd_passes_every_rung(tmp_path):
    """Level 1e-6 for forensics, 5 % for each bound; fixed seed."""
    from dpaudit.training.architecture import Mlp
    from dpaudit.training.dp_sgd import DpSgd

    trainer = DpSgd(Mlp(()), noise_multiplier=2.0, epochs=2, batch_size=50, compiled=False)
    audit = audit_of(trainer, tmp_path, is_trained=False)
    mechanism = trainer.mechanism(int(audit.member.sum()))
    claim = Claim(8.0, 1e-5, "record", "add-remove", "the test", mechanism)
    subject = replace(audit.subjects[0], claim=claim)
    outcome = audit_ladder(
        LadderSettings(rungs=[0, 1, 2, 3], canaries=50, steps=100), replace(audit, subjects=(subject,))
    )
    assert [rung.skipped for rung in outcome.rungs] == ["", "", "", ""]
    assert [finding for finding in outcome.findings("model") if finding.severity == "violation"] == []
    assert all(bound.epsilon < 8.0 for bound in outcome.bounds("model"))
    steps = outcome.rungs[2]
    assert steps.noise_multiplier == pytest.approx(2.0, rel=0.1)


@pytest.mark.tf
def test_means_that_are_clipped_are_found_in_tf_privacy(tmp_path):
    """num_microbatches=10 clips means of five examples: one example moves the sum by 2C."""
    from dpaudit.training.architecture import Mlp
    from dpaudit.training.tf_privacy import TFPrivacy

    trainer = TFPrivacy(Mlp((4,)), 1.0, 1.0, epochs=1, num_microbatches=10, optimizer="vectorized-sgd")
    audit = audit_of(trainer, tmp_path, is_trained=False)
    subject = replace(audit.subjects[0], claim=Claim(8.0, 1e-5, "record", "add-remove", "the test"))
    outcome = audit_ladder(LadderSettings(rungs=[1]), replace(audit, subjects=(subject,)))
    assert "sensitivity" in {finding.check for finding in outcome.findings("model")}


@pytest.mark.parametrize("score", ["lira", "rmia"])
def test_references_score_canaries_of_any_trainer(tmp_path, score):
    """A function's nearest neighbours remember every canary: 100 of them, half held out, certify ε > 1.5 at 95 %."""
    settings = LadderSettings(rungs=[3], canaries=100, score=score, references=4)
    outcome = audit_ladder(settings, audit_of(Function(memoriser), tmp_path))
    assert outcome.bounds("model")[0].epsilon > 1.5


def test_canaries_are_found_by_a_public_model(tmp_path):
    """The trainer itself, on half of the population, is the public model; they come from the other half."""
    outcome = audit_ladder(
        LadderSettings(rungs=[3], canaries=100, canary="found"), audit_of(Function(memoriser), tmp_path)
    )
    assert outcome.bounds("model")[0].epsilon > 1


def test_many_runs_stop_when_the_claim_is_refuted(tmp_path):
    """A memoriser claims ε = 1: after a pilot of a quarter of the runs, some dozens more are enough."""
    trainer = Function(memoriser, noise_multiplier=1.0, steps=1000, rate=0.01)
    audit = audit_of(trainer, tmp_path, epsilon=1.0)
    outcome = audit_ladder(LadderSettings(rungs=[4], runs=400, canary="blank", stop_early=True), audit)
    bound = outcome.bounds("model")[0]
    assert (bound.method, bound.epsilon > 1.0) == ("stopped-accuracy", True)
    assert bound.trials < 100
    claims_nothing = replace(audit.subjects[0], claim=Claim(np.inf, 1e-5, "record", "add-remove", "the test"))
    settings = LadderSettings(rungs=[4], runs=80, canary="blank", stop_early=True)
    all_runs = audit_ladder(settings, replace(audit, subjects=(claims_nothing,))).bounds("model")[0]
    assert all_runs.trials == 80 - 32
    with pytest.raises(ValueError, match="more runs than the 32 of its pilot, got 30"):
        LadderSettings(rungs=[4], runs=30, stop_early=True)


def test_what_cannot_be_watched_is_said(tmp_path):
    """A function shows no steps and takes no initialisation."""
    audit = audit_of(Function(memoriser), tmp_path)
    for changes in ({"rungs": [3], "score": "white-box"}, {"rungs": [4], "start": "shared"}):
        outcome = audit_ladder(LadderSettings(**changes), audit)
        assert "Function trainer cannot be" in outcome.rungs[0].skipped
        assert outcome.rungs[0].bound is None


@pytest.mark.tf
@pytest.mark.parametrize("observe", ["final", "all-steps"])
def test_the_white_box_sees_canaries_in_dp_sgd(tmp_path, observe):
    """σ = 0.2, and directions in which the digits hardly vary: gradients that no other record has."""
    from dpaudit.training.architecture import Mlp
    from dpaudit.training.dp_sgd import DpSgd

    trainer = DpSgd(Mlp(()), noise_multiplier=0.2, epochs=20, batch_size=50, learning_rate=0.05, compiled=False)
    settings = LadderSettings(rungs=[3], canaries=60, canary="clipbkd", score="white-box", observe=observe)
    bound = audit_ladder(settings, audit_of(trainer, tmp_path, is_trained=False)).bounds("model")[0]
    assert bound.epsilon > 0.5


@pytest.mark.tf
@pytest.mark.parametrize("every_step", [False, True])
def test_gradient_canaries_separate_as_the_sampler_and_the_noise_say(every_step):
    """A canary is in 20 of 200 Poisson batches: against the law drawn directly with numpy; 4 standard errors."""
    from dpaudit.audits.ladder.gradient_canaries import gradient_canary_scores
    from dpaudit.training.architecture import Mlp
    from dpaudit.training.dp_sgd import DpSgd

    trainer = DpSgd(Mlp(()), 2.0, 0.8, epochs=20, batch_size=60, sampling="poisson", compiled=False)
    coins = fair_coins(200, seed=1)
    scores = gradient_canary_scores(trainer, 500, coins, every_step=every_step, seed=3)
    rng = np.random.default_rng(0)
    trained = 500 + int(coins.sum())
    rate, steps = 60 / trained, trainer.steps(trained)

    def drawn(present):
        seen = rng.normal(0, 0.8, (4000, steps)) + present * (rng.random((4000, steps)) < rate)
        return np.log1p(rate * (np.exp((seen - 0.5) / 0.64) - 1)).sum(axis=1) if every_step else seen.sum(axis=1)

    for present in (True, False):
        own, expected = scores[coins == present], drawn(present)
        assert own.mean() == pytest.approx(expected.mean(), abs=4 * expected.std() / np.sqrt(own.size))
        assert own.std() == pytest.approx(expected.std(), rel=4 / np.sqrt(2 * own.size))


@pytest.mark.tf
def test_gradient_canaries_bound_one_run(tmp_path):
    """Little noise: every one of 100 canaries is told from the rest; a function has no gradients to choose."""
    from dpaudit.training.architecture import Mlp
    from dpaudit.training.dp_sgd import DpSgd

    settings = LadderSettings(rungs=[3], canary="gradient", score="white-box", observe="all-steps")
    trainer = DpSgd(Mlp(()), noise_multiplier=0.2, epochs=5, batch_size=50, compiled=False)
    audit = audit_of(trainer, tmp_path, is_trained=False)
    assert audit_ladder(settings, audit).bounds("model")[0].epsilon > 1.5
    unclipped = replace(trainer, l2_norm_clip=None, noise_multiplier=0.0)
    audit = audit_of(unclipped, tmp_path, is_trained=False)
    assert "not clipped" in audit_ladder(settings, audit).rungs[0].skipped
    assert "cannot be watched" in audit_ladder(settings, audit_of(Function(memoriser), tmp_path)).rungs[0].skipped


@pytest.mark.tf
@pytest.mark.parametrize(("start", "score"), [("worst-case", "loss"), ("worst-case", "white-box"), ("shared", "loss")])
def test_many_runs_from_one_start(tmp_path, start, score):
    """Without noise a blank canary shows in the final model of every run: 60 runs certify ε > 1."""
    from dpaudit.training.architecture import Mlp
    from dpaudit.training.dp_sgd import DpSgd

    trainer = DpSgd(Mlp(()), noise_multiplier=0.0, epochs=20, batch_size=100, learning_rate=0.05, compiled=False)
    settings = LadderSettings(rungs=[4], runs=60, canary="blank", start=start, score=score)
    assert audit_ladder(settings, audit_of(trainer, tmp_path, is_trained=False)).bounds("model")[0].epsilon > 1


@pytest.mark.tf
def test_a_shared_start_shows_a_canary_that_a_start_of_its_own_hides(tmp_path):
    """A rare direction under little noise: random weights of its own for each run vary more than the canary moves them,
    the same weights for all do not.
    """
    from dpaudit.training.architecture import Mlp
    from dpaudit.training.dp_sgd import DpSgd

    trainer = DpSgd(Mlp(()), 1.0, 0.1, 2, learning_rate=0.01, sampling="full", compiled=False)
    audit = audit_of(trainer, tmp_path, is_trained=False)

    def bound(start):
        settings = LadderSettings(rungs=[4], runs=40, canary="clipbkd", start=start)
        return audit_ladder(settings, audit).bounds("model")[0].epsilon

    assert bound("shared") > 1 > bound("random")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"score": "lira"}, "needs references: an even number from 4 on"),
        ({"references": 4}, "references are for the scores 'lira' and 'rmia'"),
        ({"score": "rmia", "references": 4, "observe": "all-steps"}, "sees final models only"),
        ({"stop_early": True}, "are for rung 4"),
        ({"canary": "gradient"}, "is for rung 3 and the score 'white-box'"),
        ({"budget": "2 minutes"}, "a time such as 90s, 2m or 1.5h"),
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong, said):
    """One line that says what would be right."""
    with pytest.raises(ValidationError, match=said):
        LadderSettings(**wrong)


@pytest.mark.long
def test_canaries_come_in_kinds():
    """Each kind has the shape of the data; mislabelled ones keep a real image and no right label."""
    data = digits()
    for kind in ("mislabelled", "blank", "out-of-distribution", "sparse", "clipbkd"):
        made = canaries(kind, data, 20, seed=1)
        assert made.features.shape == (20, 8, 8, 1)
    sparse = canaries("sparse", data, 400, seed=1).features.reshape(400, -1)
    varies = data.features.reshape(len(data), -1).max(axis=0) > 0
    assert abs((sparse[:, varies] > 0).mean() - 0.1) < 0.01  # 24,000 draws and more: five standard errors
    wrong = canaries("mislabelled", data, 50, seed=1)
    originals = {image.tobytes(): label for image, label in zip(data.features, data.classes, strict=True)}
    assert all(originals[image.tobytes()] != label for image, label in zip(wrong.features, wrong.classes, strict=True))


def test_found_canaries_are_those_a_public_model_finds_strangest():
    """A public model that knows the labels is most surprised where it was most certain."""
    data = digits()
    certain = np.arange(len(data)) / len(data)

    def predict(features):
        rows = {image.tobytes(): row for row, image in enumerate(data.features)}
        which = np.array([rows[image.tobytes()] for image in features])
        return 20 * certain[which][:, None] * np.eye(10)[data.classes[which]]

    made = canaries("found", data, 10, seed=1, predict=predict)
    rows = {image.tobytes(): row for row, image in enumerate(data.features)}
    assert min(rows[image.tobytes()] for image in made.features) >= len(data) - 20
    with pytest.raises(InputError, match="predict is for canaries of kind 'found', and they need it"):
        canaries("found", data, 10, seed=1)


@pytest.mark.tf
def test_a_dp_sequential_climbs_to_rung_2(tmp_path):
    """Its own training step is asked: no violation at level 1e-6, and its noise is what it states; fixed seed."""
    from dpaudit.training.architecture import Mlp
    from dpaudit.training.tf_privacy import TFPrivacy

    trainer = TFPrivacy(Mlp(()), 1.0, 1.0, epochs=1, batch_size=25, optimizer="dp-sequential")
    audit = audit_of(trainer, tmp_path, is_trained=False)
    claim = Claim(8.0, 1e-5, "record", "add-remove", "the test", trainer.mechanism(int(audit.member.sum())))
    subject = replace(audit.subjects[0], claim=claim)
    outcome = audit_ladder(LadderSettings(rungs=[1, 2], steps=60), replace(audit, subjects=(subject,)))
    assert [rung.skipped for rung in outcome.rungs] == ["", ""]
    assert [finding for finding in outcome.findings("model") if finding.severity == "violation"] == []
    assert outcome.rungs[1].noise_multiplier == pytest.approx(1.0, rel=0.1)


def test_a_rung_is_named_once():
    """Twice the same rung would be paid for twice."""
    with pytest.raises(ValidationError, match="each rung once"):
        LadderSettings(rungs=[1, 1])
