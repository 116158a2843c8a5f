"""The exceptions dpaudit raises on purpose.

::

    DpauditError
    ├── InputError (ValueError)         what was given is bad: one line, exit 2
    ├── MissingDependency (ImportError) something optional is not installed: the line says how to get it, exit 2
    └── AuditFailed (RuntimeError)      the audit could not finish: exit 4, never confused with a contradicted claim
        └── SchedulerLost               its cluster went away; started again it goes on from what is stored
"""

__all__ = ["AuditFailed", "DpauditError", "InputError", "MissingDependency", "SchedulerLost", "one_line"]


class DpauditError(Exception):
    """Base of everything raised on purpose."""


class InputError(DpauditError, ValueError):
    """Bad input. The message names what was given, shows its value, and says what would be right."""


class MissingDependency(DpauditError, ImportError):
    """An optional package is absent. The message holds the command that installs it."""


class AuditFailed(DpauditError, RuntimeError):
    """The audit started and could not finish; no verdict follows from it."""


class SchedulerLost(AuditFailed):
    """The scheduler of a cluster went away in the middle. What tasks had returned is kept."""


def one_line(error: BaseException) -> str:
    """The first line of a message that says something, of at most 300 characters; its type where the message is empty.

    >>> one_line(ValueError("\\n  no such layer\\nsecond line")), one_line(NotImplementedError())
    ('no such layer', 'NotImplementedError')
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def cause(error: BaseException) -> str:
    """What was raised in one line: its type and the first line of its message; of an `AuditFailed` the line alone.

    >>> cause(KeyError("loss")), cause(AuditFailed("the weights are not finite\\nat step 3"))
    ("KeyError: 'loss'", 'the weights are not finite')
    """
    line = str(error).strip().partition("\n")[0]
    return line if isinstance(error, AuditFailed) and line else f"{type(error).__name__}: {line}"
