"""Signals larger than memory: what LiRA, RMIA and a whole membership experiment hold of 10⁶ records under 64 models.

python -m benchmarks.memory                      10⁶ x 64 within 500 MB, and in a process without a limit
python -m benchmarks.memory --records 20000      smaller
python -m benchmarks.memory --targets            every model in turn the target, added to what --out FILE holds
python -m benchmarks.memory --scores 2000000     `dpaudit score` on so many rows of a CSV file
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.rmia import Rmia
from dpaudit.audits.membership.attack_jobs import over_pool
from dpaudit.audits.score import AboutModel
from dpaudit.audits.signals import attack_signals
from dpaudit.audits.statement import Statement
from dpaudit.data.member_choice import Coins
from dpaudit.reports.html import write_report
from dpaudit.runtime.files import read_text, write_text
from dpaudit.runtime.out_of_core import current_room, within
from dpaudit.scores.signal_files import stored_signals
from dpaudit.scores.signals import PoolSignals

STATED = Statement("synthetic", 0, 1.0, 1e-5, 0.95, Coins())
ATTACKS = ("loss", "attack-p", "attack-r", "lira", "lira-offline", "rmia")
ATTACK_TYPES = {"lira": Lira, "rmia": Rmia}
MODELS, POPULATION = 64, 5000


def write_signals(folder: Path, *, records: int, models: int = MODELS, population: int = POPULATION) -> None:
    """Synthetic φ of a target and its references on disk, one model after the other: members are one higher."""
    rng = np.random.default_rng(0)
    shape = models, records
    reference = np.lib.format.open_memmap(folder / "reference.npy", "w+", np.float64, shape)
    included = np.lib.format.open_memmap(folder / "included.npy", "w+", np.bool_, shape)
    difficulty = rng.normal(0, 2, records)
    for model in range(models):
        included[model] = ~included[model - 1] if model % 2 else rng.random(records) < 0.5
        reference[model] = difficulty + rng.standard_normal(records) + included[model]
    reference.flush()
    included.flush()
    member = rng.random(records) < 0.5
    np.save(folder / "member.npy", member)
    np.save(folder / "phi.npy", difficulty + rng.standard_normal(records) + member)
    np.save(folder / "population-phi.npy", rng.normal(0, 2, population))
    np.save(folder / "population-reference.npy", rng.normal(0, 2, (models, population)))


def in_fresh_process(folder: Path, attacks: tuple[str, ...], *, memory: int | None) -> dict[str, Any]:
    """Peak of a process that does nothing but score these attacks and judge them, and its seconds."""
    found: dict[str, Any] = json.loads(itself("--within", str(folder), str(memory or 0), *attacks))
    return found


def itself(*arguments: str) -> str:
    """What this module prints in a process of its own; a process begins with the peak of the one that starts it."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", *arguments],
        cwd=Path(__file__).resolve().parent.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def scored(folder: Path, memory: int | None, attacks: list[str]) -> dict[str, Any]:
    """Attack the signals of a folder in this process."""
    begin, start = time.perf_counter(), peak()
    with within(memory, folder):
        signals = stored_signals(folder)
        member = np.load(folder / "member.npy")
        result = attack_signals(signals, member, STATED, AboutModel("no one"), attacks=attacks)
    seconds, most = time.perf_counter() - begin, peak()
    out = folder / "report"
    write_text(out / "result.json", result.json())
    write_report(result, out)
    assert result.membership is not None
    return {
        "peak_bytes": most,
        "start_bytes": start,
        "seconds": seconds,
        "result_bytes": (out / "result.json").stat().st_size,
        "report_bytes": (out / "report.html").stat().st_size,
        "auc": {found.attack: found.auc for found in result.membership.attacks},
        "epsilon": {found.attack: found.bound.epsilon for found in result.membership.attacks},
    }


