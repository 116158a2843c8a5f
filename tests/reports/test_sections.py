"""Every chapter of the report: it is there in each form, its figures are tables too, and its numbers are right."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html import unescape
from pathlib import Path

import pytest
from rich.console import Console

from dpaudit.accounting.claim import Claim
from dpaudit.bounds.verdict import Comparison, Facts, Measured, judge
from dpaudit.reports.attack_words import exposed_in_words, exposed_parts
from dpaudit.reports.figures import ceiling, roc
from dpaudit.reports.gate import escape_text
from dpaudit.reports.html import draw_figures, page, write_pixels, write_report
from dpaudit.reports.markdown import ROWS, result_as_markdown
from dpaudit.reports.tables.unlearning import unlearning_in_words
from dpaudit.reports.terminal import tabulate_models
from dpaudit.reports.verdict_words import headline
from dpaudit.reports.words import figure
from dpaudit.results.result import Result
from dpaudit.scores.targets import Mean
from tests.reports import sections
from tests.reports.results import large, small, three
from tests.results.test_unlearning import forgetting

RESULTS = [
    small, three, sections.ladder, sections.federated, sections.gradient, sections.read_texts, sections.texts,
    sections.extracted, sections.everything, forgetting,
]  # fmt: skip
each_result = pytest.mark.parametrize("made", RESULTS, ids=lambda made: made.__name__)


def headings(html: str) -> list[str]:
    """Headings of a page's chapters, as text."""
    found = re.findall(r"<h[23][^>]*>(.*?)</h[23]>", html[html.index("</article>") :], flags=re.S)
    found = [text for text in found if 'class="verdict"' not in text]
    return [" ".join(unescape(re.sub(r"<[^>]*>", "", text)).split()) for text in found]


@cache
def drawn(made: Callable[[], Result]) -> str:
    """The page of a result, drawn once; two of them have a baseline."""
    return page(made(), baseline(made))


def baseline(made: Callable[[], Result]) -> Result | None:
    """What the two results with a chapter of changes are compared with."""
    if made not in (three, sections.everything):
        return None
    membership, before = made().membership, three()
    assert membership is not None
    assert before.membership is not None
    same = before.membership.model_copy(update={"references": membership.references})
    return before.model_copy(update={"membership": same})


@each_result
@pytest.mark.long
def test_markdown_has_every_chapter_and_every_row_of_the_page(made) -> None:
    """The same headings in the same order, and of every table the same number of rows, up to the longest it shows."""
    html, text = drawn(made), result_as_markdown(made(), baseline(made))
    assert re.findall(r"^###+ (.*)$", text, flags=re.M) == [escape_text(heading) for heading in headings(html)]
    tables = re.findall(r"<tbody>(.*?)</tbody>", html, flags=re.S)
    written = re.findall(r"^\| -.*\n((?:\|.*\n)*)", text, flags=re.M)
    assert [min(table.count("<tr>"), ROWS) for table in tables] == [rows.count("\n") for rows in written]


@pytest.mark.parametrize(
    ("chapter", "words"),
    [
        ("verdicts", "leak more than claimed"),
        ("claim", "could not have been certified"),
        ("curves", "allowed by the claim"),
        ("attacks", "TPR at 10 % FPR"),
        ("exposed", "class 3"),
        ("utility", "unseen records rightly"),
        ("ladder", "is blind to"),
        ("references", "Reference models in turn"),
        ("federated", "Round by round"),
        ("trace", "missing or damaged: 7"),
        ("trace", "realised noise: the step is <not> stated"),
        ("gradient", "as the attack got it back"),
        ("reconstruction", "bound γ(1/M)"),
        ("changes", "Since the baseline"),
        ("method", "What must be true for the bounds to hold"),
        ("not-tested", "Privacy of preprocessing"),
    ],
)
@pytest.mark.long
def test_outline(chapter: str, words: str) -> None:
    """Every chapter is on the page, under a heading the navigation leads to."""
    html = drawn(sections.everything)
    assert f'<a href="#{chapter}">' in html
    start = html.index(f'id="{chapter}"')
    end = html.find("<section", start)
    # The headline stands above the verdicts.
    part = html[: html.index('id="claim"')] if chapter == "verdicts" else html[start : end if end > 0 else len(html)]
    assert words in unescape(part)


def test_chapters_of_texts() -> None:
    """Which score decided and what each is; the curves of extraction, what no memory is, exposure and generations."""
    text, extraction = (unescape(drawn(made)) for made in (sections.texts, sections.extracted))
    assert "The score loss decides, by the rule" in text
    assert "minus the loss of the whole record" in text
    for words in (
        "is no memory",
        "likelier than every one of them",
        "The fit, which extrapolates, gives",
        "Found in 1 generation: 1 of ",
    ):
        assert words in extraction
    assert all(f'<a href="#{chapter}">' in page for chapter, page in (("text", text), ("extraction", extraction)))
    assert 'id="claim"' not in extraction  # there is no bound to draw


