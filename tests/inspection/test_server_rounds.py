"""Federated servers in later rounds, after the clip has moved: level 1e-6 an inspection, fixed seeds."""

import math
import re
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from dpaudit.accounting.claim import Claim, GaussianSteps, Poisson
from dpaudit.inspection.inspect import Inspection
from dpaudit.inspection.mechanism import Stated
from dpaudit.inspection.server import Server, inspect_server
from dpaudit.inspection.server_rounds import total_multiplier
from dpaudit.runtime.errors import InputError
from dpaudit.self_test.faults import federated

STATED = Stated(1.0, 1.0, 32.0)
CLAIM = Claim(3.50, 1e-5, "user", "add-remove", "PLD accountant", GaussianSteps(1.0, 100, Poisson(0.05)))


def inspected(**flags: Any) -> Inspection:
    """The self-test's server with these flags."""
    return inspect_server(federated.server(3, **flags), STATED, seed=5, claim=CLAIM, effort=0.2)


@pytest.mark.parametrize(
    ("flags", "check"),
    [
        ({"count_noise": 0.0}, "count noise"),
        ({"count_noise": 0.0, "states_count": False}, "count noise"),
        ({"count_noise": 0.8}, "count noise"),
        ({"follow_largest": True}, "next clip"),
        ({"counts_noised": 2}, "count noise"),
        ({"follow_median": True}, "stale clip"),
        ({"follow_median": True, "noise_follows": True}, "later rounds"),
        ({"present_later": True}, "later rounds"),
    ],
)
@pytest.mark.long
def test_a_fault_of_later_rounds_is_one_violation(flags: dict[str, Any], check: str) -> None:
    """Each shows in no first round."""
    found = inspected(adapt=0.2, **flags)
    assert [finding.check for finding in found.violations] == [check]
    if check == "count noise" and flags.get("count_noise") == 0.8:
        assert float(found.violations[0].observed.split("noise of ")[1].split()[0]) == pytest.approx(0.8, rel=0.1)
    elif check == "count noise":
        assert found.violations[0].true_epsilon == math.inf


@pytest.mark.parametrize("adapt", [0.0, 0.02, 0.2, 0.5])
@pytest.mark.long
def test_a_right_server_is_quiet_in_later_rounds_too(adapt: float) -> None:
    """Fixed clip and clips of three speeds; z = 1 of sum and count together is in the 95 % interval."""
    found = inspected(adapt=adapt)
    assert found.findings == ()
    assert found.interval is not None
    assert found.interval[0] <= 1 <= found.interval[1]


@pytest.mark.long
def test_the_noise_of_the_count_is_measured_where_it_is_not_stated() -> None:
    """1.6 clients within a tenth, and the message says how to state it."""
    sight = inspected(adapt=0.2, states_count=False).sights[-1]
    share, measured = re.findall(r"([0-9.]+) (?:times the noise|clients are measured)", sight.smallest)
    assert float(measured) == pytest.approx(1.6, rel=0.15)
    assert 0.5 < float(share) < 1
    assert "Server(count_noise=...)" in sight.smallest


@pytest.mark.long
def test_a_share_that_is_limited_is_quiet() -> None:
    """A noisy share that is cut to [0, 1] loses half of its noise where no client is below the clip: right as it is."""
    assert inspected(adapt=0.2, limit_count=True).findings == ()


@pytest.mark.long
def test_a_clip_at_its_upper_limit_is_quiet() -> None:
    """A limit hides the noise of the count where the clip stands still: that is no fault."""

    class Limited(federated.FedAvg):
        def _adapt(self, found: Any) -> None:
            super()._adapt(found)
            self.clip_norm = min(self.clip_norm, 1.1)

    rng = np.random.default_rng(1)
    server = Server(lambda: Limited(rng, adapt=0.2), adaptive=True, count_noise=federated.COUNT_NOISE)
    assert inspect_server(server, STATED, seed=5, effort=0.2).violations == ()


@pytest.mark.long
def test_a_server_that_takes_its_planned_clients_only_says_so() -> None:
    """Questions that need a crowd are listed as not asked, with the reason."""

    class Planned(federated.FedAvg):
        def __call__(self, model: Any, updates: Any, weights: Any) -> Any:
            if len(weights) > 64:
                raise ValueError("too many clients")
            return super().__call__(model, updates, weights)

    rng = np.random.default_rng(1)
    found = inspect_server(Server(lambda: Planned(rng, adapt=0.2), adaptive=True), STATED, seed=5, effort=0.2)
    assert found.violations == ()
    assert not found.sights[-1].asked
    assert "too many clients" in found.sights[-1].smallest


def test_sum_and_count_cost_what_theorem_1_says() -> None:
    """Sum with z and count moved by 1/2 with σ: two Gaussians whose μ add in squares; solved numerically."""
    server = federated.server(1, adapt=0.2)
    alone = server.sum_multiplier(1.0)
    mu = optimize.brentq(lambda z: (1 / z) ** 2 + (0.5 / 1.6) ** 2 - 1, 0.5, 2)
    assert alone == pytest.approx(mu)
    assert total_multiplier(alone, 1.6) == pytest.approx(1.0)
    assert total_multiplier(1.0, None) == 1.0
    assert total_multiplier(1.0, 0.0) == 0.0
    with pytest.raises(InputError, match="needs count_noise above 2"):
        server.sum_multiplier(4.0)
