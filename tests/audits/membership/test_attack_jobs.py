"""Attacks side by side share the memory that the audit may use."""

import numpy as np
import pytest

from dpaudit.audits.membership.attack_jobs import AttackInputs, processes
from dpaudit.runtime.out_of_core import Room
from dpaudit.scores.signals import Signals

GB = 10**9


def seen(memory: int | None, records: int = 100) -> AttackInputs:
    phi = np.zeros(records)
    signals = Signals(phi, reference=np.empty((0, records)), included=np.empty((0, records), bool))
    return AttackInputs(signals, None, np.ones(records, bool), Room(memory))


def test_processes_have_the_memory_together() -> None:
    """As many as fit, each with its part; one alone has all of it, and without a limit nothing is divided."""
    for memory, most, jobs in ((8 * GB, 2, 2), (8 * GB, 16, 7), (3 * GB // 2, 2, 1), (500_000_000, 4, 1)):
        found, share = processes(seen(memory), most)
        assert (found, share.memory) == (jobs, memory // jobs)
    assert processes(seen(None), 3) == (3, Room(None))


@pytest.mark.long
def test_many_records_leave_room_for_fewer() -> None:
    """28 numbers a record are held: ten million records take 2.2 GB beside the process itself."""
    assert [processes(seen(8 * GB, records), 8)[0] for records in (100, 10_000_000)] == [7, 2]
