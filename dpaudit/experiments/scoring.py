"""Attacks on what was observed, as tasks; membership is joined to their scores elsewhere."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

from dpaudit._check import BoolArray
from dpaudit.attacks.membership.auto import Auto
from dpaudit.attacks.membership.null_check import null_check
from dpaudit.attacks.membership.pools import Spending, audited_part, leave_pair_out
from dpaudit.blocks import Room, within
from dpaudit.evaluation import over_targets
from dpaudit.experiments.audit import Audit
from dpaudit.results.membership import PoolResult
from dpaudit.signals import PoolSignals, Signals
from dpaudit.tasks import PROCESS_BYTES, Workers, cores
from dpaudit.training.kept import as_text, kept, store_of
from dpaudit.training.store import Arrays, described, digest

FPRS = (0.1, 0.01, 0.001, 0.0001)


class Named(Protocol):
    """What a result records of an attack."""

    version: ClassVar[str]
    paper: ClassVar[str]


@dataclass(frozen=True, eq=False)
class Seen:
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
        return digest(*(described(part) for part in (self.signals, self.pool, self.member)))


def attacked(seen: Seen, attack: Any, model: str, name: str, seed: int) -> Arrays:
    """A task: ``scores`` of the records ``kept`` (a mask) and, where there is a pool to attack, ``pool`` as JSON."""
    with within(seen.room.memory, seen.room.folder):
        signals, kept_rows = audited_part(attack, seen.signals, seen.member)
        found: Arrays = {"scores": attack(signals), "kept": kept_rows}
        if seen.pool is not None and not isinstance(attack, Spending):
            found["pool"] = as_text(over_pool(model, name, attack, seen.pool, seed=seed))
    return found


def scored(model: str, attacks: list[tuple[str, Any]], seen: Seen, audit: Audit) -> list[Arrays]:
    """What each attack found, in their order.

    They run on the machine that holds the signals: sending those of a large pool to a cluster would take longer.
    """
    wished = None if audit.workers.scheduler else audit.workers.jobs
    jobs, share = processes(seen, wished or cores())
    seen = replace(seen, room=share)
    recipes = {
        f"attack {model} by {name} ({place} of {len(attacks)})": (
            seen,
            attack,
            model,
            name,
            audit.seed_for("null", model, name),
        )
        for place, (name, attack) in enumerate(attacks, start=1)
    }
    store, workers = store_of(audit.folder / "attacks"), Workers(None if wished is None else jobs)
    each = PROCESS_BYTES if share.memory is None else share.memory
    found = {}
    with audit.progress.task(f"attacking {model}", len(attacks)) as advance:
        for key, arrays in kept(attacked, recipes, store=store, workers=workers, each=each, memory=audit.memory):
            found[key] = arrays
            advance(1)
    return [found[key] for key in recipes]


def processes(seen: Seen, most: int) -> tuple[int, Room]:
    """How many processes attack at a time, ``most`` at the most, and the room of each: a part of that of ``seen``."""
    room, models = seen.room, 0 if seen.pool is None else len(seen.pool)
    if room.memory is None:
        return most, room
    jobs = max(1, min(most, room.memory // (PROCESS_BYTES + room.wanted(len(seen.signals), models))))
    return jobs, replace(room, memory=room.memory // jobs)


def chosen(attack: Any, signals: Signals) -> Named:
    """The attack itself, or the one that ``auto`` takes for these signals: that is what a result records."""
    named: Named = attack.chosen(signals) if isinstance(attack, Auto) else attack
    return named


def over_pool(model: str, name: str, attack: Any, pool: PoolSignals, *, seed: int) -> PoolResult:
    """Each model of a pool in turn the target, its pair left out, and the null self-test of exactly that."""
    scores = leave_pair_out(attack, pool)
    return PoolResult(
        model=model,
        attack=name,
        version=chosen(attack, pool.target(0)).version,
        over_targets=over_targets(scores, pool.included, fprs=FPRS),
        null=null_check(attack, pool, seed=seed),
    )
