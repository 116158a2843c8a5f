"""Who took part, against the sampler that was accounted: right trainings are quiet, wrong ones are caught by name."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations, product

import numpy as np
import pytest

from dpaudit.accounting.claim import Adjacency, Claim, FixedSize, GaussianSteps, Poisson, Sampling, Shuffled
from dpaudit.accounting.mechanism import epsilon
from dpaudit.inspection.participation import inspect_participation, reconcile_trace
from dpaudit.inspection.recorded import RecordedBatches
from dpaudit.inspection.together import together
from dpaudit.runtime.check import IntArray
from dpaudit.self_test.faults import traces

Draw = Callable[[np.random.Generator], RecordedBatches]


def claim(adjacency: Adjacency = "add-remove") -> Claim:
    return Claim(1.0, 1e-5, "record", adjacency, "log")


def found(draw: Draw, assumed: GaussianSteps, seed: int = 3) -> dict[str, float | None]:
    adjacency: Adjacency = "replace-one" if isinstance(assumed.sampling, FixedSize) else "add-remove"
    trace = draw(np.random.default_rng(seed))
    findings = reconcile_trace(assumed, trace, claim=claim(adjacency))
    return {finding.check: finding.true_epsilon for finding in findings if finding.severity == "violation"}


@pytest.mark.parametrize(
    ("draw", "assumed"),
    [
        (traces.poisson, traces.TRACED),
        (traces.cut, traces.CUT),
        (traces.fixed_size, traces.OF_FIXED_SIZE),
        (traces.shuffled, traces.IN_EPOCHS),
    ],
)
@pytest.mark.long
def test_right_samplers_raise_no_alarm(draw: Draw, assumed: GaussianSteps) -> None:
    """Level 1e-6 in each of 15 trainings, fixed seeds; a check that errs in one of five has an alarm with 0.96."""
    for seed in range(15):
        assert found(draw, assumed, seed) == {}


@pytest.mark.parametrize("records", [1000, 1003, 37, 20])
def test_epochs_with_a_remainder_are_right(records: int) -> None:
    """Twenty-one batches with a small last one, and twenty whose remainder is dropped: at most a warning."""
    rng = np.random.default_rng(0)
    size = -(-records // 20)
    kept = [batch for _ in range(12) for batch in np.split(rng.permutation(records), range(size, records, size))]
    epochs = GaussianSteps(1.0, len(kept), Shuffled(len(kept) // 12))
    assert reconcile_trace(epochs, RecordedBatches(records, kept)) == ()
    whole = records - records % 20
    dropped = [batch for _ in range(12) for batch in np.split(rng.permutation(records)[:whole], 20)]
    findings = reconcile_trace(GaussianSteps(1.0, 240, Shuffled(20)), RecordedBatches(records, dropped))
    assert [(f.check, f.severity) for f in findings] == ([("dropped remainder", "warning")] if records % 20 else [])


@pytest.mark.parametrize(
    ("draw", "assumed", "check"),
    [
        (partial(traces.weighted, share=0.05, factor=4.0), traces.TRACED, "records drawn often"),
        (partial(traces.weighted, share=0.5, factor=1.8), traces.TRACED, "records drawn often"),
        (partial(traces.weighted, share=0.01, factor=15.0), traces.TRACED, "records drawn often"),
        (traces.pinned, traces.TRACED, "records drawn often"),
        (traces.pinned_fixed_size, traces.OF_FIXED_SIZE, "records drawn often"),
        (partial(traces.fixed_size, size=150), traces.OF_FIXED_SIZE, "sampling rate"),
        (traces.shuffled, traces.OF_FIXED_SIZE, "sampler"),
        (traces.fixed_size, traces.TRACED, "sampler"),
        (traces.large_and_empty, traces.TRACED, "sampler"),
        (traces.cut, traces.TRACED, "truncated batches"),
        (partial(traces.cut, largest=52), traces.TRACED, "truncated batches"),
        (traces.poisson, traces.CUT, "sampling rate"),
        (partial(traces.cut, largest=50), traces.CUT, "sampler"),
        (traces.fixed_size, traces.CUT, "sampler"),
        (traces.paired, traces.TRACED, "records together"),
        (traces.in_blocks, traces.TRACED, "records together"),
        (traces.upsampled, traces.IN_EPOCHS, "repeated record"),
        (traces.poisson, traces.IN_EPOCHS, "batch size"),
        (traces.first_in_epoch, traces.IN_EPOCHS, "fixed place"),
        (traces.replayed, traces.TRACED, "repeated batch"),
        (traces.one_half_after_the_other, traces.TRACED, "dependent batches"),
        (traces.shards_in_turn, traces.TRACED, "dependent batches"),
        (traces.shuffle_buffer, traces.IN_EPOCHS, "dependent batches"),
    ],
)
def test_other_samplers_are_caught(draw: Draw, assumed: GaussianSteps, check: str) -> None:
    """Each by its own check; fixed seed."""
    assert check in found(draw, assumed)


@pytest.mark.long
def test_a_cut_is_told_from_what_else_is_wrong_with_a_trace() -> None:
    """The remedy names size and ε of truncated batches, and more is found beside it; a rare cut is not found."""
    trace = traces.cut(np.random.default_rng(3))
    finding = reconcile_trace(traces.TRACED, trace, claim=claim())[0]
    allowed = epsilon(traces.CUT, delta=1e-5).epsilon
    assert f"largest batch 60), for which ε is at most {allowed:.4g}" in finding.remedy
    pinned = replace(trace, batches=[np.union1d(batch[1:], [0])[:60] for batch in trace.batches])
    assert [f.check for f in reconcile_trace(traces.TRACED, pinned)] == ["truncated batches", "records drawn often"]
    rarely = inspect_participation(traces.TRACED, traces.cut(np.random.default_rng(3), largest=64))
    assert rarely.findings == ()
    assert "batches cut at a size that hardly one reaches" in [each.check for each in rarely.not_checked]


@pytest.mark.slow
@pytest.mark.parametrize(("largest", "times"), [(60, 20), (62, 8), (64, 0)])
def test_how_rare_a_cut_may_be_and_be_found(largest: int, times: int) -> None:
    """Of 20 trainings, 200 batches of 50 records in the mean: the figures of docs/ladder.md; fixed seeds."""
    draw = partial(traces.cut, largest=largest)
    assert sum("truncated batches" in found(draw, traces.TRACED, seed) for seed in range(20)) == times


@pytest.mark.long
def test_those_drawn_most_have_the_epsilon_of_their_own_rate() -> None:
    """Four times the rate: the accountant's figure for 0.2, to the error of a rate seen in 100 x 50 coins (5 %)."""
    (figure,) = found(partial(traces.weighted, share=0.05, factor=4.0), traces.TRACED).values()
    truth = epsilon(GaussianSteps(1.0, 200, Poisson(0.2)), delta=1e-5).epsilon
    assert figure == pytest.approx(truth, rel=0.08)
    whole = epsilon(GaussianSteps(1.0, 200, Poisson(1.0)), delta=1e-5).epsilon
    assert found(traces.pinned, traces.TRACED)["records drawn often"] == pytest.approx(whole)
    tripled = epsilon(GaussianSteps(1.0, 200, FixedSize(150, 1000)), delta=1e-5, adjacency="replace-one")
    assert found(partial(traces.fixed_size, size=150), traces.OF_FIXED_SIZE)["sampling rate"] == pytest.approx(
        tripled.certain, rel=1e-2
    )


