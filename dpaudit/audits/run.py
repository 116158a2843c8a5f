"""Run a plan: the one place that knows the order of the steps."""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.accounting.accounted_claim import account
from dpaudit.accounting.claim import GaussianSteps, NoiseKnowledge, Unit
from dpaudit.audits import federated
from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.extraction import run as extraction
from dpaudit.audits.membership import run as membership
from dpaudit.audits.membership.ahead import references_ahead
from dpaudit.audits.membership.rehearsal import refuse_attacks
from dpaudit.audits.plan import Plan, load_plan
from dpaudit.audits.prior import run as prior
from dpaudit.audits.run_folder import LOG, basis_of, claim_folder, record_finished, runs_other_code, stored_result
from dpaudit.audits.trace import run as trace
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import fair_coins
from dpaudit.data.users import Natural, user_coins
from dpaudit.results.facts import with_verdicts
from dpaudit.results.metric import metric_of
from dpaudit.results.result import DataSummary, ModelResult, Result, Utility, provenance, summary
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import alone_in
from dpaudit.runtime.jobs import Workers
from dpaudit.runtime.log import Log
from dpaudit.runtime.out_of_core import within
from dpaudit.runtime.progress import Progress, Silent
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.from_outputs import quality
from dpaudit.trace import read_trace
from dpaudit.training.capabilities import adds_noise, refuse_model
from dpaudit.training.fine_tuned import FineTuned
from dpaudit.training.reference_models.trained_model import Wanted
from dpaudit.training.trainer import TrainedModel, Trainer

logger = logging.getLogger(__name__)


def run(
    plan: Plan | str | Path,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    memory: int | None = None,
    workers: Workers | None = None,
    trust: bool = False,
    overwrite: bool = False,
) -> Result:
    """Train, attack, bound, compare with theory.

    Args:
        plan: a plan, or the path of one.
        folder: where the run lives; default ``runs/<plan name>``. A run that was interrupted goes on from what is
            stored there, and of one that finished the stored result is returned, unless the plan names functions by
            module or a plug-in is installed, while plan, data, packages and every file of the run are as they were. A
            folder that holds what a run of another plan has trained is refused and left as it is. Of two runs in one
            folder the second waits for the first.
        progress: where long steps say how far they are; default nowhere.
        memory: bytes that trainings side by side may use, and this process while it attacks: signals that would take
            much of it are kept on disk and scored in blocks. None is half of what is free.
        workers: where heavy work is done; None is this process and others where they save time.
        trust: whether functions that the plan names by module may be imported and called.
        overwrite: remove what a run of another plan left in the folder.

    Returns:
        The result, also written as ``result.json`` in the folder, with ``report.html`` and the figures beside it.

    Raises:
        InputError: bad plan, data or folder.
        AuditFailed: a training did not reach what the plan asks for.
    """
    if not isinstance(plan, Plan):
        plan = load_plan(Path(plan))
    find_code(plan, trust)
    folder = folder if folder is not None else Path("runs") / plan.name
    with alone_in(folder), within(memory, folder):
        prepare = partial(
            prepare_audit, plan, folder, progress or Silent(), memory=memory, workers=workers or Workers(None)
        )
        return _run_in(folder, plan, prepare, overwrite=overwrite)


def find_code(plan: Plan, trust: bool) -> None:
    """Look for functions that the plan names in the current folder too; refuse them unless they are trusted."""
    for what, name in plan.code().items():
        if not trust:
            raise InputError(
                f"{what} by {name!r}, code from outside dpaudit that the run would execute; if you "
                "trust it and the plan, give --trust (trust=True)."
            )
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.insert(0, here)


def prepare_audit(plan: Plan, folder: Path, progress: Progress, *, memory: int | None, workers: Workers) -> Audit:
    """The audit of a plan before anything is trained: its records, its coins, its error level."""
    source = plan.source()
    records, population = source()
    if plan.membership is not None:
        refuse_attacks(plan.membership, records.task)
    canaries = 0 if plan.canaries is None else plan.canaries.count
    seed = derive_seed(plan.seed_of("split"), "coins")
    member = membership_coins(records, plan.audit.unit, seed=seed)
    if canaries:
        member = np.concatenate([np.ones(len(records) - canaries, bool), fair_coins(canaries, seed=seed)])
    if not 0 < member[-canaries:].sum() < len(member[-canaries:]):
        raise InputError(f"all {len(records)} records of {records.name} fell on one side of the coin; more are needed.")
    audit = Audit(
        dataset=records,
        member=member,
        population=population,
        subjects=(),
        protection=plan.protection,
        design=plan.audit.design,
        confidence=plan.level.per_bound,
        seed=plan.seed_of("attack"),
        seed_of_training=plan.seed_of("training"),
        bound=plan.audit.bound,
        folder=folder,
        progress=progress,
        memory=memory,
        workers=workers,
        source=source,
        canaries=canaries,
    )
    _refuse_tables(plan, audit)
    return audit


