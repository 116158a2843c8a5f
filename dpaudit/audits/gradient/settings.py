"""What a plan says about gradient leakage: scenarios, defences and attacks."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.attacks.gradient.defences import Defence
from dpaudit.attacks.gradient.found_texts import FoundTexts
from dpaudit.attacks.gradient.table_columns import EncodedColumns
from dpaudit.attacks.gradient.view import Arrays, GradientView, Reconstruction
from dpaudit.audits.architecture import ArchitectureSettings
from dpaudit.audits.by_name import ByName, as_table
from dpaudit.audits.gradient.questions import AsksAgain
from dpaudit.audits.plan_tables import is_changed
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError


class GradientAttack(Protocol):
    """What stands in the registry under ``gradient``: a frozen dataclass that inverts what victims sent.

    It is given the victims' Keras ``model``, the ``columns`` of a table and a ``seed`` where it has such fields.
    """

    def together(self, views: Sequence[GradientView]) -> list[Reconstruction]:
        """The records of each of many victims of one model."""
        ...


@runtime_checkable
class ForSomeModels(GradientAttack, Protocol):
    """An attack that not every model is open to."""

    def require(self, weights: Arrays) -> None:
        """Raise `InputError` where it cannot work on a model with these weights."""
        ...


@runtime_checkable
class TextAttack(Protocol):
    """The same for language models: it draws tokens, or whole texts, from what a victim sent."""

    whole_texts: ClassVar[bool]

    def read(self, view: GradientView) -> FoundTexts:
        """Of one victim; `AuditFailed` where its answer would not be exact."""
        ...


class GradientAttackSettings(ByName):
    """An attack on gradients."""

    def build(self, model: Any, seed: int, columns: EncodedColumns | None = None) -> Any:
        """The `GradientAttack` or `TextAttack` on one model; its parameters are checked."""
        given, where = self.model_extra or {}, f"gradient.attacks: {self.name!r}"
        fields = registry.parameters("gradient", self.name, where="gradient.attacks")
        known = (("model", model), ("seed", seed), ("columns", columns))
        parts = {key: value for key, value in known if key in fields and key not in given}
        return registry.build("gradient", self.name, given, where=where, **parts)


class ServerSettings(ByName):
    """The server that the clients face."""

    def build(self, seed: int) -> Any:
        """It, called as ``server(model, auxiliary)`` for the weights that it sends; its parameters are checked."""
        given, where = self.model_extra or {}, f"gradient.server: {self.name!r}"
        seeded = "seed" in registry.parameters("servers", self.name, where="gradient.server") and "seed" not in given
        return registry.build("servers", self.name, given, where=where, **({"seed": seed} if seeded else {}))


class Scenario(BaseModel):
    """``[[gradient.scenario]]``: what a victim sends.

    Args:
        name: for the report.
        batch: records per victim.
        epochs: local epochs of a FedAvg client; 0 sends a plain gradient.
        local_batch: records per local step.
        learning_rate: of the client.
        knows_labels: whether the attacker knows the labels; otherwise it restores them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    batch: int = Field(ge=1)
    epochs: int = Field(default=0, ge=0)
    local_batch: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    knows_labels: bool = False


