"""A report as Markdown, for a wiki, a pull request or a model card: the page's own words and tables."""

from html import escape
from html.parser import HTMLParser

from dpaudit.reports.gate import cell, escape_text
from dpaudit.reports.html import draw_figures, write_page
from dpaudit.results.result import Result

ROWS = 60  # of one table: a comment on a pull request holds 64 kB
LEFT_OUT = {"head", "nav", "script", "a"}
HEADINGS = {"h1": "## ", "h2": "### ", "h3": "#### "}
BLOCKS = {"p": "", "li": "- ", "figcaption": "", "summary": "", "dt": "- ", "dd": "  - ", **HEADINGS}


def result_as_markdown(result: Result, baseline: Result | None = None) -> str:
    """Every section of the page in its order, with links to the figures that lie beside ``report.md``.

    Of a table longer than `ROWS` the first rows are kept, and how many are missing is said.
    """
    figures = {
        name: f'<img src="figures/{name}.svg" alt="{escape(drawing.description)}">'
        for name, drawing in draw_figures(result).items()
    }
    writer = _Writer()
    writer.feed(write_page(result, baseline, None, figures))
    writer.close()
    return "\n".join(writer.lines).strip() + "\n"


class _Writer(HTMLParser):
    """Turns pages of our own templates into Markdown; other people's HTML it does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.text: list[str | None] = []  # None where bold begins and ends
        self.hidden = ""  # the tag whose content is left out
        self.bold = self.card = False
        self.rows: list[list[str]] = []
        self.right: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if self.hidden:
            return
        if tag in LEFT_OUT:
            self.hidden = tag
        elif tag == "article":
            self.card, self.text = True, []
        elif tag == "table":
            self.rows, self.right = [], []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.text = []
            if len(self.rows) == 1:
                self.right.append(given.get("class") == "n")
        elif tag == "br":
            self.text.append(" ")
        elif tag == "pre":
            self.text = []
        elif tag == "img":
            self._block(f"![{cell(given.get('alt') or '')}]({given.get('src')})")
        elif tag in BLOCKS and not self.card:
            self.text = []
        if given.get("class") == "interval":
            self.text.append("(")
        if given.get("class") == "verdict" or tag in ("strong", "dt"):
            self._turn()

    def handle_endtag(self, tag: str) -> None:
        if self.hidden:
            self.hidden = "" if tag == self.hidden else self.hidden
        elif self.bold and tag in ("strong", "span"):
            self._turn()
        elif tag == "span" and self.rows:
            self.text.append(")")
        elif tag == "article":
            self.card = False
            self.lines += [f"- {self._words()}"]
        elif tag in ("th", "td"):
            self.rows[-1].append(cell(_flat(self.text)) or " ")
        elif tag == "table":
            self._table()
        elif tag == "pre":
            self._quoted("".join(part or "" for part in self.text))
        elif tag in BLOCKS and self.card:
            self.text.append(": " if tag == "h2" else " ")
        elif tag in ("li", "dt", "dd"):
            self.bold = False
            self.lines.append(BLOCKS[tag] + self._words())
        elif tag in BLOCKS:
            self._block(BLOCKS[tag] + self._words())
        elif tag in ("ul", "dl", "div") and self.lines and self.lines[-1]:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.text.append(data)

    def _turn(self) -> None:
        self.text.append(None)
        self.bold = not self.bold

    def _words(self) -> str:
        parts: list[list[str | None]] = [[]]
        for piece in self.text:
            if piece is None:
                parts.append([])
            else:
                parts[-1].append(piece)
        words = [escape_text(_flat(part)) for part in parts]
        marked = (f"**{word}**" if number % 2 else word for number, word in enumerate(words) if word)
        return " ".join(marked).replace("** :", "**:")

    def _block(self, text: str) -> None:
        self.lines += ([""] if self.lines and self.lines[-1] else []) + [text, ""]

    def _table(self) -> None:
        head, *rows = self.rows
        marks = ["---:" if right else "---" for right in self.right]
        self.lines += [f"| {' | '.join(row)} |" for row in (head, marks, *rows[:ROWS])]
        self.lines.append("")
        if len(rows) > ROWS:
            self._block(f"{len(rows) - ROWS} more rows are in report.html.")

    def _quoted(self, text: str) -> None:
        # A fence of backticks could be closed from inside, this cannot.
        self.lines += ["<pre>", *escape(text).splitlines(), "</pre>", ""]


def _flat(parts: list[str | None]) -> str:
    return " ".join("".join(part or "" for part in parts).replace("\u00ad", "").split())