def _refuse_tables(plan: Plan, audit: Audit) -> None:
    """Refuse tables that these records do not do for."""
    if plan.prior is not None:
        plan.prior.require_records(audit.dataset)
    if plan.unlearning is not None:
        from dpaudit.audits.unlearning.run import check_requests  # late, as in `_run`

        check_requests(plan.unlearning, audit)
    ladder = plan.ladder
    # It leaves a rung out, and says why, where a budget is short or steps that it watches cannot be.
    if ladder is None or audit.unit != "record" or audit.canaries or ladder.budget or ladder.watches:
        return
    if not {3, 4}.isdisjoint(ladder.rungs):
        ladder.require_classes(audit.dataset)


def _run_in(folder: Path, plan: Plan, prepare: Callable[[], Audit], *, overwrite: bool) -> Result:
    begin = time.monotonic()
    log = Log(folder / LOG)
    basis = basis_of(plan)  # before the data are read: a file that changes meanwhile is another one the next time
    if (stored := stored_result(folder, basis)) is not None and not runs_other_code(plan):
        log.event("unchanged", plan=plan.fingerprint)
        logger.info("nothing changed since this run finished (%s): this is its result", stored.provenance.created)
        return stored
    claim_folder(folder, plan, overwrite=overwrite)
    log.event("started", plan=plan.fingerprint)
    try:
        result = _run(plan, prepare, log) if plan.trace is None else _run_trace(plan, plan.trace)
    except BaseException as error:
        # The log is a courtesy here: what went wrong is raised in any case.
        with suppress(InputError):
            log.failure(error)
        error.log = log.path  # type: ignore[attr-defined]  # the command line names it
        raise
    result = result.model_copy(update={"timing": {**result.timing, "total": round(time.monotonic() - begin, 3)}})
    result.write(folder)
    record_finished(folder, basis)
    log.event("finished", seconds=result.timing["total"])
    return result


def _run(plan: Plan, prepare: Callable[[], Audit], log: Log) -> Result:
    # Late, as they load much that a stored result does without.
    from dpaudit.audits.gradient import run as gradient
    from dpaudit.audits.ladder import run as ladder
    from dpaudit.audits.unlearning import run as unlearning

    timing: dict[str, float] = {}

    def timed(step: str, work: Callable[[], Any]) -> Any:
        begin = time.monotonic()
        value = work()
        timing[step] = round(time.monotonic() - begin, 3)
        log.event("step", step=step, seconds=timing[step])
        return value

    audit: Audit = timed("data", prepare)
    records, population, member = audit.dataset, audit.population, audit.member
    progress = audit.progress
    trainers = plan.trainers()
    for name, trainer in trainers.items():
        refuse_model(trainer, records, name=name)
    wanted = {name: Wanted(trainer, member, audit.training_seed(name)) for name, trainer in trainers.items()}
    models, subjects = [], []
    # Of the tables only [gradient] runs beside the references: the others use all cores or count the time that is left.
    with references_ahead(plan.membership, trainers, audit):
        with progress.task("training", len(wanted)) as advance:
            trained = timed(
                "training", lambda: audit.trained(wanted, records, audit.records(), lambda name: advance(1))
            )
        with progress.task("accounting", len(trained)) as advance:
            for settings in plan.model:
                trainer, model = trainers[settings.name], trained[settings.name]
                claimed = account(
                    model.mechanism,
                    settings.stated_claim(),
                    delta=audit.delta,
                    adjacency=audit.adjacency,
                    unit=model.mechanism.unit if model.mechanism is not None else audit.unit,
                )
                claim = claimed.claim if claimed is not None else None
                subjects.append(Subject(settings.name, trainer, model, claim))
                models.append(
                    ModelResult(
                        name=settings.name,
                        trainer=settings.trainer,
                        parameters=settings.model_extra or {},
                        mechanism=model.mechanism,
                        accounted=claimed,
                        utility=_utility_of(model, audit),
                        noise=known_noise(trainer, model.mechanism),
                        start=_start_of(settings.name, trainer),
                    )
                )
                advance(1)
        audit = replace(audit, subjects=tuple(subjects))
        gradient_outcome = (
            timed("gradient", partial(gradient.audit_gradients, plan.gradient, audit)) if plan.gradient else None
        )
    settings_of_membership = plan.membership
    membership_outcome = (
        timed("membership", partial(membership.audit_membership, settings_of_membership, audit))
        if settings_of_membership is not None
        else None
    )
    prior_outcome = timed("prior", partial(prior.audit_reconstruction, plan.prior, audit)) if plan.prior else None
    settings_of_federated = plan.federated
    federated_outcome = (
        timed("federated", partial(federated.audit_federations, settings_of_federated, audit))
        if settings_of_federated is not None
        else None
    )
    ladder_outcome = timed("ladder", partial(ladder.audit_ladder, plan.ladder, audit)) if plan.ladder else None
    settings_of_unlearning = plan.unlearning
    unlearning_outcome = (
        timed("unlearning", partial(unlearning.audit_unlearning, settings_of_unlearning, audit))
        if settings_of_unlearning is not None
        else None
    )
    settings_of_extraction = plan.extraction
    extraction_outcome = (
        timed("extraction", partial(extraction.audit_texts_extracted, settings_of_extraction, audit))
        if settings_of_extraction is not None
        else []
    )
    found = Result(
        schema=1,
        name=plan.name,
        title=f"Privacy audit of {plan.name}",
        unit=audit.unit,
        adjacency=audit.adjacency,
        delta=audit.delta,
        provenance=provenance(seed=plan.seed, plan=plan.toml(), fingerprint=plan.fingerprint),
        data=summary(records, members=int(member.sum()), population=len(population)),
        level=plan.level,
        models=models,
        comparisons=[],
        membership=membership_outcome,
        federated=federated_outcome,
        ladder=ladder_outcome,
        unlearning=unlearning_outcome,
        gradient=gradient_outcome,
        prior=prior_outcome,
        extraction=extraction_outcome,
        timing=timing,
    )
    return with_verdicts(found)


