"""Many federations with many canary clients each, `Pillutla et al. (2023) <https://arxiv.org/abs/2305.18447>`_.

Half of the federations hold all their canaries; the other half hold all but one and are asked about fresh ones. The
canaries of a federation count together, with an interval that knows how weakly they depend on each other. It is
asymptotic in the number of federations and says so. All federations are trained as one stack.
"""

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator
from scipy.special import ndtri

from dpaudit.audits.audit import Audit
from dpaudit.audits.federated.gradient_canaries import cosines, random_directions
from dpaudit.bounds.multi_canary import MultiCanary
from dpaudit.data.users import rows_of
from dpaudit.results.federated import LiftedResult
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError


class Lifted(BaseModel):
    """``[federated.lifted]``: federations (an even number), canary clients in each, and the test.

    A canary is taken as present when its cosine with the change of the model is above that of all but ``alarm_rate``
    of unused directions. The cosine of those is N(0, 1/d), so the test is fixed before any score is seen. ``norm`` is
    the norm of the canaries' updates for a server that does not clip; without it that of the longest update that an
    honest client has sent so far.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    federations: int = Field(default=64, ge=20)
    canaries: int = Field(default=8, ge=2)
    alarm_rate: float = Field(default=0.05, gt=0, lt=0.5)
    norm: float | None = Field(default=None, gt=0)

    @field_validator("federations")
    @classmethod
    def _two_halves(cls, federations: int) -> int:
        if federations % 2:
            raise ValueError(f"must be even, got {federations}")
        return federations


def lifted_audit(name: str, prepared: Any, owner: IntArray, settings: Lifted, audit: Audit) -> LiftedResult:
    """Train the federations and bound ε of one canary client.

    Raises:
        InputError: more canaries than the trained parameters can tell apart.
    """
    from dpaudit.training.federated.simulation import CanaryClients

    dimension, half = prepared.coordinates, settings.federations // 2
    if settings.canaries > dimension / 2:
        raise InputError(
            f"{name!r} trains {dimension} parameters: {settings.canaries} canary clients would not be told apart; "
            f"at most {dimension // 2} would."
        )
    own = [
        random_directions(settings.canaries, dimension, seed=audit.seed_for("lifted", name, number))
        for number in range(settings.federations)
    ]
    everybody, all_but_one = np.ones(settings.canaries, bool), np.arange(settings.canaries) > 0
    models, _ = prepared(
        [rows_of(owner, included=audit.member)] * settings.federations,
        seed=audit.seed_for("lifted training", name),
        canaries=[
            CanaryClients(directions.astype(np.float32), everybody if number < half else all_but_one, settings.norm)
            for number, directions in enumerate(own)
        ],
    )
    start = prepared.trained_part(prepared.network.weights(prepared.start, 0))
    threshold = -float(ndtri(settings.alarm_rate)) / dimension**0.5
    tests = []
    for number, directions in enumerate(own):
        if number >= half:
            seed = audit.seed_for("lifted fresh", name, number)
            asked = random_directions(settings.canaries, dimension, seed=seed)
        else:
            asked = directions
        learnt = prepared.trained_part(prepared.network.weights(models, number)) - start
        tests.append(cosines(asked, learnt) > threshold)
    hits, alarms = np.array(tests[:half], float), np.array(tests[half:], float)
    return LiftedResult(
        model=name,
        federations=settings.federations,
        canaries=settings.canaries,
        hits=float(hits.mean()),
        alarms=float(alarms.mean()),
        bound=MultiCanary()(
            hits, alarms, delta=audit.delta, confidence=audit.confidence, adjacency=audit.adjacency, unit="user"
        ),
    )
