"""What was found is read without what found it, and results of earlier versions stay readable."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpaudit import load_result

EARLIER = Path(__file__).parent / "result_of_schema_1.json"  # written before results had a package of their own


def test_an_earlier_result_keeps_all_it_holds() -> None:
    """A result of schema 1 with every table is read, and written again with every value; two keys have new names."""
    written = json.loads(EARLIER.read_text(encoding="utf-8"))
    tables = ("membership", "federated", "ladder", "gradient", "prior", "trace")
    assert all(written[table] is not None for table in tables)
    for model in written["models"]:
        model["accounted"] = model.pop("promise")  # the key of today
    for listed in written["membership"]["exposed"]:
        listed["rates"] = listed.pop("accused")
    assert _lost(written, json.loads(load_result(EARLIER).json())) == []


def test_what_is_lost_would_be_seen() -> None:
    """A key or a value that is not written again is named."""
    assert _lost({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 3, "d": 2}]}) == [".a.0.b", ".a.0.c"]


@pytest.mark.long
def test_reading_and_judging_load_no_runner(run_without_tensorflow: Callable[[str], str]) -> None:
    """A result is loaded and the gate and the history are there, without a module that trains or runs an audit."""
    printed = run_without_tensorflow(
        "import sys\nfrom pathlib import Path\nimport dpaudit.gate.verify, dpaudit.gate.history\n"
        "from dpaudit.results.result import load_result\n"
        f"result = load_result(Path({str(EARLIER)!r}))\n"
        "runners = ('dpaudit.audits', 'dpaudit.training', 'dpaudit.engine')\n"
        "print([name for name in sys.modules if name.startswith(runners)])\n"
    )
    assert printed.strip() == "[]"


def _lost(before: Any, after: Any, place: str = "") -> list[str]:
    """Where ``after`` lacks or changes what ``before`` holds; more than that it may hold."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            lost
            for key, value in before.items()
            for lost in (_lost(value, after[key], f"{place}.{key}") if key in after else [f"{place}.{key}"])
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            lost
            for index, (one, other) in enumerate(zip(before, after, strict=True))
            for lost in _lost(one, other, f"{place}.{index}")
        ]
    return [] if before == after else [place]
