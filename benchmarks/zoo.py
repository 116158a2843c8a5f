"""How long the zoo takes, and whether anything right is mistaken for a fault.

``python benchmarks/zoo.py``: rungs 0 to 2 on two processes, median of several runs; the limit is 60 s on two cores.
``python benchmarks/zoo.py --right-runs 200 --out FILE.json``: also 200 audits of each right mechanism on rungs 0 to 2,
each at level 1e-6.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from dpaudit.self_test.bugs.catalogue import RIGHT
from dpaudit.self_test.bugs.run import run_zoo

LIMIT = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--numpy-only", action="store_true", help="leave out TensorFlow, for a smoke test")
    parser.add_argument("--right-runs", type=int, default=0, help="audits of each right mechanism")
    parser.add_argument("--right", nargs="*", default=[], choices=list(RIGHT), help="only these; all when none")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    seconds, missed = [], 0
    for repeat in range(chosen.repeats):
        start = time.perf_counter()
        report = run_zoo(seed=repeat, rungs=(0, 1, 2), right_runs=0, tensorflow=not chosen.numpy_only, jobs=chosen.jobs)
        seconds.append(time.perf_counter() - start)
        missed += len(report.missed)
        print(
            f"run {repeat + 1}: {len(report.rows)} faults, {len(report.missed)} missed, {seconds[-1]:.1f} s", flush=True
        )
    median = statistics.median(seconds)
    print(f"median {median:.1f} s, limit {LIMIT:.0f} s: {median / LIMIT:.2f} of it", flush=True)
    figures = {"seconds, rungs 0 to 2": median, "faults missed": float(missed)}
    targets = {"seconds, rungs 0 to 2": LIMIT, "faults missed": 0.0}
    for mechanism, (hunt, needs_tensorflow) in RIGHT.items() if chosen.right_runs else ():
        if (chosen.numpy_only and needs_tensorflow) or (chosen.right and mechanism not in chosen.right):
            continue
        alarms = sum(bool(hunt(1_000 + run).check) for run in range(chosen.right_runs))
        name = f"alarms in {chosen.right_runs} runs: {mechanism}"
        figures[name], targets[name] = float(alarms), 0.0
        print(f"{name}: {alarms}", flush=True)
    if chosen.out is not None:
        ratio = {"median": LIMIT / median, "low": LIMIT / max(seconds), "high": LIMIT / min(seconds)}
        found_there = {"ratios": {"limit over time": ratio}, "figures": figures, "targets": targets}
        chosen.out.write_text(json.dumps(found_there, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
