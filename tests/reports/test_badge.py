"""A badge says what was measured, fits its text, loads nothing, and never says that something is safe."""

import re
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest

from dpaudit import Result, audit_scores
from dpaudit.reports.badge import COLOURS, LABEL_COLOUR, badge, badge_words
from tests.reports import sections
from tests.reports.results import hostile, small, three
from tests.small_audits import around

SVG = "{http://www.w3.org/2000/svg}"


def measured() -> Result:
    """One model that claims ε = 2 and leaks more."""
    rng, member = np.random.default_rng(1), np.arange(2000) % 2 == 0
    return audit_scores(rng.normal(size=2000) + 4 * member, member, epsilon=2.0, delta=1e-5)


@pytest.mark.parametrize("made", [small, three, measured, hostile, sections.everything, sections.extracted])
@pytest.mark.long
def test_it_is_an_image_of_its_own(made: Callable[[], Result]) -> None:
    """Well-formed, with a title that says the same as the text, nothing to load, and the texts inside their boxes."""
    text = badge(made())
    root = ElementTree.fromstring(text)
    words = [element.text for element in root.iter(f"{SVG}text")]
    title = root.findtext(f"{SVG}title")
    assert title == f"{words[0]}: {words[1]}" == root.get("aria-label")
    assert not re.search(r"href|<script|<image|<style|@import|url\((?!#)", text)
    boxes = [float(element.get("width", "")) for element in root.iter(f"{SVG}rect")][1:]
    lengths = [float(element.get("textLength", "")) for element in root.iter(f"{SVG}text")]
    assert all(0 < length < box for length, box in zip(lengths, boxes, strict=True))
    assert sum(boxes) == pytest.approx(float(root.get("width", "")), abs=0.11)
    assert not re.search(r"private|complian|safe|secure|anonym", (title or "").lower())


def test_it_says_claim_measurement_and_verdict() -> None:
    """One claim has its ε and what was measured; several have counts; without a claim there is the measurement."""
    said, verdict = badge_words(measured())
    assert re.fullmatch(r"measured ε ≥ \d\.\d\d; claimed 2\.00: contradicted", said)
    assert verdict == "contradicted"
    assert badge_words(three())[0] == "2 claims measured: 2 contradicted"
    assert re.fullmatch(r"measured ε ≥ [\d.]+", badge_words(small())[0])
    one = three().model_copy(update={"comparisons": three().comparisons[:1]})
    assert badge_words(one)[0].startswith(f"{one.comparisons[0].subject}: measured ε ≥ ")  # of several models
    assert badge_words(around([])) == ("no bound measured", "no claim")


def test_letters_can_be_read_on_every_colour() -> None:
    """White on each of them has the contrast that WCAG 2 asks of small text, 4.5."""
    for colour in (*COLOURS.values(), LABEL_COLOUR):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 4.5
