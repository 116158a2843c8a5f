"""Membership attacks beside their peers, measured in one run: medians of several repeats, ratios at the end.

    python benchmarks/attacks.py            full size
    python benchmarks/attacks.py --smoke    tiny, to see that it runs
    python benchmarks/attacks.py --out FILE writes ratios, figures and targets as JSON too

TensorFlow Privacy's released function runs in an environment of its own below ``.benchmark-env``, made on first use.
The two published forms that no package ships are written here from their description: the loop that gathers every
record's reference signals before it fits them, and RMIA as Privacy Meter computes it (`run_rmia` of its
modules/mia/attacks/rmia.py): confidences given, the references' signals masked and sorted to keep those without the
record, and a table of the ratios of every record to every population record that is compared with 1 and averaged. Its
form without references trained on the records is compared with ours; both start from the same stored signals.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.rmia import Rmia, RmiaOffline
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.scores.signals import PoolSignals, Signals

ENVIRONMENT = Path(__file__).parents[1] / ".benchmark-env" / "attacks"
PACKAGES = (
    ("tensorflow==2.15.1", "tensorflow-privacy==0.9.0", "scikit-learn<1.5", "scipy<1.14", "pandas<3", "matplotlib",
     "statsmodels", "immutabledict"),
    ("--no-deps", "tensorflow-empirical-privacy==0.1.0"),
)  # fmt: skip
# Trained by scikit-learn, or asking for more than signals (records, queries, checkpoints).
LEFT_OUT = {
    "classifier",
    "classifier-on-target",
    "risk-score",
    "quantile",
    "robustness",
    "trajectory",
    "multi-signal-lira",
    "ranges",
}


def pool(models: int, records: int, population: int = 0) -> PoolSignals:
    rng = np.random.default_rng(0)
    included = np.empty((models, records), bool)
    included[0::2] = rng.random((models // 2, records)) < 0.5
    included[1::2] = ~included[0::2]
    phi = rng.normal(0, 2, records) + rng.uniform(0.5, 1.5, records) * rng.normal(size=included.shape) + included
    z = rng.normal(size=(models, population)) if population else None
    return PoolSignals(phi, included, population=z)


class Ratio(NamedTuple):
    """Times as fast as a peer: with our median time, and with the slowest and the fastest of both sides."""

    median: float
    low: float
    high: float


class Times(NamedTuple):
    """Seconds of several repeats."""

    median: float
    low: float
    high: float

    def times_as_fast_as(self, other: "Times", *, scale: float = 1.0) -> Ratio:
        return Ratio(scale * other.median / self.median, scale * other.low / self.high, scale * other.high / self.low)


class Measured(NamedTuple):
    """What one run found, by name."""

    ratios: dict[str, Ratio]
    figures: dict[str, float]
    targets: dict[str, float]


def seconds(work: Callable[[], object], *, repeats: int) -> Times:
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return Times(statistics.median(taken), min(taken), max(taken))


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


def privacy_meter_rmia(signals: Signals, *, a: float) -> FloatArray:
    """RMIA without references trained on the records, step by step as Privacy Meter takes them.

    It keeps the larger half of the references for the population too, of which all were trained without it.
    """
    assert signals.population is not None
    half = len(signals.reference) // 2

    def expected(reference: FloatArray, member: BoolArray) -> FloatArray:
        outside = expit(reference).T * ~member.T
        kept = -np.sort(-outside, axis=1)[:, :half]
        mean: FloatArray = (1 + a) / 2 * np.mean(kept, axis=1) + (1 - a) / 2
        return mean

    z = signals.population
    ratio = expit(signals.phi) / expected(signals.reference, signals.included)
    ratio_z = expit(z.phi) / expected(z.reference, z.included)
    share: FloatArray = np.average(ratio[:, np.newaxis] / ratio_z > 1.0, axis=1)
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


def lira(found: Measured, small: bool, repeats: int) -> None:
    targets, records = (8, 500) if small else (64, 50_000)
    many = pool(targets, records)
    ours = seconds(lambda: Lira().leave_pair_out(many), repeats=repeats)
    per_record = seconds(lambda: Lira("per-record").leave_pair_out(many), repeats=repeats)
    one = many.target(0)
    loop = seconds(lambda: published_loop(one), repeats=min(repeats, 3))
    faster = ours.times_as_fast_as(loop, scale=targets)
    found.ratios["LiRA beside the published loop"] = faster
    found.figures["LiRA online, every target of a pool, s (wanted at full size: at most 0.5)"] = ours.median
    print(f"LiRA online, {targets} targets x {records:,} records, each with {targets - 2} references")
    print(
        f"  shrunk variance {ours.median:.3f} s, per-record variance {per_record.median:.3f} s (wanted: at most 0.5 s)"
    )
    print(
        f"  published loop {targets * loop.median:.1f} s (one target measured, times {targets}): {shown(faster)} (50x)"
    )
    models, count = (8, 200) if small else (16, 20_000)
    single = pool(models, count).target(0)
    ours = seconds(lambda: Lira("per-record")(single), repeats=repeats)
    theirs = released(single)["seconds_lira_median_per-record"]
    faster = ours.times_as_fast_as(Times(theirs, theirs, theirs))
    found.ratios["LiRA beside TensorFlow Privacy"] = faster
    print(f"LiRA online, one target of {count:,} records, {models - 2} references")
    print(f"  {1000 * ours.median:.2f} ms; TensorFlow Privacy {theirs:.2f} s: {shown(faster)} (wanted: 1,000x)")


def rmia(found: Measured, small: bool, repeats: int) -> None:
    records, population = (500, 100) if small else (20_000, 5_000)
    target = pool(16, records, population).target(0)
    assert np.array_equal(np.floor(Rmia()(target) * (population + 1)), np.rint(direct_rmia(target) * population))
    ours = seconds(lambda: Rmia()(target), repeats=repeats)
    direct = seconds(lambda: direct_rmia(target), repeats=min(repeats, 3))
    offline = seconds(lambda: RmiaOffline()(target), repeats=repeats)
    peer = seconds(lambda: privacy_meter_rmia(target, a=0.3), repeats=min(repeats, 3))
    found.ratios["RMIA beside all pairs"] = ours.times_as_fast_as(direct)
    found.ratios["RMIA beside Privacy Meter's form"] = offline.times_as_fast_as(peer)
    found.figures["RMIA, one target, s (wanted at full size: at most 0.02)"] = ours.median
    print(f"RMIA, {records:,} records x {population:,} population records, 14 references")
    print(f"  {1000 * ours.median:.1f} ms (wanted: at most 20 ms), offline {1000 * offline.median:.1f} ms")
    print(f"  all pairs {direct.median:.2f} s: {shown(ours.times_as_fast_as(direct))} (wanted: 100x)")
    print(f"  Privacy Meter's form {peer.median:.2f} s: {shown(offline.times_as_fast_as(peer))} (wanted: 100x)")
    print(f"  memory of the pairs: {8 * records * population / 2**20:,.0f} MB, here none")


def everything(found: Measured, small: bool, repeats: int) -> None:
    records = 1_000 if small else 100_000
    rng = np.random.default_rng(1)
    target = pool(34, records, records // 10).target(0)
    logits = rng.normal(0, 2, (records, 10))
    own = Signals.from_logits(logits, rng.integers(0, 10, records))
    signals = Signals(own.phi, own.labels, own.log_probabilities, target.reference, target.included, target.population)
    total = 0.0
    for name in sorted(set(registry.KINDS["membership"]) - LEFT_OUT):
        attack = registry.resolve("membership", name)()
        taken = seconds(lambda attack=attack: attack(signals), repeats=repeats).median  # type: ignore[misc]
        print(f"  {name:24s}{1000 * taken:9.1f} ms")
        total += taken
    found.figures["every attack without training, s (wanted at full size: at most 10)"] = total
    print(f"every attack without training, {records:,} records, 32 references: {total:.2f} s (wanted: at most 10 s)")


def whole(found: Measured, small: bool) -> None:
    """The door: 64 reference models on digits trained, attacked, evaluated, and the report written."""
    from dpaudit.audits.plan import plan_from
    from dpaudit.audits.run import run

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
    found.figures["reference models on digits trained, attacked, reported, s (wanted at full size: at most 30)"] = taken
    print(
        f"{models} stacked reference models on digits trained, attacked, reported: {taken:.1f} s (wanted: at most 30 s)"
    )


def shown(ratio: Ratio) -> str:
    return f"{ratio.median:,.0f}x ({ratio.low:,.0f} to {ratio.high:,.0f})"


TARGETS = {
    "LiRA beside the published loop": 50.0,
    "LiRA beside TensorFlow Privacy": 1000.0,
    "RMIA beside all pairs": 100.0,
    "RMIA beside Privacy Meter's form": 100.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one repeat")
    parser.add_argument("--out", type=Path, help="write ratios, figures and targets as JSON")
    arguments = parser.parse_args()
    repeats = 1 if arguments.smoke else 5
    found = Measured({}, {}, TARGETS)
    for part in (lira, rmia, everything):
        part(found, arguments.smoke, repeats)
    whole(found, arguments.smoke)
    if arguments.out is not None:
        ratios = {name: ratio._asdict() for name, ratio in found.ratios.items()}
        written = {"ratios": ratios, "figures": found.figures, "targets": found.targets}
        arguments.out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
