"""Run a plan many times side by side: every combination of some values, each with several seeds."""

import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit.audits.plan import Plan, load_plan, parse_value
from dpaudit.audits.run import find_code, run
from dpaudit.audits.run_folder import FINISHED, basis_of, runs_other_code, stored_result
from dpaudit.data.load import SUFFIXES
from dpaudit.reports.sweep import write_sweep
from dpaudit.results.result import Result
from dpaudit.results.sweep import FILE, SweepRun, SweepRuns, load_sweep, read_sweep
from dpaudit.runtime import check
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.runtime.files import LOCK, alone_in, write_text
from dpaudit.runtime.jobs import Workers
from dpaudit.runtime.progress import Advance, Progress, Silent

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

LONGEST = 100  # characters of a folder's name


def sweep(
    plan: str | Path,
    values: Mapping[str, Sequence[Any]],
    *,
    folder: str | Path,
    seeds: int = 1,
    progress: Progress | None = None,
    workers: Workers | None = None,
    trust: bool = False,
) -> "pd.DataFrame":
    """Run every combination of values with every seed, each in a folder of its own.

    All runs and all seeds are fixed before the first one, and share one error level: all lower bounds of the whole
    sweep hold together at the plan's confidence. So every verdict in it counts, and none was picked out of many. What
    is finished is not run again while its data, the packages and the code of dpaudit are as they were; functions that
    the plan names are not compared, which a warning says. A run that fails does not stop the others.

    Args:
        plan: path of the plan.
        values: by key of the plan, as for ``--set``, the values that it takes: ``{"audit.delta": [1e-5, 1e-6]}``.
        folder: of the sweep. One that holds another sweep is refused.
        seeds: runs of each combination, with the plan's seed and those that follow it.
        progress: where long steps say how far they are.
        workers: as for `dpaudit.run`.
        trust: as for `dpaudit.run`.

    Returns:
        One row for each model of each run, as `dpaudit.read_sweep` reads it. Beside ``sweep.json`` the folder gets the
        tables ``runs`` and ``summary`` (means over the seeds) as CSV, Markdown and LaTeX, and two figures.

    Raises:
        InputError: a key or value that the plan refuses, a folder with something else in it; nothing has run then.
        AuditFailed: runs that failed, after all others have ended.
    """
    folder = Path(folder)
    planned = plan_sweep(plan, values, seeds=seeds)
    for one in planned.plans.values():
        find_code(one, trust)
        _find_data(one)
    with alone_in(folder):
        _take_folder(folder, planned.runs)
        finished = _finished(planned.plans, folder)
        failed: dict[str, Exception] = {}
        for number, entry in enumerate(planned.runs.runs, start=1):
            if entry.folder in finished:
                continue
            shown = _Named(progress or Silent(), f"{entry.folder} ({number} of {len(planned.runs.runs)})")
            try:
                run(planned.plans[entry.folder], folder=folder / entry.folder, progress=shown, workers=workers,
                    trust=trust)  # fmt: skip
            except AuditFailed as error:
                failed[entry.folder] = error
        if len(failed) == len(planned.runs.runs):
            raise next(iter(failed.values()))
        table = read_sweep(folder)
        write_sweep(table, planned.runs, folder)
    if failed:
        said = "; ".join(f"{name}: {str(error).rstrip('.')}" for name, error in failed.items())
        raise AuditFailed(f"{len(failed)} of {len(planned.runs.runs)} runs failed, the others are there: {said}.")
    return table


def _finished(plans: Mapping[str, Plan], folder: Path) -> set[str]:
    """Folders of the runs that are not run again. Of the others what is no longer so is removed: a run may fail."""
    finished = set()
    for name, plan in plans.items():
        result = folder / name / "result.json"
        if result.exists() and stored_result(folder / name, basis_of(plan)) is not None:
            finished.add(name)
        else:
            for path in (result, folder / name / FINISHED):
                path.unlink(missing_ok=True)
    if kept := sum(runs_other_code(plans[name]) for name in finished):
        logger.warning(
            "%d finished runs are kept; they rest on functions of the plan or on plug-ins, which are not compared: "
            "remove their folders in %s to run them again",
            kept,
            folder,
        )
    return finished


def _find_data(plan: Plan) -> None:
    """Refuse data that are not there now, and not when the run that needs them has come."""
    if plan.data is None:
        return
    path = Path(plan.data.source)
    if path.suffix not in SUFFIXES:
        check.one_of("data.source", plan.data.source, list(registry.names("datasets")))
    elif not path.is_file():
        raise InputError(f"cannot read {path}: no such file.")


