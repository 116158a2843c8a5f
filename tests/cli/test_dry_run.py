"""What ``--dry-run`` prints: every part, their sum, and what is not in it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from dpaudit.attacks.membership.trajectory import Trajectory
from dpaudit.audits import cost
from dpaudit.audits.audit import Audit
from dpaudit.audits.cost import (
    REPORT_SECONDS,
    AuditCost,
    ModelCost,
    attack_pool,
    attack_seconds,
    audit_cost,
    noise_pool,
)
from dpaudit.audits.membership.run import MembershipSettings
from dpaudit.cli.run import print_prediction
from dpaudit.data.bundled import digits
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import PROCESS_BYTES
from dpaudit.training.reference_models.pool import PoolCost

POOL = PoolCost(
    models=64, trainings=48, chunk=16, peak_bytes=2_000_000_000, seconds=30.0, worker_hours=0.02, processes=3
)
COST = AuditCost({"a": ModelCost(4.0, POOL, 2.0), "b": ModelCost(1.0, None, 0.0)}, 5.0, ("gradient",))


def test_the_sum_is_that_of_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """48 references and two models; start, both trainings, the pool, its attacks and the report."""
    print_prediction(COST, json=False)
    text = " ".join(capsys.readouterr().out.split())
    assert COST.seconds == 5 + 4 + 30 + 2 + 1 + REPORT_SECONDS
    assert "50 trainings, about 44 s in all" in text
    assert "0.02 worker-hours, peak memory about 2.00 GB" in text
    assert "not counted: gradient" in text
    assert "models would be trained in 3 processes of this machine" in text
    assert AuditCost({"a": ModelCost(4.0, POOL, 2.0, checkpoints=2)}, 5.0, ()).trainings == 48 + 1 + 2


def test_json_has_parts_and_sums(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs."""
    print_prediction(COST, json=True)
    read = json.loads(capsys.readouterr().out)
    assert read["models"]["a"]["pool"]["trainings"] == 48
    assert (read["trainings"], read["seconds"], read["worker_hours"]) == (50, 44.0, 0.02)


def test_an_unknown_part_makes_the_sum_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """A trainer without epochs cannot be predicted, and no sum is shown that leaves it out."""
    unknown = AuditCost({"a": ModelCost(None, None, 0.0)}, 5.0, ())
    print_prediction(unknown, json=False)
    assert "1 trainings, not predicted in all" in " ".join(capsys.readouterr().out.split())
    assert unknown.seconds is None
    assert unknown.peak_bytes == PROCESS_BYTES


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
    seconds = attack_seconds(settings, cast(Audit, SimpleNamespace(dataset=digits())))
    assert (seconds is not None) is predicted
    whole = AuditCost({"a": ModelCost(1.0, None, seconds)}, 1.0, ())
    assert (whole.seconds is not None) is predicted


def test_the_self_test_of_a_large_table_takes_no_longer_than_its_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attacks are predicted in line with the records; their self-test only up to the records that it draws."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cost, "measured_once", lambda work, name, *what, warm: what[-1] / 1000)  # a record: 1 ms
    settings = MembershipSettings.model_validate({"attacks": ["loss"], "references": 6})

    class Table:
        outputs, features = 2, np.zeros((1, 3))

        def __len__(self) -> int:
            return 300_000

    assert attack_seconds(settings, cast(Audit, SimpleNamespace(dataset=Table()))) == pytest.approx(300 + 20)


def test_somebody_who_waits_for_a_prediction_sees_how_far_it_is() -> None:
    """Three measurements a model and the start of Python, each told as it ends."""
    told = []

    class Told:
        @contextmanager
        def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
            told.append((description, total))
            yield lambda parts: None

    assert audit_cost({}, None, cast(Audit, SimpleNamespace(progress=Told())), not_counted=()).models == {}
    assert told == [("measuring what this plan takes on this machine", 1)]


def test_the_trajectory_is_timed_on_checkpoints() -> None:
    """Random signals hold as many as the plan names."""
    attack_pool([Trajectory(folds=2, rows=40)], noise_pool(4, 40, 3, copies=0, checkpoints=1))
    with pytest.raises(InputError, match="trajectory needs checkpoints"):
        attack_pool([Trajectory()], noise_pool(4, 40, 3, copies=0, checkpoints=0))
