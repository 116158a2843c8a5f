"""Bounds beside their peers, measured in one run: speed, then how often each is above the truth.

    python benchmarks/bounds.py            full size
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
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.accounting import trade_off
from dpaudit.bounds.accuracy import Accuracy
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.conditional import Conditional
from dpaudit.bounds.joint_beta import joint_beta
from dpaudit.bounds.null import Gaussian
from dpaudit.bounds.one_run import OneRun, one_run
from dpaudit.bounds.one_run_trade_off import OneRunTradeOff, one_run_trade_off
from dpaudit.bounds.selection import Counts, Fixed, Guesses, HeldOut
from dpaudit.bounds.sequential import Sequential
from dpaudit.bounds.whole_curve import WholeCurve
from dpaudit.calibration.mechanisms import DELTA, Simulated, constant_ratio, gaussian, null
from dpaudit.calibration.methods import METHODS
from dpaudit.claim import GaussianSteps, Poisson
from dpaudit.scores import Scores

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


def seconds(work: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        one_run.cache_clear()
        one_run_trade_off.cache_clear()
        joint_beta.cache_clear()
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


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


def speed(sizes: tuple[int, ...], repeats: int) -> None:
    mechanism = gaussian(1.0)
    print("seconds for scores -> ε, Gaussian μ = 1; ratio = the peer's time over the time of all seven bounds of ours")
    for size in sizes:
        scores, member = simulate(mechanism, 1, size, seed=0)
        ours = Scores.join(scores[0], member[0])
        here = seconds(lambda ours=ours: all_bounds(ours), repeats)  # type: ignore[misc]  # a default binds the loop
        print(f"  {size:>9,} scores   dpaudit, all seven bounds {here:9.4f}")
        for peer in PEERS:
            if peer == "tensorflow-privacy" and size > 200_000:
                print(f"  {size:>9,} scores   {peer}: left out, it takes minutes")
                continue
            for name, answer in ask(peer, scores, member, 1e-9, repeats).items():
                print(
                    f"  {size:>9,} scores   {peer}, {name} {answer['seconds']:9.4f}   x {answer['seconds'] / here:.1f}"
                )


def targets(repeats: int, largest: int) -> None:
    rng = np.random.default_rng(0)
    big = Scores(rng.normal(1, 1, largest // 2), rng.normal(0, 1, largest // 2))
    steps = [GaussianSteps(1.0, 10_000, Poisson(0.01 + 1e-9 * i)) for i in range(repeats)]
    curves = iter(steps)
    whole, counts = Guesses(10**6, 10**6, 700_000), Guesses(10**4, 10**4, 7000)
    rows: tuple[tuple[str, Callable[[], object], float], ...] = (
        (f"all bounds at {largest:,} scores", lambda: all_bounds(big), 0.25),
        ("one-run count at m = 1,000,000", lambda: one_run(whole, 1e-8, LEVEL), 0.005),
        ("one-run f-DP at m = 10,000", lambda: one_run_trade_off(counts, 1e-5, LEVEL, null=Gaussian()), 0.010),
        ("joint-beta interval", lambda: joint_beta(Counts(90, 10, 5, 95), 1e-5, 0.9), 0.015),
        ("trade-off curve of 10,000 steps", lambda: trade_off(next(curves)), 0.5),
    )
    print("\nseconds, and the target")
    for name, work, target in rows:
        print(f"  {name:36} {seconds(work, repeats):9.5f}   target {target}")


def miscoverage(audits: int, size: int) -> None:
    print(f"\nP[reported ε > true ε] in {audits} audits of {size} coins, nominal 5 %")
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
        for name, found in rows.items():
            above = float(np.mean(np.array(found) > mechanism.epsilon + 1e-9))
            outside = not mechanism.gaussian and name.endswith(GAUSSIAN_ONLY)
            failed = above > 0.05 + 3 * (0.05 * 0.95 / audits) ** 0.5
            mark = "  (outside its family)" if outside else "  <- not a 95 % bound" if failed else ""
            print(f"  {mechanism.name:30} {name:60} {100 * above:6.1f} %   mean ε {np.mean(found):6.3f}{mark}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    smoke = parser.parse_args().smoke
    warnings.filterwarnings("ignore", message="δ = ")  # the sizes are chosen for speed, not for power
    speed((1000,) if smoke else (1000, 10_000, 100_000, 1_000_000), 1 if smoke else 5)
    targets(1 if smoke else 5, 10_000 if smoke else 1_000_000)
    miscoverage(20 if smoke else 1000, 200 if smoke else 1000)


if __name__ == "__main__":
    main()
