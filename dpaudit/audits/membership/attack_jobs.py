"""Attacks on what was observed, as tasks; membership is joined to their scores elsewhere."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from dpaudit.attacks.membership.auto import Auto
from dpaudit.attacks.membership.null_check import null_check
from dpaudit.attacks.membership.pools import Spending, audited_part, leave_pair_out
from dpaudit.audits.audit import Audit
from dpaudit.audits.membership.judgement import FPRS, Named
from dpaudit.results.membership import PoolResult
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.jobs import PROCESS_BYTES, Workers, cores
from dpaudit.runtime.out_of_core import Room, within
from dpaudit.scores.signals import PoolSignals, Signals
from dpaudit.scores.targets import over_targets
from dpaudit.training.reference_models.store import describe_value, digest
from dpaudit.training.reference_models.task_cache import run_cached, store_of


@dataclass(frozen=True, eq=False)
class AttackInputs:
    """What the attacks on one subject work on.

    Args:
        signals: of the subject.
        pool: its reference models; None without any.
        member: who is a member, shape (records,): for attacks that are told some of it, and audit the rest.
        room: what a process that attacks may hold in memory.
    """

    signals: Signals
    pool: PoolSignals | None
    member: BoolArray
    room: Room = Room()  # noqa: RUF009  # a frozen value

    @cached_property
    def fingerprint(self) -> str:
        """Of all that results depend on, computed once for all attacks."""
        return digest(*(describe_value(part) for part in (self.signals, self.pool, self.member)))


@dataclass(frozen=True)
class Attacked:
    """What one attack found on one subject.

    Args:
        scores: of the records it is judged on.
        kept: which they are, shape (records,).
        pool: what it found on the reference models; None without any, or where the attack is told some membership.
    """

    scores: FloatArray
    kept: BoolArray
    pool: PoolResult | None


@dataclass(frozen=True, eq=False)
class AttackModel:
    """A task: one attack on one subject."""

    seen: AttackInputs
    attack: Any
    model: str
    name: str
    seed: int

    def __call__(self) -> Attacked:
        """Its scores, joined to no membership but what the attack is told."""
        seen, attack = self.seen, self.attack
        with within(seen.room.memory, seen.room.folder):
            signals, kept_rows = audited_part(attack, seen.signals, seen.member)
            scores, pool = attack(signals), None
            if seen.pool is not None and not isinstance(attack, Spending):
                pool = over_pool(self.model, self.name, attack, seen.pool, seed=self.seed)
        return Attacked(scores, kept_rows, pool)


def score_attacks(model: str, attacks: list[tuple[str, Any]], seen: AttackInputs, audit: Audit) -> list[Attacked]:
    """What each attack found, in their order.

    They run on the machine that holds the signals: sending those of a large pool to a cluster would take longer.
    """
    wished = None if audit.workers.scheduler else audit.workers.jobs
    jobs, share = processes(seen, wished or cores())
    seen = replace(seen, room=share)
    tasks = {
        f"attack {model} by {name} ({place} of {len(attacks)})": AttackModel(
            seen, attack, model, name, audit.seed_for("null", model, name)
        )
        for place, (name, attack) in enumerate(attacks, start=1)
    }
    store, workers = store_of(audit.folder / "attacks"), Workers(None if wished is None else jobs)
    each = PROCESS_BYTES if share.memory is None else share.memory
    found = {}
    with audit.progress.task(f"attacking {model}", len(attacks)) as advance:
        for key, outcome in run_cached(tasks, Attacked, store=store, workers=workers, each=each, memory=audit.memory):
            found[key] = outcome
            advance(1)
    return [found[key] for key in tasks]


def processes(seen: AttackInputs, most: int) -> tuple[int, Room]:
    """How many processes attack at a time, ``most`` at the most, and the room of each: a part of that of ``seen``."""
    room, models = seen.room, 0 if seen.pool is None else len(seen.pool)
    if room.memory is None:
        return most, room
    jobs = max(1, min(most, room.memory // (PROCESS_BYTES + room.wanted(len(seen.signals), models))))
    return jobs, replace(room, memory=room.memory // jobs)


def resolve_attack(attack: Any, signals: Signals) -> Named:
    """The attack itself, or the one that ``auto`` takes for these signals: that is what a result records."""
    named: Named = attack.chosen(signals) if isinstance(attack, Auto) else attack
    return named


def over_pool(model: str, name: str, attack: Any, pool: PoolSignals, *, seed: int) -> PoolResult:
    """Each model of a pool in turn the target, its pair left out, and the null self-test of exactly that."""
    scores = leave_pair_out(attack, pool)
    return PoolResult(
        model=model,
        attack=name,
        version=resolve_attack(attack, pool.target(0)).version,
        over_targets=over_targets(scores, pool.included, fprs=FPRS),
        null=null_check(attack, pool, seed=seed),
    )
