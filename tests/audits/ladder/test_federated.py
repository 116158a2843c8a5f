"""The ladder on federated models: rungs 0 to 2 ask the federation's own server, on the level of users."""

from dataclasses import replace

import numpy as np
import pytest

from dpaudit.accounting.claim import Adjacency, Claim
from dpaudit.audits.audit import Subject
from dpaudit.audits.ladder.run import audit_ladder
from dpaudit.audits.ladder.settings import LadderSettings
from dpaudit.training.federated import queries
from dpaudit.training.federated.aggregation import FixedClip, LocalNoise
from dpaudit.training.federated.participation import FixedClients, PoissonClients
from dpaudit.training.trainer import TrainedModel
from tests.audits.federated.federations import federation, small_audit

pytestmark = pytest.mark.tf


@pytest.fixture(autouse=True)
def short_inspections(monkeypatch):
    """A tenth of the time and fewer calls: what is found here is a factor of two, and found with 160 calls too."""
    monkeypatch.setattr("dpaudit.inspection.ask.CALLS", 160)
    monkeypatch.setattr("dpaudit.inspection.ask.SECONDS", 1.0)


def climbed(trainer, *, rungs=(0, 1, 2)):
    """The ladder on a model that claims what its trainer's accountant says."""
    from dpaudit.accounting.mechanism import epsilon

    audit = small_audit()
    mechanism = trainer.mechanism(400)
    adjacency: Adjacency = "zero-out" if isinstance(trainer.participation, FixedClients) else "add-remove"
    claimed = epsilon(mechanism, delta=1e-5, adjacency=adjacency).epsilon
    claim = Claim(claimed, 1e-5, "user", adjacency, "the test", mechanism)
    model = TrainedModel(lambda features: np.zeros((len(features), 10)), {}, mechanism)
    subject = Subject("model", trainer, model, claim)
    outcome = audit_ladder(LadderSettings(rungs=list(rungs), steps=150), replace(audit, subjects=(subject,)))
    return claim, outcome.rungs


@pytest.mark.parametrize("participation", [PoissonClients(0.8), FixedClients(16, 20)])
def test_a_right_federation_passes(participation):
    """Level 1e-6 for forensics and 5 % for the bound of rung 2; fixed seed.

    Of 300 coins the separation of the answers has the standard error 2 / √300; four are a 1-in-15,000 event.
    """
    claim, rungs = climbed(federation(aggregator=FixedClip(0.5, 1.0), participation=participation))
    assert [(rung.rung, rung.skipped, rung.findings) for rung in rungs] == [(n, "", []) for n in (0, 1, 2)]
    assert 0 < rungs[2].bound.epsilon <= claim.epsilon
    assert rungs[2].bound.unit == "user"
    assert 1 / rungs[2].noise_multiplier == pytest.approx(1.0, abs=8 / 300**0.5)


def test_half_of_the_noise_is_contradicted(monkeypatch):
    """The project's own server, broken inside: rung 1 finds it, and ε on rung 2 is above the claim."""
    whole = queries.add_noise
    monkeypatch.setattr(queries, "add_noise", lambda values, keys, stated: whole(values, keys, [s / 2 for s in stated]))
    claim, rungs = climbed(federation(aggregator=FixedClip(0.5, 1.0), participation=PoissonClients(0.8)), rungs=(1, 2))
    assert "noise" in {finding.check for finding in rungs[0].findings}
    assert rungs[1].bound.epsilon > claim.epsilon


def test_an_aggregator_without_such_a_server_is_said():
    """Local noise is added by the clients: rungs 1 and 2 say so, and are not passed in silence."""
    _, rungs = climbed(federation(aggregator=LocalNoise(0.5, 4.0)))
    assert [bool(rung.skipped) for rung in rungs] == [False, True, True]
    assert "aggregation of kind 'local' has no server" in rungs[1].skipped
