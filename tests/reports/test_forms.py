"""The other forms of a report: Markdown, notebook, pixels, PDF, changes, history; and the commands that make them."""

import io
import json
import re
from dataclasses import replace
from functools import lru_cache
from html import unescape
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from dpaudit.cli import main
from dpaudit.gate.claims_file import claims_from
from dpaudit.gate.compare import changes
from dpaudit.gate.history import releases, runs
from dpaudit.gate.plan_changes import PlanChange, plan_changes
from dpaudit.gate.release_answers import answer_releases, chance_of_any
from dpaudit.reports.drawing import Drawing, canvas
from dpaudit.reports.gate import escape_text
from dpaudit.reports.history import write_history
from dpaudit.reports.html import page, write_report
from dpaudit.reports.markdown import result_as_markdown
from dpaudit.reports.pdf import write_pdf
from dpaudit.reports.scope_words import not_tested
from dpaudit.reports.terminal import changes_table
from dpaudit.results.federated import FederatedResult
from dpaudit.results.ladder import LadderResult, RungResult
from dpaudit.results.result import Result
from dpaudit.results.trace import TraceResult
from dpaudit.runtime.errors import InputError, MissingDependency
from tests.reports.results import HOSTILE, hostile, small, three
from tests.reports.sections import gradient
from tests.small_audits import edited, gaussian_audit, on_data, with_references


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of the command, run inside this process."""
    monkeypatch.setattr("sys.argv", ["dpaudit", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_markdown_says_what_the_page_says() -> None:
    """Every model with its verdict, what an attacker can do, and what was not tested."""
    text = result_as_markdown(three())
    assert text.count("**contradicted**") == 2
    assert "dp-low-noise and dp-high-noise leak more than claimed." in text
    assert "#### What was not tested" in text
    assert len(text) < 64_000  # of a comment on a pull request


@pytest.mark.parametrize("form", ["markdown", "notebook"])
@pytest.mark.long
def test_hostile_names_are_text_in_every_form(form: str) -> None:
    """No tag of a name survives."""
    text = result_as_markdown(hostile()) if form == "markdown" else hostile()._repr_html_()
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.long
def test_hostile_names_do_not_end_a_figure_or_its_label() -> None:
    """Every figure of the page and every image of the Markdown is one element, whose label holds the name."""
    figures = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page(hostile()), flags=re.S)]
    labels = [figure.attrib["aria-label"] for figure in figures]
    assert any("<script>" in label for label in labels)
    said = re.findall(r"^!\[(.*)\]\(figures/", result_as_markdown(hostile()), flags=re.M)
    assert sorted(map(escape_text, labels)) == sorted(said)


@lru_cache(maxsize=1)
def page_of_three() -> str:
    """Drawn once: drawing takes most of the time of these tests."""
    return page(three())


@pytest.mark.long
def test_page_stands_alone() -> None:
    """No address but the namespaces of SVG, no script but the one whose hash is stated."""
    text = page_of_three()
    assert set(re.findall(r"https?://[^\"' <)]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert text.count("<script") == 1
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" in text


def test_cards_say_how_often_a_record_is_found_and_what_was_left_out() -> None:
    """Row numbers with the two rates of each, slices that could not be judged by number and name, spent truth."""
    result = three()
    assert result.membership is not None
    told = [one.model_copy(update={"spent": 600}) for one in result.membership.attacks[:1]]
    html = page(result.model_copy(update={"membership": result.membership.model_copy(update={"attacks": told})}))
    row = re.search(r"<tr><th[^>]*>17</th>.*?</tr>", html)
    assert row is not None
    assert re.findall(r"[\d.]+.?%", row[0]) == ["75 %", "0 %"]
    assert html.count("to judge 1 slice: class = rare") == 1  # of all three models together
    assert "told the membership of 600 records and judged on the other 1200" in html


@pytest.mark.long
def test_every_chapter_is_in_the_navigation() -> None:
    """Each section with a name has a link, each link leads somewhere, and whatever scrolls can be reached by keys."""
    trace = TraceResult(name="theirs", framework="their own loop", rounds=3, missing=[], checks=[])
    parts = {"ladder": LadderResult(rungs=[]), "federated": FederatedResult(), "trace": trace}
    html = page(three().model_copy(update=parts))
    links = set(re.findall(r'<li><a href="#([a-z-]+)">', html))
    assert set(re.findall(r'<section id="([a-z-]+)"', html)) <= links
    assert links <= set(re.findall(r'id="([a-z-]+)"', html))
    assert {"ladder", "federated", "trace"} <= links
    assert '<div class="scroll">' not in html


def test_what_was_not_tested_follows_from_what_ran() -> None:
    """A rung that ran takes its gap away for the models it ran on, one that was skipped does not."""
    result = three()
    gaps = " ".join(not_tested(result))
    for part in ("trained the models clips", "intermediate models", "worst-case record", "reference models"):
        assert part in gaps
    claimed = [model.name for model in result.models if model.accounted is not None]

    def with_rungs(models: list[str], number: int, skipped: str = "") -> str:
        rungs = [
            RungResult(model=name, rung=number, name="a rung", sees="", blind_to="", skipped=skipped) for name in models
        ]
        return " ".join(not_tested(result.model_copy(update={"ladder": LadderResult(rungs=rungs)})))

    assert "clips and adds noise" not in with_rungs(claimed, 1)
    assert f"trained {claimed[1]} clips" in with_rungs(claimed[:1], 1)
    assert "trained the models clips" in with_rungs(claimed, 1, skipped="it claims nothing")
    assert "intermediate models" not in with_rungs(claimed, 2)
    assert "worst-case record" not in with_rungs(claimed, 3)


def test_figures_are_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SVG always, PNG and Markdown when asked for."""
    (tmp_path / "result.json").write_text(small().json())
    assert run(monkeypatch, "report", str(tmp_path), "--png", "--markdown") == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"claim.svg", "claim.png", "roc-model.svg", "roc-model.png"}
    assert (tmp_path / "figures/claim.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "report.md").read_text().startswith("## Privacy audit")


def test_two_figures_share_no_name_on_a_page() -> None:
    """Markers are called after their figure: a page has every id once."""
    ids = re.findall(r' id="([^"]+)"', page_of_three())
    assert len(ids) == len(set(ids))
    drawings = [Drawing(lambda: canvas(2, 2)[0], text).svg() for text in ("one", "two")]
    assert not set(re.findall(r' id="([^"]+)"', drawings[0])) & set(re.findall(r' id="([^"]+)"', drawings[1]))


def test_pdf(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """WeasyPrint prints the page; without it the message says how to get it."""
    if find_spec("weasyprint") is None:
        with pytest.raises(MissingDependency, match=r"pip install 'dpaudit\[pdf\]'"):
            write_pdf(small(), tmp_path / "report.pdf")
    else:
        write_pdf(gradient(), tmp_path / "report.pdf")  # its figures hold pictures
        assert caplog.records == []
        assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_changes_between_two_results() -> None:
    """A model that began to leak grew; the same model twice shows no change; the other way round it shrank."""
    quiet, leaky = gaussian_audit(0.2, seed=1), gaussian_audit(2.0, seed=2)
    assert {each.word for each in changes(quiet, leaky) if each.metric == "AUC"} == {"grew"}
    assert {each.word for each in changes(leaky, quiet) if each.metric == "AUC"} == {"shrank"}
    same = [gaussian_audit(0.2, seed=seed) for seed in (4, 5)]
    assert {each.word for each in changes(*same)} == {"no change seen"}
    with pytest.raises(InputError, match="no attack on a model of the same name in common"):
        changes(quiet, edited(quiet, membership=None))


@pytest.mark.long
def test_compare_and_history_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What changed goes to the terminal and into the report; history gathers every result below a folder."""
    for index, mu in enumerate((0.2, 2.0)):
        folder = tmp_path / f"release-{index}"
        folder.mkdir()
        (folder / "result.json").write_text(gaussian_audit(mu, seed=index, name=f"release-{index}").json())
    old, new = (str(tmp_path / f"release-{index}") for index in (0, 1))
    assert run(monkeypatch, "compare", old, new, "--out", str(tmp_path / "out")) == 0
    assert "grew" in capsys.readouterr().out
    assert "Since the baseline" in (tmp_path / "out/report.html").read_text()
    assert run(monkeypatch, "compare", old, new, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["word"] == "grew"
    (tmp_path / "claims.toml").write_text('[[claim]]\nid = "a"\nkind = "ceiling"\nmetric = "auc"\nmax = 0.9\n')
    assert run(monkeypatch, "history", str(tmp_path), "--claims", str(tmp_path / "none.toml")) == 2
    assert "none.toml" in capsys.readouterr().err
    assert run(monkeypatch, "history", str(tmp_path), "--claims", str(tmp_path / "claims.toml")) == 0
    assert "The gate's answers" in unescape((tmp_path / "history.html").read_text())
    assert run(monkeypatch, "history", str(tmp_path)) == 0
    shown = (tmp_path / "history.html").read_text()
    assert "2 audits with 1 model, the oldest first." in shown
    for name in ("release-0", "release-1"):  # its folder, its own name, and the step between the two
        assert shown.count(f"<bdi>{name}</bdi>") == 3
    other = tmp_path / "other"
    other.mkdir()
    (other / "result.json").write_text(on_data(with_references(gaussian_audit(0.2, seed=1), 8), "b" * 64).json())
    assert run(monkeypatch, "compare", old, str(other)) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert "can be compared: 8 reference models against 0." in said


def test_what_cannot_be_compared_is_marked_in_every_form() -> None:
    """One attack of two has another version: its rows hold no difference and no word of growth; why stands below."""
    plain, leaky = gaussian_audit(0.2, seed=1, attacks=2), gaussian_audit(2.0, seed=2, attacks=2)
    assert leaky.membership is not None
    first, second = leaky.membership.attacks
    other = [first, second.model_copy(update={"version": "newer"})]
    after = leaky.model_copy(update={"membership": leaky.membership.model_copy(update={"attacks": other})})
    found = changes(plain, after)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(changes_table(found))
    shown = console.export_text()
    rows = [line for line in shown.splitlines() if "attack-1" in line]
    assert len(rows) == 3
    assert all(re.search(r"  –  +not comparable *$", row) for row in rows)
    reason = f"not comparable: attack version newer against {second.version}"
    below = " ".join(shown[shown.index("All differences") :].split())
    assert f"model: {reason}." in below
    assert "model: data unknown." in below
    text = result_as_markdown(after, plain)
    assert text.count(f"| – | {reason} |") == 3
    assert text.count("grew") == len([each for each in found if each.word == "grew"]) > 0


def test_history_is_in_the_order_of_time(tmp_path: Path) -> None:
    """By the date in the result, not by the name of the folder; a folder without results is refused."""
    with pytest.raises(InputError, match=r"there is no result\.json below"):
        releases(tmp_path)
    for name, day in (("a", "2026-03-01"), ("b", "2026-01-01"), ("c", "2026-02-01")):
        result = gaussian_audit(0.5, seed=1, name=HOSTILE["script"] if name == "c" else name, records=300)
        provenance = {**json.loads(result.json())["provenance"], "created": f"{day}T00:00:00+00:00"}
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(edited(result, provenance=provenance).json())
    found = releases(tmp_path)
    assert [each.result.provenance.created[:7] for each in found] == ["2026-01", "2026-02", "2026-03"]
    write_history(found, tmp_path)
    assert "<script>alert" not in (tmp_path / "history.html").read_text()


def released(folder: Path, day: str, result: Result) -> None:
    """Put a result of a day into a folder."""
    provenance = {**json.loads(result.json())["provenance"], "created": f"{day}T00:00:00+00:00"}
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(edited(result, provenance=provenance).json())


def test_history_marks_what_cannot_be_compared_and_keeps_two_kinds_of_bounds_apart(tmp_path: Path) -> None:
    """Other data, and another number of references; a bound within a family is never in the column of the others.

    Two releases of one moment stand in the order of their folders, and a line is broken at each mark.
    """
    plain = gaussian_audit(0.5, seed=1, records=300)
    assert plain.membership is not None
    attack = plain.membership.attacks[0]
    assert attack.bound is not None
    bound = replace(attack.bound, epsilon=3.11, family="Gaussian noise")
    within = plain.model_copy(
        update={
            "membership": plain.membership.model_copy(
                update={"attacks": [attack, attack.model_copy(update={"attack": "second", "bound": bound})]}
            )
        }
    )
    released(tmp_path / "2026/c", "2026-01-02", on_data(within, "a" * 64))
    released(tmp_path / "2026/b", "2026-01-02", on_data(plain, "a" * 64))
    released(tmp_path / "2026/d", "2026-01-03", on_data(plain, "b" * 64))
    released(tmp_path / "2026/a", "2026-01-04", with_references(on_data(plain, "b" * 64), 8))
    found = releases(tmp_path)
    assert [each.folder for each in found] == ["2026/b", "2026/c", "2026/d", "2026/a"]
    assert [each.apart for each in found] == [
        (), (), ("other data (fingerprint bbbbbbbb… against aaaaaaaa…)",), ("8 reference models against 0",),
    ]  # fmt: skip
    assert [None if each.within is None else each.within.epsilon for each in found] == [None, 3.11, None, None]
    assert {each.general.epsilon for each in found if each.general is not None} == {attack.bound.epsilon}
    assert [[each.folder for each in run] for run in runs(found, "model")] == [
        ["2026/b", "2026/c"],
        ["2026/d"],
        ["2026/a"],
    ]
    write_history(found, tmp_path)
    page = (tmp_path / "history.html").read_text()
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr><td.*?</tr>", page, flags=re.S)]
    assert [row[6].startswith("3.11") for row in cells] == [False, True, False, False]
    assert "Gaussian noise" in cells[1][6]
    assert not any("3.11" in row[5] for row in cells)
    assert [row[-1] for row in cells] == ["; ".join(each.apart) for each in found]


PLAN = """name = "p"
seed = 1
[[model]]
name = "model"
trainer = "sgd"
epochs = {}
"""
CEILING = {"id": "low", "kind": "ceiling", "metric": "auc", "max": 0.7}
GROWTH = {"id": "flat", "kind": "no-growth", "metric": "auc", "tolerance": 0.1}


def planned(mu: float, epochs: int) -> Result:
    """A result with a plan, an exposed record and a utility."""
    result = gaussian_audit(mu, seed=1)
    exposed = {"records": [4], "gaps": [1.0], "p_values": [0.001], "fdr": 0.05, "tested": 20, "smallest_p": 0.001}
    listed = [{"model": "model", "exposed": exposed}]
    written = json.loads(result.json())
    written["membership"]["exposed"] = listed
    written["provenance"]["plan"] = PLAN.format(epochs)
    written["models"][0]["utility"] = {"metric": "accuracy", "train": 0.9, "test": 0.8125}
    return Result.model_validate_json(json.dumps(written))


def test_history_shows_a_release_train(tmp_path: Path) -> None:
    """What was claimed, exposed and useful, what changed in the plan, and the gate's answer; growth needs a before.

    Two gates at 5 % each stop a train by chance at most 10 % of the time, and two audits at 95 % hold with 90 %.
    """
    for folder, day, mu, epochs in (("v1", "2026-01-01", 0.2, 5), ("v2", "2026-02-01", 2.0, 9)):
        released(tmp_path / folder, day, planned(mu, epochs))
    found = releases(tmp_path)
    claims = claims_from({"claim": [CEILING, GROWTH]})
    answers = answer_releases({each.path: each.result for each in found}, [claims])
    assert [each.word for each in answers.values()] == ["passes", "stopped"]
    assert [each.left_out for each in answers.values()] == [("flat",), ()]
    assert chance_of_any(answers) == pytest.approx(0.1)
    write_history(found, tmp_path, answers)
    page = unescape((tmp_path / "history.html").read_text())
    rows = [re.sub(r"<[^>]*>", "|", row) for row in re.findall(r"<tr><td.*?</tr>", page, flags=re.S)]
    assert all("|1 of 20|" in row and "|0.812||accuracy|" in row for row in rows)
    assert ["|stopped|" in row for row in rows] == [False, True]
    assert re.search(r"<code>model.model.epochs</code></th><td>5</td><td>9</td>", page)
    assert page.count("<code>model.") == 1
    assert "v1 has no earlier result, so that these claims on growth are not judged: flat." in re.sub(
        "<.?bdi>", "", page
    )
    assert "has a probability of at least 90 %" in page
    assert "by chance with a probability of at most 10 %" in page


def test_a_gate_that_refuses_is_shown_as_refusing(tmp_path: Path) -> None:
    """A claim on a model that a result does not hold is no pass, and claims on growth alone judge no first release."""
    result = {tmp_path: planned(0.2, 5)}
    (other,) = answer_releases(result, [claims_from({"claim": [{**CEILING, "model": "another"}]})]).values()
    assert (other.word, other.gate) == ("refused", None)
    assert "another" in other.refused
    (first,) = answer_releases(result, [claims_from({"claim": [GROWTH]})]).values()
    assert first.refused == "Every claim is on growth, and there is no earlier result."
    released(tmp_path / "v1", "2026-01-01", planned(0.2, 5))
    found = releases(tmp_path)
    write_history(found, tmp_path, {found[0].path: other})
    assert "another" in (tmp_path / "history.html").read_text()


def test_what_changed_in_a_plan() -> None:
    """Models go by their names whatever their order; what came and what went has a dash; a name is no change."""
    before = planned(0.2, 5)

    def with_plan(text: str) -> Result:
        written = json.loads(before.json())
        written["provenance"]["plan"] = text
        return Result.model_validate_json(json.dumps(written))

    other = '[[model]]\nname = "b"\ntrainer = "dp-sgd"\n'
    one, two = with_plan(PLAN.format(5) + other), with_plan(PLAN.replace('"p"', '"q"').format(5) + other)
    assert plan_changes(one, two) == ()
    assert plan_changes(one, with_plan(PLAN.format(5))) == (PlanChange("model.b.trainer", "dp-sgd", "–"),)
    assert plan_changes(with_plan(PLAN.format(5)), one) == (PlanChange("model.b.trainer", "–", "dp-sgd"),)
    assert PlanChange("seed", "1", "2") in plan_changes(
        one, with_plan("seed = 2\n" + PLAN.format(5).replace("seed = 1", ""))
    )


@pytest.mark.long
def test_report_of_a_run_is_drawn_from_its_result_alone(tmp_path: Path) -> None:
    """Nothing of the run but result.json is read; the same result gives the same page."""
    write_report(three(), tmp_path)
    assert (tmp_path / "report.html").read_text() == page_of_three()
    assert np.all([path.stat().st_size < 2_000_000 for path in tmp_path.rglob("*.*")])