def _run_trace(plan: Plan, settings: trace.TraceSettings) -> Result:
    """Audit a recorded federation; nothing is trained but what its candidates would have sent."""
    begin = time.monotonic()
    recorded = read_trace(settings.path)
    claim = trace.claim_of(recorded)
    unit, delta = trace.protection_of_trace(recorded, plan.audit.model_dump(exclude_unset=True), delta=plan.audit.delta)
    found = trace.audit_trace(
        settings,
        recorded,
        claim,
        plan.architecture.without_start("architecture") if plan.architecture is not None else None,
        delta=delta,
        confidence=plan.level.per_bound,
        seed=plan.seed_of("attack"),
    )
    adjacency = claim.adjacency if claim is not None else plan.protection.adjacency
    mechanism = claim.mechanism if claim is not None else None
    result = Result(
        schema=1,
        name=plan.name,
        title=f"Privacy audit of {plan.name}",
        unit=unit,
        adjacency=adjacency,
        delta=delta,
        provenance=provenance(seed=plan.seed, plan=plan.toml(), fingerprint=plan.fingerprint),
        data=DataSummary(
            name=f"trace {settings.name}", records=0, members=0, population=0, fingerprint=None, licence="not stated"
        ),
        level=plan.level,
        models=[
            ModelResult(
                name=settings.name,
                trainer=recorded.manifest.framework,
                parameters={},
                mechanism=mechanism,
                accounted=account(mechanism, claim, delta=delta, adjacency=adjacency, unit=unit),
                utility=None,
            )
        ],
        comparisons=[],
        trace=found,
        timing={"trace": round(time.monotonic() - begin, 3)},
    )
    return with_verdicts(result)


def known_noise(trainer: Trainer, mechanism: GaussianSteps | None) -> NoiseKnowledge:
    """What is known of the noise of a training: what its accountant was told, or that there is none."""
    adds = adds_noise(trainer)
    if mechanism is not None and mechanism.noise_multiplier > 0:
        return "accounted"
    return "none" if adds is False or (adds is None and mechanism is not None) else "unknown"


def _start_of(name: str, trainer: Trainer) -> str | None:
    """What a report says of the weights that a model started from."""
    architecture = getattr(trainer, "architecture", None)
    return architecture.said_of(name) if isinstance(architecture, FineTuned) else None


def membership_coins(records: Dataset, unit: Unit, *, seed: int) -> BoolArray:
    """Who is trained on, shape (records,): one fair coin per record, or one per user for all of their records."""
    if unit == "record" or records.users is None:
        return fair_coins(len(records), seed=seed)
    owner = Natural()(records, seed=seed)
    return user_coins(owner, seed=seed)[owner]


def _utility_of(model: TrainedModel, audit: Audit) -> Utility:
    """Canaries say nothing of how good a model is: beside them the other records do."""
    if audit.canaries:
        return measure_utility(model, audit.dataset.take(~audit.rows), None, audit.population)
    members, others = audit.dataset.take(audit.member), audit.dataset.take(~audit.member)
    return measure_utility(model, members, others, audit.population)


def measure_utility(model: TrainedModel, members: Dataset, nonmembers: Dataset | None, population: Dataset) -> Utility:
    """Accuracy, mean squared error or loss per token on the training records and on records the model never saw."""

    def measured(*parts: Dataset) -> float:
        hits = np.concatenate([quality(model.predict(part.features), part.labels, task=part.task) for part in parts])
        return round(float(hits.mean()), 6)

    return Utility(
        metric=metric_of(members.task),
        train=measured(members),
        test=measured(*([] if nonmembers is None else [nonmembers]), population),
    )