def outcomes(sampling: Sampling, records: int, steps: int) -> list[tuple[float, list[IntArray]]]:
    """Every course of a small training and its probability."""
    if isinstance(sampling, Poisson):
        every = [np.flatnonzero(bits) for bits in product((0, 1), repeat=records)]
        chance = [sampling.rate ** len(b) * (1 - sampling.rate) ** (records - len(b)) for b in every]
    else:
        assert isinstance(sampling, FixedSize)
        every = [np.array(batch) for batch in combinations(range(records), sampling.batch_size)]
        chance = [1 / len(every)] * len(every)
    numbered = product(range(len(every)), repeat=steps)
    return [(float(np.prod([chance[i] for i in course])), [every[i] for i in course]) for course in numbered]


@pytest.mark.parametrize("level", [0.5, 0.1])
@pytest.mark.parametrize(("sampling", "records"), [(Poisson(0.3), 3), (Poisson(0.5), 3), (FixedSize(2, 4), 4)])
@pytest.mark.long
def test_pairs_are_found_no_more_often_than_stated(sampling: Sampling, records: int, level: float) -> None:
    """Over every course of four steps of a small training, weighted by its probability."""
    courses = outcomes(sampling, records, 4)
    assert sum(chance for chance, _ in courses) == pytest.approx(1)
    alarms = sum(chance for chance, drawn in courses if together(drawn, records, sampling, level) is not None)
    assert alarms <= level


def test_many_records_are_looked_at_for_pairs_that_never_part() -> None:
    """Above 4,000 records two that share a coin are found, and what was not looked for is listed."""
    rng = np.random.default_rng(1)
    batches = [np.flatnonzero(rng.random(5000) < 0.05) for _ in range(300)]
    batches = [np.union1d(batch[batch != 9], [9]) if 4 in batch else batch[batch != 9] for batch in batches]
    seen = inspect_participation(GaussianSteps(1.0, 300, Poisson(0.05)), RecordedBatches(5000, batches))
    assert [finding.check for finding in seen.findings] == ["records together"]
    assert "records 4 and 9" in seen.findings[0].observed
    assert "records that mostly go together" in [each.check for each in seen.not_checked]


def test_what_was_not_checked_is_said() -> None:
    """Noise nobody counted, an accountant that left no count, and the smallest rate that would have been found."""
    trace = traces.fixed_size(np.random.default_rng(0))
    checks = [each.check for each in inspect_participation(traces.OF_FIXED_SIZE, trace).not_checked]
    assert checks[:2] == ["noise at every step", "the accountant's own count of steps"]
    assert checks[2].startswith("rates below 0.202 of a single record")
    everybody = RecordedBatches(10, [np.arange(10)] * 5, noise_draws=5, accounted_steps=5)
    seen = inspect_participation(GaussianSteps(1.0, 5, Poisson(1.0)), everybody)
    assert [each.check for each in seen.not_checked] == ["who takes part"]
