"""What counts as extracted, and from which texts, with models whose probabilities are given."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.extraction.run import ExtractionSettings, audit_texts_extracted
from dpaudit.audits.plan import plan_from
from dpaudit.audits.run import prepare_audit
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import Workers
from dpaudit.runtime.progress import Silent
from dpaudit.training.decoder import Decoder
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.trainer import TrainedModel

CONTEXT = 10


def audit(folder: Path, texts: list[str], canaries: dict[str, Any] | None) -> Audit:
    """Nothing is trained: each position has the loss 1/2 where the text is of a member, else a bit over 3."""
    (folder / "texts.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    table: dict[str, Any] = {
        "schema": 1,
        "name": "small",
        "seed": 3,
        "data": {"kind": "text", "source": str(folder / "texts.jsonl"), "context": CONTEXT, "population": 0.4},
        "architecture": {"kind": "decoder"},
        "model": [{"name": "m", "trainer": "dp-sgd"}],
        "extraction": {},
        **({} if canaries is None else {"canaries": canaries}),
    }
    found = prepare_audit(plan_from(table), folder / "run", Silent(), memory=None, workers=Workers())
    inside = {row.tobytes() for row in found.dataset.features[found.member]}

    def predict(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        known = np.array([row.tobytes() in inside for row in features])
        return np.where(known, 0.5, 3.0 + (features.sum(axis=1) % 7) / 100)[:, None] * np.ones(CONTEXT)

    trained = TrainedModel(predict, {}, None)
    subject = Subject("m", DpSgd(Decoder()), trained, None)
    return found.__class__(**{**vars(found), "subjects": (subject,)})


def texts(count: int) -> list[str]:
    return [f"{number:06d} and more" for number in range(count)]


def test_the_rest_of_a_text_is_extracted_and_not_its_prefix(tmp_path: Path) -> None:
    """A rest of 10 - k tokens of log-probability -1/2 each is a sample with probability exp(-(10 - k) / 2)."""
    some = audit(tmp_path, [*texts(200), *[f"short {number}" for number in range(9)]], None)
    for prefix, tokens in ((None, 5), (8, 2)):
        (found,) = audit_texts_extracted(ExtractionSettings(prefix=prefix), some)
        assert found.others is not None
        assert set(found.records.log_probabilities) == {-0.5 * tokens}
        assert max(found.others.log_probabilities) <= -3.0 * tokens
        whole = [len(row) for row in (found.records.log_probabilities, found.others.log_probabilities)]
        assert sum(whole) + 9 >= len(some.dataset)  # the short ones are left out
    (few,) = audit_texts_extracted(ExtractionSettings(records=20), some)
    assert len(few.records.log_probabilities) == 20


def test_a_text_that_is_also_trained_on_is_no_other(tmp_path: Path) -> None:
    """Half of the texts are there twice: whatever is trained on somewhere stands on one side only."""
    some = audit(tmp_path, texts(100) * 2, None)
    (found,) = audit_texts_extracted(ExtractionSettings(), some)
    assert found.others is not None
    assert max(found.others.log_probabilities) <= -15.0


@pytest.mark.long
def test_secrets_are_ranked_among_those_that_were_not_included(tmp_path: Path) -> None:
    """Every included secret is likelier than all others, and texts can be asked for in their place."""
    secrets = {"kind": "secret", "count": 40, "format": "pin ######"}
    some = audit(tmp_path, texts(100), secrets)
    (found,) = audit_texts_extracted(ExtractionSettings(), some)
    assert (found.of, found.candidates + len(found.secrets)) == ("canaries", 40)
    assert all(secret.first for secret in found.secrets)
    assert set(found.records.log_probabilities) == {-3.0}  # six digits
    (of_texts,) = audit_texts_extracted(ExtractionSettings(of="texts"), some)
    assert of_texts.of == "texts"
    assert len(of_texts.records.log_probabilities) == 60
    assert of_texts.others is not None
    assert len(of_texts.others.log_probabilities) == 40


def test_too_few_texts_are_said(tmp_path: Path) -> None:
    """Of short texts there is no rest to be extracted."""
    some = audit(tmp_path, [*texts(12), *[f"short {number}" for number in range(30)]], None)
    with pytest.raises(InputError, match=r"\[extraction\] has \d texts among the .*at least 10"):
        audit_texts_extracted(ExtractionSettings(), some)


@pytest.mark.parametrize(
    ("settings", "canaries", "said"),
    [
        ({"of": "canaries"}, False, "needs a table .canaries."),
        ({"prefix": 3}, True, "a canary has a prefix of its own"),
        ({"prefix": 10}, False, "must be below data.context, 10, got 10"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], canaries: bool, said: str) -> None:
    """Before anything is trained."""
    with pytest.raises(InputError, match=said):
        ExtractionSettings(**settings).check(canaries=canaries, context=10)
