"""Reference models trained beside the models under audit: both need the data, and neither needs the other.

Beside means in a thread, and only on the stacked engine, whose random numbers depend on seeds alone. Keras and the code
of users draw from generators that a process has one of, so they stay in the main thread, in their order. What is
trained ahead lies in the run folder, where ``[membership]`` finds it as after an interruption: the results are those of
a run that does one thing after the other.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from threading import Event

from dpaudit.audits.audit import Audit
from dpaudit.audits.membership.run import MembershipSettings, reference_pool
from dpaudit.audits.membership.views import Queried
from dpaudit.runtime.jobs import Stopped, stopped_by
from dpaudit.runtime.progress import Advance, Progress
from dpaudit.training.capabilities import at_epoch, reference_trainer
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.reference_models.pool import Pool
from dpaudit.training.trainer import Trainer


class _ModelsWanted(Exception):
    """The main thread wants the models itself."""


@contextmanager
def references_ahead(
    settings: MembershipSettings | None, trainers: Mapping[str, Trainer], audit: Audit
) -> Iterator[None]:
    """Train reference models while the block runs, one chunk after the other; at its end the current one is finished.

    When the block fails, the thread stops within some steps. When a training fails, that is raised after the block.

    Raises:
        InputError: records too few for a trainer, or too little memory; before the block.
        AuditFailed: a reference model diverged.
    """
    pools = pools_ahead(settings, trainers, audit)
    if not pools:
        yield
        return
    wanted, failed = Event(), Event()
    with ThreadPoolExecutor(1) as thread:
        work = thread.submit(copy_context().run, _train, pools, audit.progress, wanted, failed)
        try:
            yield
        except BaseException:
            failed.set()
            raise
        finally:
            wanted.set()
    work.result()


def pools_ahead(settings: MembershipSettings | None, trainers: Mapping[str, Trainer], audit: Audit) -> list[Pool]:
    """Pools that can be trained beside the models under audit; none where that would use no more cores.

    A cluster, and processes that were asked for, have more cores than the engine in this process.
    """
    if settings is None or not settings.references or audit.workers.scheduler or (audit.workers.jobs or 1) > 1:
        return []
    queried = Queried.of(audit.audited, audit.population, settings.queries, seed=audit.seed_for("queries"))
    pools = []
    for name, trainer in trainers.items():
        parts = [(at_epoch(trainer, epochs), None) for epochs in settings.checkpoints]
        for part, others in [*parts, (trainer, queried.everything)]:
            pool = reference_pool(name, part, settings, audit, others)
            pools.append(replace(pool, trainer=reference_trainer(part, audit.dataset)))
    pools = [pool for pool in pools if isinstance(pool.trainer, DpSgd)]
    if not pools:
        return []
    # Here and not in the thread: importing TensorFlow holds back what is written to standard error.
    from dpaudit.engine.training import workers

    if workers() == 1:
        return []
    return [pool for pool in pools if pool.missing()]


def _train(pools: list[Pool], progress: Progress, wanted: Event, failed: Event) -> None:
    with stopped_by(failed):
        for pool in pools:
            with progress.task("training reference models", pool.missing()) as advance:

                def done(models: int, advance: Advance = advance) -> None:
                    advance(models)
                    if wanted.is_set():
                        raise _ModelsWanted

                try:
                    # In this process: what is left when the models are wanted may go to others.
                    replace(pool, workers=replace(pool.workers, jobs=1))(done)
                except (_ModelsWanted, Stopped):
                    return
            if wanted.is_set():
                return
