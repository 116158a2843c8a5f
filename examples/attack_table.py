"""Writes the table of docs/attacks.md: every attack against the number of reference models.

Beside it stands how far each figure lies from the same one measured earlier by another implementation, in standard
errors of the difference.

python examples/attack_table.py [attack_table.toml] [FOLDER]
"""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from dpaudit.attacks.membership.pools import leave_pair_out
from dpaudit.audits.membership.reference_models import observed_pool
from dpaudit.audits.plan import parse_toml
from dpaudit.data.inclusion import complementary_pairs
from dpaudit.data.load import load
from dpaudit.data.source import population_mask
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.progress import on_standard_error
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.scores.signals import PoolSignals
from dpaudit.scores.targets import Mean, OverTargets, mean_over, over_targets
from dpaudit.training.architecture import Mlp
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.reference_models.pool import Pool

FPRS = (0.01, 0.001)
ROUNDING = 0.001  # of the earlier figures


def signals(settings: dict[str, Any], folder: Path, *, seed: int) -> PoolSignals:
    """Train one pool, or find it trained in the folder, and observe it."""
    everything = load(settings["data"])
    if "records" in settings:
        kept = np.random.default_rng(seed).choice(len(everything), settings["records"], replace=False)
        everything = everything.take(np.sort(kept))
    if settings.get("standardised", False):
        features = everything.features.astype(np.float64)
        spread = features.std(axis=0)
        features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        everything = replace(everything, features=features.astype(np.float32))
    aside = population_mask(len(everything), settings["population"], seed=seed)
    records, population = everything.take(~aside), everything.take(aside)
    trainer = DpSgd(
        Mlp(tuple(settings["hidden"])),
        l2_norm_clip=None,
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        optimizer=settings["optimizer"],
        momentum=settings.get("momentum", 0.0),
        sampling="shuffled",
    )
    included = complementary_pairs(settings["models"], len(records), seed=seed)
    pool = Pool(trainer, records, included, population, seed, folder)
    return observed_pool(pool, on_standard_error(quiet=False))


def over_references(attack: Any, pool: PoolSignals, references: int) -> OverTargets:
    """The attack with so many references per target: the pool in parts of that size and one pair, all of them."""
    size = references + 2
    scores = []
    for first in range(0, len(pool) - size + 1, size):
        rows = slice(first, first + size)
        part = PoolSignals(
            pool.phi[rows],
            pool.included[rows],
            pool.labels,
            population=None if pool.population is None else pool.population[rows],
            population_labels=pool.population_labels,
        )
        scores.append(leave_pair_out(attack, part))
    together = np.concatenate(scores)
    included = pool.included[: len(together)]
    return replace(over_targets(together, included, fprs=FPRS), tpr_at_fpr=published(together, included))


def published(scores: FloatArray, included: BoolArray) -> tuple[Mean, ...]:
    """TPR at each FPR as papers and the earlier figures have it, which takes k of n non-members for a rate of k / n.

    `OverTargets` takes it for (k + 1) / (n + 1), the rate of new ones; here both sides must be read alike.
    """
    rocs = [Roc.of(Scores.join(row, member)) for row, member in zip(scores, included, strict=True)]
    return tuple(mean_over([float(roc.tpr[roc.fpr <= fpr * (1 + 1e-12)][-1]) for roc in rocs]) for fpr in FPRS)


def main() -> None:
    here = Path(__file__).parent
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else here / "attack_table.toml"
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("runs") / "attack_table"
    settings = parse_toml(path.read_text(encoding="utf-8"), path)
    columns: dict[str, list[OverTargets | None]] = {}
    notes = []
    for one in settings["pool"]:
        pool = signals(one, folder, seed=settings["seed"])
        # Of two classes only phi is kept, the log-odds of the label.
        log_probs = pool.log_probabilities
        right = pool.phi > 0 if log_probs is None else log_probs.argmax(-1) == pool.labels
        train = mean_over([float(row[member].mean()) for row, member in zip(right, pool.included, strict=True)])
        test = mean_over([float(row[~member].mean()) for row, member in zip(right, pool.included, strict=True)])
        notes.append(f"{one['data']}: training accuracy {train.mean:.3f}, test accuracy {test.mean:.3f}")
        for references in one["references"]:
            column: list[OverTargets | None] = []
            for attack in settings["attacks"]:
                parameters = {key: value for key, value in attack.items() if key != "name"}
                built = registry.build("membership", attack["name"], parameters, where="attack")
                try:
                    column.append(over_references(built, pool, references))
                except InputError as error:
                    column.append(None)
                    notes.append(f"{attack['name']} with {references} references on {one['data']}: {error}")
            columns[f"{one['data']}, {references}"] = column
    names = [
        ", ".join([attack["name"], *(f"{key} = {value}" for key, value in attack.items() if key != "name")])
        for attack in settings["attacks"]
    ]
    found = numbers(names, columns)
    earlier = parse_toml((here / "attack_table_earlier.toml").read_text(encoding="utf-8"), "attack_table_earlier.toml")
    text = markdown(names, columns, notes) + compared(found, earlier)
    (folder / "table.md").write_text(text, encoding="utf-8")
    (folder / "table.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(text)


def difference(ours: float, error: float, theirs: float) -> float:
    """In standard errors: theirs has the error of ours (as many models, as many records) and is rounded."""
    return (ours - theirs) / math.sqrt(2 * error**2 + ROUNDING**2 / 12)


def compared(found: dict[str, Any], earlier: dict[str, Any]) -> str:
    """A table of differences, and how many are above two standard errors beside what chance alone would give."""
    columns = [column for column in earlier["columns"] if column in found]
    lines = ["", "| attack | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    apart: dict[str, list[float]] = {column: [] for column in columns}
    for name, row in earlier["figures"].items():
        cells = []
        for column, theirs in zip(earlier["columns"], row, strict=True):
            if column not in found:
                continue
            ours = found[column].get(name, [])
            given = [difference(mean, error, other) for (mean, error), other in zip(ours, theirs, strict=False)]
            apart[column] += given
            cells.append(" / ".join(f"{value:+.1f}" for value in given) or "-")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [""]
    for column, given in [*apart.items(), ("all", [value for part in apart.values() for value in part])]:
        outside = sum(abs(value) > 2 for value in given)
        lines.append(
            f"{column}: {outside} of {len(given)} figures differ by more than two standard errors; chance alone would "
            f"give about {2 * norm.sf(2) * len(given):.1f}"
        )
    return "\n".join([*lines, ""])


def markdown(names: list[str], columns: dict[str, list[OverTargets | None]], notes: list[str]) -> str:
    """The table: AUC ± its standard error, TPR at 1 % and at 0.1 % FPR, means over targets."""
    lines = ["| attack | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row, name in enumerate(names):
        lines.append(f"| {name} | " + " | ".join(cell(column[row]) for column in columns.values()) + " |")
    return "\n".join([*lines, "", *notes, ""])


def cell(result: OverTargets | None) -> str:
    if result is None:
        return "-"
    tpr = " / ".join(f"{one.mean:.3f}" for one in result.tpr_at_fpr if one is not None)
    return f"{result.auc.mean:.3f} ± {result.auc.standard_error:.3f} / {tpr}"


def numbers(names: list[str], columns: dict[str, list[OverTargets | None]]) -> dict[str, Any]:
    return {
        column: {
            name: [[result.auc.mean, result.auc.standard_error]]
            + [[one.mean, one.standard_error] for one in result.tpr_at_fpr if one is not None]
            for name, result in zip(names, results, strict=True)
            if result is not None
        }
        for column, results in columns.items()
    }


if __name__ == "__main__":
    main()
