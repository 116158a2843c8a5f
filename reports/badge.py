"""A badge: what an audit measured, in one line, as an SVG that loads nothing."""

from html import escape

from dpaudit.reports import verdict_words, words
from dpaudit.reports.summary import SummaryRow, summary_row
from dpaudit.results.result import Result
from dpaudit.runtime.check import printable

LABEL = "dpaudit"
SIZE, HEIGHT, PAD = 11, 20, 7  # pixels
# Dark enough for white letters (WCAG AA, a ratio of 4.5 and more), and none of them the green of a test that passed.
COLOURS = {
    "contradicted": "#b3261e", "no verdict": "#7a4d00", "too weak": "#7a4d00", "consistent": "#0b5394",
    "no claim": "#4d5663",
}  # fmt: skip
SAID = {"consistent": "not contradicted"}  # a badge stands alone, where consistent could be read as proven
LABEL_COLOUR = "#3b4048"
LONGEST = 90  # characters


def badge(result: Result) -> str:
    """SVG that says what was measured and whether a claim is contradicted; never that something is safe.

    With one claim it gives its ε and the measured lower bound, with several how many of them are contradicted.

    >>> import dpaudit
    >>> result = dpaudit.audit_scores([3.0, 2.0, 1.0, 0.0], [True, True, False, False])
    >>> "measured" in badge(result)
    True
    """
    said, verdict = badge_words(result)
    title = escape(f"{LABEL}: {said}")
    left, right = _width(LABEL), _width(said)
    total = left + right
    texts = [(LABEL, PAD, left), (said, left + PAD, right)]
    drawn = "".join(
        f'<text x="{start:.1f}" y="14" textLength="{width - 2 * PAD:.1f}">{escape(text)}</text>'
        for text, start, width in texts
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total:.1f}" height="{HEIGHT}" '
        f'viewBox="0 0 {total:.1f} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>'
        f'<clipPath id="round"><rect width="{total:.1f}" height="{HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#round)"><rect width="{left:.1f}" height="{HEIGHT}" fill="{LABEL_COLOUR}"/>'
        f'<rect x="{left:.1f}" width="{right:.1f}" height="{HEIGHT}" fill="{COLOURS[verdict]}"/></g>'
        f'<g fill="#fff" font-family="DejaVu Sans,Verdana,sans-serif" font-size="{SIZE}">{drawn}</g></svg>\n'
    )


def badge_words(result: Result) -> tuple[str, str]:
    """What a badge says, and the verdict that colours it: the worst of all claims."""
    claimed = [found.subject for found in result.comparisons]
    subjects = claimed or [model.name for model in result.models]
    worst = min(
        (verdict_words.verdict(result, name) for name in subjects), key=verdict_words.SEVERITY.index, default="no claim"
    )
    if len(subjects) == 1:
        whose = f"{words.short(subjects[0], 25)}: " if len(result.models) > 1 else ""
        return words.short(printable(whose + _one(summary_row(result, subjects[0]))), LONGEST), worst
    if not claimed:
        return f"{words.count_of(len(subjects), 'model')} measured, no claim", worst
    counts = [
        f"{number} {SAID.get(word, word)}"
        for word in verdict_words.SEVERITY
        if (number := sum(found.verdict == word for found in result.comparisons))
    ]
    return f"{len(claimed)} claims measured: {', '.join(counts)}", worst


def _one(row: SummaryRow) -> str:
    measured = [] if row.general is None else [f"measured ε ≥ {words.figure(row.general.epsilon)}"]
    if row.family is not None and (row.general is None or row.family.epsilon > row.general.epsilon):
        measured.append(f"≥ {words.figure(row.family.epsilon)} within a family")
    text = ", ".join(measured) or "no bound measured"
    verdict = SAID.get(row.verdict, row.verdict)
    return text if row.claimed is None else f"{text}; claimed {words.figure(row.claimed)}: {verdict}"


def _width(text: str) -> float:
    """Pixels that a text takes in the font that Matplotlib brings along, with the space on both sides."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(family="DejaVu Sans", size=SIZE)
    width, _, _ = TextToPath().get_text_width_height_descent(text, font, ismath=False)
    return float(width) + 2 * PAD
