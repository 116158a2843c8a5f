"""What a trace says of itself: the model, and the privacy it claims. Standard library only."""

import dataclasses
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dpaudit.accounting.claim import ADJACENCIES, UNITS, Adjacency, Unit
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.trace.server import ServerStep

SCHEMA = 1
MOST_ROUNDS = 10**6
SamplerName = Literal["poisson", "fixed-size", "shuffled", "all"]
Weighting = Literal["uniform", "num-examples"]
NoisePlace = Literal["central", "local", "none"]
Accountant = Literal["pld", "rdp", "gdp", "classical-gaussian", "other"]
ThreatModel = Literal["final-model", "every-model", "sum", "updates"]


@dataclass(frozen=True)
class DpClaim:
    """The privacy a federated run claims, and how it says it gets there. What is None was not said.

    Args:
        epsilon: claimed ε.
        delta: claimed δ.
        unit: whose privacy.
        adjacency: neighbouring data sets.
        clip: L2 norm updates are clipped to (the first one, when it adapts).
        adaptive_clip: whether the clip moves.
        noise_multiplier: standard deviation of the noise on the sum over the clip; of one client's noise if ``local``.
        noise: who adds it.
        sensitivity: what the noise was scaled to, when it is not the clip.
        sampler: how clients were drawn.
        clients: clients in a round (expected).
        of: clients there are.
        rounds: rounds that were accounted.
        weighting: how updates are averaged.
        denominator: what the noisy sum is divided by: the ``expected`` clients or the ``replies``.
        accountant: what computed ε.
    """

    epsilon: float | None = None
    delta: float | None = None
    unit: Unit = "user"
    adjacency: Adjacency = "add-remove"
    clip: float | None = None
    adaptive_clip: bool = False
    noise_multiplier: float | None = None
    noise: NoisePlace = "central"
    sensitivity: float | None = None
    sampler: SamplerName | None = None
    clients: float | None = None
    of: int | None = None
    rounds: int | None = None
    weighting: Weighting | None = None
    denominator: Literal["expected", "replies"] = "expected"
    accountant: Accountant | None = None

    def __post_init__(self) -> None:
        check.one_of("dp_claim.unit", self.unit, UNITS)
        check.one_of("dp_claim.adjacency", self.adjacency, ADJACENCIES)
        for name, options in (
            ("sampler", SamplerName),
            ("weighting", Weighting),
            ("noise", NoisePlace),
            ("accountant", Accountant),
        ):
            if getattr(self, name) is not None:
                check.one_of(f"dp_claim.{name}", getattr(self, name), typing.get_args(options))
        check.one_of("dp_claim.denominator", self.denominator, ("expected", "replies"))
        for name in ("epsilon", "noise_multiplier"):
            if getattr(self, name) is not None:
                check.nonnegative(f"dp_claim.{name}", getattr(self, name))
        if self.delta is not None:
            check.delta("dp_claim.delta", self.delta)
        for name in ("clip", "sensitivity", "clients"):
            if getattr(self, name) is not None:
                check.positive(f"dp_claim.{name}", getattr(self, name))
        for name, most in (("of", None), ("rounds", MOST_ROUNDS)):
            if getattr(self, name) is not None:
                check.integer(f"dp_claim.{name}", getattr(self, name), at_least=1, at_most=most)
        if not isinstance(self.adaptive_clip, bool):
            raise InputError(f"dp_claim.adaptive_clip must be true or false, got {self.adaptive_clip!r}.")
        if self.of is not None and self.clients is not None and self.clients > self.of:
            raise InputError(f"dp_claim.clients {self.clients:g} in a round are more than the {self.of} there are.")

    @property
    def rate(self) -> float | None:
        """Share of the clients in a round."""
        if self.sampler == "all":
            return 1.0
        return None if self.clients is None or self.of is None else self.clients / self.of


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` holds.

    Args:
        framework: what ran the federation, with its version.
        weight_names: of the model's arrays, in order.
        shapes: their shapes.
        trainable: which of them are trained; the others are buffers such as moving averages. Empty: all of them.
        architecture: ``model.to_json()`` of a Keras model, when there is one.
        loss: of the clients, in words.
        threat_model: what the trace's reader is taken to see.
        dp_claim: None when the run claims no privacy.
        metrics: names of metrics that were released beside the model.
        canaries: number of canary clients.
        rounds: rounds of the run; None while it is being written.
        server: what the server does with the noisy average; None when it is not stated.
    """

    framework: str
    weight_names: Sequence[str]
    shapes: Sequence[Sequence[int]]
    trainable: Sequence[bool] = ()
    architecture: str | None = None
    loss: str | None = None
    threat_model: ThreatModel = "sum"
    dp_claim: DpClaim | None = None
    metrics: Sequence[str] = ()
    canaries: int = 0
    rounds: int | None = None
    server: ServerStep | None = None
    schema: int = field(default=SCHEMA)

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise InputError(f"manifest schema must be {SCHEMA}, got {self.schema!r}.")
        object.__setattr__(self, "trainable", tuple(self.trainable) or (True,) * len(self.weight_names))
        object.__setattr__(self, "shapes", tuple(tuple(int(size) for size in shape) for shape in self.shapes))
        for name in ("weight_names", "metrics"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.weight_names) == len(self.shapes) == len(self.trainable) > 0:
            raise InputError(
                f"the manifest needs one name, shape and trainable flag per array, got {len(self.weight_names)}, "
                f"{len(self.shapes)} and {len(self.trainable)}."
            )
        if not any(self.trainable):
            raise InputError("trainable must be true for at least one array.")
        check.one_of("threat_model", self.threat_model, typing.get_args(ThreatModel))
        check.integer("canaries", self.canaries, at_least=0)
        if self.rounds is not None:
            check.integer("rounds", self.rounds, at_least=0, at_most=MOST_ROUNDS)

    def json(self) -> str:
        """The text of ``manifest.json``."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def manifest_from_json(text: str, *, where: str) -> Manifest:
    """A manifest from its text.

    Raises:
        InputError: no JSON, an unknown or missing key, a value out of range.
    """
    try:
        table = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {error}.") from error
    if not isinstance(table, dict):
        raise InputError(f"{where} must hold a table, got {type(table).__name__}.")
    claim = table.get("dp_claim")
    try:
        if claim is not None:
            table["dp_claim"] = DpClaim(**_known(DpClaim, claim, f"{where}: dp_claim"))
        if table.get("server") is not None:
            table["server"] = ServerStep(**_known(ServerStep, table["server"], f"{where}: server"))
        clean = _known(Manifest, table, where)
        for name, kind in (("weight_names", str), ("trainable", bool), ("metrics", str)):
            clean[name] = _listed(name, clean.get(name, []), kind)
        shapes = _listed("shapes", clean.get("shapes", []), list)
        clean["shapes"] = tuple(tuple(check.integer("a size", n, at_least=0) for n in shape) for shape in shapes)
        clean.setdefault("framework", "not stated")
        for name in ("framework", "architecture", "loss"):
            if not isinstance(clean.get(name), str | None):
                raise InputError(f"{name} must be text, got {clean[name]!r}.")
        return Manifest(**clean)
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(where) else f"{where}: {error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} is not a manifest of schema {SCHEMA}: {error}.") from error


def _listed(name: str, value: object, kind: type) -> tuple[Any, ...]:
    if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
        raise InputError(f"{name} must be a list of {kind.__name__}, got {value!r}.")
    return tuple(value)


def _known(kind: type, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    names = [each.name for each in dataclasses.fields(kind)]
    if not isinstance(table, Mapping):
        raise InputError(f"{where} must be a table, got {table!r}.")
    for key in table:
        if key not in names:
            raise InputError(f"{where}: {key!r} is not known; known are {', '.join(names)}.{check.nearest(key, names)}")
    return dict(table)
