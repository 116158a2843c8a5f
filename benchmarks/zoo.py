"""How long the zoo takes: rungs 0 to 2 on two processes, median of several runs.

``python benchmarks/zoo.py --repeats 3``; the limit is 60 s on two cores.
"""

import argparse
import statistics
import time

from dpaudit.zoo.run import run_zoo

LIMIT = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--numpy-only", action="store_true", help="leave out TensorFlow, for a smoke test")
    chosen = parser.parse_args()
    seconds = []
    for repeat in range(chosen.repeats):
        start = time.perf_counter()
        report = run_zoo(seed=repeat, rungs=(0, 1, 2), right_runs=0, tensorflow=not chosen.numpy_only, jobs=chosen.jobs)
        seconds.append(time.perf_counter() - start)
        print(f"run {repeat + 1}: {len(report.rows)} faults, {len(report.missed)} missed, {seconds[-1]:.1f} s")
    median = statistics.median(seconds)
    print(f"median {median:.1f} s, limit {LIMIT:.0f} s: {median / LIMIT:.2f} of it")


if __name__ == "__main__":
    main()
