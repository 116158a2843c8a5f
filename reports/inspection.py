"""An inspection of a mechanism as a page."""

import math
from importlib.metadata import version
from pathlib import Path

from dpaudit.files import write_text
from dpaudit.forensics.inspection import Inspection
from dpaudit.forensics.mechanism import Stated
from dpaudit.reports.html import render


def write_inspection(found: Inspection, stated: Stated, sentence: str, folder: Path) -> None:
    """Write ``inspection.html``; ``sentence`` is the measured noise beside what is stated."""
    page = render(
        "inspection.html.j2",
        found=found,
        stated=stated,
        sentence=sentence,
        infinity=math.inf,
        version=version("dpaudit"),
    )
    write_text(folder / "inspection.html", page)
