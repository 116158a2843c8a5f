"""What this machine has."""

import mmap
import os
import platform
import sys
import time
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from dpaudit.runtime.errors import InputError


def package_folders() -> tuple[tuple[str, int], ...]:
    """Folders that packages are imported from, and when each changed last: while they are the same, so are packages."""
    folders = [each or "." for each in sys.path]
    return tuple((each, os.stat(each).st_mtime_ns) for each in folders if os.path.exists(each))


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of packages, ``not installed`` for one that is not.

    >>> versions_of(["no-such-package"])["no-such-package"]
    'not installed'
    """
    folders = package_folders()
    return {"python": platform.python_version(), **{name: _version(name, folders) for name in names}}


@lru_cache(maxsize=256)  # an audit of a thousand scores takes less time than reading nine versions
def _version(name: str, folders: tuple[tuple[str, int], ...]) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def free_memory() -> int:
    """Bytes of memory this process may still use: what is free, or what the control group leaves."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise InputError("this system does not say how much memory is free; give memory.") from error
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and (text := limit.read_text(encoding="ascii").strip()) != "max":
        free = min(free, int(text) - int(used.read_text(encoding="ascii")))
    return free


def idle_seconds() -> float:
    """Seconds of cores with nothing to do, of all cores together, since some moment: differences count.

    Where the system does not say, cores count as idle whenever this process does not use them.
    """
    try:
        numbers = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()
    except OSError:
        return (os.cpu_count() or 1) * time.perf_counter() - time.process_time()
    return (int(numbers[4]) + int(numbers[5])) / os.sysconf("SC_CLK_TCK")


def used_memory() -> int:
    """Bytes of memory this process has at the moment; 0 on a system that does not say."""
    status = Path("/proc/self/statm")
    return int(status.read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE if status.exists() else 0
