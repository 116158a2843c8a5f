"""Every fault is caught by its rung; nothing right is mistaken for a fault."""

import math
from collections.abc import Callable
from functools import partial
from inspect import signature

import numpy as np
import pytest

from dpaudit.accounting.mechanism import epsilon
from dpaudit.inspection.inspect import inspect_mechanism
from dpaudit.inspection.reconcile import Recipe, reconcile
from dpaudit.runtime.errors import InputError
from dpaudit.self_test.faults import hidden, inspections, pipelines, run, trainings, unusual
from dpaudit.self_test.faults.catalogue import FAULTS, RUNG_3
from dpaudit.self_test.faults.dp_sgd import BreakableDpSgd
from dpaudit.self_test.faults.fault import Detection
from dpaudit.self_test.faults.right import RIGHT
from dpaudit.self_test.faults.run import run_faults

TENSORFLOW = [fault for fault in FAULTS if fault.tensorflow]
EFFORT = 0.1  # 300 calls in an inspection of rung 1; in TensorFlow fewer, which see each fault in 3 of 3 seeds
# Inspected at full effort in files of their own, which say of each that it is one violation of its own name:
# `test_kinds_of_faults.py` for what hides, `test_server_rounds.py` for later rounds.
HIDDEN = {name.replace("_", " ") for names in hidden.PARTS.values() for name in names} | {
    "step skipped after an overflow",
    "noise skipped after an overflow",
    "no noise at one size",
}
LATER = {
    "count without noise",
    "count without noise, not stated",
    "count without noise later",
    "clip at the largest norm",
    "clip at the median later",
    "median of the round",
    "drop-outs later",
}
# Started many times: `test_starts.py` has such seeds, and the slow lane these faults with the 1,000 starts they need.
OF_STARTS = {"seed of 16 bits", "seed from the clock"}
PLAIN = [
    fault
    for fault in FAULTS
    if fault.rung == 1 and not fault.tensorflow and fault.name not in HIDDEN | LATER | OF_STARTS
]
OF_OTHERS = {f"DP-SGD, {name}" for name in unusual.RIGHT}
# Inspected in `test_keras_adapters.py`, which looks at each of their findings.
OF_ADAPTERS = {
    "DP-SGD of the stacked engine",
    "TensorFlow Privacy DPKerasSGDOptimizer",
    "TensorFlow Privacy VectorizedDPKerasSGDOptimizer",
}
PLAIN_RIGHT = [
    name
    for name, (inspect, tensorflow) in RIGHT.items()
    if not tensorflow and name not in OF_OTHERS and "adaptive clip" not in name and "started anew" not in name
]


def inspected(inspect: Callable[..., Detection], seed: int) -> Detection:
    """An inspection, of fewer calls where it takes an effort."""
    takes = isinstance(inspect, partial) and "effort" in signature(inspect.func).parameters
    return inspect(seed, effort=EFFORT) if takes else inspect(seed)


@pytest.fixture(scope="module")
def report():
    return run_faults(seed=3, rungs=(0, 2, 3, 4), right_runs=0, tensorflow=False)


@pytest.fixture(scope="module")
def plain():
    """What rung 1 sees of each fault."""
    return {fault.name: inspected(fault.inspect, 3) for fault in PLAIN}


