"""What ``[membership]`` would take: reference models, and attacks timed on random signals of a few hundred records."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dpaudit.attacks.membership.null_check import MOST_RECORDS, null_check
from dpaudit.attacks.membership.pools import Spending, audited_part, leave_pair_out
from dpaudit.audits.audit import Audit
from dpaudit.audits.membership.run import MembershipSettings
from dpaudit.audits.membership.views import Queried
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import complementary_pairs
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.took import Took
from dpaudit.scores.signals import PoolSignals
from dpaudit.training.capabilities import at_epoch, reference_trainer
from dpaudit.training.reference_models.pool import Pool, PoolCost, add_costs
from dpaudit.training.reference_models.speed import measured_once
from dpaudit.training.trainer import Trainer

FEW, SOME = 50, 300  # records on which an attack is timed; its time is a line in their number


def predict_reference_cost(
    settings: MembershipSettings, trainer: Trainer, audit: Audit, *, name: str
) -> PoolCost | None:
    """What the reference models of one subject would take; None when there are none."""
    if not settings.references:
        return None
    included = audit.reference_pairs(settings.references)
    queried = Queried.of(audit.audited, audit.population, settings.queries, seed=audit.seed_for("queries"))
    seed, folder = audit.seed_for("references", name), audit.folder / "references"

    def cost(trainer: Trainer, others: Dataset | None) -> PoolCost:
        recipe = reference_trainer(trainer, audit.dataset)
        return Pool(recipe, audit.dataset, included, others, seed, folder, audit.memory, audit.workers).cost()

    earlier = [cost(at_epoch(trainer, epochs), None) for epochs in settings.checkpoints]
    return add_costs(cost(trainer, queried.everything), *earlier)


def attack_time(settings: MembershipSettings, audit: Audit) -> Took | None:
    """Of all attacks on one model; on its reference models too, each in turn the target."""
    models, classes = settings.references, audit.dataset.outputs
    if not models:
        return Took()
    attacks = [item.built for item in settings.attacks]
    described_attacks = ",".join(item.model_dump_json() for item in settings.attacks)
    copies = sum(len(query(audit.dataset.features[:1], seed=0)) for query in settings.queries)
    views = copies, len(settings.checkpoints)
    what = described_attacks, models, classes, *views

    def predicted(work: Callable[[list[Any], PoolSignals], None], name: str, wanted: int) -> Took:
        few, some = (partial(work, attacks, noise_pool(models, records, classes, *views)) for records in (FEW, SOME))
        short = measured_once(few, name, *what, FEW)
        each = measured_once(some, name, *what, SOME).less(short) * (1 / (SOME - FEW))
        return short + each * (wanted - FEW) if wanted >= FEW else short

    try:
        records = len(audit.audited)
        attacked = predicted(attack_pool, "attacks", records)
        return attacked + predicted(check_pool, "null checks", min(records, MOST_RECORDS))
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
