"""Paths in a plan are relative to the plan's folder."""

from pathlib import Path
from typing import Any

from dpaudit.data.csv_file import file_kind
from dpaudit.data.load import SUFFIXES
from dpaudit.data.text import TEXT_SUFFIXES

USER_FILES = ("present", "absent")


def resolve_paths(table: dict[str, Any], folder: Path) -> None:
    """Make every path of a plan absolute, in place; what is wrong with the table is found later.

    >>> plan = {"architecture": {"kind": "mlp", "start": "model.npz"}}
    >>> resolve_paths(plan, Path("/plans"))
    >>> plan["architecture"]["start"]
    '/plans/model.npz'
    """
    data = _table(table.get("data"))
    texts = data.get("kind") == "text"
    for key, suffixes in (("source", (*SUFFIXES, *TEXT_SUFFIXES)), ("tokenizer", (".json",))):
        named = data.get(key)
        if isinstance(named, str) and (file_kind(Path(named)) in suffixes or (texts and (folder / named).is_dir())):
            data[key] = str((folder / named).resolve())
    models = table.get("model")
    owners = [table, *(map(_table, models) if isinstance(models, list) else ())]
    trace = _table(table.get("trace"))
    for part, keys in (
        *((_table(owner.get("architecture")), ("start",)) for owner in owners),
        (_table(table.get("canaries")), ("samples",)),
        (trace, ("path",)),
        (_table(trace.get("users")), USER_FILES),
        (_table(table.get("unlearning")), ("forget",)),
    ):
        for key in keys:
            if isinstance(part.get(key), str):
                part[key] = str((folder / part[key]).resolve())


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