def test_no_two_faults_have_one_name():
    """They are looked up by it."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@pytest.mark.long
def test_every_fault_is_caught_by_its_rung(report, plain):
    """Family-wise level 1e-6 on rungs 0 to 2, 5 % on rungs 3 and 4; fixed seed."""
    assert report.missed == ()
    assert report.passed
    assert [name for name, seen in plain.items() if not seen.check] == []


def test_every_fault_is_inspected_in_this_file_or_in_another():
    """What is left to the others is in the catalogue under that name."""
    assert {fault.name for fault in FAULTS} >= HIDDEN | LATER | OF_STARTS
    assert set(RIGHT) >= OF_OTHERS | OF_ADAPTERS


@pytest.mark.parametrize("name", PLAIN_RIGHT)
@pytest.mark.long
def test_right_mechanisms_raise_no_alarm(name):
    """Level 1e-6; fixed seed."""
    assert inspected(RIGHT[name][0], 3).check == ""


@pytest.mark.long
def test_the_table_has_a_line_for_each(monkeypatch):
    """A line for each fault and each right mechanism; a false alarm of the latter is a failure."""
    monkeypatch.setattr(run, "RIGHT", {"a recipe": RIGHT["recipe as claimed"]})
    found = run_faults(seed=3, rungs=(4,), tensorflow=False)
    assert found.table().row_count == len(found.rows) + 1
    assert found.passed
    monkeypatch.setattr(run, "RIGHT", {"no recipe": (lambda seed: Detection("seen"), False)})
    assert not run_faults(seed=3, rungs=(4,), tensorflow=False).passed


@pytest.mark.parametrize("fault", RUNG_3, ids=lambda fault: fault.name)
@pytest.mark.long
def test_rung_3_catches_its_faults_nearly_always(fault):
    """At 5 %, in 20 trainings each; measured power 0.98 and more, so 17 or fewer would be a 1-in-100 event."""
    assert sum(bool(fault.inspect(seed).check) for seed in range(20)) >= 18


@pytest.mark.long
def test_a_right_training_is_mistaken_for_one_of_them_as_often_as_stated():
    """40 trainings at 5 %: 7 or more alarms would be a 1-in-300 event."""
    inspect = partial(inspections.training, trainings.private_training)
    assert sum(bool(inspect(seed).check) for seed in range(40)) <= 6


@pytest.mark.long
def test_the_best_of_three_is_caught_unless_it_is_paid_for():
    """In 10 audits each, at 5 %: one accounted is found in all, three accounted raise 3 or fewer (1 in 900 for more).

    The largest of three Laplace draws is negative with probability 1/8, below -1 with probability e^-3 / 8: ε = 3.
    """
    assert all(inspections.pipeline(pipelines.best_of_three, seed).check for seed in range(10))
    paid = [bool(inspections.pipeline(pipelines.best_of_three_paid_for, seed).check) for seed in range(10)]
    assert sum(paid) <= 3
    published = np.array(
        [[pipelines.best_of_three(present, seed) for seed in range(8000)] for present in (False, True)]
    )
    total = np.median(published[0]) + math.log(2 * (1 - 0.5 ** (1 / 3)))  # less the median of the largest draw
    assert np.mean(published < total, axis=1) == pytest.approx([1 / 8, math.exp(-3) / 8], abs=0.015)


@pytest.mark.long
def test_cheaper_rungs_cannot_see_the_faults_of_rung_3():
    """Their mechanism passes forensics, their recipe is the claim's, and their ε is the accountant's."""
    figure = epsilon(trainings.MECHANISM, delta=trainings.DELTA).epsilon
    assert figure == pytest.approx(trainings.CLAIMED, abs=0.005)
    copies = epsilon(trainings.MECHANISM, delta=trainings.DELTA, group=trainings.COPIES, grid=1e-2).epsilon
    assert copies == pytest.approx(trainings.OF_COPIES, abs=0.05)
    subject = BreakableDpSgd(clip_norm=1.0, noise_multiplier=trainings.NOISE, denominator=1.0, seed=1)
    assert inspect_mechanism(subject.mechanism(), subject.stated, seed=1).violations == ()
    claim = RUNG_3[0].claim
    # 700 records in 24 copies each, as the accountant is told.
    recipe = Recipe(16_800, 840, trainings.STEPS, clip=1.0, noise=trainings.NOISE)
    assert reconcile(claim, recipe) == ()


@pytest.mark.tf
@pytest.mark.parametrize("fault", TENSORFLOW, ids=lambda fault: fault.name)
def test_a_fault_in_tensorflow_is_caught(fault):
    """Family-wise level 1e-6; fixed seed."""
    assert inspected(fault.inspect, 3).check


@pytest.mark.long
def test_the_measured_noise_is_the_true_one(plain):
    """σ known from the fault's arithmetic against the one measured."""
    # Where clients drop out or a clip wanders, σ depends on how many and how far; the noise on a count is another.
    elsewhere = ("drop-outs", "lost noise shares", "stale clip", "weighted clients")
    of_counts = ("count with half of its noise", "count with a quarter of its noise")
    for fault in PLAIN:
        if fault.noise_multiplier and fault.name not in (*elsewhere, *of_counts):
            assert plain[fault.name].noise_multiplier == pytest.approx(fault.noise_multiplier, rel=0.12), fault.name


@pytest.mark.tf
@pytest.mark.parametrize(
    "name", [name for name, (_, tensorflow) in RIGHT.items() if tensorflow and name not in OF_ADAPTERS]
)
def test_a_right_optimizer_raises_no_alarm(name):
    """Level 1e-6; fixed seed. A NaN gradient is a warning: TensorFlow Privacy 0.9 lets it through as NaN."""
    assert inspected(RIGHT[name][0], 0).check == ""


@pytest.mark.slow
def test_every_fault_is_caught_at_full_effort():
    """As `dpaudit selftest --faults` does it; level 1e-6 and fixed seed."""
    assert run_faults(seed=3).passed


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RIGHT))
def test_no_alarm_in_200_inspections(name):
    """Level 1e-6 for each of 200 inspections: one alarm would be a 1-in-5,000 event."""
    assert sum(bool(RIGHT[name][0](seed).check) for seed in range(200)) == 0


def test_there_are_at_least_thirty_faults_with_names_of_their_own():
    """The catalogue claims thirty."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 30


def test_a_rung_without_faults_is_refused():
    """The message lists the rungs there are."""
    with pytest.raises(InputError, match=r"rungs must hold some of \[0, 1, 2, 3, 4\], got \[7\]"):
        run_faults(seed=0, rungs=(7,))