def test_chapter_of_unlearning() -> None:
    """The verdict in words, one row for each state, the records that still show, and what it did not test."""
    html = unescape(drawn(forgetting))
    assert (
        "Forgotten records are told from records that were never there: ε is at least 1.5, more than the claim" in html
    )
    assert (
        html.index("before unlearning</td>") < html.index("after finetune</td>") < html.index("trained again without")
    )
    assert re.search(r"still show, the clearest first:\s*<code>7</code> <code>3</code>", html)
    assert "Another method of unlearning, or training again without the records." in html
    assert "Whether unlearning exposes records that stay more than before" in html
    assert 'id="claim"' not in html  # nothing was measured of the model's own claim
    assert headline(forgetting()) == "unlearning from model leaks more than claimed."
    assert headline(forgetting(after=0.5)) == "Nothing contradicts the claim about unlearning."
    found = forgetting().unlearning
    assert found is not None
    (said,) = unlearning_in_words(found)
    assert "before unlearning ε ≥ 2 (AUC 0.9" in said
    assert "after finetune ε ≥ 1.5" in said
    assert "2 of 10 records still show by themselves" in said


def test_texts_are_on_a_page_only_when_asked() -> None:
    """With them the page says so at its top, and their marks are no marks of the page."""
    text, extraction = drawn(sections.texts), drawn(sections.extracted)
    assert text.index("This page holds raw records") < text.index("<main")
    assert "the same words again and again a" in text
    assert "<b>&" not in text
    assert "raw records" not in extraction.replace("(--show-records)", "")
    assert "the same words again" not in extraction


@each_result
def test_every_figure_has_its_table_and_every_table_can_be_sorted(made) -> None:
    """A section with a figure has a table below it; no table is without the class that the script looks for."""
    html = drawn(made)
    for section in re.findall(r"<section.*?</section>", html, flags=re.S):
        figures = section.count("<svg")
        assert section.count("<table") >= min(figures, 1)
    assert html.count("<table") == html.count('<table class="sortable"')
    assert "colspan" not in html  # a row with fewer cells could not be sorted


@pytest.mark.long
def test_every_figure_is_an_svg_and_a_png(tmp_path: Path) -> None:
    """Each figure of the page is a file in both forms."""
    result = sections.everything()
    write_report(result, tmp_path)
    write_pixels(result, tmp_path)
    names, figures = {path.name for path in (tmp_path / "figures").iterdir()}, list(draw_figures(result))
    assert names == {f"{name}.{form}" for name in figures for form in ("svg", "png")}
    assert {"gradient-gallery.svg", "gradient-utility.png", "reconstruction.svg", "slices.png"} <= names
    links = re.findall(r"\]\((figures/[^)]*)\)", result_as_markdown(result))
    assert sorted(links) == sorted(f"figures/{name}.svg" for name in figures)


def test_ladder_says_which_rung_ran_what_it_costs_and_what_it_found() -> None:
    """One row for each rung on each model in both forms; a skipped one says why, a bound says what it holds within."""
    text = result_as_markdown(sections.ladder())
    rows = [line for line in text.splitlines() if line.startswith("| dp-low-noise | ")]
    # claim table, what each rung found, choices of the budget (rung 4 was left out), training
    found = [
        line for line in rows if re.search(r"\| \d (reconcile|forensics|step canaries|one run|many runs) \|", line)
    ]
    assert [line.split("|")[2].strip()[0] for line in found] == list("01234") + list("0123")
    assert "| dp-low-noise | 0 reconcile | claimed figure (violation) | – | – | – | 0.5 |" in text
    assert "| dp-low-noise | 2 step canaries | a lower bound | 3.72 | 97.9 | 1.02 | 6.5 |" in text
    assert "did not run: the budget left it out" in text
    assert "| 3 one run | the whole training at once | leaks too weak for the number of canaries |" in text
    assert "  - came out: its own mechanism gives ε = 20.4" in text
    assert f"hold within: {sections.SAMPLER}" in text


def test_labels_carry_an_exact_interval_over_victims() -> None:
    """Five of six at 95 %: 35.9 % to 99.6 %, Clopper and Pearson."""
    text = result_as_markdown(sections.gradient())
    row = next(line for line in text.splitlines() if line.startswith("| one image | none | matching |"))
    assert "| 5 of 6 (36 % to 99.6 %) | 0.80 |" in row
    known = next(line for line in text.splitlines() if line.startswith("| batch of 4 | none | matching |"))
    assert known.endswith("| – | – |")
    assert text.count("| refused |") == 9
    assert "Refused: one image, ε = 50, dense; one image, ε = 8, dense;" in text


