"""What ``--dry-run`` prints: every part, their sum, and what is not in it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from dpaudit.attacks.membership.trajectory import Trajectory
from dpaudit.audits.audit import Audit
from dpaudit.audits.cost import REPORT, AuditCost, ModelCost, audit_cost
from dpaudit.audits.membership import cost
from dpaudit.audits.membership.cost import attack_pool, attack_time, noise_pool
from dpaudit.audits.membership.run import MembershipSettings
from dpaudit.audits.table_cost import TableCost, Untrained
from dpaudit.cli.run import print_prediction
from dpaudit.data.bundled import digits
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import PROCESS_BYTES
from dpaudit.runtime.took import Took
from dpaudit.training.reference_models.pool import PoolCost

POOL = PoolCost(64, trainings=48, chunk=16, peak_bytes=2_000_000_000, took=Took(30, 45), worker_hours=0.02, processes=3)
COST = AuditCost(
    {"a": ModelCost(Took(4, 4), POOL, Took(2, 2)), "b": ModelCost(Took(1, 1), None, Took())},
    Took(5, 5),
    {"gradient": TableCost(0, Took(6, 6)), "unlearning": TableCost(8, Took(7, 7))},
)


def test_the_sum_is_that_of_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """48 references, two models and eight that forget; start, trainings, pool, attacks, tables and the report."""
    print_prediction(COST, json=False)
    text = " ".join(capsys.readouterr().out.split())
    seconds = 5 + 4 + 30 + 2 + 1 + 6 + 7 + REPORT.wall
    assert COST.took == Took(seconds, seconds + 15)
    assert "58 trainings, about 57 s in all with start, attacks and report (from 28 to 114 s), 72 CPU s" in text
    assert "0.02 worker-hours, peak memory about 2.00 GB" in text
    assert "gradient: about 6.0 s unlearning: about 7.0 s" in text
    assert "models would be trained in 3 processes of this machine" in text
    assert AuditCost({"a": ModelCost(Took(4, 4), POOL, Took(2, 2), checkpoints=2)}, Took(5, 5)).trainings == 48 + 1 + 2


def test_json_has_parts_and_sums(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs."""
    print_prediction(COST, json=True)
    read = json.loads(capsys.readouterr().out)
    assert read["models"]["a"]["pool"]["trainings"] == 48
    assert (read["trainings"], read["seconds"], read["cpu_seconds"], read["worker_hours"]) == (58, 57, 72, 0.02)
    assert read["tables"]["gradient"]["took"] == {"wall": 6, "cpu": 6}
    assert (read["factor"], read["not_counted"]) == (2.0, {})


def test_an_unknown_part_makes_the_sum_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """A trainer without epochs and outside code cannot be predicted; no sum leaves them out, and the reason is said."""
    unknown = AuditCost({"a": ModelCost(None, None, Took())}, Took(5, 5))
    print_prediction(unknown, json=False)
    assert "1 trainings, not predicted in all" in " ".join(capsys.readouterr().out.split())
    assert unknown.took is None
    assert unknown.peak_bytes == PROCESS_BYTES
    assert replace(unknown, ahead=True).peak_bytes > PROCESS_BYTES  # two programs at once
    outside = AuditCost({}, Took(5, 5), {"unlearning": TableCost(4, None, "it calls m:f")})
    print_prediction(outside, json=False)
    assert "unlearning: not predicted, because it calls m:f" in " ".join(capsys.readouterr().out.split())
    assert outside.not_counted == {"unlearning": "it calls m:f"}


@pytest.mark.parametrize(
    ("attacks", "predicted"),
    [
        ([{"name": "robustness"}, {"name": "multi-signal-lira"}, {"name": "classifier-on-target"}], True),
        ([{"name": "loss"}, {"name": "quantile", "alpha": 0.01}], False),
    ],
    ids=lambda value: None if isinstance(value, bool) else value[-1]["name"],
)
def test_attacks_that_look_twice_or_are_told_are_timed(
    attacks: list[dict[str, Any]], predicted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries and spent truth are there when time is measured; what cannot be timed is not predicted."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cost, "FEW", 40)
    monkeypatch.setattr(cost, "SOME", 80)
    settings = MembershipSettings.model_validate(
        {
            "attacks": attacks,
            "references": 6,
            "queries": [{"kind": "noise", "scale": 0.1, "copies": 2}],
        }
    )
    took = attack_time(settings, cast(Audit, SimpleNamespace(dataset=digits(), audited=digits())))
    assert (took is not None) is predicted
    whole = AuditCost({"a": ModelCost(Took(1, 1), None, took)}, Took(1, 1))
    assert (whole.took is not None) is predicted


def test_the_self_test_of_a_large_table_takes_no_longer_than_its_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attacks are predicted in line with the records; their self-test only up to the records that it draws."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cost, "measured_once", lambda work, name, *what: Took() + Took(0.001, 0.001) * what[-1])
    settings = MembershipSettings.model_validate({"attacks": ["loss"], "references": 6})

    class Table:
        outputs, features = 2, np.zeros((1, 3))

        def __len__(self) -> int:
            return 300_000

    took = attack_time(settings, cast(Audit, SimpleNamespace(dataset=Table(), audited=Table())))
    assert took is not None
    assert took.cpu == pytest.approx(300 + 20)  # a record takes a millisecond


def test_somebody_who_waits_for_a_prediction_sees_how_far_it_is() -> None:
    """Three measurements a model and one a table, each told as it ends."""
    told = []

    class Told:
        @contextmanager
        def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
            told.append((description, total))
            yield lambda parts: None

    def says(untrained: Untrained) -> TableCost:
        return TableCost(3, Took(1, 1))

    audit = cast(Audit, SimpleNamespace(progress=Told()))
    found = audit_cost({}, None, audit, start=Took(), tables={"prior": says})
    assert (found.models, found.trainings) == ({}, 3)
    assert told == [("measuring what this plan takes on this machine", 1)]


def test_the_trajectory_is_timed_on_checkpoints() -> None:
    """Random signals hold as many as the plan names."""
    attack_pool([Trajectory(folds=2, rows=40)], noise_pool(4, 40, 3, copies=0, checkpoints=1))
    with pytest.raises(InputError, match="trajectory needs checkpoints"):
        attack_pool([Trajectory()], noise_pool(4, 40, 3, copies=0, checkpoints=0))
