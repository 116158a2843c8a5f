"""Raw records in a report: never without being asked for, and then the right ones on a page that says so."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from dpaudit.audits.plan import plan_from
from dpaudit.data.bundled import digits
from dpaudit.data.text import NamedTexts, TextRoles, as_records
from dpaudit.data.tokens import Bytes
from dpaudit.reports.html import page
from dpaudit.reports.records import show_records
from dpaudit.results.membership import ExposedRecords
from dpaudit.results.result import Result
from dpaudit.scores.vulnerable_records import Exposed
from tests.reports.results import three
from tests.reports.test_forms import run


def audited(source: str) -> Result:
    """A result that lists three records of a data set, as if its plan had been run."""
    table = {
        "schema": 1, "name": "who", "seed": 3, "data": {"source": source, "population": 0.25},
        "architecture": {"kind": "mlp"}, "model": [{"name": "no-dp", "trainer": "sgd"}],
        "membership": {"attacks": ["loss"]},
    }  # fmt: skip
    plan = plan_from(table)
    records, _ = plan.source()()
    rows = tuple(records.source_rows[[5, 2, 9]].tolist())
    found = three().membership
    assert found is not None
    exposed = Exposed(rows, (3.0, 2.0, 1.0), (1e-6, 1e-5, 1e-4), 0.05, len(records), 1e-7)
    listed = [ExposedRecords(model="no-dp", exposed=exposed)]
    return three().model_copy(
        update={
            "membership": found.model_copy(update={"exposed": listed}),
            "data": three().data.model_copy(update={"fingerprint": records.fingerprint}),
            "provenance": three().provenance.model_copy(update={"plan": plan.toml()}),
        }
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Forty records with values that nothing else on a page has."""
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"age": 7000 + np.arange(40), "income": rng.normal(size=40), "label": np.arange(40) % 2})
    frame.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


def test_texts_are_shown_as_texts() -> None:
    """A text comes back from its tokens, with how many of them count; rows that are not there are left out."""
    data = as_records(NamedTexts("two", ["to be", "or not <b>"]), TextRoles(context=16))
    shown = show_records(data, [0, 1, 7], Bytes())
    assert shown.values == {0: ["to be"], 1: ["or not <b>"]}
    assert shown.labels == {0: "6 tokens", 1: "11 tokens"}
    assert (shown.columns, shown.pictures) == (["text"], {})


@pytest.mark.long
def test_no_record_is_shown_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    """By default the page of a run with exposed records holds their numbers, no value of theirs and no picture."""
    for source in (str(table), "digits"):
        (tmp_path / "result.json").write_text(audited(source).json())
        assert run(monkeypatch, "report", str(tmp_path), "--markdown") == 0
        for name in ("report.html", "report.md"):
            text = (tmp_path / name).read_text()
            assert "Only their row numbers are shown" in text
            assert "raw records" not in text.replace("raw records are", "")
            assert "data:image" not in text
            assert not re.search(r"\b70[0-3]\d\b", text)


@pytest.mark.long
def test_rows_of_a_table_are_shown_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    """The listed rows with their values as in the file, and the page says at the top that it holds raw records."""
    result = audited(str(table))
    (tmp_path / "result.json").write_text(result.json())
    assert run(monkeypatch, "report", str(tmp_path), "--show-records") == 0
    html = (tmp_path / "report.html").read_text()
    assert html.index("This page holds raw records") < html.index("<main")
    assert result.membership is not None
    rows = result.membership.exposed[0].exposed.records
    shown_rows = re.findall(r'<tr><th scope="row" class="n">(\d+)</th><td>(\d)</td><td class="n">(\d+)</td>', html)
    assert [tuple(map(int, row)) for row in shown_rows] == [(row, row % 2, 7000 + row) for row in rows]


@pytest.mark.long
def test_images_are_shown_as_images_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each picture has the record's own pixels, in the order of the list."""
    result = audited("digits")
    (tmp_path / "result.json").write_text(result.json())
    assert run(monkeypatch, "report", str(tmp_path), "--show-records") == 0
    html = (tmp_path / "report.html").read_text()
    assert result.membership is not None
    rows = result.membership.exposed[0].exposed.records
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="record (\d+)">', html)
    assert [int(row) for _, row in found] == list(rows)
    pixels = imread(io.BytesIO(base64.b64decode(found[0][0])), format="png")[:, :, 0]
    truth = digits().features[rows[0]].squeeze()
    np.testing.assert_allclose(pixels, truth / digits().features.max(), atol=1 / 255)


def test_pictures_in_colour_and_constant_ones() -> None:
    """Three channels stay three; a data set of one value divides by no zero."""
    colour = np.zeros((4, 2, 2, 3), np.float32)
    colour[1, 0, 0] = (1.0, 0.5, 0.0)
    picture = show_records(replace(digits().take(np.arange(4)), features=colour, rows=None), [1]).pictures[1]
    pixels = imread(io.BytesIO(base64.b64decode(picture)), format="png")
    np.testing.assert_allclose(pixels[0, 0, :3], (1.0, 0.5, 0.0), atol=1 / 255)
    flat = replace(digits().take(np.arange(4)), features=np.ones((4, 2, 2), np.float32), rows=None)
    assert set(show_records(flat, [0, 3]).pictures) == {0, 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"membership": None}, "lists no exposed records"),
        ({"provenance": {"plan": None}}, "not made from a plan"),
        ({"provenance": {"plan": "not = [toml"}}, "not valid TOML"),
        ({"data": {"fingerprint": "0" * 64}}, "holds other records"),
    ],
)
def test_records_that_cannot_be_found_again(
    change: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One line, exit 2, and no page is written."""
    result = audited("digits")
    parts = {
        key: getattr(result, key).model_copy(update=value) if isinstance(value, dict) else value
        for key, value in change.items()
    }
    (tmp_path / "result.json").write_text(result.model_copy(update=parts).json())
    assert run(monkeypatch, "report", str(tmp_path), "--show-records") == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "report.html").exists()


@pytest.mark.long
def test_page_says_nothing_of_raw_records_it_has_not() -> None:
    """The warning belongs to pages with records."""
    assert "holds raw records" not in page(three())
