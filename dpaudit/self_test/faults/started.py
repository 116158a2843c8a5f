"""DP-SGD whose seed is chosen when the program starts: factories without arguments, to be started many times."""

import os
import secrets
import time

from dpaudit.inspection.mechanism import Mechanism
from dpaudit.self_test.faults.dp_sgd import BreakableDpSgd


def sixteen_bits() -> Mechanism:
    """A seed of 16 bits from the operating system."""
    return Mechanism(BreakableDpSgd(seed=secrets.randbits(16)), name="DP-SGD")


def clock() -> Mechanism:
    """The time of the start, to the nanosecond, and the number of the process."""
    return Mechanism(BreakableDpSgd(seed=time.time_ns() * os.getpid()), name="DP-SGD")


def system() -> Mechanism:
    """A seed of 128 bits from the operating system, which is right."""
    return Mechanism(BreakableDpSgd(seed=secrets.randbits(128)), name="DP-SGD")
