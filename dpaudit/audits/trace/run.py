"""``[trace]``: somebody else's federation, audited from what was written down of it. Nothing is trained but candidates.

The trace is held against its own claim first. Then, where the auditor had flipped coins about them, canary clients and
users tell how much the releases show of one user.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dpaudit.accounting.claim import Claim, FixedSize, Protection, Unit
from dpaudit.audits.federated.gradient_canaries import cosines, judge_cosines
from dpaudit.audits.federated.user_bound import user_bound, user_result
from dpaudit.audits.federated.user_membership import release_alignment
from dpaudit.data.dataset import Dataset, RecordTask
from dpaudit.data.load import load
from dpaudit.integrations.canaries import canary_direction
from dpaudit.results.trace import TraceResult
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.scores import Scores
from dpaudit.trace import Trace, inspect_all
from dpaudit.trace.accountant import claimed_mechanism, true_epsilon
from dpaudit.training.architecture import Architecture
from dpaudit.training.federated.trainer import ClientTraining, Federated


class TraceCanaries(BaseModel):
    """``[trace.canaries]``: clients that answered through ``canary_mod``, each included with probability 1/2.

    ``seed`` is that of the mod; ``present`` and ``absent`` are the numbers of the canaries.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    seed: int = Field(ge=0)
    present: list[int] = Field(min_length=2)
    absent: list[int] = Field(min_length=2)


class TraceUsers(BaseModel):
    """``[trace.users]``: files of the users whom the auditor included, or not, each with probability 1/2.

    The other keys are how clients trained. With the plan's [architecture] they let the attacker repeat a client's
    training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    present: str
    absent: str
    task: RecordTask = "multiclass"
    user: str = "user"
    local_epochs: int = Field(default=1, ge=1)
    batch_size: int | Literal["all"] = 32
    learning_rate: float = Field(gt=0)


class TraceSettings(BaseModel):
    """``[trace]``: the folder of the trace, and the canaries and users to audit in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str
    canaries: TraceCanaries | None = None
    users: TraceUsers | None = None

    @property
    def name(self) -> str:
        """What the report calls the federation."""
        return Path(self.path).name

    def bounds(self) -> int:
        """Lower bounds computed: two views of the canaries, one of the users."""
        return (2 if self.canaries is not None else 0) + (1 if self.users is not None else 0)


def claim_of(trace: Trace) -> Claim | None:
    """The claim of a manifest: its stated ε, else the ε that follows from what it says; None without a finite one."""
    stated = trace.manifest.dp_claim
    if stated is None or stated.delta is None:
        return None
    figure = stated.epsilon if stated.epsilon is not None else true_epsilon(trace, stated, stated)
    if figure is None or math.isinf(figure):
        return None
    source = "stated in the manifest" if stated.epsilon is not None else "accounted from the manifest"
    mechanism = claimed_mechanism(trace, stated)
    if mechanism is not None and isinstance(mechanism.sampling, FixedSize) and stated.adjacency == "add-remove":
        mechanism = None  # a fixed number of clients has no add-remove accounting
    return Claim(figure, stated.delta, stated.unit, stated.adjacency, source, mechanism)


def protection_of_trace(trace: Trace, stated: Mapping[str, object], *, delta: float) -> tuple[Unit, float]:
    """Whose privacy the audit is about and at which δ: the manifest's, where it says so, else one user's at ``delta``.

    Args:
        trace: as it was read.
        stated: ``unit`` and ``delta`` where the plan itself states them.
        delta: of the plan, stated or not.

    Raises:
        InputError: the plan states another unit or δ than the trace.
    """
    claimed = trace.manifest.dp_claim
    unit: Unit = claimed.unit if claimed is not None else "user"
    found = claimed.delta if claimed is not None and claimed.delta is not None else delta
    for name, of_trace in (("unit", unit), ("delta", found)):
        if stated.get(name, of_trace) != of_trace:
            raise InputError(
                f"the plan says audit.{name} = {stated[name]!r}, the trace {of_trace!r}: leave it out of [audit], or "
                "say what the trace says."
            )
    return unit, found


def audit_trace(
    settings: TraceSettings,
    trace: Trace,
    claim: Claim | None,
    architecture: Architecture | None,
    *,
    delta: float,
    confidence: float,
    seed: int,
) -> TraceResult:
    """Audit a trace.

    Args:
        settings: which audits.
        trace: as it was read.
        claim: what it claims (`claim_of`).
        architecture: of the model, needed for users.
        delta: δ of the bounds.
        confidence: of each.
        seed: of the audit.

    Raises:
        InputError: the claim is about records or about replaced users, which coins about users cannot judge; canaries
            or users that do not fit the trace.
    """
    if settings.bounds() and claim is not None and (claim.unit != "user" or claim.adjacency == "replace-one"):
        raise InputError(
            f"the trace claims ε for one {claim.unit} under {claim.adjacency} adjacency; canaries and users that are "
            "there or not by coins measure one user added. Leave out [trace.canaries] and [trace.users]."
        )
    protection = Protection("user", claim.adjacency if claim is not None else "add-remove", delta)
    name = settings.name
    inspected = inspect_all(trace)
    found = TraceResult(
        name=name,
        framework=trace.manifest.framework,
        rounds=len(trace.rounds),
        missing=sorted((*trace.missing, *(number for number, _ in trace.damaged))),
        checks=list(inspected.findings),
        not_checked=list(inspected.not_checked),
    )
    if settings.canaries is not None:
        scores, present = canary_cosines(trace, settings.canaries)
        for view in ("final-model", "every-round"):
            found.canaries.append(
                judge_cosines(
                    name,
                    view,
                    Scores.join(scores[view], present),
                    trace.weights.shape[1],
                    protection,
                    confidence,
                    seed=derive_seed(seed, "canaries", view),
                )
            )
    if settings.users is not None:
        assert architecture is not None  # or the plan was refused
        joined = score_users(trace, settings.users, architecture, seed=derive_seed(seed, "candidates"))
        found.users.append(
            user_result(
                name, "releases", joined, user_bound(joined, protection, confidence, seed=derive_seed(seed, "users"))
            )
        )
    return found


