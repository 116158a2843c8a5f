"""A table of people like the census of incomes of 1994 and 1995, and what an audit of it takes from CSV to report.

    python -m benchmarks.census census.csv                      writes 300,000 rows of 42 columns, always the same ones
    python -m benchmarks.census census.csv --records 3000       smaller
    python -m benchmarks.census census.csv --run mlp trees      audits it too, in two plans, and says what that took

The table has the columns of the UCI set Census-Income (KDD), made from a few hidden properties of each person: numbers
that are mostly zero, codes, words with many rare values, gaps, people who are equal in every column, and an income that
depends on age, schooling, work and capital.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.dataset import Dataset
from dpaudit.runtime.check import BoolArray, FloatArray

PLANS = {name: Path(__file__).resolve().with_name(f"census_{name}.toml") for name in ("mlp", "trees")}
TWINS = 0.1  # share of the records that are copies of others: children of one age and place are alike


def people(records: int, *, seed: int = 1994) -> Any:
    """The table, a data frame of ``records`` rows and 42 columns; the last one is the label ``income``."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    made = max(1, round(records * (1 - TWINS)))
    age = np.clip(rng.gamma(2.2, 16.5, made), 0, 90).astype(np.int64)
    adult, old = age >= 16, age > 65
    school = np.where(adult, rng.normal(0, 1, made) - 0.6 * (age < 22), -3.0)
    works = adult & (rng.random(made) < np.where(old, 0.15, 0.75))
    weeks = np.where(works, np.where(rng.random(made) < 0.7, 52, rng.integers(1, 52, made)), 0)
    rich = school + 0.8 * rng.normal(0, 1, made) + 0.03 * np.clip(age - 25, 0, 30)
    abroad = rng.random(made) < 0.11
    moved = rng.random(made) < 0.16
    woman = rng.random(made) < 0.52

    def words(name: str, values: int, near: FloatArray | float = 0.0, *, first: BoolArray | None = None) -> Any:
        """One of ``values`` words, the later the rarer; ``near`` moves the choice, ``first`` is always the first."""
        rank = np.floor(rng.exponential(1 / np.log1p(8 / values), made) + 1.5 * np.abs(near)).astype(np.int64) % values
        if first is not None:
            rank = np.where(first, 0, 1 + rank % (values - 1))
        return np.array([f"{name} {at}" for at in range(values)], object)[rank]

    def amount(share: float, scale: float, where: BoolArray) -> npt.NDArray[np.int64]:
        paid = where & (rng.random(made) < share * np.exp(0.5 * np.clip(rich, -2, 2)))
        return np.where(paid, np.round(scale * np.exp(0.5 * rich + rng.normal(0, 0.7, made)), -1), 0).astype(np.int64)

    gains, dividends = amount(0.04, 4000, adult), amount(0.1, 700, adult)
    level = np.clip(np.round(2 * school + 8), 0, 16).astype(np.int64)
    table = {
        "age": age,
        "class of worker": words("class", 9, rich, first=~works),
        "industry code": np.where(works, rng.integers(1, 52, made), 0),
        "occupation code": np.where(works, np.clip(23 - 6 * school + 5 * rng.normal(size=made), 1, 46), 0).astype(int),
        "education": np.array([f"school {at}" for at in range(17)], object)[level],
        "wage per hour": np.where(works & (rng.random(made) < 0.1), rng.normal(900, 250, made).clip(200), 0).round(),
        "enrolled": words("enrolled", 3, first=~(adult & (age < 25))),
        "marital status": words("status", 7, age / 40, first=~adult),
        "major industry": words("industry", 24, school, first=~works),
        "major occupation": words("occupation", 15, school, first=~works),
        "race": words("race", 5),
        "hispanic origin": words("origin", 10, first=~abroad | (rng.random(made) < 0.5)),
        "sex": np.where(woman, "Female", "Male"),
        "union": words("union", 3, first=~works | (rng.random(made) < 0.9)),
        "reason for unemployment": words("reason", 6, first=works | ~adult | (rng.random(made) < 0.9)),
        "full or part time": words("time", 8, first=~works),
        "capital gains": gains,
        "capital losses": amount(0.02, 1500, adult),
        "dividends": dividends,
        "tax filer": words("filer", 6, age / 40, first=~adult),
        "previous region": words("region", 6, first=~moved),
        "previous state": words("state", 51, first=~moved),
        "household": words("household", 38, age / 20),
        "household summary": words("summary", 8, age / 30),
        "weight": np.where(adult, np.round(rng.gamma(3, 580, made), 2), 1740.38),
        "migration msa": words("msa", 10, first=~moved),
        "migration region": words("change", 9, first=~moved),
        "migration within": words("within", 10, first=~moved),
        "same house": np.where(moved, "No", "Yes").astype(object),
        "sunbelt": words("sunbelt", 4, first=~moved),
        "persons worked": np.where(works, rng.integers(1, 7, made), 0),
        "family under 18": words("family", 5, first=adult),
        "country of father": words("country", 43, first=~abroad),
        "country of mother": words("country", 43, first=~abroad),
        "country of self": words("country", 43, first=~abroad | (rng.random(made) < 0.3)),
        "citizenship": words("citizen", 5, first=~abroad),
        "own business": np.where(works & (rng.random(made) < 0.12), rng.integers(1, 3, made), 0),
        "questionnaire": words("filled", 3, first=rng.random(made) < 0.99),
        "veterans benefits": np.where(adult, np.where(rng.random(made) < 0.02, 1, 2), 0),
        "weeks worked": weeks,
        "year": rng.integers(94, 96, made),
    }
    missing = np.array(None, object)
    for name in ("migration msa", "migration region", "migration within", "sunbelt"):
        table[name] = np.where(rng.random(made) < 0.5, missing, table[name])
    for name in ("country of father", "country of mother", "previous state"):
        table[name] = np.where(rng.random(made) < 0.03, missing, table[name])
    table["wage per hour"] = np.where(rng.random(made) < 0.02, np.nan, table["wage per hour"])
    earns = 1.6 * rich + 0.03 * weeks - 0.7 * woman + 1.5 * np.log1p(gains / 2000) + 0.7 * np.log1p(dividends / 500)
    income = np.where(adult, earns + 0.3 * rng.normal(size=made), -9.0) > 4.0
    table["income"] = np.where(income, "50000+.", "- 50000.")
    rows = rng.permutation(np.r_[np.arange(made), rng.integers(0, made, records - made)])
    return pd.DataFrame(table).iloc[rows].reset_index(drop=True)


