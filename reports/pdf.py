"""The report as PDF, by WeasyPrint, which is an optional dependency."""

import logging
import re
from pathlib import Path

from dpaudit.reports.html import page
from dpaudit.reports.records import ShownRecords
from dpaudit.results.result import Result
from dpaudit.runtime.errors import MissingDependency
from dpaudit.runtime.files import replacing


def write_pdf(result: Result, path: Path, baseline: Result | None = None, records: ShownRecords | None = None) -> None:
    """Print the report on paper, in the light colours.

    Raises:
        MissingDependency: WeasyPrint is not installed.
    """
    try:
        import weasyprint
    except ImportError as error:
        raise MissingDependency("a PDF needs WeasyPrint: pip install 'dpaudit[pdf]'.") from error
    # It warns of every property that is for screens or for figures, hundreds on a page; errors it still reports.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    # WeasyPrint draws figures apart from the page, where the page's colours are not known; they carry their own.
    html = re.sub(r"var\(--[\w-]+, (#[0-9a-f]{6})\)", r"\1", page(result, baseline, records))
    # Nothing is fetched but the pictures inside the page: one made from somebody else's result may not read files.
    inside = weasyprint.urls.URLFetcher(allowed_protocols=("data",))
    document = weasyprint.HTML(string=html.replace("<details", "<details open"), url_fetcher=inside)
    with replacing(path) as temporary:
        document.write_pdf(temporary)
