"""Is any right mechanism given a violation? Many inspections of each, at level 1e-6; a run goes on where it ended.

``python benchmarks/quiet.py --seeds 1000:1200 --out FILE.jsonl`` inspects each right mechanism of the self-test by
each seed, the quickest mechanisms first, and writes a line for each inspection. What the file holds already is not
inspected again, so that a run may be ended and started again at any time. ``--mechanism NAME``: only these.
``--minutes``: no inspection is begun after so long. With 200 inspections of each one alarm in all has probability
below 1 % (40 mechanisms, level 1e-6).
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

from dpaudit.self_test.faults.right import RIGHT

LEVEL = 1e-6


def seeds(text: str) -> range:
    """``first:end``, the end not included."""
    first, _, end = text.partition(":")
    return range(int(first), int(end))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mechanism", action="append", default=[], choices=list(RIGHT))
    parser.add_argument("--seeds", type=seeds, default=range(1000, 1200))
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--numpy-only", action="store_true", help="leave out what needs TensorFlow")
    parser.add_argument("--out", type=Path, help="file of lines, one for each inspection; continued when it is there")
    chosen = parser.parse_args()
    until = time.monotonic() + 60 * chosen.minutes
    done: dict[str, dict[int, tuple[str, float]]] = {name: {} for name in RIGHT}
    if chosen.out is not None and chosen.out.is_file():
        for line in chosen.out.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            done[found["mechanism"]][found["seed"]] = (found["check"], found["seconds"])
    names = [
        name
        for name, (_, tensorflow) in RIGHT.items()
        if (not chosen.mechanism or name in chosen.mechanism) and not (tensorflow and chosen.numpy_only)
    ]
    # One inspection of each first: it says what each costs.
    for name in names:
        inspect(name, chosen.seeds[:1], done[name], chosen.out, until)
    for name in sorted(names, key=lambda name: (RIGHT[name][1], seconds(done[name]))):
        inspect(name, chosen.seeds, done[name], chosen.out, until)
        print(in_words(name, done[name]), flush=True)
    alarms = sum(bool(check) for name in names for check, _ in done[name].values())
    inspections = sum(len(done[name]) for name in names)
    print(f"{len(names)} mechanisms, {inspections} inspections, {alarms} alarms (level {LEVEL:g} each)")
    return min(alarms, 1)


def inspect(name: str, wanted: range, done: dict[int, tuple[str, float]], out: Path | None, until: float) -> None:
    """Inspect with the seeds that are not done, each told to the file as it comes."""
    for seed in wanted:
        if seed in done or time.monotonic() > until:
            continue
        start = time.process_time()
        check = RIGHT[name][0](seed).check
        done[seed] = (check, time.process_time() - start)
        if out is not None:
            line = {"mechanism": name, "seed": seed, "check": check, "seconds": round(done[seed][1], 3)}
            with out.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")


def seconds(done: Mapping[int, tuple[str, float]]) -> float:
    """Of processor time that one inspection takes, the median; infinite where there was none."""
    return statistics.median(spent for _, spent in done.values()) if done else float("inf")


def in_words(name: str, done: Mapping[int, tuple[str, float]]) -> str:
    """A line for the terminal, with the seeds of alarms."""
    alarms = {seed: check for seed, (check, _) in done.items() if check}
    which = f": {alarms}" if alarms else ""
    return f"{name}: {len(done)} inspections, {len(alarms)} alarms{which} ({seconds(done):.2f} CPU s each)"


if __name__ == "__main__":
    raise SystemExit(main())
