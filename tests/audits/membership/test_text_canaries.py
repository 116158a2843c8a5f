"""Canaries of a language model, from a plan: only they are audited, and every other text is always trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.audits.membership.run import audit_membership
from dpaudit.audits.plan import Plan, plan_from
from dpaudit.audits.run import prepare_audit, run
from dpaudit.gate.claims_file import claims_from
from dpaudit.gate.verify import verify
from dpaudit.reports.html import page
from dpaudit.results.result import Result
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import Workers
from dpaudit.runtime.progress import Silent

pytestmark = pytest.mark.tf
COUNT = 60
TF_PRIVACY = {"name": "a", "trainer": "tf-privacy", "l2_norm_clip": 1.0, "noise_multiplier": 1.0}


def plan(folder: Path, **tables: Any) -> Plan:
    rng = np.random.default_rng(3)
    words = ["sun", "moon", "star", "sea", "wind", "rain"]
    lines = [" ".join(rng.choice(words, 4)) + f" {number}" for number in range(160)]
    (folder / "texts.csv").write_text("text\n" + "\n".join(lines) + "\n")
    table = {
        "schema": 1,
        "name": "small",
        "seed": 7,
        "data": {"kind": "text", "source": str(folder / "texts.csv"), "context": 12, "population": 0.5},
        "architecture": {"kind": "decoder", "width": 16, "layers": 1, "heads": 2},
        "canaries": {"kind": "new-token", "count": COUNT},
        "model": [
            {
                "name": "plain",
                "trainer": "sgd",
                "optimizer": "adam",
                "learning_rate": 0.02,
                "batch_size": 20,
                "epochs": 25,
            },
            {
                "name": "private",
                "trainer": "dp-sgd",
                "noise_multiplier": 4.0,
                "batch_size": 20,
                "epochs": 2,
                "claim": {"epsilon": 8.0, "delta": 1e-5},
            },
        ],
        "membership": {"attacks": ["loss"]},
        "extraction": {"n": [1, 100], "p": [0.5], "show_records": True},
    }
    return plan_from({**table, **tables})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("texts")
    return run(plan(folder), folder=folder / "run")


@pytest.fixture(scope="module")
def shown(found: Result) -> str:
    """The report."""
    return page(found)


def test_a_leak_is_found_and_noise_hides_it(found: Result) -> None:
    """Without DP the loss of the new token tells members; with much noise nothing is contradicted (seeds fixed).

    That a bound above 0 appears without DP is all but certain at these sizes; under DP it would be wrong in at most 5 %
    of runs.
    """
    assert found.membership is not None
    plain, private = found.membership.attacks
    assert plain.members + plain.nonmembers == private.members + private.nonmembers == COUNT
    assert plain.auc > 0.95
    assert plain.bound is not None
    assert plain.bound.epsilon > 1
    assert private.bound is not None
    assert private.bound.epsilon == 0
    assert found.data.members == 80 + plain.members
    for model in found.models:
        assert model.utility is not None
        assert model.utility.metric == "loss per token"
        assert 0 < model.utility.train < np.log(257 + COUNT) + 1
    assert found.models[0].utility.train < found.models[1].utility.train  # type: ignore[union-attr]  # looked at above


def test_a_black_box_under_dp_says_that_it_is_too_weak_and_what_it_would_have_seen(found: Result, shown: str) -> None:
    """60 canaries with a perfect attack certify 2.47 at 95 %, 2.17 as one of two bounds: no leak contradicts 8."""
    verdict = found.comparison("private")
    assert verdict is not None
    assert verdict.verdict == "too weak"
    assert "even a perfect attack certifies no more than ε = 2." in verdict.sentence
    assert verdict.sentence in shown


def test_remembered_canaries_are_extracted_and_claims_on_them_are_judged(found: Result, shown: str) -> None:
    """Without DP most new tokens are the likeliest of 317 after their prefix; no token of an excluded canary is."""
    plain, private = found.extraction
    assert [(each.model, each.of) for each in found.extraction] == [("plain", "canaries"), ("private", "canaries")]
    assert plain.others is not None
    members = len(plain.records.log_probabilities)
    assert members + len(plain.others.log_probabilities) == COUNT
    assert plain.records.extracted(10, 0.5) > 0.8 * members
    assert plain.others.extracted(10, 0.5) == private.records.extracted(10, 0.5) == 0
    assert len(plain.records.texts) == len(plain.records.rows)
    claim = {"kind": "extraction", "n": 10, "p": 0.5}
    claims = claims_from({"claim": [{"id": name, "model": name, **claim} for name in ("plain", "private")]})
    assert [each.verdict for each in verify(found, claims).judgements] == ["contradicted", "consistent"]
    assert "Canaries, from plain" in shown


def test_an_attack_that_needs_classes_is_refused_before_training(tmp_path: Path) -> None:
    """The folder of the run holds no model when the line is said."""
    with pytest.raises(InputError, match="'entropy' cannot run on this plan"):
        run(plan(tmp_path, membership={"attacks": ["loss", "entropy"]}), folder=tmp_path / "run")
    assert not (tmp_path / "run" / "models").exists()


def test_references_have_every_text_and_half_of_the_canaries(tmp_path: Path) -> None:
    """Each pair of reference models shares the canaries out between them; nobody is told of the others."""
    membership = {"attacks": ["lira-offline", "loss"], "references": 4}
    one = {
        "name": "plain", "trainer": "dp-sgd", "noise_multiplier": 1.0, "batch_size": 20, "epochs": 1, "compiled": False,
    }  # fmt: skip
    some = plan(tmp_path, membership=membership, model=[one], extraction=None)
    audit = prepare_audit(some, tmp_path / "run", Silent(), memory=None, workers=Workers())
    assert len(audit.dataset) == 80 + COUNT
    assert audit.member[:80].all()
    assert 0 < audit.member[80:].sum() < COUNT
    pairs = audit.reference_pairs(4)
    assert pairs[:, :80].all()
    np.testing.assert_array_equal(pairs[0::2, 80:], ~pairs[1::2, 80:])
    assert (audit.audited.features > 256).any(axis=1).all()
    assert not (audit.dataset.features[:80] > 256).any()
    assert some.membership is not None
    nothing = audit_membership(some.membership, audit)
    assert nothing.references == 4
    found = run(some, folder=tmp_path / "run").membership
    assert found is not None
    assert {pool.over_targets.targets for pool in found.pools} == {4}
    assert [attack.members for attack in found.attacks] == [int(audit.member[80:].sum())] * 2


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"canaries": {"kind": "new-tokens", "count": 60}},
            r"canaries.kind: input should be .new-token.*got .new-tokens",
        ),
        ({"canaries": {"kind": "secret", "count": 60}}, "format is for canaries of kind 'secret'"),
        ({"data": {"source": "digits"}}, r'\[canaries\] are for texts: set kind = "text" in \[data\]'),
        ({"data": {"source": "digits"}, "canaries": None}, r'a decoder is for texts: set kind = "text" in \[data\]'),
        ({"data": {"kind": "text", "source": "shakespeare", "label": "by"}}, "label is not for data of kind 'text'"),
        ({"data": {"source": "digits", "context": 8}}, "context is not for data of kind 'records'"),
        ({"architecture": {"kind": "mlp"}}, "the architecture 'mlp' takes no texts; use kind = \"decoder\""),
        ({"ladder": {}}, "ladder.score = 'loss' is not for texts"),
        ({"prior": {"noise_multipliers": [1.0]}}, r"\[prior\] takes no texts; use \[membership\] or \[federated\]"),
        ({"federated": {"crafted": {}}}, "federated.crafted needs records of numbers with classes"),
        ({"federated": {"inference": {"classes": [1]}}}, "federated.inference.classes needs records of numbers"),
        ({"federated": {"canaries": {"clients": 10}}}, r"\[canaries\] are single texts; canary users are in federated"),
        ({"membership": {"attacks": ["loss"], "queries": [{"kind": "flip"}]}}, "queries change numbers"),
        ({"model": [TF_PRIVACY]}, "a TFPrivacy trainer takes no texts; use dp-sgd, sgd or federated"),
    ],
)
def test_what_does_not_go_together_is_refused(tables: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Each in one line, before anything is trained."""
    with pytest.raises(InputError, match=message):
        plan(tmp_path, **tables)
