"""Plans that say which server the clients face, down to the page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from dpaudit.audits.plan import plan_from
from dpaudit.audits.run import run
from dpaudit.runtime.errors import InputError

BASE: dict[str, Any] = {"schema": 1, "name": "servers", "seed": 3, "data": {"source": "digits", "population": 0.4}}


def plan(server: object, attack: str, *, architecture: dict[str, Any], batch: int = 16) -> dict[str, Any]:
    return {
        **BASE,
        "gradient": {
            "architecture": architecture,
            "server": server,
            "attacks": [attack],
            "victims": 3,
            "utility_steps": 2,
            "scenario": [{"name": "a batch", "batch": batch}],
            "defence": [
                {"name": "none"},
                {"name": "clip", "clip": 1.0},
                {"name": "ε = 8", "clip": 1.0, "epsilon": 8.0},
            ],
        },
    }


def answers_epsilon(one: float, answers: int) -> float:
    """ε at δ = 1e-5 of so many Gaussian releases of the ε ``one`` each, by the closed form of Balle and Wang (2018)."""

    def log_excess(epsilon: float, mu: float) -> float:
        return float(
            np.log(norm.cdf(-epsilon / mu + mu / 2) - np.exp(epsilon + norm.logcdf(-epsilon / mu - mu / 2))) + LOG_DELTA
        )

    mu = brentq(lambda mu: log_excess(one, mu), 0.5, 5) * np.sqrt(answers)
    return float(brentq(lambda epsilon: log_excess(epsilon, mu), mu**2 / 2, mu**2 / 2 + 6 * mu))


LOG_DELTA = 5 * np.log(10)
WIDE = {"kind": "mlp", "hidden": [128]}


@pytest.mark.tf
@pytest.mark.parametrize(
    ("server", "attack", "warned"),
    [
        ("honest", "dense", []),
        ("imprint", "imprint", ["malicious layers: imprint module"]),
        ("trap-weights", "dense", ["malicious layers: trap weights"]),
        ({"name": "fishing", "target": 1}, "dense", ["malicious layers: fishing for a class"]),
        ({"name": "feature-fishing", "target": 1}, "dense", ["malicious layers: fishing for a class"]),
    ],
)
def test_a_server_leaks_until_there_is_noise_and_the_scanner_warns(
    server: object, attack: str, warned: list[str], tmp_path: Path
) -> None:
    """What a planted model gives away: as much under per-example clipping, nothing at ε = 8, and the page says who
    sent the model and what the scanner saw. The imprint module gives 16 records each 42.7 of 48 on average, by the
    law of its bins. A server that asks 40 times isolates most records, and each answer costs ε: 40 Gaussian releases
    are one with √40 times the μ. An honest model of the same kind raises no alarm."""
    result = run(plan_from(plan(server, attack, architecture=WIDE)), folder=tmp_path / "run")
    outcome = result.gradient
    assert outcome is not None
    assert outcome.server is not None
    assert [finding.check for finding in outcome.server.findings] == warned
    assert outcome.server.not_seen
    none, clip, noise = outcome.cells
    assert noise.recovered == 0
    if warned:
        assert none.recovered == clip.recovered > 0
    if attack == "imprint":
        assert none.recovered == pytest.approx(42.7, abs=9)  # 3 standard errors of the number alone, 3 batches
    if isinstance(server, dict) and server["name"] == "feature-fishing":
        assert none.recovered > 40
        assert outcome.server.queries == 40
        assert noise.epsilon == pytest.approx(answers_epsilon(8.0, 40), rel=1e-3)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "The clients faced the server" in page
    assert ("finds nothing in them" in page) is not bool(warned)
    assert "trap weights drawn apart" in page
    assert np.isfinite([cost.accuracy for cost in outcome.costs]).all()


@pytest.mark.tf
@pytest.mark.parametrize(
    ("server", "architecture", "message"),
    [
        ("imprint", {"kind": "mlp", "hidden": [8], "activation": "tanh"}, "a dense layer with a bias and a ReLU"),
        ("trap-weights", {"kind": "cnn", "filters": [2], "kernels": [3], "strides": [1]}, "starts with Conv2D"),
        ({"name": "fishing", "target": 10}, {"kind": "mlp", "hidden": [8]}, "one of the 10 classes, got 10"),
    ],
)
def test_a_model_that_a_server_cannot_plant_in_is_refused(
    server: object, architecture: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """In one line that says what it needs."""
    with pytest.raises(InputError, match=message):
        run(plan_from(plan(server, "dense", architecture=architecture, batch=2)), folder=tmp_path / "run")


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ("evil", "gradient.server: name must be one of"),
        ({"name": "fishing", "classes": 3}, "'classes' is not known"),
        ({"name": "fishing", "bias": -1.0}, "bias must be"),
        ({"name": "feature-fishing", "queries": 1}, "queries must be"),
        ({"name": "trap-weights", "scale": 1.5}, "scale must be"),
    ],
)
def test_a_bad_server_is_refused_when_the_plan_is_read(server: object, message: str) -> None:
    """Its name and parameters are checked before anything runs."""
    with pytest.raises(InputError, match=message):
        plan_from(plan(server, "dense", architecture=WIDE))


def test_a_server_that_asks_again_wants_gradients() -> None:
    """A FedAvg update mixes its steps, so the plan is refused when it is read."""
    asked = plan({"name": "feature-fishing"}, "dense", architecture=WIDE)
    asked["gradient"]["defence"].append({"name": "local", "epochs": 2})
    with pytest.raises(InputError, match="leave epochs out"):
        plan_from(asked)
