"""Text on a terminal as it is: ``[bold]`` in a name is no markup, ``:key:`` no picture, an escape code no colour."""

import logging
import sys

from pydantic_core import to_json
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from dpaudit.runtime.check import printable


def console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console that reads nothing into what it is given; styles are put on with `plain_text`."""
    return Console(stderr=stderr, soft_wrap=soft_wrap, highlight=False, markup=False, emoji=False)


def plain_text(text: str, style: str = "") -> Text:
    """Text that every console shows as it is, on one line, in one of Rich's styles.

    >>> plain_text("dense[0] [/] :key:", "bold").plain
    'dense[0] [/] :key:'
    """
    return Text(printable(text), style)


def print_json(document: object) -> None:
    """Print a document as JSON that every reader takes: infinite values are the string "Infinity".

    >>> print_json({"true_epsilon": float("inf")})
    {
     "true_epsilon": "Infinity"
    }
    """
    sys.stdout.write(as_json(document))


def as_json(document: object) -> str:
    """The same as text that ends its line."""
    return to_json(document, indent=1, inf_nan_mode="strings").decode() + "\n"


def log_handler(target: Console) -> logging.Handler:
    """Shows what is logged as it is, for a warning may quote a file; a traceback keeps its lines."""
    handler = RichHandler(console=target, show_path=False)
    handler.setFormatter(_Plain("%(message)s"))
    return handler


class _Plain(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # logging's name
        return printable(super().formatMessage(record))
