"""Writes the table of docs/attacks.md: every attack against the number of reference models.

Beside it stands how far each figure lies from the same one measured earlier by another implementation, in standard
errors of the difference; with ``against`` in the settings, also how far each attack is from that one on the same
targets, and the rates of all targets' scores thrown together.

python examples/attack_table.py [attack_table.toml] [FOLDER]
"""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

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


class Attacked(NamedTuple):
    """What an attack found over all targets, and the AUC on each of them."""

    result: OverTargets
    aucs: FloatArray


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


def over_references(attack: Any, pools: list[PoolSignals], references: int) -> Attacked:
    """The attack with so many references per target: each pool in parts of that size and one pair, all of them."""
    size = references + 2
    scores, included = [], []
    for pool in pools:
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
            included.append(part.included)
    together, member = np.concatenate(scores), np.concatenate(included)
    result = replace(over_targets(together, member, fprs=FPRS), tpr_at_fpr=published(together, member))
    aucs = [Roc.of(Scores.join(row, truth)).auc for row, truth in zip(together, member, strict=True)]
    return Attacked(result, np.array(aucs))


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
    columns: dict[str, list[Attacked | None]] = {}
    notes = []
    for one in settings["pool"]:
        pools = [signals(one, folder, seed=seed) for seed in settings["seeds"]]
        train, test = accuracy(pools, member=True), accuracy(pools, member=False)
        notes.append(f"{one['data']}: training accuracy {train:.3f}, test accuracy {test:.3f}")
        for references in one["references"]:
            column: list[Attacked | None] = []
            for attack in settings["attacks"]:
                parameters = {key: value for key, value in attack.items() if key != "name"}
                built = registry.build("membership", attack["name"], parameters, where="attack")
                try:
                    column.append(over_references(built, pools, references))
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
    text = markdown(names, columns, notes)
    if "against" in settings:
        text += beside(names, columns, settings["against"])
    text += compared(found, earlier)
    (folder / "table.md").write_text(text, encoding="utf-8")
    (folder / "table.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(text)


def accuracy(pools: list[PoolSignals], *, member: bool) -> float:
    """Mean over all models of their accuracy on members, or on the others."""
    each = []
    for pool in pools:
        # Of two classes only phi is kept, the log-odds of the label.
        log_probs = pool.log_probabilities
        right = pool.phi > 0 if log_probs is None else log_probs.argmax(-1) == pool.labels
        each += [row[who == member].mean() for row, who in zip(right, pool.included, strict=True)]
    return float(np.mean(each))


def beside(names: list[str], columns: dict[str, list[Attacked | None]], against: str) -> str:
    """Two tables: AUC less that of ``against`` ± standard error over the same targets, and rates of scores together."""
    lines = ["", f"AUC less that of {against}, in thousandths:", *_head(columns)]
    pooled = ["", "Scores of all targets thrown together, AUC / TPR at 1 % FPR:", *_head(columns)]
    for row, name in enumerate(names):
        cells, others = [], []
        for column in columns.values():
            one, other = column[row], column[names.index(against)]
            if one is None or other is None:
                cells.append("-")
                others.append("-")
                continue
            less = mean_over(list(one.aucs - other.aucs))
            cells.append(f"{1000 * less.mean:+.1f} ± {1000 * less.standard_error:.1f}")
            tpr = one.result.pooled_tpr_at_fpr[0]  # None where a target has too few non-members
            others.append(f"{one.result.pooled_auc:.3f} / " + ("-" if tpr is None else f"{tpr:.3f}"))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        pooled.append(f"| {name} | " + " | ".join(others) + " |")
    return "\n".join([*lines, *pooled, ""])


def _head(columns: dict[str, list[Attacked | None]]) -> list[str]:
    return ["", "| attack | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]


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


def markdown(names: list[str], columns: dict[str, list[Attacked | None]], notes: list[str]) -> str:
    """The table: AUC ± its standard error, TPR at 1 % and at 0.1 % FPR, means over targets."""
    lines = _head(columns)[1:]
    for row, name in enumerate(names):
        lines.append(f"| {name} | " + " | ".join(cell(column[row]) for column in columns.values()) + " |")
    return "\n".join([*lines, "", *notes, ""])


def cell(found: Attacked | None) -> str:
    if found is None:
        return "-"
    result = found.result
    tpr = " / ".join(f"{one.mean:.3f}" for one in result.tpr_at_fpr if one is not None)
    return f"{result.auc.mean:.3f} ± {result.auc.standard_error:.3f} / {tpr}"


def numbers(names: list[str], columns: dict[str, list[Attacked | None]]) -> dict[str, Any]:
    return {
        column: {
            name: [[each.result.auc.mean, each.result.auc.standard_error]]
            + [[one.mean, one.standard_error] for one in each.result.tpr_at_fpr if one is not None]
            for name, each in zip(names, results, strict=True)
            if each is not None
        }
        for column, results in columns.items()
    }


if __name__ == "__main__":
    main()
