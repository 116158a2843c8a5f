"""Membership attacks beside their peers, measured in one run: medians of several repeats, ratios at the end.

    python benchmarks/attacks.py            full size
    python benchmarks/attacks.py --smoke    tiny, to see that it runs

TensorFlow Privacy's released function runs in an environment of its own below ``.benchmark-env``, made on first use.
The two published forms that no package ships are written here from their description: the loop that gathers every
record's reference signals before it fits them, and RMIA's comparison of every record with every population record.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from dpaudit import registry
from dpaudit._check import FloatArray
from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.rmia import Rmia
from dpaudit.signals import PoolSignals, Signals

ENVIRONMENT = Path(__file__).parents[1] / ".benchmark-env" / "attacks"
PACKAGES = (
    ("tensorflow==2.15.1", "tensorflow-privacy==0.9.0", "scikit-learn<1.5", "scipy<1.14", "pandas<3", "matplotlib",
     "statsmodels", "immutabledict"),
    ("--no-deps", "tensorflow-empirical-privacy==0.1.0"),
)  # fmt: skip
# Trained by scikit-learn, or asking for more than signals (records, queries, checkpoints).
LEFT_OUT = {"classifier", "risk-score", "quantile", "robustness", "trajectory", "multi-signal-lira"}


def pool(models: int, records: int, population: int = 0) -> PoolSignals:
    rng = np.random.default_rng(0)
    included = np.empty((models, records), bool)
    included[0::2] = rng.random((models // 2, records)) < 0.5
    included[1::2] = ~included[0::2]
    phi = rng.normal(0, 2, records) + rng.uniform(0.5, 1.5, records) * rng.normal(size=included.shape) + included
    z = rng.normal(size=(models, population)) if population else None
    return PoolSignals(phi, included, population=z)


def seconds(work: Callable[[], object], *, repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def published_loop(signals: Signals) -> FloatArray:
    """One target: gather the signals with and without each record, medians and deviations, one ratio each."""
    inside, outside = [], []
    for reference, member in zip(signals.reference.T, signals.included.T, strict=True):
        inside.append(reference[member])
        outside.append(reference[~member])
    size_in, size_out = min(map(len, inside)), min(map(len, outside))
    data_in = np.array([values[:size_in] for values in inside])
    data_out = np.array([values[:size_out] for values in outside])
    log_in = norm.logpdf(signals.phi, np.median(data_in, axis=1), data_in.std(axis=1) + 1e-30)
    log_out = norm.logpdf(signals.phi, np.median(data_out, axis=1), data_out.std(axis=1) + 1e-30)
    ratio: FloatArray = log_in - log_out
    return ratio


def direct_rmia(signals: Signals) -> FloatArray:
    """Every record against every population record."""
    assert signals.population is not None
    p, reference = expit(signals.phi), expit(signals.reference)
    inside = np.where(signals.included, reference, 0).sum(axis=0) / signals.included.sum(axis=0)
    outside = np.where(signals.included, 0, reference).sum(axis=0) / (~signals.included).sum(axis=0)
    ratio = p / ((inside + outside) / 2)
    ratio_z = expit(signals.population.phi) / expit(signals.population.reference).mean(axis=0)
    share: FloatArray = (ratio[:, None] / ratio_z[None, :] >= 1).mean(axis=1)
    return share


def released(signals: Signals) -> dict[str, float]:
    """Seconds TensorFlow Privacy's function takes for one target."""
    if not (ENVIRONMENT / "done").exists():
        print("making the environment of the peer ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        for packages in PACKAGES:
            subprocess.run([ENVIRONMENT / "bin" / "pip", "install", "-q", *packages], check=True)
        (ENVIRONMENT / "done").touch()
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(given, phi=signals.phi, reference=signals.reference, included=signals.included)
        script = Path(__file__).with_name("tf_privacy_attacks.py")
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([ENVIRONMENT / "bin" / "python", script, given, out], check=True, env=quiet)
        result = np.load(out)
        apart = np.abs(result["lira_median_per-record"] - Lira("per-record", "median")(signals)).max()
        print(f"  largest difference to its scores: {apart:.1e}")
        return {name: float(result[name]) for name in result if name.startswith("seconds_")}


def lira(small: bool, repeats: int) -> None:
    targets, records = (8, 500) if small else (64, 50_000)
    many = pool(targets, records)
    ours = seconds(lambda: Lira().leave_pair_out(many), repeats=repeats)
    per_record = seconds(lambda: Lira("per-record").leave_pair_out(many), repeats=repeats)
    one = many.target(0)
    loop = seconds(lambda: published_loop(one), repeats=min(repeats, 3)) * targets
    print(f"LiRA online, {targets} targets x {records:,} records, each with {targets - 2} references")
    print(f"  shrunk variance {ours:.3f} s, per-record variance {per_record:.3f} s (wanted: 0.5 s or less)")
    print(f"  published loop {loop:.1f} s (one target measured, times {targets}): {loop / ours:,.0f}x (wanted: 50x)")
    models, count = (8, 200) if small else (16, 20_000)
    single = pool(models, count).target(0)
    ours = seconds(lambda: Lira("per-record")(single), repeats=repeats)
    theirs = released(single)["seconds_lira_median_per-record"]
    print(f"LiRA online, one target of {count:,} records, {models - 2} references")
    print(f"  {1000 * ours:.2f} ms; TensorFlow Privacy {theirs:.2f} s: {theirs / ours:,.0f}x (wanted: 1,000x)")


def rmia(small: bool, repeats: int) -> None:
    records, population = (500, 100) if small else (20_000, 5_000)
    target = pool(16, records, population).target(0)
    assert np.array_equal(np.floor(Rmia()(target) * (population + 1)), np.rint(direct_rmia(target) * population))
    ours = seconds(lambda: Rmia()(target), repeats=repeats)
    direct = seconds(lambda: direct_rmia(target), repeats=min(repeats, 3))
    print(f"RMIA, {records:,} records x {population:,} population records, 14 references")
    print(f"  {1000 * ours:.1f} ms (wanted: 20 ms or less); all pairs {direct:.2f} s: {direct / ours:,.0f}x (100x)")
    print(f"  memory of the pairs: {8 * records * population / 2**20:,.0f} MB, here none")


def everything(small: bool, repeats: int) -> None:
    records = 1_000 if small else 100_000
    rng = np.random.default_rng(1)
    target = pool(34, records, records // 10).target(0)
    logits = rng.normal(0, 2, (records, 10))
    own = Signals.from_logits(logits, rng.integers(0, 10, records))
    signals = Signals(own.phi, own.labels, own.log_probabilities, target.reference, target.included, target.population)
    total = 0.0
    for name in sorted(set(registry.MEMBERSHIP) - LEFT_OUT):
        attack = registry.resolve("membership", name)()
        taken = seconds(lambda attack=attack: attack(signals), repeats=repeats)  # type: ignore[misc]
        print(f"  {name:24s}{1000 * taken:9.1f} ms")
        total += taken
    print(f"every attack without training, {records:,} records, 32 references: {total:.2f} s (wanted: 10 s or less)")


def whole(small: bool) -> None:
    """The door: 64 reference models on digits trained, attacked, evaluated, and the report written."""
    from dpaudit.pipeline import run
    from dpaudit.plan import plan_from

    models, epochs = (4, 1) if small else (64, 20)
    plan = plan_from(
        {
            "schema": 1,
            "name": "benchmark",
            "seed": 1,
            "data": {"source": "digits"},
            "architecture": {"kind": "mlp", "hidden": [64]},
            "model": [{"name": "plain", "trainer": "dp-sgd", "epochs": epochs}],
            "membership": {"attacks": ["loss", "base", "lira", "rmia"], "references": models, "slices": ["class"]},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        run(plan, folder=Path(folder))
        taken = time.perf_counter() - begin
    print(
        f"{models} stacked reference models on digits trained, attacked, reported: {taken:.1f} s (wanted: 30 s or less)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one repeat")
    arguments = parser.parse_args()
    repeats = 1 if arguments.smoke else 5
    lira(arguments.smoke, repeats)
    rmia(arguments.smoke, repeats)
    everything(arguments.smoke, repeats)
    whole(arguments.smoke)


if __name__ == "__main__":
    main()
