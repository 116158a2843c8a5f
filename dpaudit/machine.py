"""What this machine has: free memory, and how fast it multiplies."""

import time
from pathlib import Path

import numpy as np

from dpaudit.errors import InputError


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


def measured_flops() -> float:
    """Float32 operations per second of a matrix product on this machine."""
    matrix = np.ones((1024, 1024), np.float32)
    matrix @ matrix
    begin = time.perf_counter()
    for _ in range(4):
        matrix @ matrix
    seconds: float = time.perf_counter() - begin
    return 4 * 2 * 1024**3 / seconds
