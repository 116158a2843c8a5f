"""A small federation under audit: twenty users with twenty digits each."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.accounting.claim import Protection, Unit
from dpaudit.audits.audit import Audit
from dpaudit.data.bundled import digits
from dpaudit.data.users import Iid
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.progress import Silent
from dpaudit.training.federated.trainer import ClientTraining, Federated

DATA = Iid(20)
ARCHITECTURE = registry.build("architectures", "mlp", {"hidden": [16]}, where="test")


def small_audit(unit: Unit = "user", **more: Any) -> Audit:
    """Coins per user on 400 digits, and 100 more as the population."""
    everything = digits().take(np.arange(400))
    everything = replace(everything, users=DATA(everything, seed=1))
    owner = np.asarray(everything.users)
    coins = np.random.default_rng(5).random(20) < 0.5
    settings: dict[str, Any] = {
        "dataset": everything,
        "member": coins[owner],
        "population": digits().take(np.arange(400, 500)),
        "subjects": (),
        "protection": Protection(unit, "add-remove", 1e-5),
        "design": "one-run",
        "confidence": 0.95,
        "seed": 3,
        "folder": Path("unused"),
        "progress": Silent(),
    }
    return Audit(**{**settings, **more})


def federation(**parameters: Any) -> Federated:
    """Four rounds of a network with 1210 parameters."""
    return Federated(
        ARCHITECTURE, **{"rounds": 4, "local": ClientTraining(batch_size=10, learning_rate=0.3), **parameters}
    )
