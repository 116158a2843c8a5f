"""A run's log: one JSON object a line, for people and programs that look for what happened."""

import json
import time
import traceback
from pathlib import Path
from typing import Any

from dpaudit.runtime.errors import InputError


class Log:
    """Appends events to ``log.jsonl``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def event(self, event: str, **fields: Any) -> None:
        """Write one line."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}, default=str)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror}.") from error

    def failure(self, error: BaseException) -> None:
        """Write an error with its traceback."""
        self.event("failed", error=repr(error), traceback=traceback.format_exception(error))
