"""What an audit would take: trainings, time and memory, predicted from short measurements on this machine."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from dpaudit.attacks.membership.null_check import MOST_RECORDS, null_check
from dpaudit.attacks.membership.pools import Spending, audited_part, leave_pair_out
from dpaudit.audits.audit import Audit
from dpaudit.audits.membership import run as membership
from dpaudit.data.inclusion import complementary_pairs
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import PROCESS_BYTES
from dpaudit.scores.signals import PoolSignals
from dpaudit.training.capabilities import ByEpochs
from dpaudit.training.reference_models.pool import PoolCost
from dpaudit.training.reference_models.speed import measure_training, measured_once
from dpaudit.training.reference_models.store import describe_value
from dpaudit.training.trainer import Trainer

FEW, SOME = 200, 600  # records on which an attack is timed; its time is a line in their number
REPORT_SECONDS = 2.0  # drawing, whatever was measured


@dataclass(frozen=True)
class ModelCost:
    """What one model under audit would take.

    Args:
        target: seconds of its own trainings, at most when it stops early; None when they cannot be predicted.
        pool: its reference models; None without any.
        attacks: seconds of its attacks; None when one of them needs more than random signals to be timed on.
        checkpoints: how often it is trained once more, up to a checkpoint.
    """

    target: float | None
    pool: PoolCost | None
    attacks: float | None
    checkpoints: int = 0


@dataclass(frozen=True)
class AuditCost:
    """What an audit would take; experiments beside ``[membership]`` are not counted.

    Args:
        models: by name.
        start: seconds until the first training: Python, TensorFlow.
        not_counted: tables of the plan whose time is not predicted.
    """

    models: dict[str, ModelCost]
    start: float
    not_counted: tuple[str, ...]

    @property
    def trainings(self) -> int:
        """Models to train, those under audit among them."""
        return sum(
            1 + cost.checkpoints + (0 if cost.pool is None else cost.pool.trainings) for cost in self.models.values()
        )

    @property
    def seconds(self) -> float | None:
        """Of the whole audit; None when a part is unknown."""
        parts = [self.start, REPORT_SECONDS]
        for cost in self.models.values():
            pool = 0.0 if cost.pool is None else cost.pool.seconds
            if cost.target is None or pool is None or cost.attacks is None:
                return None
            parts += [cost.target, pool, cost.attacks]
        return sum(parts)

    @property
    def peak_bytes(self) -> int:
        """Memory at the peak: pools are trained one after the other."""
        return max(
            (cost.pool.peak_bytes for cost in self.models.values() if cost.pool is not None), default=PROCESS_BYTES
        )

    @property
    def processes(self) -> int:
        """Of this machine that train reference models, at most."""
        return max((cost.pool.processes for cost in self.models.values() if cost.pool is not None), default=1)

    @property
    def worker_hours(self) -> float | None:
        """Of the reference models, over all workers."""
        hours = [cost.pool.worker_hours for cost in self.models.values() if cost.pool is not None]
        return None if any(each is None for each in hours) else sum(each for each in hours if each is not None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **asdict(self),
            "trainings": self.trainings,
            "seconds": self.seconds,
            "peak_bytes": self.peak_bytes,
            "worker_hours": self.worker_hours,
            "processes": self.processes,
        }


def audit_cost(
    trainers: dict[str, Trainer],
    settings: membership.MembershipSettings | None,
    audit: Audit,
    *,
    not_counted: tuple[str, ...],
) -> AuditCost:
    """Measure, or read from earlier measurements, what the parts take."""
    models = {}
    with audit.progress.task("measuring what this plan takes on this machine", 3 * len(trainers) + 1) as advance:
        for name, trainer in trainers.items():
            pool = None if settings is None else membership.predict_reference_cost(settings, trainer, audit, name=name)
            advance(1)
            attacks = 0.0 if settings is None else attack_seconds(settings, audit)
            advance(1)
            checkpoints = [] if settings is None else settings.checkpoints
            models[name] = ModelCost(_target_seconds(trainer, audit, checkpoints), pool, attacks, len(checkpoints))
            advance(1)
        # By now this process has read the same libraries from the disk.
        start = measured_once(_started, "start", warm=True) if models else 0.0
        advance(1)
    return AuditCost(models, start, not_counted)


def _target_seconds(trainer: Trainer, audit: Audit, checkpoints: Sequence[int]) -> float | None:
    if not isinstance(trainer, ByEpochs):
        return None

    def train(some: int) -> None:
        model = trainer.with_epochs(some)(audit.dataset, audit.member, seed=0)
        model.predict(audit.dataset.features)

    what = describe_value(trainer.with_epochs(1)), audit.dataset.features.shape, int(audit.member.sum())
    speed = measure_training(train, *what, "target")
    return speed.once + sum(speed.call + speed.epoch * some for some in (trainer.epochs, *checkpoints))


def attack_seconds(settings: membership.MembershipSettings, audit: Audit) -> float | None:
    """Of all attacks on one model; on its reference models too, each in turn the target."""
    models, classes = settings.references, audit.dataset.outputs
    if not models:
        return 0.0
    attacks = [item.built for item in settings.attacks]
    described_attacks = ",".join(item.model_dump_json() for item in settings.attacks)
    copies = sum(len(query(audit.dataset.features[:1], seed=0)) for query in settings.queries)
    views = copies, len(settings.checkpoints)
    what = described_attacks, models, classes, *views

    def predicted(work: Callable[[list[Any], PoolSignals], None], name: str, wanted: int) -> float:
        few, some = (
            measured_once(
                partial(work, attacks, noise_pool(models, records, classes, *views)),
                *(name, *what, records),
                warm=records != FEW,
            )
            for records in (FEW, SOME)
        )
        return max(few + max(some - few, 0.0) / (SOME - FEW) * (wanted - FEW), 0.0)

    try:
        records = len(audit.dataset)
        return predicted(attack_pool, "attacks", records) + predicted(
            check_pool, "null checks", min(records, MOST_RECORDS)
        )
    except InputError:
        return None


def attack_pool(attacks: list[Any], pool: PoolSignals) -> None:
    """Attack the first model of a pool with all attacks, and each in turn, to see how long it takes."""
    for attack in attacks:
        attack(audited_part(attack, pool.target(0), pool.included[0])[0])
        if not isinstance(attack, Spending):
            leave_pair_out(attack, pool)


def check_pool(attacks: list[Any], pool: PoolSignals) -> None:
    """The null self-test of all attacks on a pool, to see how long it takes."""
    for attack in attacks:
        if not isinstance(attack, Spending):
            null_check(attack, pool, seed=0)


def noise_pool(models: int, records: int, classes: int, copies: int, checkpoints: int) -> PoolSignals:
    """A pool as the attacks see one, of random numbers: their time does not depend on the values."""
    rng = np.random.default_rng(0)
    labels = np.arange(records) % max(classes, 2)
    population = records // 4

    def phi(records: int) -> FloatArray:
        return rng.normal(size=(models, records))

    def log_p(records: int) -> FloatArray:
        logs: FloatArray = np.log(rng.dirichlet(np.ones(max(classes, 2)), (models, records)))
        return logs

    return PoolSignals(
        phi=phi(records),
        included=complementary_pairs(models, records, seed=1),  # not that of an attack that spends records
        labels=labels,
        log_probabilities=log_p(records),
        population=phi(population),
        population_labels=labels[:population],
        population_log_probabilities=log_p(population),
        queries=tuple(phi(records) for _ in range(copies)),
        query_log_probabilities=tuple(log_p(records) for _ in range(copies)),
        checkpoints=tuple(phi(records) for _ in range(checkpoints)),
    )


def _started() -> None:
    """Import what a training needs, in a process of its own."""
    subprocess.run([sys.executable, "-c", "import dpaudit.runtime.tensorflow, dpaudit.audits.run"], check=True)
