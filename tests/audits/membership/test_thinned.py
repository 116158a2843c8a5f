"""A result stays small however many records were audited, and what is left out changes no verdict."""

import json

import numpy as np

from dpaudit.attacks.membership.loss import Loss
from dpaudit.audits.membership.judgement import CURVE_POINTS, FPRS, Terms, judge_attack, thin_curve
from dpaudit.bounds.default import default_bound
from dpaudit.data.member_choice import Coins
from dpaudit.results.membership import AttackResult
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from tests.small_audits import ABOUT

TERMS = Terms("one-run", ABOUT, 0.95, Coins())


def test_a_result_of_many_records_is_small_and_judges_the_same():
    """100,000 records: some 30 kB, and bound and rates are those of all scores, not of the curve that is kept."""
    rng = np.random.default_rng(2)
    scores = Scores(rng.normal(0.7, 1, 50_000), rng.normal(0, 1, 50_000))
    found = judge_attack("m", "loss", Loss(), scores, terms=TERMS, seed=5)
    text = found.model_dump_json()
    assert len(text) < 50_000
    assert len(found.curve.fpr) <= CURVE_POINTS
    bound = default_bound("one-run", Coins(), seed=5)(
        scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record"
    )
    whole = Roc.of(scores)
    for read in (found, AttackResult.model_validate(json.loads(text))):
        assert read.bound == bound
        assert read.auc == whole.auc
        assert [at.tpr for at in read.tpr_at_fpr] == [whole.tpr_at(fpr).tpr for fpr in FPRS]


def test_a_thinned_curve_lies_on_the_whole_one():
    """Every point kept is a point of the curve, the ends among them, and none is further than 1 % from the next."""
    rng = np.random.default_rng(3)
    whole = Roc.of(Scores(rng.normal(0.7, 1, 20_000), rng.normal(0, 1, 20_000)))
    kept = thin_curve(whole)
    points = set(zip(np.round(whole.fpr, 6), np.round(whole.tpr, 6), strict=True))
    assert set(zip(kept.fpr, kept.tpr, strict=True)) <= points
    assert kept.fpr[-1] == kept.tpr[-1] == 1
    assert max(np.diff(kept.fpr)) < 0.01
