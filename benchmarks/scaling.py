"""How the cost of an audit grows, and whether ``--dry-run`` predicts it: measured here, written to docs/scaling.md.

python benchmarks/scaling.py                 five plans predicted and run, growth curves (about six minutes)
python benchmarks/scaling.py --smoke         tiny, to see that it runs; writes no page
python benchmarks/scaling.py --page          only the page, from benchmarks/results/scaling.json
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.all import machine
from dpaudit.data.bundled import digits, mnist_5000
from dpaudit.data.dataset import Dataset
from dpaudit.data.users import Iid
from dpaudit.engine.cost import cost
from dpaudit.runtime.files import read_text, write_text
from dpaudit.training.architecture import Mlp
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.federated.trainer import Federated

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "scaling.json"
MEMORY = HERE / "results" / "memory.json"  # of benchmarks/memory.py
PAGE = HERE.parent / "docs" / "scaling.md"
WANTED = 0.25  # largest error of a prediction
LONG_ENOUGH = 1.0  # CPU seconds of a training that its growth is read from

PLAN = """
schema = 1
name = "{name}"
seed = 3
[data]
source = "{source}"
[architecture]
kind = "mlp"
hidden = [{hidden}]
[[model]]
name = "m"
trainer = "{trainer}"
epochs = {epochs}
batch_size = 50
learning_rate = 0.2
{more}
[membership]
attacks = ["loss", "lira", "rmia"]
references = {references}
"""
NOISE = "l2_norm_clip = 1.0\nnoise_multiplier = 1.0"
PLANS: dict[str, dict[str, Any]] = {
    "digits, DP-SGD, 64 references": {"source": "digits", "trainer": "dp-sgd", "epochs": 40, "references": 64},
    "digits, no DP, 128 references": {
        "source": "digits", "trainer": "sgd", "epochs": 40, "references": 128, "more": "",
    },
    "digits, TF Privacy, 4 references": {
        "source": "digits", "trainer": "tf-privacy", "epochs": 10, "references": 4,
        "more": f"{NOISE}\nnum_microbatches = 50",
    },
    "breast cancer, DP-SGD, 64 references": {
        "source": "breast-cancer", "trainer": "dp-sgd", "epochs": 100, "references": 64,
    },
    "MNIST-5000, DP-SGD, 16 references": {
        "source": "mnist-5000", "trainer": "dp-sgd", "epochs": 15, "references": 16,
    },
}  # fmt: skip


class Done(NamedTuple):
    """A command of ours: its seconds, most memory in bytes (of its largest process), and what it printed."""

    seconds: float
    peak_bytes: int
    printed: str


def dpaudit(*arguments: str, cache: str) -> Done:
    """Run a command of ours."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "dpaudit", *arguments]
    environment = {**os.environ, "XDG_CACHE_HOME": cache, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=HERE.parent, env=environment, stdout=printed, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begin
        printed.seek(0)
        said.seek(0)
        if process.returncode not in (0, 1):  # a contradicted claim is an audit that finished
            raise SystemExit(f"{' '.join(arguments)}\n{said.read()}")
        return Done(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), printed.read())


