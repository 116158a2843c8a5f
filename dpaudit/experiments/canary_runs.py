"""Rungs 3 and 4: canary records behind fair coins in one training, or one canary behind a coin in many."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit._check import BoolArray, FloatArray
from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.rmia import Rmia
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.null import Definition, Mechanism, accuracy
from dpaudit.bounds.one_run import OneRun
from dpaudit.bounds.selection import Fixed, HeldOut
from dpaudit.bounds.sequential import Sequential, Wealth
from dpaudit.claim import Claim, Poisson
from dpaudit.data.canaries import canaries
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import complementary_pairs, fair_coins
from dpaudit.errors import AuditFailed, InputError
from dpaudit.evidence import LowerBound
from dpaudit.experiments.audit import Audit, Subject
from dpaudit.experiments.gradient_canaries import gradient_canary_scores
from dpaudit.experiments.references import pool_signals, stacked, target_signals
from dpaudit.experiments.rungs import PILOT, Settings
from dpaudit.outputs import phi
from dpaudit.scores import Scores
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.pool import Pool
from dpaudit.training.trainer import Predict

if TYPE_CHECKING:
    from dpaudit.stacked.network import Parameters

AT_A_TIME = 32  # runs trained together, and between two looks at whether the claim is refuted

Found = dict[str, LowerBound] | str


@dataclass(frozen=True)
class Canaried:
    """The canaries, and the audited data with them at its end."""

    records: Dataset
    together: Dataset

    def belief(self, predict: Predict) -> FloatArray:
        """φ of the canaries' own labels, shape (canaries,)."""
        return phi(predict(self.records.features), self.records.labels, task=self.records.task).values


def one_run(settings: Settings, audit: Audit, subject: Subject) -> Found:
    """Rung 3: a lower bound from one training with some of the canaries; why there is none where it cannot run."""
    reason = _refused(settings, audit, subject)
    if reason:
        return reason
    coins = fair_coins(settings.canaries, seed=audit.seed_for("ladder coins", subject.name))
    scores = _scores(settings, audit, subject, coins, seed=audit.seed_for("one run", subject.name))
    bound = OneRun(HeldOut(audit.seed_for("ladder threshold", subject.name), 0.5))
    return {"bound": _bound(bound, Scores.join(scores, coins), audit)}


def _scores(settings: Settings, audit: Audit, subject: Subject, coins: BoolArray, *, seed: int) -> FloatArray:
    """Scores of the canaries of one training, shape (canaries,)."""
    if settings.canary == "gradient":
        trainer = subject.trainer
        assert isinstance(trainer, DpSgd)
        records, every_step = int(audit.member.sum()), settings.observe == "all-steps"
        return gradient_canary_scores(trainer, records, coins, every_step=every_step, seed=seed)
    canaried = _with_canaries(settings, audit, subject, settings.canaries)
    included = np.concatenate([audit.member, coins])
    if settings.score in ("lira", "rmia"):
        trained = subject.trainer(canaried.together, included, seed=seed)
        return _against_references(settings, audit, subject, canaried, trained.predict)
    if _watching(settings):
        watched: FloatArray = _watched(settings, subject, canaried, included[None], [seed])[0]
        return watched
    trained = subject.trainer(canaried.together, included, seed=seed)
    # How much more the canaries are believed than by the model that never saw one of them.
    scores: FloatArray = canaried.belief(trained.predict) - canaried.belief(subject.model.predict)
    return scores


def many_runs(settings: Settings, audit: Audit, subject: Subject) -> Found:
    """Rung 4: a lower bound from many trainings with or without one canary; why there is none where it cannot run."""
    reason = _refused(settings, audit, subject)
    if reason:
        return reason
    canaried = _with_canaries(settings, audit, subject, 1)
    start = _worst_case(audit, subject) if settings.start == "worst-case" else None
    if isinstance(start, str):
        return start
    coins = fair_coins(settings.runs, seed=audit.seed_for("many coins", subject.name))
    scored = _in_stacks(settings, audit, subject, canaried, coins, start)
    if settings.stop_early:
        return {"bound": _until_refuted(settings, audit, subject, coins, scored)}
    scores = np.concatenate(list(scored))
    bound = ClopperPearson(HeldOut(audit.seed_for("many threshold", subject.name), 0.3))
    return {"bound": _bound(bound, Scores.join(scores, coins), audit)}


def _in_stacks(
    settings: Settings,
    audit: Audit,
    subject: Subject,
    canaried: Canaried,
    coins: BoolArray,
    start: Sequence[Any] | None,
) -> Iterator[FloatArray]:
    """Scores of some runs after the other, each (runs,)."""
    with audit.progress.task(f"training with and without a canary for {subject.name}", len(coins)) as advance:
        for first in range(0, len(coins), AT_A_TIME):
            part = coins[first : first + AT_A_TIME]
            included = np.concatenate([np.tile(audit.member, (len(part), 1)), part[:, None]], axis=1)
            seeds = [audit.seed_for("many runs", subject.name, first + run) for run in range(len(part))]
            if _watching(settings) or start is not None:
                scores = _watched(settings, subject, canaried, included, seeds, start=start)
            else:
                predicts = _trained(subject, canaried.together, included, seeds)
                scores = np.stack([canaried.belief(predict) for predict in predicts])
            yield scores[:, 0]
            advance(len(part))


