"""What two results must share for their numbers to be compared, and what is only said."""

import json
from typing import Any

import pytest

from dpaudit.gate.compare import changes
from dpaudit.gate.same_conditions import attacks_alike
from dpaudit.results.result import Result
from dpaudit.runtime.errors import InputError
from tests.small_audits import edited, gaussian_audit, on_data, with_plan, with_references

A, B = "a" * 64, "b" * 64
DIGITS = {"source": "digits", "population": 0.2}
LIRA = {"attacks": [{"name": "attack-0", "variance": "global"}], "references": 8}


@pytest.fixture(scope="module")
def plain() -> Any:
    """An audit of given scores: no fingerprint, no plan."""
    return gaussian_audit(0.5, seed=1, records=400)


def alike(before: Result, after: Result) -> Any:
    """What is refused and what is said of the only attack."""
    found = attacks_alike(before, after, "model", "attack-0")
    return found.refused, found.said


def with_model(result: Result, **changes: Any) -> Result:
    """The result with fields of its only model replaced."""
    return edited(result, models=[{**json.loads(result.json())["models"][0], **changes}])


def with_attack(result: Result, **changes: Any) -> Result:
    """The result with fields of its only attack replaced."""
    assert result.membership is not None
    attack = result.membership.attacks[0].model_copy(update=changes)
    return result.model_copy(update={"membership": result.membership.model_copy(update={"attacks": [attack]})})


def utility(metric: str) -> Any:
    """A utility in a measure."""
    return {"metric": metric, "train": 0.9, "test": 0.8}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: on_data(r, B), "other data (fingerprint bbbbbbbb… against aaaaaaaa…)"),
        (lambda r: with_references(r, 64), "64 reference models against 0"),
        (lambda r: r.model_copy(update={"unit": "user"}), "unit user against record"),
        (lambda r: r.model_copy(update={"adjacency": "replace-one"}), "adjacency replace-one against add-remove"),
        (
            lambda r: r.model_copy(update={"membership": r.membership.model_copy(update={"design": "many-runs"})}),
            "design many-runs against one-run",
        ),
        (lambda r: with_attack(r, version="other/9"), "attack version other/9 against "),
        (
            lambda r: with_plan(r, 1, data=DIGITS, membership={**LIRA, "attacks": ["attack-0"]}),
            "the attack's variance unset against global",
        ),
        (
            lambda r: with_plan(r, 1, data=DIGITS, membership={**LIRA, "checkpoints": [5]}),
            "checkpoints [5] against none",
        ),
        (
            lambda r: with_model(r, utility=utility("mean squared error")),
            "measure of utility mean squared error against",
        ),
    ],
)
def test_differences_that_make_two_numbers_mean_different_things(plain: Result, change: Any, reason: str) -> None:
    """Each is refused, with both sides named, and the same difference on both sides is none."""
    before = with_model(with_plan(on_data(plain, A), 1, data=DIGITS, membership=LIRA), utility=utility("accuracy"))
    refused, _ = alike(before, change(before))
    assert len(refused) == 1
    assert refused[0].startswith(reason)
    assert alike(change(before), change(before)) == ((), ())
    with pytest.raises(InputError, match="nothing in 'model' and 'model' can be compared"):
        changes(before, change(before))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda r: with_plan(r, 2, data=DIGITS, membership=LIRA), "seed 2 against 1"),
        (lambda r: r.model_copy(update={"delta": 1e-6}), "δ 1e-06 against 1e-05"),
        (lambda r: with_model(r, parameters={"noise_multiplier": 2.0}), "noise_multiplier 2 against unset"),
        (lambda r: with_model(r, trainer="dp-sgd"), "trainer dp-sgd against not recorded"),
    ],
)
def test_differences_that_are_only_said(plain: Result, change: Any, text: str) -> None:
    """Another seed, δ or training of the model is what one compares for; the numbers are judged."""
    before = with_model(with_plan(on_data(plain, A), 1, data=DIGITS, membership=LIRA), trainer="not recorded")
    assert alike(before, change(before)) == ((), (text,))
    assert {each.word for each in changes(before, change(before))} == {"no change seen"}


def test_records_without_a_fingerprint(plain: Result) -> None:
    """As many of them are taken as the same and marked; another number of them is refused."""
    assert alike(plain, on_data(plain, A)) == ((), ("data unknown",))
    more = gaussian_audit(0.5, seed=1, records=500)
    assert alike(plain, more) == (("data unknown, 500 records against 400",), ())


def test_another_seed_of_a_data_set_that_stays_the_same(plain: Result) -> None:
    """The population is drawn by the seed, so fingerprints differ; of a file nobody knows what it held before."""

    def drawn(source: str, seed: int, fingerprint: str) -> Result:
        return with_plan(on_data(plain, fingerprint), seed, data={"source": source, "population": 0.2}, membership=LIRA)

    assert alike(drawn("digits", 1, A), drawn("digits", 2, B)) == (
        (),
        ("seed 2 against 1", "another draw from the same source"),
    )
    assert alike(drawn("digits", 1, A), drawn("digits", 1, B))[0]
    assert alike(drawn("people.csv", 1, A), drawn("people.csv", 2, B))[0]
    assert alike(drawn("digits", 1, A), drawn("adult", 2, B))[0]


def test_part_of_two_results_can_be_compared(plain: Result) -> None:
    """What cannot be is marked and has no difference; the error level is shared among the rest alone."""
    assert plain.membership is not None
    first = plain.membership.attacks[0]

    def both(version: str) -> Result:
        attacks = [first, first.model_copy(update={"attack": "second", "version": version})]
        return plain.model_copy(update={"membership": plain.membership.model_copy(update={"attacks": attacks})})  # type: ignore[union-attr]

    found = changes(both("1"), both("2"))
    marked = [each for each in found if each.attack == "second"]
    assert {each.word for each in marked} == {"not comparable: attack version 2 against 1"}
    assert all(each.difference is None for each in marked)
    rest = [each for each in found if each.attack != "second"]
    assert [each.difference for each in rest] == [each.difference for each in changes(plain, plain)]
