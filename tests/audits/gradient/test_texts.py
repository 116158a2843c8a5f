"""Gradient leakage of language models as a plan runs it, down to the page and the gate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.audits.gradient.settings import DefenceSettings
from dpaudit.audits.gradient.stage_inputs import victim_rows
from dpaudit.audits.gradient.texts import text_of
from dpaudit.audits.gradient.training import train_under
from dpaudit.audits.plan import load_plan, plan_from
from dpaudit.audits.run import run
from dpaudit.data.text import NamedTexts, TextRoles, as_records
from dpaudit.gate.claims_file import claims_from
from dpaudit.gate.verify import verify
from dpaudit.results.result import Result
from dpaudit.results.text_gradient import TextCell
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import parse_toml

EXAMPLE = Path(__file__).parents[3] / "examples" / "text_gradient.toml"
GRADIENT: dict[str, Any] = {
    "architecture": {"kind": "decoder", "width": 16, "layers": 1, "heads": 2},
    "attacks": ["dager"],
    "scenario": [{"name": "one", "batch": 1}],
    "defence": [{"name": "none"}],
    "utility_steps": 0,
}


def plan_table(source: str = "shakespeare", **gradient: Any) -> dict[str, Any]:
    data = {"kind": "text", "source": source, "context": 8, "population": 0.5}
    return {"schema": 1, "name": "texts", "seed": 3, "data": data, "gradient": {**GRADIENT, **gradient}}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """The shipped plan with two victims, without its defence of 8 bits."""
    pytest.importorskip("tensorflow")
    table = parse_toml(EXAMPLE.read_text(encoding="utf-8"), EXAMPLE)
    table["gradient"]["victims"] = 2
    table["gradient"]["show_records"] = True
    table["gradient"]["defence"] = [each for each in table["gradient"]["defence"] if each["name"] != "8 bits"]
    folder = tmp_path_factory.mktemp("texts")
    return run(plan_from(table), folder=folder), folder


def cells_of(result: Result) -> dict[tuple[str, str, str], TextCell]:
    assert result.gradient is not None
    return {(cell.scenario, cell.defence, cell.attack): cell for cell in result.gradient.texts}


@pytest.mark.tf
def test_the_example_says_what_its_first_comment_says(example: tuple[Result, Path]) -> None:
    """One text and four come back word for word, clipped or not; twelve are refused; noise of ε = 8 leaves no text. The
    bag is exact for every batch size. The scanner has no alarm on the honest decoder."""
    assert load_plan(EXAMPLE).gradient is not None
    assert example[0].gradient is not None
    assert example[0].gradient.server is not None
    assert example[0].gradient.server.findings == []
    cells = cells_of(example[0])
    for defence in ("none", "clip 0.1"):
        for scenario, batch in (("one text", 1), ("four texts", 4), ("twelve texts", 12)):
            bag, read = cells[scenario, defence, "bag-of-words"], cells[scenario, defence, "dager"]
            assert (bag.precision, bag.recall, bag.recovered, bag.refused) == (1.0, 1.0, None, [])
            assert read.texts == [batch, batch]
            assert read.recovered == ([0, 0] if batch == 12 else [batch, batch])
            assert read.invented == [0, 0]
        assert "rank of the gradient reaches the 64 channels" in cells["twelve texts", defence, "dager"].refused[0]
    for scenario in ("one text", "four texts", "twelve texts"):
        private = cells[scenario, "ε = 8", "dager"]
        assert private.epsilon == pytest.approx(8.0, abs=1e-6)
        assert (private.recovered, private.whole, private.precision) == ([0, 0], 0, None)
        assert private.verdict is not None
        assert private.verdict.verdict != "contradicted"
        assert cells[scenario, "ε = 8", "bag-of-words"].recall < 0.1


@pytest.mark.tf
def test_texts_are_shown_where_the_plan_asks_for_them(example: tuple[Result, Path]) -> None:
    """The page has the first victim's text beside the defences under which it came back; no text without the option."""
    result, folder = example
    assert result.gradient is not None
    shown = {(each.scenario, each.defence): each for each in result.gradient.shown}
    assert shown["one text", "none"].found == shown["one text", "none"].text
    assert shown["one text", "ε = 8"].found is None
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "texts word for word" in page
    assert "A low PSNR" not in page
    assert "recovered under" in page
    quiet = result.model_copy(update={"gradient": result.gradient.model_copy(update={"shown": []})})
    from dpaudit.reports.html import page as drawn

    assert "recovered under" not in drawn(quiet)


