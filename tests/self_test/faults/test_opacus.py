"""The known faults of trainings with Opacus are found, and their right twins are not mistaken for them."""

import pytest

pytest.importorskip("opacus", reason="needs dpaudit[torch]; make test-torch runs it")

from dpaudit.accounting.composed import epsilon_of_steps
from dpaudit.self_test.faults.catalogue import FAULTS
from dpaudit.self_test.faults.opacus import FAULTS_OF_OPACUS, OPACUS_CLAIM, RIGHT_OF_OPACUS
from dpaudit.self_test.faults.right import RIGHT

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("fault", FAULTS_OF_OPACUS, ids=lambda fault: fault.name)
def test_every_fault_is_found_by_its_rung(fault):
    """Level 1e-6; fixed seed. Each is among the known faults where Opacus is installed."""
    expected = {
        "Opacus: divisor from the records": "divisor",
        "Opacus: weighted sampler": "repeated record",
        "Opacus: fixed batches": "fixed batches",
        "Opacus: model that clips elsewhere": "sensitivity",
    }
    assert fault.inspect(3).check == expected[fault.name]
    assert fault in FAULTS


@pytest.mark.parametrize("name", RIGHT_OF_OPACUS)
def test_a_right_training_raises_no_alarm(name):
    """Level 1e-6 for each of three inspections; fixed seeds."""
    assert [RIGHT[name][0](seed).check for seed in range(3)] == ["", "", ""]


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT_OF_OPACUS)
def test_no_alarm_in_200_inspections_of_opacus(name):
    """Level 1e-6 for each of 200 inspections: one alarm would be a 1-in-5,000 event."""
    assert sum(bool(RIGHT[name][0](seed).check) for seed in range(200)) == 0


def test_the_claim_is_the_accountant_s_figure():
    """σ = 1, rate 1/16, 16 steps: the claim that the faults contradict is right for the right ones."""
    assert OPACUS_CLAIM.mechanism is not None
    figure = epsilon_of_steps(OPACUS_CLAIM.mechanism, delta=1e-5, adjacency="add-remove").epsilon
    assert figure == pytest.approx(OPACUS_CLAIM.epsilon, abs=0.01)
