"""Whole commands in processes of their own, so that they can be killed. One server imports dpaudit once for all."""

import multiprocessing
import os
import resource
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.commands", "dpaudit.cli", "dpaudit.audits.run", "dpaudit.audits.attack"])


def _typed(words: tuple[str, ...], cwd: str, largest: int | None) -> None:
    os.chdir(cwd)
    # A shell starts what runs in its background with Ctrl-C ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for handle, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}-{os.getpid()}.txt", os.O_WRONLY | os.O_CREAT), handle)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    sys.argv = ["dpaudit", *words]
    from dpaudit.cli import main

    main()


def start(*words: object, cwd: Path, largest: int | None = None) -> BaseProcess:
    """``dpaudit WORDS`` in a folder; no file it writes may grow beyond ``largest`` bytes."""
    process = CONTEXT.Process(target=_typed, args=(tuple(map(str, words)), str(cwd), largest))
    process.start()
    return process


def ended(process: BaseProcess, cwd: Path) -> tuple[int | None, str]:
    """Exit code (minus the signal that ended it) and what it said on standard error."""
    process.join(120)
    return process.exitcode, (cwd / f"err-{process.pid}.txt").read_text()