def canary_cosines(trace: Trace, settings: TraceCanaries) -> tuple[dict[str, FloatArray], BoolArray]:
    """Cosines of every canary by view, each shape (canaries,), and which of them were there.

    The final view needs the first and the last round; the largest cosine over the rounds is as good as the rounds that
    are there.
    """
    names = [*settings.present, *settings.absent]
    if len(set(names)) < len(names):
        twice = sorted({one for one in names if names.count(one) > 1})
        raise InputError(f"canary {twice[0]} of the trace is listed twice.")
    first, last = trace.rounds[0], trace.rounds[-1]
    whole = trace.manifest.rounds
    if first.number != 0 or whole is None or last.number != whole - 1:
        trace.whole()
        raise InputError("canaries are compared with the final model, and the trace was not closed: call close().")
    directions = canary_directions(trace, settings)
    if len(names) > directions.shape[1] / 2:
        raise InputError(
            f"the trace has {directions.shape[1]} trained parameters: {len(names)} canaries would not be told apart; "
            f"at most {directions.shape[1] // 2} would."
        )
    every = np.max([cosines(directions, release) for release in trace.releases], axis=0)
    final = cosines(directions, trace.flat(last.after) - trace.flat(first.before))
    return {"final-model": final, "every-round": every}, np.arange(len(names)) < len(settings.present)


def canary_directions(trace: Trace, settings: TraceCanaries) -> FloatArray:
    """Directions of the canaries, those that were there first, shape (canaries, parameters)."""
    return np.stack([_direction(trace, settings.seed, one) for one in (*settings.present, *settings.absent)])


def score_users(trace: Trace, settings: TraceUsers, architecture: Architecture, *, seed: int) -> Scores:
    """How much of every release each candidate's own update explains, by whether the candidate was there."""
    present, absent = (_with_users(source, settings) for source in (settings.present, settings.absent))
    (inside, of_inside), (outside, of_outside) = (_users(part) for part in (present, absent))
    both = set(inside) & set(outside)
    if both:
        raise InputError(f"user {min(both)} is both in {settings.present} and in {settings.absent}.")
    owner: IntArray = np.concatenate([of_inside, of_outside + len(inside)])
    candidates = replace(
        present,
        features=np.concatenate([present.features, absent.features]),
        labels=np.concatenate([present.labels, absent.labels]),
        users=owner,
    )
    trainer = Federated(
        architecture,
        rounds=max(one.number for one in trace.rounds) + 1,
        local=ClientTraining(settings.local_epochs, settings.batch_size, settings.learning_rate),
    )
    prepared = trainer.prepare(candidates, seed=seed)
    shapes = tuple(tuple(variable.shape) for variable in prepared.network.variables)
    if shapes != trace.manifest.shapes:
        raise InputError(f"the [architecture] has arrays of shapes {shapes}, the trace {trace.manifest.shapes}.")
    scores = release_alignment(
        prepared,
        [[np.asarray(array, np.float32) for array in one.before] for one in trace.rounds],
        list(trace.releases),
        owner,
        seed=seed,
        numbers=[one.number for one in trace.rounds],
    )
    return Scores.join(scores, np.arange(scores.size) < len(inside))


def _direction(trace: Trace, seed: int, canary: int) -> FloatArray:
    """The trained part of a canary's direction, which runs over all arrays, shape (parameters,)."""
    sizes = [int(np.prod(shape)) for shape in trace.manifest.shapes]
    whole = canary_direction(sum(sizes), seed=seed, canary=canary)
    return trace.flat(tuple(np.split(whole, np.cumsum(sizes)[:-1])))


def _with_users(source: str, settings: TraceUsers) -> Dataset:
    data = load(source, task=settings.task, user=None if source.endswith(".npz") else settings.user)
    if data.users is None:
        raise InputError(f"{source} says of no record whose it is; an NPZ file needs an array 'users'.")
    return data


def _users(data: Dataset) -> tuple[list[str], IntArray]:
    """Names of the users, and the number of each record's."""
    names, owner = np.unique(np.asarray(data.users).astype(str), return_inverse=True)
    return names.tolist(), owner.astype(np.int64)
