"""How long the inspections of all known faults take.

``python benchmarks/faults.py``: rungs 0 to 2 on two processes, median of several runs; the limit is 60 s on two cores.
`benchmarks/quiet.py` inspects right mechanisms.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from dpaudit.self_test.faults.run import run_faults

LIMIT = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--numpy-only", action="store_true", help="leave out TensorFlow, for a smoke test")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    seconds, missed = [], 0
    for repeat in range(chosen.repeats):
        start = time.perf_counter()
        report = run_faults(
            seed=repeat, rungs=(0, 1, 2), right_runs=0, tensorflow=not chosen.numpy_only, jobs=chosen.jobs
        )
        seconds.append(time.perf_counter() - start)
        missed += len(report.missed)
        print(
            f"run {repeat + 1}: {len(report.rows)} faults, {len(report.missed)} missed, {seconds[-1]:.1f} s", flush=True
        )
    median = statistics.median(seconds)
    print(f"median {median:.1f} s, limit {LIMIT:.0f} s: {median / LIMIT:.2f} of it", flush=True)
    figures = {"seconds, rungs 0 to 2": median, "faults missed": float(missed)}
    targets = {"seconds, rungs 0 to 2": LIMIT, "faults missed": 0.0}
    if chosen.out is not None:
        ratio = {"median": LIMIT / median, "low": LIMIT / max(seconds), "high": LIMIT / min(seconds)}
        found_there = {"ratios": {"limit over time": ratio}, "figures": figures, "targets": targets}
        chosen.out.write_text(json.dumps(found_there, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
