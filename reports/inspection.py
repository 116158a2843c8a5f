"""An inspection of a mechanism as a page."""

import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dpaudit.reports.html import render
from dpaudit.runtime.files import write_text


def write_inspection(document: Mapping[str, Any], *, stated: str, sentence: str, folder: Path) -> None:
    """Write ``inspection.html``.

    Args:
        document: an inspection as `dataclasses.asdict` gives it.
        stated: what the mechanism says of itself, in a line.
        sentence: the measured noise beside what is stated.
        folder: where the page goes.
    """
    page = render(
        "inspection.html.j2",
        found=document,
        stated=stated,
        sentence=sentence,
        infinity=math.inf,
        version=version("dpaudit"),
    )
    write_text(folder / "inspection.html", page)
