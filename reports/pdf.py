"""The report as PDF, by WeasyPrint, which is an optional dependency."""

import re
from pathlib import Path

from dpaudit.errors import MissingDependency
from dpaudit.files import replacing
from dpaudit.reports.html import page
from dpaudit.result import Result


def write_pdf(result: Result, path: Path) -> None:
    """Print the report on paper, in the light colours.

    Raises:
        MissingDependency: WeasyPrint is not installed.
    """
    try:
        import weasyprint
    except ImportError as error:
        raise MissingDependency("a PDF needs WeasyPrint: pip install 'dpaudit[pdf]'.") from error
    # WeasyPrint draws figures apart from the page, where the page's colours are not known; they carry their own.
    html = re.sub(r"var\(--\w+, (#[0-9a-f]{6})\)", r"\1", page(result))
    document = weasyprint.HTML(string=html.replace("<details", "<details open"), url_fetcher=_nothing)
    with replacing(path) as temporary:
        document.write_pdf(temporary)


def _nothing(url: str) -> dict[str, object]:
    """Fetch nothing: a page made from somebody else's result may not read files or call home."""
    raise ValueError(f"a report loads nothing, not even {url!r}")
