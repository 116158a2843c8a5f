"""Texts under attack: what decides, what is refused, and what a broken split does to the verdict."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dpaudit.audits.text.run import audit_text
from dpaudit.data.token_columns import token_logprobs
from dpaudit.data.token_logprobs import TokenLogprobs
from dpaudit.integrations.keras_text import keras_token_logprobs
from dpaudit.results.result import Result, result_from_json
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.scores.text_scores import TEXT_SCORES
from tests.small_language_model import CharacterModel, encode, sentences


def rows(table: TokenLogprobs, where: BoolArray) -> TokenLogprobs:
    """Some records of a table."""
    tokens = where[table.owner]
    return replace(
        table,
        ids=table.ids[where],
        lengths=table.lengths[where],
        logprobs=table.logprobs[tokens],
        mean=None if table.mean is None else table.mean[tokens],
        deviation=None if table.deviation is None else table.deviation[tokens],
        top=None if table.top is None else table.top[tokens],
        tokens=None if table.tokens is None else table.tokens[tokens],
        references={name: values[tokens] for name, values in table.references.items()},
        included={name: flags[where] for name, flags in table.included.items()},
        texts=None if table.texts is None else tuple(np.array(table.texts)[where].tolist()),
        sequences=None,
    )


@pytest.fixture(scope="module")
def audited() -> tuple[TokenLogprobs, BoolArray]:
    """300 sentences, each trained on with probability 1/2, under the model and four references in pairs."""
    texts, rng = sentences(300, seed=1), np.random.default_rng(2)
    member = rng.random(300) < 0.5
    included: dict[str, BoolArray] = {}
    for pair in range(2):
        half = rng.random(300) < 0.5
        included |= {f"{pair}a": half, f"{pair}b": ~half}

    def trained(where: BoolArray) -> CharacterModel:
        return CharacterModel.trained([text for text, inside in zip(texts, where, strict=True) if inside], order=4)

    references = {name: trained(where) for name, where in included.items()}
    columns = {"tokenizer": ["bytes"] * 300, **{f"included.{name}": where for name, where in included.items()}}
    table = keras_token_logprobs(trained(member), texts, encode, begin=10, references=references, columns=columns)
    return table, member


def run(audited: tuple[TokenLogprobs, BoolArray], **how: Any) -> Result:
    table, member = audited
    return audit_text(rows(table, member), rows(table, ~member), chosen_by="coin", **how)


@pytest.mark.long
def test_a_model_that_remembers_is_found_out(audited: tuple[TokenLogprobs, BoolArray]) -> None:
    """Every score runs but rmia, which has no population; one has a bound, with the whole error level, and it is large.

    The AUC of each is that of its scores. A model without any leak gives such a bound with probability 5 %.
    """
    result = run(audited, epsilon=1.0)
    assert result.membership is not None
    found = {attack.attack: attack for attack in result.membership.attacks}
    assert list(found) == [*TEXT_SCORES, "lira", "base"]
    assert [each.attack for each in result.membership.skipped] == ["rmia"]
    assert [name for name, attack in found.items() if attack.bound is not None] == ["reference"]
    assert result.level.per_bound == 0.95
    assert result.comparisons[0].verdict == "contradicted"
    table, member = audited
    for name, score in TEXT_SCORES.items():
        assert found[name].auc == pytest.approx(Roc.of(Scores.join(score(table), member)).auc)
    assert found["lira"].version == "lira/1"
    beside = result.membership.scores.read()  # of every attack, in their order, members first
    assert list(beside.attack) == list(found)
    assert beside.member.tolist() == sorted(member.tolist(), reverse=True)
    ordered = np.concatenate([TEXT_SCORES["ez"](table)[member], TEXT_SCORES["ez"](table)[~member]])
    np.testing.assert_allclose(beside.score[list(found).index("ez")], ordered)


@pytest.mark.long
def test_the_level_is_shared_only_where_every_score_decides(audited: tuple[TokenLogprobs, BoolArray]) -> None:
    """Three bounds hold together with 95 % when each alone holds with 98.33 %."""
    result = run(audited, attacks=["loss", "ez", "base"], decides="all")
    assert result.membership is not None
    assert all(attack.bound is not None for attack in result.membership.attacks)
    assert result.level.per_bound == pytest.approx(1 - 0.05 / 3)


@pytest.mark.long
def test_the_rule_that_decides_looks_at_no_score(audited: tuple[TokenLogprobs, BoolArray]) -> None:
    """References decide where there are any, perplexity where there are none, and a name goes before both."""
    table, member = audited
    bare = replace(table, references={}, included={}), member
    for given, how, wanted in (
        (audited, {}, "reference"),
        (bare, {}, "perplexity"),
        (audited, {"decides": "zlib"}, "zlib"),
        (audited, {"attacks": ["min-k"]}, "min-k"),
    ):
        result = run(given, **how)
        assert result.membership is not None
        assert result.membership.text is not None
        assert result.membership.text.decides == wanted
        assert [each.attack for each in result.membership.attacks if each.bound] == [wanted]


@pytest.mark.long
def test_a_population_makes_rmia_run(audited: tuple[TokenLogprobs, BoolArray]) -> None:
    """Texts that no model was trained on, with the same references."""
    table, member = audited
    others = keras_token_logprobs(
        CharacterModel.trained(sentences(5, seed=9)),
        sentences(60, seed=10),
        encode,
        begin=10,
        references={name: CharacterModel.trained(sentences(5, seed=9)) for name in table.references},
        columns={"id": [f"p{row}" for row in range(60)], "tokenizer": ["bytes"] * 60},
    )
    result = run((table, member), population=replace(others, sequences=None), attacks=["rmia"])
    assert result.membership is not None
    assert result.membership.attacks[0].auc > 0.7


def test_references_that_saw_none_of_the_records_are_used_offline(audited: tuple[TokenLogprobs, BoolArray]) -> None:
    """A public model was trained on no record: LiRA and BASE then are those for such references."""
    table, member = audited
    included = {name: np.zeros(300, bool) for name in table.included}
    result = run((replace(table, included=included), member), attacks=["lira", "base"])
    assert result.membership is not None
    assert [each.version for each in result.membership.attacks] == ["lira-offline/1", "base-offline/1"]


def split_by_date(*, leaky: bool) -> tuple[TokenLogprobs, TokenLogprobs]:
    """Members and others that say different words, under a model that tells nothing of either, or much."""
    rng = np.random.default_rng(4)
    sides = []
    for name, words in (("old", "king queen sword crown letter ghost fool sea"), ("new", "phone car bus code web app")):
        texts = sentences(200, seed=3, words=f"{words} the a and but")
        shift = 1.0 if leaky and name == "old" else 0.0
        sides.append(
            token_logprobs(
                {
                    "id": [f"{name}{row}" for row in range(200)],
                    "text": texts,
                    "logprobs": [rng.uniform(-4, -2, len(text.split())) + shift for text in texts],
                }
            )
        )
    return sides[0], sides[1]


@pytest.mark.parametrize("leaky", [True, False])
def test_a_split_by_date_gives_no_bound(leaky: bool) -> None:
    """A bag of words tells the sides apart, so nothing follows from any score, whatever it is (Das et al. 2024)."""
    result = audit_text(*split_by_date(leaky=leaky), epsilon=0.1, chosen_by="split")
    assert result.membership is not None
    assert result.membership.blind is not None
    assert result.membership.blind.differs
    assert all(attack.bound is None for attack in result.membership.attacks)
    assert result.comparisons[0].verdict == "no verdict"
    assert "differ as data" in result.comparisons[0].sentence


def test_token_numbers_stand_for_texts_that_nobody_gives() -> None:
    """The same split is seen from the numbers of the tokens alone."""
    sides = []
    for name, first in (("old", 0), ("new", 50)):
        rng = np.random.default_rng(first)
        tokens = [(first + rng.integers(60, size=12)).tolist() for _ in range(150)]
        ids = [f"{name}{row}" for row in range(150)]
        sides.append(
            token_logprobs({"id": ids, "tokens": tokens, "logprobs": [[-1.0] * 11 + [-row / 9] for row in range(150)]})
        )
    result = audit_text(sides[0], sides[1])
    assert result.membership is not None
    assert result.membership.blind is not None
    assert result.membership.blind.differs


def test_other_tokens_for_a_text_are_a_difference_of_the_data() -> None:
    """Sides cut into tokens in two ways differ in how many there are, which is seen without the model."""
    rng, sides = np.random.default_rng(0), []
    for name, size in (("in", 4), ("out", 6)):
        lengths = rng.integers(40, 60, 200) // size
        ids = [f"{name}{row}" for row in range(200)]
        sides.append(token_logprobs({"id": ids, "logprobs": [rng.uniform(-4, -2, length) for length in lengths]}))
    result = audit_text(sides[0], sides[1], epsilon=1.0)
    assert result.comparisons[0].verdict == "no verdict"


def test_without_texts_the_result_says_what_was_not_seen() -> None:
    """Lengths alone were compared, and nobody named a tokenizer."""
    rng, sides = np.random.default_rng(0), []
    for name in ("in", "out"):
        ids = [f"{name}{row}" for row in range(100)]
        sides.append(token_logprobs({"id": ids, "logprobs": list(rng.uniform(-4, -2, (100, 9)))}))
    result = audit_text(sides[0], sides[1])
    assert result.membership is not None
    assert result.membership.duplicates is None
    assert ["neither texts" in each or "tokenised alike" in each for each in result.membership.caveats] == [True, True]


def test_a_user_is_one_record() -> None:
    """Their score is the mean over their texts, and the bound is about users."""
    rng, sides = np.random.default_rng(1), []
    for name, shift in (("in", 2.0), ("out", 0.0)):
        ids = [f"{name}{row}" for row in range(400)]
        owners = [f"{name}{row // 4}" for row in range(400)]
        logs = list(rng.uniform(-6, -3, (400, 8)) + shift)
        sides.append(token_logprobs({"id": ids, "user": owners, "logprobs": logs}))
    result = audit_text(sides[0], sides[1], chosen_by="split")
    assert result.unit == "user"
    assert result.membership is not None
    assert (result.membership.attacks[0].members, result.membership.attacks[0].nonmembers) == (100, 100)


@pytest.mark.long
def test_raw_texts_only_when_asked(audited: tuple[TokenLogprobs, BoolArray]) -> None:
    """By default the result names rows and holds no text of a record; it is read back as it was written."""
    table, member = audited
    plain, shown = run(audited, attacks=["loss"]), run(audited, attacks=["loss"], show_records=True)
    assert table.texts is not None
    inside = [text for text, flag in zip(table.texts, member, strict=True) if flag]
    assert not any(text in plain.json() for text in inside)
    assert any(text in shown.json() for text in inside)
    assert result_from_json(shown.json(), where="here") == shown


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"attacks": ["los"]}, "attack must be one of .* Did you mean 'loss'"),
        ({"decides": "losss"}, "decides must be one of"),
        ({"attacks": ["rmia"]}, "rmia: RMIA needs a population"),
        ({"decides": "rmia"}, "the score that decides, 'rmia', could not run"),
        ({"epsilon": -1.0}, "epsilon must be at least 0"),
    ],
)
def test_wrong_wishes_are_refused(how: dict[str, Any], message: str, audited: tuple[TokenLogprobs, BoolArray]) -> None:
    """Names are offered, and what was asked for by name and cannot run is an error."""
    with pytest.raises(InputError, match=message):
        run(audited, **how)


def test_the_same_texts_on_both_sides_are_refused(audited: tuple[TokenLogprobs, BoolArray]) -> None:
    """They would make every score chance."""
    table, member = audited
    inside = rows(table, member)
    other = replace(inside, ids=np.char.add("x", inside.ids))
    with pytest.raises(InputError, match=r"text\(s\) are in both"):
        audit_text(inside, other)
