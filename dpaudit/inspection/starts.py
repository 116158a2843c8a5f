"""Noise of a program started many times: a seed of few bits, or one read off the clock, gives some starts the same.

``python -m dpaudit.inspection.starts FACTORY STARTS SEED FILE`` is the process that does it. It loads numpy and
dpaudit, and forks once for each start, so that a start costs the loading of the factory only. A fork draws new entropy
from the operating system in the place of what a newly started interpreter would have drawn.
"""

import math
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.built_training import BuiltTraining
from dpaudit.inspection.check_independence import largest_cosine, p_of_cosine, rounded
from dpaudit.inspection.load_factory import build_from_factory, load_factory
from dpaudit.inspection.mechanism import Mechanism, Stated
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.server import Server
from dpaudit.inspection.sight import POWER, Sight
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

KIND = "seeds that a newly started program repeats"
KEPT = 4096  # numbers of each start's noise
CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time")
STARTED = 1_700_000_000  # what a stopped clock says


def check_starts(
    factory: str, stated: Stated, *, starts: int, seed: int, level: float
) -> tuple[list[Finding], list[Sight]]:
    """Noise of a factory in so many newly started programs, each against each.

    Args:
        factory: as `build_from_factory` takes it. Its mechanism must draw its own noise: one that can be reset, or a
            Keras optimizer, whose seed the audit sets, is not asked.
        stated: what it says of itself.
        starts: programs; a seed of b bits repeats among n of them with probability 1 - exp(-n² / 2^(b+1)).
        seed: of the batch, which holds zeros.
        level: chance that independent noise gives a violation.

    Raises:
        InputError: this system cannot fork, or the factory fails.
    """
    check.integer("starts", starts, at_least=2)
    built = build_from_factory(factory, seed=seed)
    reason = not_asked(built.mechanism if isinstance(built, BuiltTraining) else built)
    if reason:
        return [], [Sight(KIND, reason, asked=False)]
    if stated.noise_multiplier == 0:
        return [], [Sight(KIND, "there is no noise", asked=False)]
    drawn = _drawn(factory, starts, seed)
    draws, stopped = drawn[:-2], drawn[-2:]
    if not drawn.any():
        return [], [Sight(KIND, "there is no noise", asked=False)]
    pool = rounded(starts**2 / (-2 * math.log(1 - POWER)))
    sights = [Sight(KIND, f"one of {pool} seeds, or one read off clock and process number, by {starts:,} starts")]
    cosine, pairs, _ = largest_cosine(draws)
    if p_of_cosine(cosine, draws.shape[1]) * pairs < level / 2:
        return [_repeats(draws, level)], sights
    if p_of_cosine(largest_cosine(stopped)[0], draws.shape[1]) < level / 2:
        return [
            Finding(
                check="frozen seed",
                severity="violation",
                fed="the same program started twice with a stopped clock and one process number",
                observed="the same noise: its seed is read off the clock or the process number",
                expected="noise that nobody can draw again",
                remedy="seed the noise from the operating system: secrets.randbits(128), numpy.random.default_rng()",
                rung=1,
                true_epsilon=math.inf,
            )
        ], sights
    return [], sights


def not_asked(built: Mechanism | Server) -> str:
    """Why a factory that gives this is not started anew; empty where it can be."""
    if not hasattr(os, "fork"):
        return "this system cannot fork"
    if built.reset is not None:
        return "its noise is set by Mechanism(reset=...), not drawn anew by each program"
    return ""


def _repeats(draws: FloatArray, level: float) -> Finding:
    pairs = len(draws) * (len(draws) - 1) // 2
    _, _, alike = largest_cosine(draws, level)
    pool = f", as from a pool of about {rounded(pairs / alike)} seeds" if alike else ""
    return Finding(
        check="frozen seed",
        severity="violation",
        fed=f"the same batch to the program started {len(draws):,} times",
        observed=f"{alike:,} of {pairs:,} pairs of starts have the same noise{pool}",
        expected="noise that nobody can draw again",
        remedy="seed the noise with 128 bits from the operating system, at every start anew",
        rung=1,
        true_epsilon=math.inf,
    )


def _drawn(factory: str, starts: int, seed: int) -> FloatArray:
    """Noise of each start, (starts + 2, coordinates); the last two with a stopped clock."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "noise.npy"
        command = [sys.executable, "-m", "dpaudit.inspection.starts", factory, str(starts), str(seed), str(out)]
        # Threads do not survive a fork.
        alone = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        done = subprocess.run(command, env=os.environ | alone, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["it gave no reason"]
            raise InputError(f"{factory} failed in a newly started program: {said[-1]}")
        drawn: FloatArray = np.load(out)
        return drawn


def _start(factory: str, seed: int) -> FloatArray:
    built = load_factory(factory)()
    made = built.mechanism() if isinstance(built, Server) else built
    mechanism = made if isinstance(made, Mechanism) else Mechanism(made)
    probe = Probe(mechanism, Stated(1.0, 1.0, 1.0), 0.5, seed)
    return probe.release(probe.zeros(mechanism.batch_size))[:KEPT]


def _in_a_fork(work: Callable[[], FloatArray]) -> FloatArray:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            np.random.seed()  # noqa: NPY002  # a new interpreter's global generator is seeded by the system
            answer: FloatArray | str = work()
        except Exception as error:  # noqa: BLE001  # told to the parent, which raises it
            answer = f"{type(error).__name__}: {error}"
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if not said:
        raise InputError("it ended without an answer")
    found = pickle.loads(said)
    if isinstance(found, str):
        raise InputError(found)
    return np.asarray(found, np.float64)


def _stop_the_clock() -> None:
    for name in CLOCKS:
        stopped = STARTED * (10**9 if name.endswith("_ns") else 1)
        setattr(time, name, lambda stopped=stopped: stopped)
    os.getpid = lambda: 4321


def main() -> int:
    """What the started process does."""
    factory, starts, seed, out = sys.argv[1:]

    def stopped() -> FloatArray:
        _stop_the_clock()
        return _start(factory, int(seed))

    try:
        drawn = [_in_a_fork(lambda: _start(factory, int(seed))) for _ in range(int(starts))]
        drawn += [_in_a_fork(stopped) for _ in range(2)]
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    np.save(out, np.array(drawn))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