def test_claims_that_are_no_model_s_have_verdicts_too() -> None:
    """Each release of the gradient audit is a card or a row, and names with commas in them are told apart."""
    result, html = sections.gradient(), drawn(sections.gradient)
    assert html.count('class="card ') == 9
    assert f"{len(result.comparisons) - 9} more verdicts" in html
    assert "“one image, ε = 50, matching”, “one image, ε = 50, dense”" in html


@pytest.mark.long
def test_notebook_shows_the_same_page() -> None:
    """The frame holds the page, letter by letter; where frames are taken out, the verdicts remain."""
    shown = three()._repr_html_()
    frame = re.search(r'srcdoc="([^"]*)"', shown)
    assert frame is not None
    assert unescape(frame[1]) == page(three())
    before = shown[: shown.index("<iframe")]
    assert before.count("<tr>") == 1 + len(three().models)
    assert "contradicted" in before


@pytest.mark.long
def test_large_report_fits_into_a_comment() -> None:
    """480 attacks and 2,400 slices: long tables are cut and say by how much."""
    text = result_as_markdown(large())
    assert len(text.encode()) < 64_000
    assert f"{480 - ROWS} more rows are in report.html." in text


def test_exposed_records_are_split_by_whether_this_model_was_trained_on_them() -> None:
    """On the card, in the sentence, in the list and in the table; one of three was not in the training data."""
    text = result_as_markdown(three())
    sentence = (
        "3 of 1,200 records are identified as members of models trained like no-dp (false discovery rate 5.0 %): 2 of "
        "them were in its training data, 1 was not."
    )
    card = next(line for line in text.splitlines() if line.startswith("- – no-dp"))
    assert sentence in card
    assert text.count(sentence) == 2
    assert "In its training data: 3 256" in text
    assert "Not in its training data: 17" in text
    rows = [re.search(rf"^\| {record} \| (yes|no) \|", text, flags=re.M) for record in (3, 17, 256)]
    assert [row and row[1] for row in rows] == ["yes", "no", "yes"]


def test_exposed_records_of_results_that_do_not_say_who_was_trained_on() -> None:
    """An older result names one list and says what it lacks; a list cut short counts what it holds."""
    (listed,) = three().membership.exposed  # type: ignore[union-attr]
    silent = listed.model_copy(update={"trained_on": None})
    assert exposed_in_words(silent).endswith("This result does not say which of them were in its own training data.")
    assert exposed_parts(silent, 200) == [("", [3, 17, 256])]
    assert exposed_parts(listed, 1) == [("In its training data", [3])]
    cut = listed.model_copy(update={"exposed": replace(listed.exposed, not_listed=7)})
    assert "10 of 1,200" in exposed_in_words(cut)
    assert "of the 3 most exposed, 2 were in its training data, 1 was not." in exposed_in_words(cut)


def test_rates_that_no_target_can_show_are_not_printed() -> None:
    """A TPR stored at 0.01 % of 719 non-members is no column; the note says how many it would take.

    Both for results of before, which hold a number there, and for new ones, which hold none.
    """
    whole = sections.everything()
    assert whole.membership is not None
    pool = whole.membership.pools[0]
    for stored in (Mean(0.0123, 0.001), None):
        over = replace(
            pool.over_targets, fprs=(0.1, 0.0001), tpr_at_fpr=(Mean(0.2, 0.01), stored), fpr_floor=1 / 719,
            pooled_tpr_at_fpr=(0.2, 0.1),
        )  # fmt: skip
        found = whole.membership.model_copy(update={"pools": [pool.model_copy(update={"over_targets": over})]})
        text = result_as_markdown(whole.model_copy(update={"membership": found}))
        part = text[text.index("Reference models in turn") :]
        assert "1.2 %" not in part[: part.index("\n### ")]
        assert "TPR at 10 % FPR" in part
        assert "TPR at 0.01 % FPR" not in part
        assert "At 0.01 % none is shown: that needs 9,999 non-members; there are 719." in part


@pytest.mark.long
def test_a_single_model_shows_no_rate_below_its_nonmembers_either() -> None:
    """One attack has 8 non-members, too few for 10 %: its cell is empty beside those of 600; so are small slices."""
    result = three()
    assert result.membership is not None
    first, *rest = result.membership.attacks
    assert first.slices is not None
    few = replace(first.slices, found=(replace(first.slices.found[0], nonmembers=50),))
    attacks = [first.model_copy(update={"nonmembers": 8, "slices": few}), *rest]
    html = page(result.model_copy(update={"membership": result.membership.model_copy(update={"attacks": attacks})}))
    assert html.count('title="needs 9 non-members; there are 8"') == 1
    assert 'title="needs 99 non-members; there are 50"' in html
    assert "needs 9" not in drawn(small)