class DefenceSettings(BaseModel):
    """``[[gradient.defence]]``: what a victim does before sending; see `Defence`. Give ``epsilon`` or a multiplier.

    Args:
        name: for the report.
        clip: norm of the clipping.
        noise_multiplier: of the noise.
        epsilon: of one release, instead of the multiplier.
        keep: share of the coordinates that are sent.
        bits: of each coordinate.
        batch: records per victim instead of the scenario's: larger batches mix more.
        epochs: local epochs instead of the scenario's: more local steps move further from what was given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    clip: float | None = Field(default=None, gt=0)
    noise_multiplier: float | None = Field(default=None, ge=0)
    epsilon: float | None = Field(default=None, gt=0)
    keep: float = Field(default=1.0, gt=0, le=1)
    bits: int = Field(default=64, ge=1, le=64)
    batch: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=0)

    def build(self, delta: float) -> Defence:
        """The defence; an ε becomes the noise multiplier of one Gaussian release at ``delta``."""
        if self.epsilon is not None and self.noise_multiplier is not None:
            raise InputError(f"defence {self.name!r}: give epsilon or noise_multiplier, not both.")
        noise = self.noise_multiplier or 0.0
        if self.epsilon is not None:
            noise = noise_for(self.epsilon, delta)
        return Defence(np.inf if self.clip is None else self.clip, noise, self.keep, self.bits)


def under_defence(scenario: Scenario, defence: DefenceSettings) -> Scenario:
    """The scenario as a defence changes it.

    >>> under_defence(Scenario(name="one", batch=1), DefenceSettings(name="larger batch", batch=8)).batch
    8
    """
    batch = scenario.batch if defence.batch is None else defence.batch
    epochs = scenario.epochs if defence.epochs is None else defence.epochs
    return scenario.model_copy(update={"batch": batch, "epochs": epochs})


class GradientSettings(BaseModel):
    """``[gradient]``: scenarios × defences × attacks.

    Args:
        architecture: of the victims' model, by kind, with its parameters beside it; untrained.
        scenario: what is sent.
        defence: what is done about it; the first is the one without defence in the gallery.
        attacks: names of the registry, such as ``matching`` (DLG, iDLG), ``inverting`` (cosine), ``dense`` and
            ``spear``, for tables ``tableak``, for texts ``bag-of-words`` and ``dager``, each with its parameters
            beside it.
        server: who sends the model: ``honest``, or one that makes it leak, with its parameters beside the name:
            ``imprint`` (for the attack ``imprint``), ``trap-weights``, ``fishing`` or ``feature-fishing`` (for
            ``dense``). It holds the records of the population. The result says what a client that scans the weights
            finds.
        victims: independent victims per scenario.
        decoys: records a victim's first record is hidden among; texts are compared word for word instead.
        utility_steps: rounds of training with the same defence, to see what it costs; 0 leaves it out.
        show_records: whether the report shows a record and its reconstructions; raw records are shown only when asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    architecture: ArchitectureSettings
    scenario: list[Scenario] = Field(min_length=1)
    defence: list[DefenceSettings] = Field(min_length=1)
    attacks: list[Annotated[GradientAttackSettings, BeforeValidator(as_table)]] = Field(min_length=1)
    server: Annotated[ServerSettings, BeforeValidator(as_table)] = ServerSettings(name="honest")
    victims: int = Field(default=8, ge=1)
    decoys: int = Field(default=19, ge=1)
    utility_steps: int = Field(default=60, ge=0)
    show_records: bool = False

    @field_validator("scenario", "defence", "attacks")
    @classmethod
    def _names_of_their_own(cls, parts: list[Any]) -> list[Any]:
        names = [part.name for part in parts]
        if len(set(names)) < len(names):
            raise ValueError(f"two have the name {next(name for name in names if names.count(name) > 1)!r}")
        return parts

    def bounds(self) -> int:
        """Verdicts computed: one per cell whose defence has an ε."""
        private = sum(d.epsilon is not None or bool(d.noise_multiplier) for d in self.defence)
        return len(self.scenario) * private * len(self.attacks)

    def check(self, delta: float, *, texts: bool) -> None:
        """Refuse an architecture, a defence or an attack that cannot be built or is for other data than the plan's."""
        self.architecture.without_start("gradient.architecture")
        for chosen in self.defence:
            chosen.build(delta)
        for attack in self.attacks:
            if isinstance(attack.build(model=None, seed=0), TextAttack) is not texts:
                why = "takes no texts; use 'bag-of-words' or 'dager'" if texts else "reads texts, and the data are none"
                raise InputError(f"gradient.attacks: {attack.name!r} {why}.")
        server = self.server.build(seed=0)
        sent = [under_defence(scenario, chosen) for scenario in self.scenario for chosen in self.defence]
        if isinstance(server, AsksAgain) and any(each.epochs for each in sent):
            raise InputError(
                f"gradient.server: {self.server.name!r} compares gradients of the same records; leave epochs out."
            )
        if texts and self.server.name != "honest":
            raise InputError(f"gradient.server: {self.server.name!r} plants nothing for texts; leave server out.")
        if texts and is_changed(self, "decoys"):
            raise InputError("gradient.decoys: a text is recovered word for word or not, without decoys; leave it out.")
        if texts and any(scenario.knows_labels for scenario in self.scenario):
            raise InputError("gradient.scenario: texts have no labels to know; leave knows_labels out.")


def noise_for(target: float, delta: float) -> float:
    """Noise multiplier of one Gaussian release with that ε at δ.

    >>> round(noise_for(8.0, 1e-5), 3)
    0.6
    """
    return 1 / gaussian_mu(target, delta)
