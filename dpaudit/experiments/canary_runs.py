"""Rungs 3 and 4: canary records behind fair coins in one training, or one canary behind a coin in many."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dpaudit._check import BoolArray, FloatArray
from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.rmia import Rmia
from dpaudit.bounds.default import Bound, default_bound
from dpaudit.bounds.null import Definition, Mechanism, accuracy
from dpaudit.bounds.selection import Fixed
from dpaudit.bounds.sequential import Sequential, Wealth
from dpaudit.claim import Claim, Poisson
from dpaudit.data.canaries import canaries
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import complementary_pairs, fair_coins
from dpaudit.data.member_choice import Coins
from dpaudit.data.source import Records, with_added
from dpaudit.errors import AuditFailed, InputError
from dpaudit.evidence import LowerBound
from dpaudit.experiments.audit import Audit, Subject
from dpaudit.experiments.gradient_canaries import gradient_canary_scores
from dpaudit.experiments.references import pool_signals, reference_trainer, stacked, target_signals
from dpaudit.experiments.rungs import PILOT, Settings
from dpaudit.outputs import phi
from dpaudit.scores import Scores
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.kept import in_order, kept, missing, store_of
from dpaudit.training.pool import Pool, train_each
from dpaudit.training.single import Wanted
from dpaudit.training.store import Arrays
from dpaudit.training.trainer import Predict, Trainer

if TYPE_CHECKING:
    from dpaudit.stacked.network import Parameters

AT_A_TIME = 32  # runs trained together, and between two looks at whether the claim is refuted

Found = dict[str, LowerBound] | str


@dataclass(frozen=True)
class Canaried:
    """The canaries, and the audited data with them at its end: here, and as tasks take it."""

    records: Dataset
    together: Dataset
    sent: Records

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
    bound = default_bound("one-run", Coins(0.5), seed=audit.seed_for("ladder bound", subject.name))
    return {"bound": _bound(bound, Scores.join(scores, coins), audit)}


def _scores(settings: Settings, audit: Audit, subject: Subject, coins: BoolArray, *, seed: int) -> FloatArray:
    """Scores of the canaries of one training, shape (canaries,)."""
    if settings.canary == "gradient":
        records, every_step = int(audit.member.sum()), settings.observe == "all-steps"
        recipe = subject.trainer, records, coins, every_step, seed
        return _one(audit, gradient_canaries, f"train gradient canaries for {subject.name}", recipe)
    canaried = _with_canaries(settings, audit, subject, settings.canaries)
    included = np.concatenate([audit.member, coins])
    if _watching(settings):
        recipe = _recipe(settings, subject, canaried, included[None], [seed], None)
        watched: FloatArray = _one(audit, canary_scores, f"train canaries for {subject.name}", recipe)[0]
        return watched
    name = f"{subject.name} with canaries"
    wanted = {name: Wanted(subject.trainer, included, seed)}
    trained = audit.trained(wanted, canaried.together, canaried.sent)[name]
    if settings.score in ("lira", "rmia"):
        return _against_references(settings, audit, subject, canaried, trained.predict)
    # How much more the canaries are believed than by the model that never saw one of them.
    scores: FloatArray = canaried.belief(trained.predict) - canaried.belief(subject.model.predict)
    return scores


def _one(audit: Audit, work: Callable[..., Arrays], name: str, recipe: tuple[Any, ...]) -> FloatArray:
    """Scores of a single task."""
    ((_, found),) = _kept(audit, work, {name: recipe})
    scores: FloatArray = found["scores"]
    return scores


def _kept(
    audit: Audit,
    work: Callable[..., Arrays],
    recipes: dict[str, tuple[Any, ...]],
    done: Callable[[str], object] = lambda name: None,
) -> Iterator[tuple[str, Arrays]]:
    store, workers, memory = store_of(audit.folder / "ladder"), audit.workers, audit.memory
    return kept(work, recipes, store=store, workers=workers, memory=memory, done=done)


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
    bound = default_bound("many-runs", Coins(0.5), seed=audit.seed_for("many bound", subject.name))
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
    recipes = {}
    for first in range(0, len(coins), AT_A_TIME):
        part = coins[first : first + AT_A_TIME]
        included = np.concatenate([np.tile(audit.member, (len(part), 1)), part[:, None]], axis=1)
        seeds = [audit.seed_for("many runs", subject.name, first + run) for run in range(len(part))]
        name = f"train runs {first} to {first + len(part) - 1} of {subject.name}"
        recipes[name] = _recipe(settings, subject, canaried, included, seeds, start)
    left = missing(canary_scores, recipes, store=store_of(audit.folder / "ladder"))
    runs = {name: len(recipe[-1]) for name, recipe in recipes.items()}
    total = sum(runs[name] for name in left)
    with audit.progress.task(f"training with and without a canary for {subject.name}", total) as advance:
        found = _kept(audit, canary_scores, recipes, lambda name: advance(runs[name]))
        for scores in in_order(found, recipes):
            yield scores["scores"][:, 0]


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
    return Canaried(made, with_added(audit.dataset, made), audit.records(added=made))


def _against_references(
    settings: Settings, audit: Audit, subject: Subject, canaried: Canaried, predict: Predict
) -> FloatArray:
    """LiRA or RMIA of each canary, against models trained with complementary halves of the canaries."""
    pairs = complementary_pairs(
        settings.references, settings.canaries, seed=audit.seed_for("canary pairs", subject.name)
    )
    included = np.concatenate([np.tile(audit.member, (settings.references, 1)), pairs], axis=1)
    pool = Pool(
        reference_trainer(subject.trainer, canaried.together),
        canaried.together,
        included,
        audit.population,
        audit.seed_for("canary references", subject.name),
        audit.folder / "references",
        audit.memory,
        audit.workers,
        canaried.sent,
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


def _worst_case(audit: Audit, subject: Subject) -> list[Any] | str:
    """Weights of the same network trained without DP on the population; why there are none for other trainers."""
    trainer = stacked(subject.trainer, audit.dataset)
    if not isinstance(trainer, DpSgd):
        return f"a {type(trainer).__name__} trainer cannot be started from a worst-case initialisation"
    public = replace(trainer, l2_norm_clip=None, noise_multiplier=0.0, sampling="shuffled")
    everyone = np.ones(len(audit.population), bool)
    name = f"worst case for {subject.name}"
    wanted = {name: Wanted(public, everyone, audit.seed_for("worst case", subject.name))}
    trained = audit.trained(wanted, audit.population, Records.of(audit.population))
    return [value for _, value in sorted(trained[name].weights.items())]


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


def _recipe(
    settings: Settings,
    subject: Subject,
    canaried: Canaried,
    included: BoolArray,
    seeds: list[int],
    start: Sequence[Any] | None,
) -> tuple[Any, ...]:
    """What `canary_scores` is called with."""
    is_watched = _watching(settings) or start is not None
    watch = (settings.score == "white-box", settings.observe == "all-steps") if is_watched else None
    trainer, count = stacked(subject.trainer, canaried.together), len(canaried.records)
    return trainer, canaried.sent, count, np.packbits(included, axis=1), watch, start, seeds


def canary_scores(
    trainer: Trainer,
    records: Records,
    canaries: int,
    packed: npt.NDArray[np.uint8],
    watch: tuple[bool, bool] | None,
    start: Sequence[Any] | None,
    seeds: list[int],
) -> Arrays:
    """A task: ``scores`` of canaries by models trained with some of them, shape (models, canaries).

    Args:
        trainer: of the models.
        records: with the canaries at their end.
        canaries: how many they are.
        packed: who is in which model, as bits.
        watch: whether to score along gradients instead of by belief, and whether to add up all steps; None scores the
            belief of the final model.
        start: weights that the models start from; None is their own random ones.
        seeds: of the models.
    """
    together, _ = records()
    own = Canaried(together.take(np.arange(len(together) - canaries, len(together))), together, records)
    included = np.unpackbits(packed, axis=1, count=len(together)).astype(bool)
    if watch is None:
        return {"scores": np.stack([own.belief(m.predict) for m in train_each(trainer, together, included, seeds)])}
    along_gradients, every_step = watch
    assert isinstance(trainer, DpSgd)
    exposure = Exposure(_measure(along_gradients, trainer, own), every_step)
    trainer.train_many(together, included, seeds=seeds, start=start, watch=exposure)
    return {"scores": exposure.scores(seeds)}


def gradient_canaries(trainer: DpSgd, records: int, coins: BoolArray, every_step: bool, seed: int) -> Arrays:
    """A task: ``scores`` of `gradient_canary_scores`, shape (canaries,)."""
    return {"scores": gradient_canary_scores(trainer, records, coins, every_step=every_step, seed=seed)}


def _measure(
    along_gradients: bool, trainer: DpSgd, canaried: Canaried
) -> Callable[["Parameters", "Parameters"], FloatArray]:
    """How the canaries are scored: along their gradients, or by how far they are believed afterwards."""
    from dpaudit._tensorflow import tf
    from dpaudit.stacked.dot_products import dot_products
    from dpaudit.training.keras_model import targets

    network, records = trainer.network(canaried.together), canaried.records
    if along_gradients:
        along = dot_products(network, records.task, trainer.l2_norm_clip)
        return lambda before, after: np.asarray(along(before, after, records.features, targets(records)), np.float64)
    features = tf.constant(records.features)

    def belief(_: "Parameters", after: "Parameters") -> FloatArray:
        outputs = network.inference(int(after[0].shape[0]))(after, features).numpy()
        return phi(outputs, records.labels, task=records.task).values

    return belief


def _bound(bound: Bound, scores: Scores, audit: Audit) -> LowerBound:
    return bound(scores, delta=audit.delta, confidence=audit.confidence, adjacency=audit.adjacency, unit="record")