def _until_refuted(
    settings: Settings, audit: Audit, subject: Subject, coins: BoolArray, scored: Iterator[FloatArray]
) -> LowerBound:
    """A pilot fixes the threshold midway between the two worlds; the other runs bet against the claim."""
    null = _null(subject.claim, audit)
    level = 1 - audit.confidence
    promised = None if subject.claim is None else _promised_accuracy(subject.claim, null, audit)
    pilot = max(AT_A_TIME, round(PILOT * settings.runs))
    scores = np.empty(0)
    threshold, wealth = 0.0, None
    for part in scored:
        judged = max(pilot, scores.size)
        scores = np.concatenate([scores, part])
        if scores.size <= pilot:
            continue
        if wealth is None:
            known = coins[:pilot]
            if known.all() or not known.any():
                raise AuditFailed(f"all {pilot} coins of the pilot fell alike; use more runs.")
            threshold = float(scores[:pilot][known].mean() + scores[:pilot][~known].mean()) / 2
            wealth = Wealth(0.5 if promised is None else promised)
        hits = (scores[judged:] > threshold) == coins[judged : scores.size]
        wealth = wealth.observe(correct=int(hits.sum()), trials=hits.size)
        if promised is not None and wealth.refutes(level):
            break
    if wealth is None:
        raise InputError(f"stop_early needs more than the {pilot} runs of its pilot, got {settings.runs}.")
    bound = Sequential(Fixed(threshold), "runs", null)
    return _bound(bound, Scores.join(scores[pilot:], coins[pilot : scores.size]), audit)


def _null(claim: Claim | None, audit: Audit) -> Definition | Mechanism:
    """The claimed training with other noise where its curve is known, else every mechanism."""
    steps = None if claim is None or math.isinf(claim.epsilon) else claim.mechanism
    if steps is None or steps.noise_multiplier == 0 or not isinstance(steps.sampling, Poisson):
        return Definition()
    return Mechanism(steps, audit.adjacency)


def _promised_accuracy(claim: Claim, null: Definition | Mechanism, audit: Audit) -> float | None:
    """Largest share of coins that may be guessed right under the claim; None when it allows all."""
    if math.isinf(claim.epsilon):
        return None
    rate = accuracy(null.curve(null.strength(claim.epsilon, audit.delta), audit.delta))
    return rate if rate < 1 else None


def _refused(settings: Settings, audit: Audit, subject: Subject) -> str:
    """Why a subject cannot be audited as the settings say; empty when it can."""
    if audit.unit != "record":
        return "its canaries are records, and the audit is about users"
    if _watching(settings) and not isinstance(stacked(subject.trainer, audit.dataset), DpSgd):
        return (
            f"the steps of a {type(subject.trainer).__name__} trainer cannot be watched; score by loss, lira or rmia "
            "and observe the final model"
        )
    if settings.canary == "gradient" and getattr(subject.trainer, "l2_norm_clip", None) is None:
        return "gradients that are not clipped have no size a canary could have"
    return ""


def _watching(settings: Settings) -> bool:
    return settings.score == "white-box" or settings.observe == "all-steps"