def test_the_ceiling_in_the_table_is_the_one_of_the_sentence() -> None:
    """Of two attacks the weaker has the larger ceiling: both places name it, in as many digits, and the figure's table.

    A bound within a family keeps a ceiling of its own.
    """
    result = small()
    assert result.membership is not None
    (attack,) = result.membership.attacks
    assert attack.bound is not None
    bounds = [(0.5, 5.268, ""), (0.1, 5.281, ""), (0.3, 97.0, "Gaussian noise")]
    attacks = [
        attack.model_copy(
            update={
                "attack": f"attack-{at}",
                "bound": replace(attack.bound, epsilon=epsilon, ceiling=most, family=family),
            }
        )
        for at, (epsilon, most, family) in enumerate(bounds)
    ]
    several = result.model_copy(update={"membership": result.membership.model_copy(update={"attacks": attacks})})
    assert ceiling(several, "model") == 5.281
    measured = tuple(Measured(bound) for bound in several.bounds("model")[:2])
    found = judge(Claim(9.0, 1e-5, "record", "add-remove", "the plan"), Facts("model", measured))
    assert "ε = 5.28" in found.sentence
    assert "| 0.500 | 5.28 | 0.300 | Gaussian noise |" in result_as_markdown(several)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(tabulate_models(several))
    assert re.search(r"0\.500 +5\.28 ", console.export_text())


def test_only_claims_of_models_are_called_so() -> None:
    """Two models claim, one claim is about a release; either kind alone is named alone."""

    def said(*subjects: str, verdict: str = "consistent") -> str:
        judged = [
            Comparison(subject, Claim(1.0, 1e-5, "record", "add-remove", ""), "consistent", None, 5.0, "", 2.0)
            for subject in subjects
        ]
        judged[0] = replace(judged[0], verdict=verdict)  # type: ignore[arg-type]
        return headline(three().model_copy(update={"comparisons": judged}))

    assert said("no-dp", "dp-low-noise", "one image") == (
        "Nothing contradicts the 2 claims of models and the one about what was released."
    )
    assert said("no-dp", "dp-low-noise") == "Nothing contradicts the 2 claims that were examined."
    assert said("one image", "two images") == "Nothing contradicts the 2 claims about what was released."
    assert said("no-dp", "dp-low-noise", "one image", verdict="too weak") == (
        "This audit was too weak to judge no-dp. "
        "Nothing contradicts the claim of a model and the one about what was released."
    )


def test_the_page_of_a_trace_counts_its_users() -> None:
    """Where no record was audited the users were, so many of them took part."""
    whole = sections.everything()
    none = whole.data.model_copy(update={"records": 0, "members": 0})
    text = result_as_markdown(whole.model_copy(update={"data": none}))
    assert "40 users audited, 21 of them members" in text
    assert ", 40 users" in text
    assert " 0 records" not in text
    assert "1200 records audited" in result_as_markdown(
        whole.model_copy(update={"data": none.model_copy(update={"records": 1200})})
    )


def test_numbers_below_each_other_have_as_many_digits() -> None:
    """Three significant ones, zeros at the end included."""
    assert [figure(value) for value in (6.0, 5.5, 10.0, 0.5, 123.4, 2e7, 1e-7)] == [
        "6.00", "5.50", "10.0", "0.500", "123", "2e7", "1e-7",
    ]  # fmt: skip


def test_a_model_called_like_a_colour_keeps_its_name() -> None:
    """The theme's colours are put into styles, not into words."""
    result: Result = small()
    model = result.models[0].model_copy(update={"name": "#0072b2"})
    membership = result.membership
    assert membership is not None
    attacks = [attack.model_copy(update={"model": "#0072b2"}) for attack in membership.attacks]
    renamed = result.model_copy(
        update={"models": [model], "membership": membership.model_copy(update={"attacks": attacks})}
    )
    svg = roc(renamed, model).svg()
    assert ">#0072b2</text>" in svg
    assert "var(--series-0, #0072b2)" in svg


def test_records_that_are_read_where_nothing_is_claimed_are_in_the_headline() -> None:
    """Of images and of texts; with the releases alone that have a claim there is nothing to say."""
    assert headline(sections.gradient()).endswith(
        "Where nothing is claimed (one image, none, matching), an attacker reads 6 of 6 records off what is sent."
    )
    assert "Where nothing is claimed" in headline(sections.read_texts())
    for drawn_section in (sections.gradient, sections.read_texts):
        result = drawn_section()
        assert result.gradient is not None
        kept = {
            name: [cell for cell in getattr(result.gradient, name) if cell.epsilon is not None]
            for name in ("cells", "texts")
        }
        claimed = result.model_copy(update={"gradient": result.gradient.model_copy(update=kept)})
        assert "Where nothing is claimed" not in headline(claimed)
