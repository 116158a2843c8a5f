"""Bounds beside their peers, measured in one run: speed, then how often each is above the truth.

    python benchmarks/bounds.py            full size, a few minutes
    python benchmarks/bounds.py --smoke    tiny, to see that it runs

Peers live in environments of their own below ``.benchmark-env``, made on first use: jax-privacy's ``auditing.py`` and
the ``EpsilonLowerBound`` of TensorFlow Privacy. Times are medians, a peer's for the same scores in the same run.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.accounting.mechanism import trade_off
from dpaudit.bounds.accuracy import Accuracy, accuracy_bound
from dpaudit.bounds.choosing import Fixed, HeldOut
from dpaudit.bounds.clopper_pearson import ClopperPearson, clopper_pearson
from dpaudit.bounds.conditional import Conditional, conditional
from dpaudit.bounds.hypothesis import Gaussian
from dpaudit.bounds.joint_beta import joint_beta
from dpaudit.bounds.one_run import OneRun, one_run, perfect_one_run
from dpaudit.bounds.one_run_trade_off import OneRunTradeOff, one_run_trade_off
from dpaudit.bounds.sequential import Sequential, refuted_rate, sequential
from dpaudit.bounds.trial_counts import Counts, Guesses
from dpaudit.bounds.whole_curve import WholeCurve, whole_curve
from dpaudit.scores.scores import Scores
from dpaudit.self_test.mechanisms import DELTA, Simulated, constant_ratio, gaussian, null
from dpaudit.self_test.methods import METHODS

ENVIRONMENTS = Path(__file__).parents[1] / ".benchmark-env"
PEERS = {
    "jax-privacy": (
        ("numpy>=1.26", "scipy>=1.11", "dp-accounting>=0.4.3"),
        ("--no-deps", "jax-privacy==2.0.0"),
    ),
    "tensorflow-privacy": (
        ("numpy<2", "scipy", "scikit-learn<1.5", "statsmodels", "immutabledict"),
        ("--no-deps", "tensorflow-empirical-privacy==0.1.0"),
    ),
}
LEVEL = 0.05
GAUSSIAN_ONLY = ("epsilon_from_gdp", "one-run f-DP (Bonferroni)")  # peers that refute Gaussian curves


def environment(peer: str) -> Path:
    folder = ENVIRONMENTS / f"bounds-{peer}"
    python, done = folder / "bin" / "python", folder / ".done"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        for packages in PEERS[peer]:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        done.touch()
    return python


def ask(peer: str, scores: np.ndarray, member: np.ndarray, delta: float, repeats: int) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scores.npz"
        np.savez(file, scores=scores, member=member, delta=delta, level=LEVEL)
        script = Path(__file__).with_name("bounds_peer.py")
        command = [str(environment(peer)), str(script), peer, str(file), str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{peer} failed:\n{done.stderr}")
    answer: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return answer


class Measured(NamedTuple):
    """What a run found, by name; ``ratios`` are the peer's time over ours."""

    ratios: dict[str, dict[str, float]]
    figures: dict[str, float]
    targets: dict[str, float]


CACHED = (
    accuracy_bound, clopper_pearson, conditional, joint_beta, one_run, one_run_trade_off, perfect_one_run, refuted_rate,
    sequential, whole_curve,
)  # fmt: skip


