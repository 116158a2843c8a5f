"""Run the benchmarks, keep what they measured, and write the page that puts dpaudit beside its peers.

    python benchmarks/all.py                     every benchmark, then docs/peers.md
    python benchmarks/all.py training attacks    these, then the page
    python benchmarks/all.py --page              only the page, from the results that are there

A benchmark is a program of this folder that takes ``--out FILE`` (and ``--smoke`` for tiny sizes) and writes JSON:
``ratios`` (name to median, low and high; above 1 means that dpaudit is better), ``figures`` (name to a number, a text
or a table of them) and ``targets`` (the ratio wanted, by name). Each makes the environments of its own peers.
"""

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, ValidationError

from dpaudit.runtime.files import read_text, write_text
from dpaudit.runtime.jobs import cores

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "peers.md"
BENCHMARKS = {
    "training": "Training many models",
    "attacks": "Membership attacks",
    "bounds": "Lower bounds",
    "federated": "Federated training",
    "gradient": "Gradient leakage",
}
VERSIONS = ("dpaudit", "numpy", "scipy", "tensorflow", "tensorflow-privacy", "dp-accounting", "scikit-learn")


class Ratio(BaseModel):
    """How many times as good as the peer, over the repeats."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    median: float
    low: float
    high: float

    @property
    def is_better(self) -> bool:
        return self.median >= 1


class Measured(BaseModel):
    """What a benchmark writes."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    ratios: dict[str, Ratio]
    figures: dict[str, Any] = {}
    targets: dict[str, float | str | None] = {}


class Record(BaseModel):
    """A benchmark's measurements with where, when and how they were taken."""

    benchmark: str
    command: str
    date: str
    seconds: float
    machine: dict[str, str]
    versions: dict[str, str]
    measured: Measured


def machine() -> dict[str, str]:
    """CPU, cores and system."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    memory = next((int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "CPU": model,
        "cores": str(cores()),
        "memory": f"{memory:.0f} GiB" if memory else "unknown",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def measure(name: str) -> Record:
    """Run a benchmark.

    Raises:
        SystemExit: it failed, or wrote something else than it should.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, f"benchmarks/{name}.py", "--out", str(out)]
        begin = time.perf_counter()
        code = subprocess.run(command, cwd=HERE.parent).returncode
        seconds = time.perf_counter() - begin
        if code or not out.exists():
            raise SystemExit(
                f"benchmarks/{name}.py ended with exit code {code} and {'no' * (not out.exists())} results."
            )
        try:
            measured = Measured.model_validate_json(read_text(out))
        except ValidationError as error:
            raise SystemExit(f"benchmarks/{name}.py wrote what this page cannot show: {error}") from error
    return Record(
        benchmark=name,
        command=f"python benchmarks/{name}.py",
        date=datetime.date.today().isoformat(),
        seconds=round(seconds, 1),
        machine=machine(),
        versions={package: metadata.version(package) for package in VERSIONS},
        measured=measured,
    )


def stored(name: str) -> Record | None:
    """What was measured earlier; None when nothing was."""
    path = RESULTS / f"{name}.json"
    return Record.model_validate_json(read_text(path)) if path.exists() else None


def store(record: Record, name: str) -> None:
    """Keep a record for the page."""
    write_text(RESULTS / f"{name}.json", json.dumps(record.model_dump(), indent=1, ensure_ascii=False) + "\n")


def write_page(path: Path = PAGE) -> None:
    """Draw the page from the records that are there; it says which are missing."""
    environment = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters["number"] = number
    environment.filters["rows"] = rows
    records = {name: stored(name) for name in BENCHMARKS}
    text = environment.get_template("peers.md.j2").render(titles=BENCHMARKS, records=records, reached=reached)
    write_text(path, text.rstrip() + "\n")


def number(value: object) -> str:
    """Three digits that count.

    >>> number(1234.5), number(0.01234), number("as text"), number(True)
    ('1,234', '0.0123', 'as text', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 100):
        return f"{value:,.0f}"
    return f"{value:.3g}" if isinstance(value, float) else "not measured" if value is None else str(value)


def rows(measured: Measured) -> list[tuple[str, str, str]]:
    """Figures as lines of a table: name, value, and whether it is as small as was wanted.

    >>> rows(Measured(ratios={}, figures={"seconds": 0.5, "peer": {"seconds": 2.0}}, targets={"seconds": 0.4}))
    [('seconds', '0.5', '0.4: missed'), ('peer, seconds', '2', '')]
    """
    found = []
    for name, value in flat(measured.figures):
        target = measured.targets.get(name)
        wanted = ""
        if isinstance(target, float) and isinstance(value, int | float):
            wanted = f"{number(target)}: {'reached' if value <= target else 'missed'}"
        found.append((name.replace("|", "\\|"), number(value).replace("|", "\\|"), wanted))
    return found


def flat(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Figures, however deep, by their whole names."""
    found: list[tuple[str, Any]] = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            found += [(f"{name}, {rest}", each) for rest, each in flat(value)]
        elif isinstance(value, list):
            found.append((name, ", ".join(number(each) for each in value)))
        else:
            found.append((name, value))
    return found


def reached(ratio: Ratio, target: object) -> str:
    """Whether a ratio is what was wanted of it."""
    if not isinstance(target, int | float):
        return "" if target is None else str(target)
    return f"{number(target)}: {'reached' if ratio.median >= target else 'missed'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help=f"of {', '.join(BENCHMARKS)}; all when none")
    parser.add_argument("--page", action="store_true", help="only draw the page")
    given = parser.parse_args()
    unknown = [name for name in given.benchmarks if name not in BENCHMARKS]
    if unknown:
        parser.error(f"benchmark must be one of {', '.join(BENCHMARKS)}, got {unknown[0]!r}")
    names = given.benchmarks or list(BENCHMARKS)
    if not given.page:
        for name in names:
            store(measure(name), name)
            write_page()
    write_page()
    print(PAGE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