def peak() -> int:
    """Most memory this process ever had, mapped files included, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def attacked_pool(folder: Path, memory: int, name: str) -> dict[str, float]:
    """Attack every model of a folder as the target in this process."""
    with within(memory, folder):
        phi, included, population = (
            np.load(folder / f"{part}.npy", mmap_mode="r") for part in ("reference", "included", "population-reference")
        )
        current_room().need(phi.shape[1], len(phi))
        begin = time.process_time()
        found = over_pool(
            "synthetic", name, ATTACK_TYPES[name](), PoolSignals(phi, included, population=population), seed=0
        )
    return {"cpu_seconds": time.process_time() - begin, "peak_bytes": peak(), "auc": found.over_targets.auc.mean}


def all_targets(*, records: int, memory: int) -> dict[str, dict[str, float]]:
    """Both attacks, each in a process of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        itself("--write", folder, "--records", str(records))
        for name in ATTACK_TYPES:
            found[name] = one = json.loads(itself("--pool", folder, str(memory), name))
            print(f"{name}, {MODELS} targets: {one['cpu_seconds']:.1f} CPU s, peak {one['peak_bytes'] / 1e6:.0f} MB")
    return found


def measured(*, records: int, memory: int) -> dict[str, Any]:
    """Every attack in a process of its own, within ``memory`` and without a limit; the scores must agree."""
    found: dict[str, Any] = {"records": records, "models": MODELS, "population": POPULATION, "limit_bytes": memory}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        itself("--write", name, "--records", str(records))
        found["signal_bytes"] = sum(path.stat().st_size for path in folder.iterdir())
        runs = {"loss": ("loss",), "lira": ("lira",), "rmia": ("rmia",), "all": ATTACKS}
        for label, attacks in runs.items():
            found[label] = one = in_fresh_process(folder, attacks, memory=memory)
            print(
                f"{label}: peak {one['peak_bytes'] / 1e6:.0f} MB of {memory / 1e6:.0f} MB allowed "
                f"({one['start_bytes'] / 1e6:.0f} MB before anything was read), {one['seconds']:.1f} s, "
                f"result.json {one['result_bytes'] / 1e3:.0f} kB, report.html {one['report_bytes'] / 1e3:.0f} kB",
                flush=True,
            )
        whole = in_fresh_process(folder, ATTACKS, memory=None)
        if whole["auc"] != found["all"]["auc"] or whole["epsilon"] != found["all"]["epsilon"]:
            raise SystemExit(f"other figures without a limit: {whole} and {found['all']}")
    return found


def score_table(rows: int) -> None:
    """Print the CPU seconds of `dpaudit score`, start of Python and of the libraries included, and its peak."""
    rng = np.random.default_rng(0)
    member = rng.random(rows) < 0.5
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "scores.csv"
        values = np.column_stack([rng.normal(size=rows) + 0.1 * member, member])
        np.savetxt(path, values, fmt=("%.6f", "%d"), delimiter=",", header="score,member", comments="")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = ["score", str(path), "--epsilon", "1", "--chosen-by", "coin", "--quiet"]
        subprocess.run([sys.executable, "-m", "dpaudit", *command], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"score of {rows:,} rows: {spent:.1f} CPU s, peak {after.ru_maxrss / 1e3:.0f} MB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--memory", type=float, default=500, help="MB")
    parser.add_argument("--out", type=Path, help="file for what was measured")
    parser.add_argument("--targets", action="store_true", help="attack every model in turn")
    parser.add_argument("--scores", type=int, help="score a CSV file of so many rows")
    parser.add_argument("--pool", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--within", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write_signals(given.write, records=given.records)
        return 0
    if given.within:
        folder, memory, *attacks = given.within
        print(json.dumps(scored(Path(folder), int(memory) or None, attacks)))
        return 0
    if given.pool:
        print(json.dumps(attacked_pool(Path(given.pool[0]), int(given.pool[1]), given.pool[2])))
        return 0
    if given.scores:
        score_table(given.scores)
        return 0
    memory = int(given.memory * 1e6)
    if given.targets:
        before = json.loads(read_text(given.out)) if given.out and given.out.exists() else {}
        found = before | {"targets": all_targets(records=given.records, memory=memory)}
    else:
        found = measured(records=given.records, memory=memory)
    if given.out:
        write_text(given.out, json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