def seconds(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of every pass, each from empty caches."""
    taken = []
    for _ in range(repeats):
        for cached in CACHED:
            cached.cache_clear()
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return taken


def spread(theirs: list[float], ours: list[float]) -> dict[str, float]:
    """A peer's time over ours, pass by pass."""
    passes = [peers / here for peers, here in zip(theirs, ours, strict=True)]
    return {"median": statistics.median(passes), "low": min(passes), "high": max(passes)}


def simulate(mechanism: Simulated, audits: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    member = rng.random((audits, size)) < 0.5
    return np.stack([mechanism.simulate(row, rng) for row in member]), member


def all_bounds(scores: Scores) -> None:
    bounds = (
        ClopperPearson(HeldOut(0)),
        Conditional(HeldOut(0)),
        WholeCurve(HeldOut(0)),
        Accuracy(Fixed(0.5), "runs"),
        Sequential(Fixed(0.5), "runs"),
        OneRun(HeldOut(0)),
        OneRunTradeOff(HeldOut(0)),
    )
    for bound in bounds:
        bound(scores, delta=1e-9, confidence=0.95, adjacency="add-remove", unit="record")


def speed(found: Measured, sizes: tuple[int, ...], repeats: int) -> None:
    """Scores to ε: all seven bounds of ours beside each estimator of a peer alone."""
    print("seconds for scores -> ε, Gaussian μ = 1; ratio = a peer's one estimator over all seven bounds of ours")
    for size in sizes:
        scores, member = simulate(gaussian(1.0), 1, size, seed=0)
        joined = Scores.join(scores[0], member[0])
        ours = seconds(partial(all_bounds, joined), repeats)
        print(f"  {size:>9,} scores   dpaudit, all seven bounds {statistics.median(ours):9.4f}")
        found.figures[f"all seven bounds, {size:,} scores, s"] = statistics.median(ours)
        for peer in PEERS:
            if peer == "tensorflow-privacy" and size > 10_000:
                print(f"  {size:>9,} scores   {peer}: left out, it takes minutes")
                continue
            for name, answer in ask(peer, scores, member, 1e-9, repeats).items():
                ratio = spread(answer["seconds"], ours)
                found.ratios[f"seven bounds beside one of {peer}, {name}, {size:,} scores"] = ratio
                theirs = statistics.median(answer["seconds"])
                print(f"  {size:>9,} scores   {peer}, {name} {theirs:9.4f}   x {ratio['median']:.1f}")


def targets(found: Measured, repeats: int, largest: int) -> None:
    """The times wanted of single bounds."""
    rng = np.random.default_rng(0)
    big = Scores(rng.normal(1, 1, largest // 2), rng.normal(0, 1, largest // 2))
    # A curve is cached by its mechanism, so every pass has one of its own.
    curves = iter([GaussianSteps(1.0, 10_000, Poisson(0.01 + 1e-9 * i)) for i in range(repeats)])
    whole, counts = Guesses(10**6, 10**6, 700_000), Guesses(10**4, 10**4, 7000)
    rows: tuple[tuple[str, Callable[[], object], float], ...] = (
        (f"all bounds at {largest:,} scores, s", lambda: all_bounds(big), 0.25),
        ("one-run count at m = 1,000,000, s", lambda: one_run(whole, 1e-8, LEVEL), 0.005),
        ("one-run f-DP at m = 10,000, s", lambda: one_run_trade_off(counts, 1e-5, LEVEL, null=Gaussian()), 0.010),
        ("joint-beta interval, s", lambda: joint_beta(Counts(90, 10, 5, 95), 1e-5, 0.9), 0.015),
        ("trade-off curve of 10,000 steps, s", lambda: trade_off(next(curves)), 0.5),
    )
    script = Path(__file__).with_name("bounds_peer.py")
    command = [str(environment("jax-privacy")), str(script), "counts", str(repeats)]
    peers = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print("\nseconds, the target, and how many times longer jax-privacy takes for the same count")
    for name, work, target in rows:
        ours = seconds(work, repeats)
        found.figures[name] = statistics.median(ours)
        found.targets[name] = target
        beside = ""
        if name in peers:
            ratio = spread(peers[name], ours)
            found.ratios[f"jax-privacy, {name.removesuffix(', s')}"] = ratio
            beside = f"   x {ratio['median']:,.0f} ({ratio['low']:,.0f} to {ratio['high']:,.0f})"
        print(f"  {name:40} {found.figures[name]:9.5f}   at most {target}{beside}")


def miscoverage(found: Measured, audits: int, size: int) -> str:
    """Share of audits above the truth, ours and peers' on the same simulated scores; printed, and as Markdown."""
    heading = f"P[reported ε > true ε] in {audits} audits of {size} coins, nominal 5 %"
    lines = [heading, "", "| mechanism | method | above the truth | mean ε | |", "|---|---|---|---|---|"]
    print(f"\n{heading}")
    for mechanism in (null(), constant_ratio(1.0), gaussian(1.0)):
        scores, member = simulate(mechanism, audits, size, seed=1)
        rows: dict[str, list[float]] = {}
        joined = [Scores.join(row, truth) for row, truth in zip(scores, member, strict=True)]
        for method in METHODS:
            if method.judged_on(mechanism):
                measure = method.build(mechanism, size, 0)
                rows[f"dpaudit, {method.name}"] = [measure(each, mechanism.delta, 0.95) for each in joined]
        for peer in PEERS:
            for name, answer in ask(peer, scores, member, DELTA, 1).items():
                rows[f"{peer}, {name}"] = answer["epsilon"]
        for name, values in rows.items():
            above = float(np.mean(np.array(values) > mechanism.epsilon + 1e-9))
            outside = not mechanism.gaussian and name.endswith(GAUSSIAN_ONLY)
            failed = above > 0.05 + 3 * (0.05 * 0.95 / audits) ** 0.5
            mark = "outside its family" if outside else "not a 95 % bound" if failed else ""
            found.figures[f"above the truth: {name}, {mechanism.name}"] = above
            print(f"  {mechanism.name:30} {name:60} {100 * above:6.1f} %   mean ε {np.mean(values):6.3f}  {mark}")
            lines.append(f"| {mechanism.name} | {name} | {100 * above:.1f} % | {np.mean(values):.3f} | {mark} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, help="write ratios, figures and targets as JSON")
    parser.add_argument("--markdown", type=Path, help="write how often each is above the truth as Markdown")
    arguments = parser.parse_args()
    smoke, found = arguments.smoke, Measured({}, {}, {})
    speed(found, (1000,) if smoke else (1000, 10_000, 100_000, 1_000_000), 1 if smoke else 5)
    targets(found, 1 if smoke else 5, 10_000 if smoke else 1_000_000)
    table = miscoverage(found, 20 if smoke else 400, 200 if smoke else 1000)
    if arguments.markdown is not None:
        arguments.markdown.write_text(table, encoding="utf-8")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found._asdict(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