def predictions(*, smoke: bool) -> dict[str, Any]:
    """What ``--dry-run`` says of each plan, and what the run then takes."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in PLANS.items():
            sizes = {"epochs": 2, "references": 4} if smoke else {}
            values = {"more": NOISE, "hidden": 64, "name": "scaling", **settings, **sizes}
            plan = Path(folder) / "plan.toml"
            plan.write_text(PLAN.format(**values), encoding="utf-8")
            out = str(Path(folder) / name.replace(" ", "-"))
            dry = dpaudit("run", str(plan), "--out", out, "--dry-run", "--json", cache=folder)
            predicted = json.loads(dry.printed)
            taken, peak, _ = dpaudit("run", str(plan), "--out", out, "--quiet", cache=folder)
            steps = json.loads((Path(out) / "result.json").read_text(encoding="utf-8"))["timing"]
            found[name] = {
                "trainings": predicted["trainings"],
                "predicted": predicted["seconds"],
                "taken": taken,
                "error": predicted["seconds"] / taken - 1,
                "predicting": dry.seconds,
                "predicted_bytes": predicted["peak_bytes"] // predicted["processes"],
                "peak_bytes": peak,
                "steps": steps,
            }
            print(
                f"{name}: predicted {predicted['seconds']:.1f} s, taken {taken:.1f} s; a process predicted at "
                f"{found[name]['predicted_bytes'] / 1e6:.0f} MB had {peak / 1e6:.0f} MB",
                flush=True,
            )
    return found


def growth(*, smoke: bool) -> dict[str, dict[str, float]]:
    """CPU seconds per epoch (or round) as one size grows and the others stay: the median of rounds that go over all."""
    records, small = mnist_5000(), digits()

    def engine(data: Dataset, *, models: int = 4, hidden: int = 64) -> float:
        included = np.ones((models, len(data)), bool)
        trainer = DpSgd(Mlp((hidden,)), noise_multiplier=1.0, batch_size=100)
        return timed(lambda epochs: replace(trainer, epochs=epochs).train_many(data, included, seeds=range(models)))

    def rounds(number: int) -> float:
        trainer = Federated(Mlp((64,)), Iid(20), rounds=number)
        return timed(lambda times: [trainer(small, np.ones(len(small), bool), seed=i) for i in range(times)])

    def first(number: int) -> Dataset:
        return records.take(np.arange(number))

    curves: dict[str, dict[int, Callable[[int], float]]] = {
        "models": dict.fromkeys((1, 2) if smoke else (4, 16, 64), lambda m: engine(small, models=m)),
        "records": dict.fromkeys((500, 1000) if smoke else (1250, 2500, 5000), lambda n: engine(first(n))),
        "parameters": {
            785 * hidden + 10 * (hidden + 1): lambda p: engine(first(1000), models=1, hidden=round((p - 10) / 795))
            for hidden in ((32, 64) if smoke else (32, 256, 2048))
        },
        "rounds": dict.fromkeys((1, 2) if smoke else (5, 10, 20), rounds),
    }
    found = {}
    for name, sizes in curves.items():
        times = [[work(size) for size, work in sizes.items()] for _ in range(1 if smoke else 3)]
        found[name] = {str(size): statistics.median(row[at] for row in times) for at, size in enumerate(sizes)}
        print(name, found[name], flush=True)
    return found


def timed(train: Callable[[int], object]) -> float:
    """CPU seconds per epoch: how much more a long training takes than a short one, both after one that compiles."""

    def spent(epochs: int) -> float:
        begin = time.process_time()
        train(epochs)
        return time.process_time() - begin

    spent(1)
    short = max(spent(1), 1e-3)
    epochs = int(np.clip(LONG_ENOUGH / short, 8, 1000))
    return max(spent(epochs) - short, 1e-9) / (epochs - 1)


def beyond(curves: dict[str, dict[str, float]]) -> dict[str, float]:
    """An audit of 10⁸ parameters with 10⁷ records on 100 workers, from what one core of this machine was seen to do."""
    parameters, seconds = max((int(size), seconds) for size, seconds in curves["parameters"].items())
    network = cost(DpSgd(Mlp((round((parameters - 10) / 795),))).network(mnist_5000()))
    per_core = network.multiply_adds * 1000 / seconds
    wanted, records, models, epochs, workers, classes = 10**8, 10**7, 64, 1, 100, 10
    work = 3.0 * wanted * (records // 2) * epochs  # multiply-adds of one model: forward, and two products backward
    hours = work / per_core / 3600
    return {
        "multiply-adds per second and core": per_core,
        "hours of a core for one model": hours,
        "hours on 100 workers": -(-models // workers) * hours,
        "GB of a model while it trains": 24 * wanted / 1e9,
        "GB of the outputs of 64 models": 8.0 * models * records * classes / 1e9,
        "GB of their phi": 8.0 * models * records / 1e9,
        "GB of the masks": models * records / 1e9,
    }


def exponent(curve: dict[str, float]) -> float:
    """Slope between the two largest sizes, on logarithmic axes: 1 is linear."""
    (a, s), (b, t) = sorted((int(size), seconds) for size, seconds in curve.items())[-2:]
    return float(np.log(t / s) / np.log(b / a))


def write_page(found: dict[str, Any]) -> None:
    """Draw docs/scaling.md."""
    memory = json.loads(read_text(MEMORY)) if MEMORY.exists() else None
    environment = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    text = environment.get_template("scaling.md.j2").render(**found, memory=memory, wanted=WANTED, exponent=exponent)
    write_text(PAGE, text.rstrip() + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that it runs")
    parser.add_argument("--page", action="store_true", help="only draw the page")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file for what was measured")
    given = parser.parse_args()
    if given.page:
        write_page(json.loads(read_text(RESULTS)) if RESULTS.exists() else {"plans": {}})
        return 0
    plans, curves = predictions(smoke=given.smoke), growth(smoke=given.smoke)
    found = {
        "plans": plans,
        "curves": curves,
        "beyond": beyond(curves),
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
    }
    if not given.smoke or given.out != RESULTS:
        write_text(given.out, json.dumps(found, indent=1) + "\n")
    if not given.smoke:
        write_page(found)
    missed = [name for name, plan in plans.items() if abs(plan["error"]) > WANTED]
    print(f"{len(plans) - len(missed)} of {len(plans)} predictions within {100 * WANTED:.0f} %")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
