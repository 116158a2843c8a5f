"""A sweep: runs of one plan side by side in a folder, read back as tables of pandas."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.stats import t

from dpaudit.results.result import Result, load_result
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_text
from dpaudit.runtime.first_error import first_error

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

FILE = "sweep.json"
SHOWN = 0.95  # confidence of the intervals over seeds; no claim is judged by them
SPREAD = ("epsilon", "epsilon_within", "auc", "train", "test")  # columns of `frame("models")` with a mean over seeds


class SweepRun(BaseModel):
    """One run of a sweep: its folder below that of the sweep, what it sets, and the plan that it must have run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    folder: str
    values: dict[str, str | bool | int | float]
    seed: int
    plan_fingerprint: str

    def result(self, sweep: Path) -> Result | None:
        """Its result in the folder of the sweep; None while it is not finished."""
        path = sweep / self.folder / "result.json"
        if not path.exists():
            return None
        found = load_result(path)
        return found if found.provenance.plan_fingerprint == self.plan_fingerprint else None


class SweepRuns(BaseModel):
    """``sweep.json``: everything that was fixed before the first run.

    Args:
        name: of the plan.
        confidence: that all lower bounds of all runs hold together.
        keys: keys of the plan that take several values.
        runs: all of them, in order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    sweep_schema: Literal[1] = Field(default=1, alias="schema")
    name: str
    confidence: float
    keys: list[str]
    runs: list[SweepRun] = Field(min_length=1)


def load_sweep(folder: str | Path) -> SweepRuns:
    """What a folder of ``dpaudit sweep`` holds.

    Raises:
        InputError: there is no ``sweep.json``, or it is none of ours.
    """
    path = Path(folder) / FILE
    try:
        return SweepRuns.model_validate_json(read_text(path))
    except ValidationError as error:
        raise InputError(f"{path} is no sweep of schema 1: {first_error(error, SweepRuns)}") from error


def read_sweep(folder: str | Path) -> "pd.DataFrame":
    """All finished runs of a sweep, one row for each model of each run.

    The columns are ``run`` (its folder), one for each key that takes several values, ``seed``, and those of
    ``result.frame("models")``. Runs that are not finished have no rows, and a warning says how many they are.

    Raises:
        InputError: the folder holds no sweep.
    """
    import pandas as pd

    sweep = load_sweep(folder)
    parts: list[Any] = []
    for one in sweep.runs:
        result = one.result(Path(folder))
        if result is not None:
            table = result.frame("models")
            head = {"run": one.folder, **{key: one.values[key] for key in sweep.keys}, "seed": one.seed}
            for place, (name, value) in enumerate(head.items()):
                table.insert(place, name, value)
            parts.append(table.astype({"verdict": object}))
    if len(parts) < len(sweep.runs):
        logger.warning("%s: %d of %d runs are not finished", folder, len(sweep.runs) - len(parts), len(sweep.runs))
    if not parts:
        raise InputError(f"{folder}: none of the {len(sweep.runs)} runs of this sweep is finished.")
    rows = [row for part in parts for row in part.to_dict("records")]  # columns of missing values have no type to join
    found: pd.DataFrame = pd.DataFrame(rows, columns=list(parts[0].columns))
    return found


def summarise_sweep(table: "pd.DataFrame", keys: list[str]) -> "pd.DataFrame":
    """Means over the seeds with 95 % intervals (Student's t), one row for each setting and model.

    A mean of lower bounds says how much they scatter; it is no lower bound itself. With one seed there is no interval.

    Args:
        table: from `read_sweep`.
        keys: columns that tell the settings apart.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for names, part in table.groupby([*keys, "model"], sort=False, dropna=False):
        row: dict[str, Any] = dict(zip([*keys, "model"], names, strict=True))
        row |= {
            "seeds": len(part),
            "claimed_epsilon": _mean(part["claimed_epsilon"]),
            "contradicted": int((part["verdict"] == "contradicted").sum()),
            "metric": part["metric"].iloc[0],
        }
        for column in SPREAD:
            mean, reach = _mean(part[column]), _reach(part[column])
            row |= {column: mean, f"{column}_low": _less(mean, reach), f"{column}_high": _less(mean, reach, sign=1)}
        rows.append(row)
    found: pd.DataFrame = pd.DataFrame(rows)
    return found


def _mean(values: Any) -> float | None:
    known = values.dropna().astype(float)
    return float(known.mean()) if len(known) else None


def _reach(values: Any) -> float | None:
    """Half the width of the interval of a mean; None with fewer than two values."""
    known = values.dropna().astype(float)
    if len(known) < 2 or not np.isfinite(known).all():
        return None
    return float(t.isf((1 - SHOWN) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))


def _less(mean: float | None, reach: float | None, *, sign: int = -1) -> float | None:
    """An edge of the interval; all these quantities are at least 0."""
    return None if mean is None or reach is None else max(0.0, mean + sign * reach)
