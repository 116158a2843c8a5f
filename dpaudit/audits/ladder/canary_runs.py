"""Rungs 3 and 4: canary records behind fair coins in one training, or one canary behind a coin in many."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import Claim, Poisson
from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.rmia import Rmia
from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.ladder.canary_tasks import (
    Canaried,
    CanaryRuns,
    CanaryScores,
    DecorrelatedCanaries,
    GradientCanaries,
    Scoring,
)
from dpaudit.audits.ladder.decorrelated import cannot_decorrelate
from dpaudit.audits.ladder.settings import AT_A_TIME, LadderSettings, RungFindings
from dpaudit.audits.membership.reference_models import pool_signals, target_signals
from dpaudit.bounds.default import Bound, default_bound
from dpaudit.bounds.hypothesis import LATTICE, Definition, MechanismFamily, accuracy
from dpaudit.bounds.lower_bound import LowerBound, Skipped
from dpaudit.bounds.stopping_rule import StoppedAccuracy, StoppingRule
from dpaudit.data.canaries import canaries
from dpaudit.data.inclusion import complementary_pairs, fair_coins
from dpaudit.data.member_choice import Coins
from dpaudit.data.source import Records, with_added
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import AuditFailed
from dpaudit.scores.scores import Scores
from dpaudit.training.capabilities import reference_trainer
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.on_engine import on_engine
from dpaudit.training.reference_models.masks import Packed
from dpaudit.training.reference_models.pool import Pool
from dpaudit.training.reference_models.task_cache import CachedTask, in_order, missing, run_cached, store_of
from dpaudit.training.reference_models.trained_model import Wanted
from dpaudit.training.trainer import Predict
from dpaudit.training.watched import watched


def audit_one_run(settings: LadderSettings, audit: Audit, subject: Subject) -> RungFindings | Skipped:
    """Rung 3: a lower bound from one training with some of the canaries; why there is none where it cannot run."""
    reason = _refused(settings, audit, subject)
    if reason is not None:
        return reason
    coins = fair_coins(settings.canaries, seed=audit.seed_for("ladder coins", subject.name))
    coins = audit.audited_member if audit.canaries else coins  # those of the plan, in its own training
    scores = _scores(settings, audit, subject, coins, seed=audit.seed_for("one run", subject.name))
    bound = default_bound("one-run", Coins(0.5), seed=audit.seed_for("ladder bound", subject.name))
    return RungFindings(bound=_bound(bound, Scores.join(scores, coins), audit))


def _scores(settings: LadderSettings, audit: Audit, subject: Subject, coins: BoolArray, *, seed: int) -> FloatArray:
    """Scores of the canaries of one training, shape (canaries,)."""
    if settings.canary == "gradient":
        records, every_step = int(audit.member.sum()), settings.observe == "all-steps"
        trainer = on_engine(subject.trainer, audit.dataset)
        assert not isinstance(trainer, Skipped)
        task = GradientCanaries(trainer, records, coins, every_step, seed)
        return _one(audit, f"train gradient canaries for {subject.name}", task)
    canaried = _with_canaries(settings, audit, subject, settings.canaries)
    included = audit.member if audit.canaries else np.concatenate([audit.member, coins])
    seed = audit.training_seed(subject.name) if audit.canaries else seed
    if settings.score == "decorrelated":
        trainer = on_engine(subject.trainer, canaried.together)
        assert not isinstance(trainer, Skipped)
        decorrelated = DecorrelatedCanaries(trainer, canaried.sent, coins.size, included, seed)
        return _one(audit, f"see every step of {subject.name}", decorrelated)
    if settings.watches:
        runs = _runs(settings, subject, canaried, included[None], [seed], None)
        watched: FloatArray = _one(audit, f"train canaries for {subject.name}", runs)[0]
        return watched
    name = f"{subject.name} with canaries"
    wanted = {name: Wanted(subject.trainer, included, seed)}
    trained = audit.trained(wanted, canaried.together, canaried.sent)[name]
    if settings.score in ("lira", "rmia"):
        return _against_references(settings, audit, subject, canaried, trained.predict)
    # How much more the canaries are believed than by the model that never saw one of them.
    scores: FloatArray = canaried.belief(trained.predict) - canaried.belief(subject.model.predict)
    return scores


def _one(audit: Audit, name: str, task: CachedTask[CanaryScores]) -> FloatArray:
    """Scores of a single task."""
    ((_, found),) = _kept(audit, {name: task})
    return found.scores


def _kept(
    audit: Audit, tasks: Mapping[str, CachedTask[CanaryScores]], done: Callable[[str], object] = lambda name: None
) -> Iterator[tuple[str, CanaryScores]]:
    store, workers, memory = store_of(audit.folder / "ladder"), audit.workers, audit.memory
    return run_cached(tasks, CanaryScores, store=store, workers=workers, memory=memory, done=done)


def audit_many_runs(settings: LadderSettings, audit: Audit, subject: Subject) -> RungFindings | Skipped:
    """Rung 4: a lower bound from many trainings with or without one canary; why there is none where it cannot run."""
    reason = _refused(settings, audit, subject)
    if reason is not None:
        return reason
    canaried = _with_canaries(settings, audit, subject, 1)
    start = None if settings.start == "random" else _start(settings, audit, subject)
    if isinstance(start, Skipped):
        return start
    coins = fair_coins(settings.runs, seed=audit.seed_for("many coins", subject.name))
    scored = _in_stacks(settings, audit, subject, canaried, coins, start)
    if settings.stop_early:
        return RungFindings(bound=_until_refuted(settings, audit, subject, coins, scored))
    scores = np.concatenate(list(scored))
    bound = default_bound("many-runs", Coins(0.5), seed=audit.seed_for("many bound", subject.name))
    return RungFindings(bound=_bound(bound, Scores.join(scores, coins), audit))


def _in_stacks(
    settings: LadderSettings,
    audit: Audit,
    subject: Subject,
    canaried: Canaried,
    coins: BoolArray,
    start: Sequence[npt.NDArray[np.float32]] | None,
) -> Iterator[FloatArray]:
    """Scores of some runs after the other, each (runs,)."""
    tasks = {}
    for first in range(0, len(coins), AT_A_TIME):
        part = coins[first : first + AT_A_TIME]
        included = np.concatenate([np.tile(audit.member, (len(part), 1)), part[:, None]], axis=1)
        seeds = [audit.seed_for("many runs", subject.name, first + run) for run in range(len(part))]
        name = f"train runs {first} to {first + len(part) - 1} of {subject.name}"
        tasks[name] = _runs(settings, subject, canaried, included, seeds, start)
    left = missing(tasks, store=store_of(audit.folder / "ladder"))
    runs = {name: len(task.seeds) for name, task in tasks.items()}
    total = sum(runs[name] for name in left)
    with audit.progress.task(f"training with and without a canary for {subject.name}", total) as advance:
        results = _kept(audit, tasks, lambda name: advance(runs[name]))
        for found in in_order(results, tasks):
            yield found.scores[:, 0]


def _until_refuted(
    settings: LadderSettings, audit: Audit, subject: Subject, coins: BoolArray, scored: Iterator[FloatArray]
) -> LowerBound:
    """A pilot fixes the threshold midway between the two worlds; the other runs test the claim."""
    null = _null(subject.claim, audit)
    claimed = None if subject.claim is None else _claimed_accuracy(subject.claim, null, audit)
    pilot = settings.pilot
    so_far = [min(first + AT_A_TIME, settings.runs) for first in range(0, settings.runs, AT_A_TIME)]
    looks = tuple(runs - pilot for runs in so_far if runs > pilot)
    rule = StoppingRule(looks, claimed, 1 - audit.confidence)
    scores, threshold = np.empty(0), math.nan
    for part in scored:
        scores = np.concatenate([scores, part])
        if scores.size <= pilot:
            continue
        if math.isnan(threshold):
            known = coins[:pilot]
            if known.all() or not known.any():
                raise AuditFailed(f"all {pilot} coins of the pilot fell alike; use more runs.")
            threshold = float(scores[:pilot][known].mean() + scores[:pilot][~known].mean()) / 2
        hits = (scores[pilot:] > threshold) == coins[pilot : scores.size]
        if rule.refutes(int(hits.sum()), hits.size):
            break
    bound = StoppedAccuracy(threshold, rule, null)
    return _bound(bound, Scores.join(scores[pilot:], coins[pilot : scores.size]), audit)


def _null(claim: Claim | None, audit: Audit) -> Definition | MechanismFamily:
    """The claimed training with other noise where its curve is known, else every mechanism."""
    steps = None if claim is None or math.isinf(claim.epsilon) else claim.mechanism
    if steps is None or steps.noise_multiplier == 0 or not isinstance(steps.sampling, Poisson):
        return Definition()
    return MechanismFamily(steps, audit.adjacency)


def _claimed_accuracy(claim: Claim, null: Definition | MechanismFamily, audit: Audit) -> float | None:
    """Largest share of coins that may be guessed right under the claim; None when it allows all.

    A bound is rounded down to a lattice of strengths, so what is refuted lies above the claim by two of its steps.
    """
    if math.isinf(claim.epsilon):
        return None
    strength = null.strength(claim.epsilon, audit.delta) * math.exp(2 * LATTICE)
    rate = accuracy(null.curve(strength, audit.delta))
    return rate if rate < 1 else None


def _refused(settings: LadderSettings, audit: Audit, subject: Subject) -> Skipped | None:
    """Why a subject cannot be audited as the settings say; None when it can."""
    if audit.unit != "record":
        return Skipped("its canaries are records, and the audit is about users")
    if not settings.watches:
        return None
    of_gradients = settings.canary == "gradient"
    engine_only = of_gradients or settings.score == "decorrelated"
    trainer = (on_engine if engine_only else watched)(subject.trainer, audit.dataset)
    if isinstance(trainer, Skipped):
        return Skipped(
            f"the steps of a {type(subject.trainer).__name__} trainer cannot be watched, because {trainer.reason}; "
            "score by loss, lira or rmia and observe the final model"
        )
    if settings.score == "decorrelated":
        assert isinstance(trainer, DpSgd)
        return cannot_decorrelate(trainer)
    if of_gradients and getattr(trainer, "l2_norm_clip", None) is None:
        return Skipped("gradients that are not clipped have no size a canary could have")
    return None


def _with_canaries(settings: LadderSettings, audit: Audit, subject: Subject, count: int) -> Canaried:
    """They come from records no model was trained on, or only the public model that finds them."""
    if audit.canaries:
        return Canaried(audit.audited, audit.dataset, audit.records())
    settings.require_classes(audit.dataset)
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
    settings: LadderSettings, audit: Audit, subject: Subject, canaried: Canaried, predict: Predict
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


def _start(settings: LadderSettings, audit: Audit, subject: Subject) -> list[npt.NDArray[np.float32]] | Skipped:
    """Weights that every run starts from; why there are none for other trainers.

    They are random (``shared``), or of the same network trained without DP on the population (``worst-case``).
    """
    trainer = watched(subject.trainer, audit.dataset)
    if isinstance(trainer, Skipped):
        return Skipped(
            f"a {type(subject.trainer).__name__} trainer cannot be started from a {settings.start} initialisation, "
            f"because {trainer.reason}"
        )
    if settings.start == "shared":
        return trainer.initial_weights(audit.dataset, seed=audit.seed_for("shared start", subject.name))
    everyone = np.ones(len(audit.population), bool)
    name = f"worst case for {subject.name}"
    wanted = {name: Wanted(trainer.without_privacy(), everyone, audit.seed_for("worst case", subject.name))}
    trained = audit.trained(wanted, audit.population, Records.of(audit.population))
    return [value for _, value in sorted(trained[name].weights.items())]


def _runs(
    settings: LadderSettings,
    subject: Subject,
    canaried: Canaried,
    included: BoolArray,
    seeds: Sequence[int],
    start: Sequence[npt.NDArray[np.float32]] | None,
) -> CanaryRuns:
    """The task that trains models with some of the canaries."""
    scoring = Scoring(settings.score == "white-box", settings.observe == "all-steps")
    shown = watched(subject.trainer, canaried.together)
    return CanaryRuns(
        subject.trainer if isinstance(shown, Skipped) else shown,
        canaried.sent,
        len(canaried.records),
        Packed.of(included),
        scoring if settings.watches or start is not None else None,
        None if start is None else tuple(start),
        tuple(seeds),
    )


def _bound(bound: Bound, scores: Scores, audit: Audit) -> LowerBound:
    return bound(scores, delta=audit.delta, confidence=audit.confidence, adjacency=audit.adjacency, unit="record")