def results_of_sweep(folder: Path) -> list[Result]:
    """Results of the finished runs, in order."""
    found = (one.result(folder) for one in load_sweep(folder).runs)
    return [result for result in found if result is not None]


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep before anything has run: what ``sweep.json`` says, and the plan of each run by its folder."""

    runs: SweepRuns
    plans: dict[str, Plan]


def plan_sweep(plan: str | Path, values: Mapping[str, Sequence[Any]], *, seeds: int) -> PlannedSweep:
    """All plans of a sweep, each checked down to the parameters of its trainers and attacks.

    Raises:
        InputError: a value that the plan refuses, a key without a value, the same run twice.
    """
    check.integer("seeds", seeds, at_least=1)
    for key, options in values.items():
        if key in ("seed", "name"):
            raise InputError(f"{key!r} is no key to sweep: seeds are counted (--seeds), and all runs have one name.")
        if not options:
            raise InputError(f"{key!r} has no value to set.")
    first = load_plan(Path(plan)).seed
    fixed = {key: options[0] for key, options in values.items() if len(options) == 1}
    keys = [key for key in values if key not in fixed]
    points = [dict(zip(keys, point, strict=True)) for point in product(*(values[key] for key in keys))]
    count = len(points) * seeds
    plans: dict[str, Plan] = {}
    entries = []
    for point, seed in product(points, range(first, first + seeds)):
        texts = [f"{key}={_literal(value)}" for key, value in {**fixed, **point, "seed": seed}.items()]
        one = load_plan(Path(plan), texts)
        confidence = one.audit.confidence
        # A union bound over all runs: their bounds hold together as those of one run would.
        shared = one.audit.model_copy(update={"confidence": round(1 - (1 - confidence) / count, 12)})
        one = one.model_copy(update={"audit": shared})
        name = _folder_name(point, keys, seed)
        if name in plans or len(name) > LONGEST:
            name = f"run-{len(plans) + 1:03d}"
        if any(one.fingerprint == other.fingerprint for other in plans.values()):
            raise InputError(f"two runs would be the same: {', '.join(texts[:-1])}; give each value once.")
        plans[name] = one
        shown = {key: value if isinstance(value, str | bool | int | float) else _literal(value) for key, value in
                 point.items()}  # fmt: skip
        entries.append(SweepRun(folder=name, values=shown, seed=seed, plan_fingerprint=one.fingerprint))
    runs = SweepRuns(schema=1, name=one.name, confidence=confidence, keys=keys, runs=entries)
    return PlannedSweep(runs, plans)


def parse_values(text: str) -> tuple[str, list[Any]]:
    """A key and its values from ``key=value,value``; bare words are strings.

    >>> parse_values("model.dp.noise_multiplier=0.5,1"), parse_values("model.m.trainer=sgd,dp-sgd")
    (('model.dp.noise_multiplier', [0.5, 1]), ('model.m.trainer', ['sgd', 'dp-sgd']))
    >>> parse_values("architecture.hidden=[8],[16, 4]")
    ('architecture.hidden', [[8], [16, 4]])
    """
    key, equals, listed = text.partition("=")
    if not equals or not key.strip() or not listed.strip():
        raise InputError(f"--set must be KEY=VALUE,VALUE, got {text!r}.")
    try:
        values: list[Any] = tomllib.loads(f"value = [{listed}]")["value"]
    except tomllib.TOMLDecodeError:
        values = [parse_value(part.strip()) for part in listed.split(",")]
    return key.strip(), values


def _literal(value: Any) -> str:
    """A value as TOML on one line, whose numbers, texts and lists are written as those of JSON.

    >>> _literal([0.5, True, {"name": "loss"}])
    '[0.5, true, { "name" = "loss" }]'
    """
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{json.dumps(str(key))} = {_literal(part)}' for key, part in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return json.dumps(value.item() if isinstance(value, np.generic) else value, ensure_ascii=False)


def _folder_name(point: Mapping[str, Any], keys: Sequence[str], seed: int) -> str:
    last = [key.rpartition(".")[2] for key in keys]
    parts = []
    for key, value in point.items():
        short = key.rpartition(".")[2]
        parts.append(
            f"{key if last.count(short) > 1 else short}-{value if isinstance(value, str) else _literal(value)}"
        )
    words = (re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-.") for part in [*parts, f"seed-{seed}"])
    return "_".join(words)


def _take_folder(folder: Path, runs: SweepRuns) -> None:
    """Write ``sweep.json``, or refuse a folder that holds something else."""
    there = folder / FILE
    if there.exists():
        before = load_sweep(folder)
        if before == runs:
            return
        why = "the plan has changed since"
        if [(one.values, one.seed) for one in before.runs] != [(one.values, one.seed) for one in runs.runs]:
            why = (
                f"it was planned with {len(before.runs)} other runs, which share its error level and were fixed before "
                "the first"
            )
        raise InputError(f"{folder} holds another sweep ({why}) and is kept as it is; give another --out folder.")
    if any(path.name != LOCK for path in folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no sweep; give another --out folder.")
    write_text(there, runs.model_dump_json(by_alias=True, indent=1) + "\n")


@dataclass(frozen=True)
class _Named:
    """Progress that names the run before each step."""

    inner: Progress
    name: str

    def task(self, description: str, total: int) -> AbstractContextManager[Advance]:
        """A step of the run."""
        return self.inner.task(f"{self.name}: {description}", total)
