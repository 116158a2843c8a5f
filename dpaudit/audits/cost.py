"""What an audit would take: trainings, time and memory, predicted from short measurements on this machine."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dpaudit.audits.audit import Audit
from dpaudit.audits.extraction import cost as extraction
from dpaudit.audits.federated import cost as federated
from dpaudit.audits.gradient import cost as gradient
from dpaudit.audits.ladder import cost as ladder
from dpaudit.audits.membership.ahead import pools_ahead
from dpaudit.audits.membership.cost import attack_time, predict_reference_cost
from dpaudit.audits.membership.run import MembershipSettings
from dpaudit.audits.plan import Plan
from dpaudit.audits.prior import cost as prior
from dpaudit.audits.run import find_code, prepare_audit
from dpaudit.audits.table_cost import TableCost, Untrained
from dpaudit.audits.trace import cost as trace
from dpaudit.audits.unlearning import cost as unlearning
from dpaudit.runtime.jobs import PROCESS_BYTES, Workers, cores
from dpaudit.runtime.progress import Progress, Silent
from dpaudit.runtime.took import Took, total
from dpaudit.training.reference_models.pool import PoolCost
from dpaudit.training.reference_models.speed import measured_once
from dpaudit.training.trainer import Trainer

BESIDE_BYTES = 100_000_000  # of a second program: the five plans of docs/scaling.md had -50 to 195 MB more than one
REPORT = Took(2.0, 2.0)  # drawing, whatever was measured
PYTHON = Took(1.5, 1.5)  # until Python has started and read this package
FACTOR = 2.0  # by which a prediction may be off either way, see docs/cluster.md


@dataclass(frozen=True)
class ModelCost:
    """What one model under audit would take.

    Args:
        target: its own trainings, at most when it stops early; None when they cannot be predicted.
        pool: its reference models; None without any.
        attacks: its attacks; None when one of them needs more than random signals to be timed on.
        checkpoints: how often it is trained once more, up to a checkpoint.
    """

    target: Took | None
    pool: PoolCost | None
    attacks: Took | None
    checkpoints: int = 0

    @property
    def took(self) -> Took | None:
        """All of it."""
        return total([self.target, Took() if self.pool is None else self.pool.took, self.attacks])


@dataclass(frozen=True)
class AuditCost:
    """What an audit would take.

    Args:
        models: by name.
        start: until the first training: Python, TensorFlow.
        tables: of the plan beside ``[membership]``, by name.
        ahead: reference models are trained beside the models under audit and ``[gradient]``
            (`dpaudit.audits.membership.ahead`).
    """

    models: dict[str, ModelCost]
    start: Took
    tables: dict[str, TableCost] = field(default_factory=dict)
    ahead: bool = False

    @property
    def trainings(self) -> int:
        """Models to train, those under audit among them."""
        of_models = sum(
            1 + cost.checkpoints + (0 if cost.pool is None else cost.pool.trainings) for cost in self.models.values()
        )
        return of_models + sum(cost.trainings for cost in self.tables.values())

    @property
    def took(self) -> Took | None:
        """Of the whole audit; None when a part is unknown."""
        parts = [self.start, REPORT, *(cost.took for cost in self.models.values())]
        whole = total([*parts, *(cost.took for cost in self.tables.values())])
        pools = total([cost.pool.took for cost in self.models.values() if cost.pool is not None])
        gradients = [cost.took for name, cost in self.tables.items() if name == "gradient"]
        main = total([*(cost.target for cost in self.models.values()), *gradients])
        if whole is None or pools is None or main is None or not self.ahead:
            return whole
        return Took(whole.wall - saved_beside(pools, main), whole.cpu)

    @property
    def not_counted(self) -> dict[str, str]:
        """Tables whose time is not predicted, and why."""
        return {name: cost.reason for name, cost in self.tables.items() if cost.took is None}

    @property
    def peak_bytes(self) -> int:
        """Memory at the peak: pools are trained one after the other, ahead beside a model under audit."""
        pools = [cost.pool.peak_bytes for cost in self.models.values() if cost.pool is not None]
        return max(pools, default=PROCESS_BYTES) + self.ahead * BESIDE_BYTES

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
        """For JSON: times as ``{"wall": seconds, "cpu": seconds}``."""
        took = self.took
        return {
            **asdict(self),
            "trainings": self.trainings,
            "seconds": None if took is None else took.wall,
            "cpu_seconds": None if took is None else took.cpu,
            "factor": FACTOR,
            "not_counted": self.not_counted,
            "peak_bytes": self.peak_bytes,
            "worker_hours": self.worker_hours,
            "processes": self.processes,
        }


def saved_beside(one: Took, other: Took) -> float:
    """Seconds on the clock that two steps save side by side: the longer one is left, or all cores busy with both.

    >>> saved_beside(Took(10.0, 10.0), Took(6.0, 6.0)) <= 6.0
    True
    """
    together = max(one.wall, other.wall, (one.cpu + other.cpu) / cores())
    return max(0.0, one.wall + other.wall - together)


def predict_cost(
    plan: Plan,
    *,
    folder: Path | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
    workers: Workers | None = None,
    trust: bool = False,
) -> AuditCost:
    """What an audit would take, from a few seconds of measurements that are kept for the next time.

    Args:
        plan: as for `dpaudit.audits.run.run`; so are ``progress``, ``memory``, ``workers`` and ``trust``.
        folder: of the run; what is stored there need not be trained again.
    """
    find_code(plan, trust)
    begin = started()
    if plan.trace is not None:
        built = None if plan.architecture is None else plan.architecture.without_start("architecture")
        return AuditCost({}, begin, {"trace": trace.cost(plan.trace, built)})
    folder = folder or Path("runs") / plan.name
    audit = prepare_audit(plan, folder, progress or Silent(), memory=memory, workers=workers or Workers(None))
    return audit_cost(plan.trainers(), plan.membership, audit, start=begin, tables=_tables(plan))


def _tables(plan: Plan) -> dict[str, Callable[[Untrained], TableCost]]:
    """The tables of a plan beside ``[membership]``, each with what says its cost."""
    costs: dict[str, Callable[[Any, Untrained], TableCost]] = {
        "gradient": gradient.cost,
        "prior": prior.cost,
        "federated": federated.cost,
        "ladder": ladder.cost,
        "unlearning": unlearning.cost,
        "extraction": extraction.cost,
    }
    given = {name: getattr(plan, name) for name in costs}
    return {name: partial(costs[name], settings) for name, settings in given.items() if settings is not None}


def audit_cost(
    trainers: dict[str, Trainer],
    settings: MembershipSettings | None,
    audit: Audit,
    *,
    start: Took,
    tables: dict[str, Callable[[Untrained], TableCost]],
) -> AuditCost:
    """Measure, or read from earlier measurements, what the parts take."""
    untrained = Untrained(audit, trainers)
    models, counted = {}, {}
    parts = 3 * len(trainers) + len(tables)
    with audit.progress.task("measuring what this plan takes on this machine", parts) as advance:
        for name, trainer in trainers.items():
            pool = None if settings is None else predict_reference_cost(settings, trainer, audit, name=name)
            advance(1)
            attacks = Took() if settings is None else attack_time(settings, audit)
            advance(1)
            checkpoints = [] if settings is None else settings.checkpoints
            models[name] = ModelCost(_target(trainer, untrained, checkpoints), pool, attacks, len(checkpoints))
            advance(1)
        for table, says in tables.items():
            counted[table] = says(untrained)
            advance(1)
    return AuditCost(models, start, counted, bool(pools_ahead(settings, trainers, audit)))


def _target(trainer: Trainer, untrained: Untrained, checkpoints: Sequence[int]) -> Took | None:
    speed = untrained.alone(trainer)
    if speed is None:
        return None
    lengths = [getattr(trainer, "epochs"), *checkpoints]  # noqa: B009  # a trainer with a speed has them
    return speed.took(sum(lengths), calls=1) + speed.call * len(checkpoints)


def started() -> Took:
    """What a run takes until its first training: Python, and importing TensorFlow here or in a process of its own."""
    return PYTHON + measured_once(_start_another if "tensorflow" in sys.modules else _import_tensorflow, "start")


def _import_tensorflow() -> None:
    import dpaudit.runtime.tensorflow  # noqa: F401


def _start_another() -> None:
    subprocess.run([sys.executable, "-c", "import dpaudit.runtime.tensorflow"], check=True)
