"""Membership inference on every model of an audit: who was trained on?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from dpaudit.attacks.membership.auto import Auto
from dpaudit.attacks.membership.pools import leave_pair_out
from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.by_name import ByName, as_table
from dpaudit.audits.membership.attack_jobs import AttackInputs, resolve_attack, score_attacks
from dpaudit.audits.membership.judgement import FPRS, Terms, judge_attack
from dpaudit.audits.membership.reference_models import observed_pool, target_signals
from dpaudit.audits.membership.views import Queried
from dpaudit.data.as_data import AsData
from dpaudit.data.dataset import Dataset
from dpaudit.data.member_choice import Coins, NotRandom
from dpaudit.data.queries import Query
from dpaudit.results.membership import ExposedRecords, MembershipResult
from dpaudit.results.record_scores import RecordScores, ScoresBeside
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import current_room
from dpaudit.scores.sanity import learned_nothing
from dpaudit.scores.scores import Scores
from dpaudit.scores.signals import PoolSignals, Signals
from dpaudit.scores.slices import column_groups, judge_slices, standard_groups
from dpaudit.scores.vulnerable_records import find_exposed, rates_of_records
from dpaudit.training.capabilities import at_epoch, reference_trainer
from dpaudit.training.reference_models.pool import Pool
from dpaudit.training.reference_models.trained_model import Wanted
from dpaudit.training.trainer import Trainer

STANDARD_SLICES = ("class", "loss", "classified")


class MembershipAttackSettings(ByName):
    """An attack on membership."""

    @cached_property
    def built(self) -> Any:
        """The attack, always the same one."""
        return registry.build("membership", self.name, self.model_extra or {}, where=f"attack {self.name!r}")


class MembershipSettings(BaseModel):
    """``[membership]``: attacks, reference models, slices, queries and checkpoints.

    For each model under audit, ``references`` models are trained like it, in complementary pairs on halves of the
    records. The attacks use them, and each of them is attacked in turn with the others as references (`PoolResult`).
    ``slices``: by ``class``, by quantile of the ``loss``, by whether the record is ``classified`` correctly, or by a
    column of the data, which stays a feature when it holds numbers. ``fdr``: false discovery rate of the list of
    exposed records. ``queries``: changed copies of each record, the same for every model, for the attacks that use
    several. ``checkpoints``: epochs after which the target and the references are observed too, for ``trajectory``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    attacks: list[Annotated[MembershipAttackSettings, BeforeValidator(as_table)]] = Field(min_length=1)
    references: int = Field(default=0, ge=0)
    slices: list[str] = []
    fdr: float = Field(default=0.05, gt=0, lt=1)
    queries: list[Query] = []
    checkpoints: list[Annotated[int, Field(ge=1)]] = []

    @field_validator("references")
    @classmethod
    def _pairs(cls, references: int) -> int:
        if references % 2 or references == 2:
            raise ValueError("must be 0 or an even number from 4 on: references are trained in pairs")
        return references

    @field_validator("checkpoints")
    @classmethod
    def _in_order(cls, checkpoints: list[int]) -> list[int]:
        if checkpoints != sorted(set(checkpoints)):
            raise ValueError("must rise from one to the next")
        return checkpoints

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that the records are sliced by."""
        return tuple(by for by in self.slices if by not in STANDARD_SLICES)

    def bounds(self) -> int:
        """Lower bounds computed per model."""
        return len(self.attacks)


def audit_membership(settings: MembershipSettings, audit: Audit) -> MembershipResult:
    """Attack every subject; membership is joined to the scores here and nowhere before."""
    dataset, member = audit.audited, audit.audited_member
    current_room().need(len(dataset), settings.references)
    attacks = [(item.name, item.built) for item in settings.attacks]
    data = AsData.of(dataset.described, dataset.labels, member, seed=audit.seed_for("as data"))
    chosen_for_bounds = NotRandom() if data.blind.differs else Coins()
    terms = Terms(audit.design, audit.protection, audit.confidence, chosen_for_bounds, audit.bound)
    outcome = MembershipResult(
        design=audit.design,
        chosen=Coins(),
        blind=data.blind,
        duplicates=data.duplicates,
        attacks=[],
        references=settings.references,
    )
    queried = Queried.of(audit.audited, audit.population, settings.queries, seed=audit.seed_for("queries"))
    scored: list[tuple[str, str, FloatArray, BoolArray]] = []
    for subject in audit.subjects:
        pool = None
        if settings.references:
            pool = reference_signals(subject, settings, audit, queried)
            if reference_trainer(subject.trainer, audit.dataset) is not subject.trainer:
                outcome.stacked.append(subject.name)
            names = dataset.source_rows
            outcome.exposed.append(find_exposed_records(subject.name, pool, names, member, fdr=settings.fdr))
        signals = observe_subject(subject, settings, audit, queried, pool)
        outcome.floored[subject.name] = signals.floored
        outcome.caveats.extend(filter(None, [learned_nothing(signals, member, subject.name)]))
        groups = chosen_groups(signals, settings.slices, dataset.groups)
        found_by = score_attacks(subject.name, attacks, AttackInputs(signals, pool, member, current_room()), audit)
        for (name, attack), found in zip(attacks, found_by, strict=True):
            scores, kept_rows = found.scores, found.kept
            scored.append((subject.name, name, scores, kept_rows))
            judged = member[kept_rows]
            seed = audit.seed_for("bound", subject.name, name)
            joined = Scores.join(scores, judged)
            judgement = judge_attack(
                subject.name, name, resolve_attack(attack, signals), joined, terms=terms, seed=seed
            )
            update: dict[str, Any] = {"spent": int((~kept_rows).sum())}
            if groups:
                parts = {by: values[kept_rows] for by, values in groups.items()}
                update["slices"] = judge_slices(scores, judged, parts, fpr=FPRS[0])
            outcome.attacks.append(judgement.model_copy(update=update))
            if found.pool is not None:
                outcome.pools.append(found.pool)
    outcome.keep(ScoresBeside(RecordScores.of(dataset.source_rows, member, scored)))
    return outcome


def reference_signals(subject: Subject, settings: MembershipSettings, audit: Audit, queried: Queried) -> PoolSignals:
    """Reference models of a subject, seen through all queries and at all checkpoints."""

    def pool(trainer: Trainer, others: Dataset | None) -> PoolSignals:
        wanted = reference_pool(subject.name, trainer, settings, audit, others)
        return observed_pool(wanted, audit.progress, audited=audit.rows if audit.canaries else None)

    earlier = [pool(at_epoch(subject.trainer, epochs), None).phi for epochs in settings.checkpoints]
    return replace(queried.pool(pool(subject.trainer, queried.everything)), checkpoints=tuple(earlier))


def reference_pool(
    name: str, trainer: Trainer, settings: MembershipSettings, audit: Audit, others: Dataset | None
) -> Pool:
    """Reference models of the model of this name, trained like ``trainer``, and asked about ``others`` too."""
    known = others is None or others is audit.population
    return Pool(
        trainer,
        audit.dataset,
        audit.reference_pairs(settings.references),
        others,
        seed=audit.seed_for("references", name),
        folder=audit.folder / "references",
        memory=audit.memory,
        workers=audit.workers,
        # With queries behind the population, which no source knows, the records are sent.
        records=audit.records(population=others is not None) if known else None,
    )


def observe_subject(
    subject: Subject, settings: MembershipSettings, audit: Audit, queried: Queried, pool: PoolSignals | None
) -> Signals:
    """What the attacks see of a subject and of all models of its pool."""
    dataset, predict = audit.audited, subject.model.predict
    others = predict(queried.everything.features)
    plain = target_signals(
        predict(dataset.features), dataset, audit.population, others[: len(audit.population)], pool=pool
    )

    def view(outputs: FloatArray, reference: tuple[FloatArray, ...], index: int) -> Signals:
        seen = target_signals(outputs, dataset, None, None)
        return seen if pool is None else seen.with_references(reference[index], pool.included)

    queries = [
        view(others[part], () if pool is None else pool.queries, index) for index, part in enumerate(queried.parts())
    ]
    earlier = {
        f"{subject.name} to epoch {epochs}": Wanted(
            at_epoch(subject.trainer, epochs), audit.member, audit.training_seed(subject.name)
        )
        for epochs in settings.checkpoints
    }
    models = audit.trained(earlier, audit.dataset, audit.records()).values()
    checkpoints = [
        view(model.predict(dataset.features), () if pool is None else pool.checkpoints, index)
        for index, model in enumerate(models)
    ]
    return replace(plain, queries=tuple(queries), checkpoints=tuple(checkpoints))


def find_exposed_records(
    model: str, pool: PoolSignals, names: IntArray, member: BoolArray, *, fdr: float
) -> ExposedRecords:
    """Records that a pool reveals as members, under their ``names`` (records,), and how often an attack finds them.

    ``member`` (records,) says which of them the model itself was trained on.
    The attack is the one ``auto`` takes for this pool: chosen before any score is seen.
    """
    found = find_exposed(pool.phi, pool.included, fdr=fdr)
    called = rates_of_records(leave_pair_out(Auto(), pool), pool.included, found.records, fpr=FPRS[0])
    rows = list(found.records)
    named = replace(found, records=tuple(names[rows].tolist()))
    return ExposedRecords(model=model, exposed=named, rates=called, trained_on=tuple(member[rows].tolist()))


def chosen_groups(
    signals: Signals, slices: Sequence[str], columns: Mapping[str, npt.NDArray[np.generic]]
) -> dict[str, npt.NDArray[np.generic]]:
    """The slices asked for, as far as the signals know them; ``columns`` are those of the data."""
    groups = standard_groups(
        labels=signals.labels,
        loss=signals.loss,
        correct=None if signals.log_probabilities is None else signals.correct(),
    )
    for by, values in columns.items():
        if values.shape != (len(signals),):
            raise InputError(f"slices by {by} must have one value for each of {len(signals)} records.")
        groups[by] = column_groups(values)
    missing = [name for name in slices if name not in groups]
    if missing:
        raise InputError(f"slices by {missing[0]} need a classification task.")
    return {name: groups[name] for name in slices}