def _with_canaries(settings: Settings, audit: Audit, subject: Subject, count: int) -> Canaried:
    """They come from records no model was trained on, or only the public model that finds them."""
    if audit.dataset.task not in ("multiclass", "binary"):
        raise InputError(
            f"the canaries of the ladder need classes, and the task of {audit.dataset.name} is "
            f"{audit.dataset.task}; leave out rungs 3 and 4."
        )
    assert settings.canary != "gradient"
    seed = audit.seed_for("canary records", subject.name, count)
    source, predict = audit.population, None
    if settings.canary == "found":
        order = np.random.default_rng(seed).permutation(len(source))
        public = np.zeros(len(source), bool)
        public[order[: len(source) // 2]] = True
        predict = subject.trainer(source, public, seed=audit.seed_for("public model", subject.name)).predict
        source = source.take(~public)
    made = canaries(settings.canary, source, count, seed=seed, predict=predict)
    together = replace(
        audit.dataset,
        features=np.concatenate([audit.dataset.features, made.features]),
        labels=np.concatenate([audit.dataset.labels, made.labels]),
        users=None,
        groups={},
        rows=None,
    )
    return Canaried(made, together)


def _against_references(
    settings: Settings, audit: Audit, subject: Subject, canaried: Canaried, predict: Predict
) -> FloatArray:
    """LiRA or RMIA of each canary, against models trained with complementary halves of the canaries."""
    pairs = complementary_pairs(
        settings.references, settings.canaries, seed=audit.seed_for("canary pairs", subject.name)
    )
    included = np.concatenate([np.tile(audit.member, (settings.references, 1)), pairs], axis=1)
    pool = Pool(
        stacked(subject.trainer, canaried.together),
        canaried.together,
        included,
        audit.population,
        audit.seed_for("canary references", subject.name),
        audit.folder / "references",
        audit.memory,
        audit.workers,
    )
    with audit.progress.task(f"training references for the canaries of {subject.name}", pool.missing()) as advance:
        outputs = pool(advance)
    own = outputs.records[:, len(audit.dataset) :]
    references = pool_signals(own, outputs.population, pairs, canaried.records, audit.population)
    signals = target_signals(
        predict(canaried.records.features),
        canaried.records,
        audit.population,
        predict(audit.population.features),
        pool=references,
    )
    attack = Lira() if settings.score == "lira" else Rmia()
    return attack(signals)


def _trained(subject: Subject, source: Dataset, included: BoolArray, seeds: list[int]) -> list[Predict]:
    """Predictions of many trainings, stacked where the trainer can."""
    trainer = stacked(subject.trainer, source)
    if isinstance(trainer, DpSgd):
        return [model.predict for model in trainer.train_many(source, included, seeds=seeds)]
    return [trainer(source, row, seed=seed).predict for row, seed in zip(included, seeds, strict=True)]


def _worst_case(audit: Audit, subject: Subject) -> list[Any] | str:
    """Weights of the same network trained without DP on the population; why there are none for other trainers."""
    trainer = stacked(subject.trainer, audit.dataset)
    if not isinstance(trainer, DpSgd):
        return f"a {type(trainer).__name__} trainer cannot be started from a worst-case initialisation"
    public = replace(trainer, l2_norm_clip=None, noise_multiplier=0.0, sampling="shuffled")
    everyone = np.ones(len(audit.population), bool)
    return list(public(audit.population, everyone, seed=audit.seed_for("worst case", subject.name)).weights.values())


@dataclass
class Exposure:
    """What an attacker gathers about the canaries while models are trained: watches every step.

    Args:
        measure: parameters before and after -> scores, shape (models, canaries).
        every_step: add up the scores of all steps; otherwise score from the start to the end.
    """

    measure: Callable[["Parameters", "Parameters"], FloatArray]
    every_step: bool
    _sums: dict[tuple[int, ...], FloatArray] = field(default_factory=dict)
    _ends: dict[tuple[int, ...], tuple["Parameters", "Parameters"]] = field(default_factory=dict)

    def __call__(self, models: Sequence[int], step: int, before: "Parameters", after: "Parameters") -> None:
        """See a step of some models."""
        group = tuple(models)
        if self.every_step:
            self._sums[group] = self._sums.get(group, 0.0) + self.measure(before, after)
        else:
            self._ends[group] = (self._ends.get(group, (before,))[0], after)

    def scores(self, models: Sequence[int]) -> FloatArray:
        """Scores, shape (models, canaries)."""
        found = self._sums or {group: self.measure(*ends) for group, ends in self._ends.items()}
        rows = {model: row for group, values in found.items() for model, row in zip(group, values, strict=True)}
        return np.stack([rows[model] for model in models])


def _watched(
    settings: Settings,
    subject: Subject,
    canaried: Canaried,
    included: BoolArray,
    seeds: list[int],
    *,
    start: Sequence[Any] | None = None,
) -> FloatArray:
    """Scores of trainings whose steps are watched, shape (models, canaries)."""
    trainer = stacked(subject.trainer, canaried.together)
    assert isinstance(trainer, DpSgd)
    exposure = Exposure(_measure(settings, trainer, canaried), settings.observe == "all-steps")
    trainer.train_many(canaried.together, included, seeds=seeds, start=start, watch=exposure)
    return exposure.scores(seeds)


def _measure(
    settings: Settings, trainer: DpSgd, canaried: Canaried
) -> Callable[["Parameters", "Parameters"], FloatArray]:
    """How the canaries are scored: along their gradients, or by how far they are believed afterwards."""
    from dpaudit._tensorflow import tf
    from dpaudit.stacked.dot_products import dot_products
    from dpaudit.training.keras_model import targets

    network, records = trainer.network(canaried.together), canaried.records
    if settings.score == "white-box":
        along = dot_products(network, records.task, trainer.l2_norm_clip)
        return lambda before, after: np.asarray(along(before, after, records.features, targets(records)), np.float64)
    outputs, features = tf.function(network.forward, reduce_retracing=True), tf.constant(records.features)
    return lambda _, after: phi(outputs(after, features).numpy(), records.labels, task=records.task).values


def _bound(bound: OneRun | ClopperPearson | Sequential, scores: Scores, audit: Audit) -> LowerBound:
    return bound(scores, delta=audit.delta, confidence=audit.confidence, adjacency=audit.adjacency, unit="record")