@pytest.mark.tf
def test_a_claim_on_recovered_texts_is_gated(example: tuple[Result, Path]) -> None:
    """At most a tenth of the victims may be read: contradicted without defence, two of two batches are recovered; not
    with noise. The edge is exact: 0 of 2 may be 0.975 (0.05^(1/2) from above), too few victims to be consistent."""
    claims = [
        {"id": name, "kind": "ceiling", "metric": "reconstruction", "release": f"*, {name}, dager", "max": most}
        for name, most in (("none", 0.1), ("ε = 8", 0.1), ("clip 0.1", 0.99))
    ]
    judged = {each.claim: each for each in verify(example[0], claims_from({"claim": claims})).judgements}
    assert (
        judged["none"].verdict == judged["clip 0.1"].verdict == "too weak"
    )  # the refused batches of twelve are 0 of 2
    alone = [{**claims[0], "release": "four texts, none, dager"}]
    (verdict,) = verify(example[0], claims_from({"claim": alone})).judgements
    assert verdict.verdict == "contradicted"
    assert verdict.measured.startswith("1 (")
    assert judged["ε = 8"].measured.startswith("0 (")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attacks": ["matching"]}, "'matching' takes no texts; use 'bag-of-words' or 'dager'"),
        ({"architecture": {"kind": "mlp"}}, "the architecture 'mlp' takes no texts"),
        ({"decoys": 3}, "without decoys; leave it out"),
        ({"scenario": [{"name": "one", "batch": 1, "knows_labels": True}]}, "texts have no labels"),
        ({"defence": [{"name": "x", "magic": 1}]}, "magic"),
        ({"attacks": [{"name": "dager", "first": -1}]}, "first must be at least 0"),
    ],
)
def test_a_bad_plan_is_refused_before_anything_runs(change: dict[str, Any], message: str) -> None:
    """Attack, architecture and options are checked when the plan is read."""
    with pytest.raises(InputError, match=message):
        plan_from(plan_table(**change))


def test_attacks_on_texts_need_texts() -> None:
    """A plan on digits with DAGER is refused in one line, and so are canaries, whose tokens no text has."""
    with pytest.raises(InputError, match="belong in a plan of their own"):
        plan_from({**plan_table(), "canaries": {"kind": "new-token", "count": 10}})
    table = plan_table(architecture={"kind": "mlp"})
    table["data"] = {"source": "digits", "population": 0.5}
    with pytest.raises(InputError, match="'dager' reads texts, and the data are none"):
        plan_from(table)


def test_short_texts_and_large_batches_are_refused(tmp_path: Path) -> None:
    """A text of one token is named by its row; a scenario of more texts than there are says both numbers."""
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text("c", encoding="utf-8")
    with pytest.raises(InputError, match=r"record \d+ of .* has 1 token; gradients of texts need two or more"):
        run(plan_from(plan_table(str(tmp_path))), folder=tmp_path / "run")
    many = plan_table(scenario=[{"name": "all", "batch": 20_000}])
    with pytest.raises(InputError, match="scenario 'all' needs 160000 records, shakespeare has"):
        run(plan_from(many), folder=tmp_path / "many")


def test_a_text_ends_where_its_loss_ends() -> None:
    """By hand: bytes, and the mark behind a text that ends; a longer text is cut and has none."""
    data = as_records(NamedTexts("two", ["ab", "abcdef"]), TextRoles(context=4))
    assert text_of(data, 0) == (97, 98, 256)
    assert text_of(data, 1) == (97, 98, 99, 100)


def test_rows_of_victims_are_drawn_once() -> None:
    """No text twice, and a victim's first is the same in a larger batch."""
    data = as_records(NamedTexts("many", [f"text {n}" for n in range(40)]), TextRoles(context=8))
    plan = plan_from(plan_table())
    assert plan.gradient is not None
    scenario = plan.gradient.scenario[0]
    one = victim_rows(data, scenario, 4, seed=1)
    more = victim_rows(data, scenario.model_copy(update={"batch": 5}), 4, seed=1)
    assert len(np.unique(more)) == 20
    assert (more[:, :1] == one).all()


def test_a_cell_counts_for_each_victim() -> None:
    """Shares by hand; lists of other lengths and more right than named are refused."""
    from pydantic import ValidationError

    fields: dict[str, Any] = {
        "scenario": "one", "defence": "none", "attack": "dager", "epsilon": None, "refused": [], "tokens": [5, 3],
        "named": [4, 0], "right": [2, 0], "texts": [2, 1], "recovered": [2, 0], "invented": [0, 0], "kappa": 0.01,
        "verdict": None,
    }  # fmt: skip
    cell = TextCell(**fields)
    assert (cell.precision, cell.recall, cell.whole, cell.victims) == (0.5, 0.25, 1, 2)
    assert cell.whole_share == pytest.approx((1 - 0.975**0.5, 0.975**0.5))  # of 1 of 2, in closed form
    for broken in ({"named": [4]}, {"right": [5, 0]}, {"recovered": [3, 0]}):
        with pytest.raises(ValidationError, match=r"victims|right|recovered"):
            TextCell(**{**fields, **broken})


@pytest.mark.tf
def test_a_defence_has_a_price(tmp_path: Path) -> None:
    """A step of one local epoch is a step of the mean gradient, and noise of ε = 1 moves every weight away from it."""
    from dpaudit.attacks.gradient.observed_gradient import next_tokens, text_victims
    from dpaudit.training.decoder import Decoder

    victims = text_victims(Decoder(width=8, layers=1, heads=1)((4,), 5))
    tokens = np.array([[4, 0, 1, 0, 1], [4, 1, 0, 1, 0]], np.float64)
    batch = next_tokens(victims, tokens, np.ones((2, 4)))

    def trained(defence: DefenceSettings) -> Any:
        rng = np.random.default_rng(0)
        return train_under(victims, defence, 1e-5, lambda: batch, rng, start=victims.weights, rate=0.5, steps=3)

    plain = trained(DefenceSettings(name="none"))
    local = trained(DefenceSettings(name="local", epochs=1))
    for one, other in zip(plain, local, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    noisy = trained(DefenceSettings(name="noise", clip=1.0, epsilon=1.0))
    assert max(float(np.abs(a - b).max()) for a, b in zip(plain, noisy, strict=True)) > 1
