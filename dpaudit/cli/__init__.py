"""The command line: ``dpaudit``. One file per command; the work is done by the Python functions of the same names."""

import logging
import os
import shlex
import sys
import tempfile
import warnings
from pathlib import Path

import typer

from dpaudit.cli.attack import attack
from dpaudit.cli.canaries import canaries
from dpaudit.cli.compare import compare
from dpaudit.cli.doctor import doctor
from dpaudit.cli.epsilon import epsilon
from dpaudit.cli.export import export
from dpaudit.cli.extract import extract
from dpaudit.cli.history import history
from dpaudit.cli.init import init
from dpaudit.cli.inspect import inspect
from dpaudit.cli.list import list_names
from dpaudit.cli.power import power
from dpaudit.cli.report import report
from dpaudit.cli.run import run
from dpaudit.cli.schema import schema
from dpaudit.cli.score import score
from dpaudit.cli.selftest import selftest
from dpaudit.cli.split import split
from dpaudit.cli.sweep import sweep
from dpaudit.cli.verify import verify
from dpaudit.runtime.check import printable
from dpaudit.runtime.errors import InputError, MissingDependency, SchedulerLost, cause
from dpaudit.runtime.log import Log
from dpaudit.runtime.terminal import console, log_handler

# Newer Typers carry a Click of their own, older ones use the installed one: this is the class either way.
USAGE_ERROR: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
CONTRADICTED, BAD_INPUT, TOO_WEAK, FAILED, INTERRUPTED = 1, 2, 3, 4, 130

app = typer.Typer(
    name="dpaudit",
    help="Measure what a trained model leaks, and whether that contradicts the privacy it claims.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 consistent, 1 contradicted, 2 bad input, 3 no verdict or too weak, 4 failed.",
)
app.command()(run)
app.command()(sweep)
app.command()(attack)
app.command()(score)
app.command()(split)
app.command()(canaries)
app.command()(extract)
app.command()(verify)
app.command()(compare)
app.command()(history)
app.command()(report)
app.command()(export)
app.command()(init)
app.command()(inspect)
app.command()(epsilon)
app.command("list")(list_names)
app.command()(doctor)
app.command()(schema)
app.command()(power)
app.command()(selftest)


def main() -> None:
    """Entry point: every way out is an exit code that means one thing."""
    errors = console(stderr=True, soft_wrap=True)
    logging.basicConfig(level="WARNING", handlers=[log_handler(errors)])
    warnings.showwarning = lambda message, *_: errors.print(f"dpaudit: warning: {printable(str(message))}")
    try:
        # Click's own standalone mode turns Ctrl-C into exit 1, which here means a contradicted claim.
        code = app(standalone_mode=False)
    except USAGE_ERROR as error:
        error.show()  # type: ignore[attr-defined]  # of Click
        sys.exit(BAD_INPUT)
    except (InputError, MissingDependency) as error:
        errors.print(f"dpaudit: {printable(str(error))}")
        sys.exit(BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of standard output has gone (`dpaudit list | head`): nothing is wrong, and nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except SchedulerLost as error:
        # A run keeps what its tasks returned, and has a log; the self-test keeps nothing.
        kept = f"; what is done is kept, go on with: {shlex.join(['dpaudit', *sys.argv[1:]])}"
        errors.print(f"dpaudit: {printable(str(error))}{kept if hasattr(error, 'log') else '.'}")
        sys.exit(FAILED)
    except Exception as error:  # noqa: BLE001  # the last resort: named, logged with its traceback, and exit 4
        said = printable(cause(error))
        errors.print(f"dpaudit: the audit could not finish: {said} (traceback in {_traceback_log(error)})")
        sys.exit(FAILED)
    if code == INTERRUPTED:
        errors.print("dpaudit: interrupted; start it again to go on from what is stored.")
    sys.exit(code if isinstance(code, int) else 0)


def _traceback_log(error: Exception) -> Path:
    """The run's log where there is one, else a file of its own."""
    path: Path | None = getattr(error, "log", None)
    if path is None:
        path = Path(tempfile.mkdtemp(prefix="dpaudit-")) / "log.jsonl"
        Log(path).failure(error)
    return path