def boosted(dataset: Dataset, included: BoolArray, *, seed: int) -> Callable[[npt.NDArray[np.float32]], FloatArray]:
    """scikit-learn's gradient boosting, as the trainer ``function`` calls it."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    groups = words_of(dataset.columns)

    def codes(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One column for each column of the table again: trees learn ten times as fast from these."""
        return np.column_stack([features[:, at].argmax(axis=1) if len(at) > 1 else features[:, at[0]] for at in groups])

    model = HistGradientBoostingClassifier(
        max_iter=50,
        categorical_features=[len(at) > 1 for at in groups],
        early_stopping=False,
        random_state=seed,
    )
    model.fit(codes(dataset.features[included]), dataset.classes[included])

    def logits(features: npt.NDArray[np.float32]) -> FloatArray:
        log_odds = np.asarray(model.decision_function(codes(features)), np.float64)
        return np.stack([-log_odds / 2, log_odds / 2], axis=1)

    return logits


def words_of(columns: Sequence[str]) -> list[list[int]]:
    """Which outputs of an encoded table are the words of one column, for each of its columns.

    >>> words_of(["age", "town = a", "town = b"])
    [[0], [1, 2]]
    """
    found: dict[str, list[int]] = {}
    for at, name in enumerate(columns):
        found.setdefault(name.partition(" = ")[0], []).append(at)
    return list(found.values())


def audited(table: Path, plan: Path) -> None:
    """Run a plan on the table as a user would, and print what it took and found."""
    with tempfile.TemporaryDirectory() as folder:
        begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        out = Path(folder) / "run"
        command = ["run", str(plan), "--set", f"data.source={table.resolve()}", "--trust", "--out", str(out)]
        subprocess.run([sys.executable, "-m", "dpaudit", *command], check=False, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        found = json.loads((out / "result.json").read_text())
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{plan.stem}: {wall:.0f} s, {spent:.0f} CPU s, most memory of a process {after.ru_maxrss / 1e6:.2f} GB")
    print(f"  seconds: {', '.join(f'{step} {seconds:.0f}' for step, seconds in found['timing'].items())}")
    for model in found["models"]:
        right = model["utility"]
        print(f"  {model['name']}: accuracy {right['train']:.3f}, of other records {right['test']:.3f}")
    for attack in found["membership"]["attacks"]:
        print(f"  {attack['attack']}: AUC {attack['auc']:.4f}, measured ε ≥ {attack['bound']['epsilon']:.2f}")
    print(f"  {found['membership']['blind']['sentence']}")
    print(f"  {found['membership']['duplicates']['sentence']}")
    for compared in found["comparisons"]:
        print(f"  {compared['sentence']}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="the CSV file")
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--run", nargs="*", choices=PLANS, default=[], help="plans to audit it by")
    given = parser.parse_args()
    people(given.records).to_csv(given.table, index=False)
    for name in given.run:
        audited(given.table, PLANS[name])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
