"""Whoever sees every step takes overlapping canaries apart, and what cannot be read off the steps is said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.ladder.decorrelated import EveryStep
from dpaudit.audits.ladder.run import audit_ladder
from dpaudit.audits.ladder.settings import LadderSettings
from dpaudit.audits.plan import plan_from
from dpaudit.audits.run import prepare_audit
from dpaudit.data.bundled import digits
from dpaudit.data.canaries import canaries
from dpaudit.data.inclusion import fair_coins
from dpaudit.data.source import with_added
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import Workers
from dpaudit.runtime.progress import Silent
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.training.architecture import Mlp
from dpaudit.training.decoder import Decoder
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.trainer import TrainedModel

SEEN: dict[str, Any] = {"rungs": [3], "score": "decorrelated", "observe": "all-steps"}
COUNT = 40


def audit_of_texts(trainer: DpSgd, folder: Path) -> Audit:
    lines = "".join(f'{{"text": "{number:04d} to be or not"}}\n' for number in range(90))
    (folder / "texts.jsonl").write_text(lines)
    table: dict[str, Any] = {
        "schema": 1,
        "name": "small",
        "seed": 3,
        "data": {"kind": "text", "source": str(folder / "texts.jsonl"), "context": 8, "population": 0.5},
        "canaries": {"kind": "new-token", "count": COUNT},
        "architecture": {"kind": "decoder"},
        "model": [{"name": "m", "trainer": "dp-sgd"}],
        "ladder": SEEN,
    }
    audit = prepare_audit(plan_from(table), folder / "run", Silent(), memory=None, workers=Workers())
    model = TrainedModel(lambda features: np.zeros(len(features)), {}, None)
    return replace(audit, subjects=(Subject("m", trainer, model, None),))


@pytest.mark.tf
def test_overlapping_canaries_are_told_apart_where_their_products_are_not() -> None:
    """With little noise the estimate is the coin itself, minus one half; the product with the same sums is not.

    60 mislabelled digits of a logistic regression, whose gradients overlap; 3 steps on all records.
    """
    data = digits().take(np.arange(100))
    made = canaries("mislabelled", digits().take(np.arange(200, 600)), 60, seed=1)
    together, coins = with_added(data, made), fair_coins(60, seed=2)
    member = np.concatenate([np.ones(len(data), bool), coins])
    trainer = DpSgd(Mlp(()), 0.7, 0.01, epochs=3, batch_size=90, sampling="full", weight_decay=0.01, compiled=False)
    watch = EveryStep(trainer, together, member[:-60], 60, int(member.sum()))
    trainer.train_many(together, member[None], seeds=[5], watch=watch)
    np.testing.assert_allclose(watch.scores(), coins - 0.5, atol=0.1)
    assert Roc.of(Scores.join(watch.products, coins)).auc < 0.9


@pytest.mark.tf
def test_texts_are_audited_at_every_step_with_the_canaries_of_the_plan(tmp_path: Path) -> None:
    """With little noise all 40 new tokens are guessed right and ε > 1.5; with much noise nothing is (seeds fixed).

    At 95 % a bound above 0 where nothing leaks has probability 5 % at most.
    """
    trainer = DpSgd(Decoder(8, 1, 1), 1.0, 0.02, epochs=2, batch_size=60, sampling="full", compiled=False)
    (low,) = audit_ladder(LadderSettings(**SEEN), audit_of_texts(trainer, tmp_path)).rungs
    assert low.bound is not None
    assert low.bound.epsilon > 1.5
    assert "the gradient of every canary" in low.sees
    loud = replace(trainer, noise_multiplier=100.0)
    (high,) = audit_ladder(LadderSettings(**SEEN), audit_of_texts(loud, tmp_path)).rungs
    assert high.bound is not None
    assert high.bound.epsilon == 0


def test_what_cannot_be_read_off_the_weights_is_said(tmp_path: Path) -> None:
    """Moments of an optimizer, and trainings without noise."""
    noisy = DpSgd(Decoder(8, 1, 1), 1.0, 1.0)
    for trainer, said in (
        (replace(noisy, optimizer="adam"), "optimizer with a memory"),
        (replace(noisy, momentum=0.9), "optimizer with a memory"),
        (replace(noisy, noise_multiplier=0.0), "weighed by the noise, and there is none"),
        (replace(noisy, noise_multiplier=0.0, l2_norm_clip=None), "weighed by the noise, and there is none"),
    ):
        (rung,) = audit_ladder(LadderSettings(**SEEN), audit_of_texts(trainer, tmp_path)).rungs
        assert said in rung.skipped


@pytest.mark.parametrize(
    ("settings", "has_canaries", "said"),
    [
        ({**SEEN, "rungs": [3]}, False, "audits the canaries of a table .canaries."),
        ({**SEEN, "canaries": 50}, True, "not those of .ladder."),
        ({"rungs": [0, 1, 2, 3]}, True, "ladder.score = 'loss' is not for texts"),
        ({"rungs": [4]}, True, "rungs 0 to 3 and no budget"),
        ({"rungs": [0, 1], "budget": "2m"}, True, "rungs 0 to 3 and no budget"),
    ],
)
def test_what_the_ladder_lacks_for_texts_is_refused(settings: dict[str, Any], has_canaries: bool, said: str) -> None:
    """One line before anything is trained; rungs 0 to 2 need no canaries."""
    LadderSettings(rungs=[0, 1, 2]).refuse_texts(canaries=False)
    with pytest.raises(InputError, match=said):
        LadderSettings(**settings).refuse_texts(canaries=has_canaries)


@pytest.mark.parametrize("wrong", [{"observe": "final"}, {"rungs": [3, 4]}])
def test_decorrelated_canaries_need_every_step_of_one_run(wrong: dict[str, Any]) -> None:
    """A final model has one sum of all steps, in which the gradients are no longer known."""
    with pytest.raises(ValidationError, match="is for rung 3 and needs observe"):
        LadderSettings(**{**SEEN, **wrong})


def test_full_batches_are_an_epoch_a_step_and_accounted_as_such() -> None:
    """The accountant is told of 10 steps with every record in each, whatever the batch size is; none is cut."""
    trainer = DpSgd(Mlp(()), 1.0, 2.0, epochs=10, batch_size=30, sampling="full")
    told = trainer.mechanism(100)
    assert told is not None
    assert (told.steps, told.sampling.rate, told.slack) == (10, 1.0, 0.0)  # type: ignore[union-attr]  # is Poisson
