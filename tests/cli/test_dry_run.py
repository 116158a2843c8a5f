"""What ``--dry-run`` prints: every part, their sum, and what is not in it."""

import json

import pytest

from dpaudit.cli.run import _print_prediction
from dpaudit.experiments.cost import REPORT_SECONDS, AuditCost, ModelCost
from dpaudit.training.pool import PROCESS_BYTES, PoolCost

POOL = PoolCost(models=64, trainings=48, chunk=16, peak_bytes=2_000_000_000, seconds=30.0, worker_hours=0.02)
COST = AuditCost({"a": ModelCost(4.0, POOL, 2.0), "b": ModelCost(1.0, None, 0.0)}, 5.0, ("gradient",))


def test_the_sum_is_that_of_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """48 references and two models; start, both trainings, the pool, its attacks and the report."""
    _print_prediction(COST, json=False)
    text = " ".join(capsys.readouterr().out.split())
    assert COST.seconds == 5 + 4 + 30 + 2 + 1 + REPORT_SECONDS
    assert "50 trainings, about 44 s in all" in text
    assert "0.02 worker-hours, peak memory about 2.00 GB" in text
    assert "not counted: gradient" in text


def test_json_has_parts_and_sums(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs."""
    _print_prediction(COST, json=True)
    read = json.loads(capsys.readouterr().out)
    assert read["models"]["a"]["pool"]["trainings"] == 48
    assert (read["trainings"], read["seconds"], read["worker_hours"]) == (50, 44.0, 0.02)


def test_an_unknown_part_makes_the_sum_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """A trainer without epochs cannot be predicted, and no sum is shown that leaves it out."""
    cost = AuditCost({"a": ModelCost(None, None, 0.0)}, 5.0, ())
    _print_prediction(cost, json=False)
    assert "1 trainings, not predicted in all" in " ".join(capsys.readouterr().out.split())
    assert cost.seconds is None
    assert cost.peak_bytes == PROCESS_BYTES
