"""The exceptions dpaudit raises on purpose.

::

    DpauditError
    ├── InputError (ValueError)         what was given is bad: one line, exit 2
    ├── MissingDependency (ImportError) something optional is not installed: the line says how to get it, exit 2
    └── AuditFailed (RuntimeError)      the audit could not finish: exit 4, never confused with a contradicted claim
        └── SchedulerLost               its cluster went away; started again it goes on from what is stored
"""

__all__ = ["AuditFailed", "DpauditError", "InputError", "MissingDependency", "SchedulerLost"]


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
