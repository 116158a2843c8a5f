"""Drawing: one style for every figure, SVG that follows the page's colours, PNG for papers."""

import hashlib
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

# Drawn with these, written as CSS variables with the light theme as fall-back: the page turns them dark.
INK, MUTED, PAPER, SHADE = "#1d2733", "#6b7785", "#fffffe", "#e9edf1"
# Okabe and Ito's palette, which colour-blind readers can tell apart; without its black and yellow. The claim has its
# vermilion for itself, darkened until small words in it can be read.
COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
CLAIMED = "#b84f00"
VARIABLES = {
    INK: "--ink", MUTED: "--muted", PAPER: "--paper", SHADE: "--shade", CLAIMED: "--claimed",
    **{colour: f"--series-{number}" for number, colour in enumerate(COLOURS)},
}  # fmt: skip
DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
DOTS_PER_INCH = 200


@dataclass(frozen=True)
class Drawing:
    """A figure with the description that a screen reader speaks.

    Args:
        draw: gives the figure; called when it is first looked at, for some forms of a report only name their figures.
        description: in words.
    """

    draw: Callable[[], Any]
    description: str

    @cached_property
    def figure(self) -> Any:
        """Matplotlib's figure."""
        return self.draw()

    def svg(self) -> str:
        """SVG text without a prologue, with the theme's colours as CSS variables."""
        stream = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        with warnings.catch_warnings():
            # Text stays text: the reader's fonts draw it, not the one that measured it.
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            self.figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
        text = stream.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
        # Names of groups are the same in every figure of a page, and decimals beyond the second are not seen.
        text = re.sub(r'<g id="[^"]*">', "<g>", text)
        # Markers and clips are called after what they are, which two figures of a page may share.
        own = hashlib.sha256(self.description.encode()).hexdigest()[:6]
        text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>f{own}-", text)
        text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path.group()), text)
        # The ground of a hatching has its colour as an attribute, where no variable may stand.
        text = re.sub(r'(<rect [^>]*)fill="(#[0-9a-f]{6})"', r'\g<1>style="fill: \g<2>"', text)
        # In styles only: a model may be called like a colour.
        text = re.sub(r' style="[^"]*"', _in_variables, text)
        head, rest = text.split(">", 1)
        head = re.sub(r' width="[^"]*"| height="[^"]*"', "", head)
        return f'{head} role="img" aria-label="{_escaped(self.description)}">{rest.strip()}'

    def png(self) -> bytes:
        """The same as pixels on white."""
        stream = io.BytesIO()
        self.figure.savefig(stream, format="png", dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
        return stream.getvalue()


@lru_cache(maxsize=1)
def _matplotlib() -> Any:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "dpaudit",
            "hatch.linewidth": 0.5,
            "text.parse_math": False,  # a model may be called $x$
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "text.color": INK,
            "font.size": 9,
        }
    )
    return Figure


@dataclass(frozen=True)
class Margins:
    """Room around the axes in inches."""

    left: float
    right: float
    bottom: float
    top: float


def canvas(width: float, height: float, margins: Margins | None = None) -> tuple[Any, Any]:
    """A figure of one pair of axes, sizes in inches.

    Without margins every word is measured to find them, which takes as long as the drawing itself.
    """
    if margins is None:
        figure = _matplotlib()(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
    else:
        figure = _matplotlib()(figsize=(width, height))
        inside = (width - margins.left - margins.right, height - margins.bottom - margins.top)
        axes = figure.add_axes((margins.left / width, margins.bottom / height, inside[0] / width, inside[1] / height))
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _in_variables(style: re.Match[str]) -> str:
    text = style.group()
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable}, {colour})")
    return text


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
