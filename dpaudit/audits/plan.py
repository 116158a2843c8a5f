"""A plan: everything an audit does, decided before anything is measured. TOML in, typed and complete out."""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from os.path import isdir, isfile  # of texts that may be no path at all
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import Field, ValidationError, field_validator, model_validator

from dpaudit.accounting.claim import (
    Protection,
    Unit,
)
from dpaudit.audits.architecture import AdapterSettings, ArchitectureSettings
from dpaudit.audits.extraction.run import ExtractionSettings
from dpaudit.audits.federated import FederatedSettings
from dpaudit.audits.gradient.settings import GradientSettings
from dpaudit.audits.ladder.settings import LadderSettings
from dpaudit.audits.membership.run import MembershipSettings
from dpaudit.audits.plan_paths import resolve_paths
from dpaudit.audits.plan_tables import (
    AuditSettings,
    DataSettings,
    ModelSettings,
    PlanTable,
    ReportSettings,
    SeedSettings,
    file_name,
)
from dpaudit.audits.prior.run import PriorSettings
from dpaudit.audits.trace.run import TraceSettings
from dpaudit.audits.unlearning.settings import UnlearningSettings
from dpaudit.bounds.lower_bound import ErrorLevel
from dpaudit.data.member_choice import Coins
from dpaudit.data.source import Source
from dpaudit.data.text_canaries import TextCanaries
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import parse_toml, read_text
from dpaudit.runtime.first_error import first_error
from dpaudit.training.capabilities import at_epoch, outside_code
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.federated.trainer import Federated
from dpaudit.training.sgd import Sgd
from dpaudit.training.trainer import Trainer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCHEMA = 1
MANY = 10**6  # records enough for any batch, to ask a trainer for its noise before the data is read
AUDITS = ("membership", "gradient", "prior", "federated", "ladder", "unlearning", "extraction")
NOT_BESIDE_A_TRACE = ("data", "model", "adapter", *AUDITS, "canaries")
NOT_FOR_TEXTS = ("prior", "unlearning")


class Plan(PlanTable):
    """A whole plan. Nothing in it depends on what is measured."""

    plan_schema: Literal[1] = Field(default=1, alias="schema")
    name: str
    seed: int = Field(ge=0)
    seeds: SeedSettings | None = None
    data: DataSettings | None = None
    architecture: ArchitectureSettings | None = None
    adapter: AdapterSettings | None = None
    model: list[ModelSettings] = Field(default=[])
    canaries: TextCanaries | None = None
    audit: AuditSettings = AuditSettings()
    membership: MembershipSettings | None = None
    gradient: GradientSettings | None = None
    prior: PriorSettings | None = None
    federated: FederatedSettings | None = None
    ladder: LadderSettings | None = None
    unlearning: UnlearningSettings | None = None
    extraction: ExtractionSettings | None = None
    trace: TraceSettings | None = None
    report: ReportSettings | None = None

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, name: str) -> str:
        return file_name(name)

    @model_validator(mode="after")
    def _names_differ(self) -> "Plan":
        names = [model.name for model in self.model]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two models are called {twice[0]!r}")
        return self

    def trainers(self) -> dict[str, Trainer]:
        """Trainers by model name, always the same ones; every parameter is checked, nothing is trained."""
        return self._trainers

    @cached_property
    def _trainers(self) -> dict[str, Trainer]:
        return {model.name: model.build(self.architecture, self.adapter) for model in self.model}

    def source(self) -> Source:
        """Where the records come from.

        Raises:
            InputError: the plan audits a trace and has no data.
        """
        if self.data is None:
            raise InputError(f"plan {self.name!r} has no [data].")
        groups = () if self.membership is None else tuple(self.membership.columns)
        data = self.data
        return Source(
            data.source,
            data.task,
            data.label if isinstance(data.label, str) else tuple(data.label),
            data.user,
            data.clients,
            data.population,
            self.seed_of("split"),
            groups,
            tuple(data.drop),
            tuple(data.features),
            data.encode,
            data.roles,
            self.canaries,
        )

    def seed_of(self, part: Literal["split", "training", "attack"]) -> int:
        """Seed of one part of the audit: its own, or the plan's."""
        own: int | None = None if self.seeds is None else getattr(self.seeds, part)
        return self.seed if own is None else own

    def code(self) -> dict[str, str]:
        """Functions outside the registries that a run would import and call, by what they do."""
        found = {f"model {name!r} is trained": outside_code(trainer) for name, trainer in self.trainers().items()}
        if self.unlearning is not None:
            found["models are made to forget"] = self.unlearning.outside_code
        return {what: code for what, code in found.items() if code is not None}

    def bounds(self) -> int:
        """Lower bounds in the whole audit; its error level is shared among them."""
        on_models = (self.membership, self.federated, self.ladder, self.unlearning)
        per_model = sum(part.bounds() for part in on_models if part is not None)
        once = sum(part.bounds() for part in (self.gradient, self.prior, self.trace) if part is not None)
        return per_model * len(self.model) + once

    @property
    def protection(self) -> Protection:
        """What its bounds are about: a record or user is there or not, as its own fair coin says."""
        return Protection(self.audit.unit, "add-remove", self.audit.delta)

    @property
    def level(self) -> ErrorLevel:
        """The error level of the audit, shared among its bounds."""
        return ErrorLevel.shared(self.audit.confidence, self.bounds())

    def units(self) -> set[Unit]:
        """The units that lower bounds on its models speak of."""
        measured: set[Unit] = set()
        if self.membership is not None or (self.ladder is not None and self.ladder.bounds()):
            measured.add("record")
        if self.federated is not None and self.federated.bounds():
            measured.add("user")
        return measured

    def files(self) -> list[Path]:
        """Files and folders that the plan names and that are there: data, architectures, a trace."""
        texts = set(_texts(self.model_dump(mode="json", exclude={"report"})))
        folders = {text for text in texts if Path(text).is_absolute()}
        if self.data is not None and self.data.kind == "text":
            folders.add(self.data.source)
        if self.trace is not None:
            folders.add(self.trace.path)
        found = {text for text in texts if isfile(text)} | {text for text in folders if isdir(text)}
        return sorted(map(Path, found))

    def toml(self) -> str:
        """The resolved plan as TOML, with every default written out that is the plan's to choose."""
        table = self.model_dump(by_alias=True, exclude_none=True, mode="json")
        if self.trace is not None:
            del table["model"]
            for name in {"unit", "delta"} - self.audit.model_fields_set:
                del table["audit"][name]
        return tomli_w.dumps(table)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the resolved plan: equal plans run to equal results."""
        canonical = json.dumps(self.model_dump(by_alias=True, mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


def load_plan(path: Path, overrides: Sequence[str] = ()) -> Plan:
    """Read a plan, with ``key=value`` overrides such as ``audit.delta=1e-6`` or ``model.no-dp.epochs=5``.

    Relative paths in a plan are relative to the plan's folder.

    Raises:
        InputError: the file is missing or no TOML, a key is unknown (the nearest known one is offered), a value has the
            wrong type or is out of range, a trainer or attack refuses its parameters.
    """
    table = parse_toml(read_text(path), path)
    for override in overrides:
        _override(table, override)
    resolve_paths(table, path.parent)
    return plan_from(table, where=str(path))


def plan_from(table: dict[str, Any], *, where: str = "plan") -> Plan:
    """A plan from a table, checked down to the parameters of every trainer and attack."""
    try:
        plan = Plan.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        raise InputError(f"{where}: {first_error(error, Plan)}") from error
    if plan.trace is not None:
        others = [name for name in table if name in NOT_BESIDE_A_TRACE]
        if others:
            raise InputError(f"{where}: [trace] audits a run that is over; [{others[0]}] belongs in a plan of its own.")
        if plan.trace.users is not None and plan.architecture is None:
            raise InputError(
                f"{where}: [trace.users] trains what a client would have sent: the plan needs an [architecture]."
            )
        return plan
    if plan.data is None:
        raise InputError(f"{where}: data: this key is missing (only a plan with [trace] needs no data).")
    for model, trainer in zip(plan.model, plan.trainers().values(), strict=True):
        stated, mechanism = model.stated_claim(), trainer.mechanism(MANY)
        if stated is not None and mechanism is not None and mechanism.noise_multiplier == 0:
            raise InputError(
                f"{where}: model {model.name!r} claims ε = {stated.epsilon:g} with noise_multiplier 0: "
                "without noise ε is infinite."
            )
        claimed = stated.unit if stated is not None else mechanism.unit if mechanism is not None else None
        private = stated is not None or (mechanism is not None and mechanism.noise_multiplier > 0)
        if private and plan.units() and claimed not in plan.units():
            raise InputError(
                f"{where}: model {model.name!r} claims privacy per {claimed}, and the plan measures per "
                f"{' and '.join(sorted(plan.units()))}; "
                + ("add [federated] with canaries." if claimed == "user" else "add [membership].")
            )
    _check_texts(plan, where)
    if plan.membership is not None and plan.audit.unit == "user":
        raise InputError(f'{where}: [membership] audits records; with audit.unit = "user" use federated.users.')
    if plan.unlearning is not None and plan.audit.unit == "user":
        raise InputError(f"{where}: [unlearning] forgets single records, and audit.unit is user; leave one out.")
    if plan.unlearning is not None and not plan.model:
        raise InputError(f"{where}: [unlearning] trains models like those of the plan, and there is no [[model]].")
    if plan.audit.bound is not None:
        if plan.membership is None:
            raise InputError(f"{where}: audit.bound judges the scores of [membership], which the plan has not.")
        plan.audit.bound.build(plan.audit.design, Coins(), seed=0)  # what it refuses is an error of the plan
    if plan.membership is not None:
        for attack in plan.membership.attacks:
            attack.built  # noqa: B018  # a parameter that it refuses is an error of the plan
        for name, trainer in plan.trainers().items():
            for epochs in plan.membership.checkpoints:
                try:
                    at_epoch(trainer, epochs)
                except InputError as error:
                    raise InputError(f"{where}: model {name!r}: {error}") from error
    trained = (plan.membership, plan.federated, plan.ladder, plan.unlearning, plan.extraction)
    if all(part is None for part in (*trained, plan.gradient, plan.prior)):
        raise InputError(
            f"{where}: the plan measures nothing; add a [membership], [federated], [ladder], [unlearning], "
            "[extraction], [gradient], [prior] or [trace] table."
        )
    if any(part is not None for part in trained) and not plan.model:
        raise InputError(
            f"{where}: [membership], [federated], [ladder], [unlearning] and [extraction] audit trained models; "
            "add a [[model]]."
        )
    if plan.adapter is not None and not plan.model:
        raise InputError(f"{where}: [adapter] is trained by a [[model]], and the plan has none.")
    if plan.federated is not None:
        try:
            plan.federated.refuse(plan.trainers(), plan.audit.unit)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    if plan.gradient is not None:
        plan.gradient.check(plan.audit.delta, texts=plan.data.kind == "text")
    return plan


def _check_texts(plan: Plan, where: str) -> None:
    """Refuse what does not go together with texts, and canaries without texts."""
    texts = plan.data is not None and plan.data.kind == "text"
    attacked = None if plan.gradient is None else plan.gradient.architecture
    named = (plan.architecture, attacked, *(model.architecture for model in plan.model))
    kinds = {architecture.kind for architecture in named if architecture is not None}
    if not texts:
        if "decoder" in kinds or plan.canaries is not None:
            what = "[canaries] are" if plan.canaries is not None else "a decoder is"
            raise InputError(f'{where}: {what} for texts: set kind = "text" in [data].')
        if plan.extraction is not None:
            raise InputError(f'{where}: [extraction] is of texts: set kind = "text" in [data].')
        return
    assert plan.data is not None
    try:
        if plan.extraction is not None:
            plan.extraction.check(canaries=plan.canaries is not None, context=plan.data.context)
        if plan.ladder is not None:
            plan.ladder.refuse_texts(canaries=plan.canaries is not None)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    beside = [name for name in NOT_FOR_TEXTS if getattr(plan, name) is not None]
    if beside:
        raise InputError(f"{where}: [{beside[0]}] takes no texts; use [membership] or [federated].")
    if unfit := sorted(kinds & {"cnn", "keras-json", "mlp"}):
        raise InputError(f'{where}: the architecture {unfit[0]!r} takes no texts; use kind = "decoder".')
    if plan.gradient is not None and plan.canaries is not None:
        raise InputError(f"{where}: [gradient] reads texts of the data; [canaries] belong in a plan of their own.")
    if plan.membership is not None and plan.membership.queries:
        raise InputError(f"{where}: membership.queries change numbers, and the data are texts; leave them out.")
    if plan.federated is not None:
        classes = plan.federated.inference is not None and plan.federated.inference.classes
        if plan.federated.crafted is not None or classes:
            what = "inference.classes needs" if classes else "crafted needs"
            raise InputError(f"{where}: federated.{what} records of numbers with classes, and the data are texts.")
        if plan.canaries is not None:
            raise InputError(f"{where}: [canaries] are single texts; canary users are in federated.canaries.")
    for name, trainer in plan.trainers().items():
        if not isinstance(trainer, DpSgd | Sgd | Federated):
            kind = type(trainer).__name__
            raise InputError(f"{where}: model {name!r}: a {kind} trainer takes no texts; use dp-sgd, sgd or federated.")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _override(table: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"an override must be key=value, got {text!r}.")
    parsed = parse_value(value)
    *parents, last = key.strip().split(".")
    place: Any = table
    for step in parents:
        if isinstance(place, list):
            named = [entry for entry in place if isinstance(entry, dict) and entry.get("name") == step]
            if not named:
                names = [str(entry.get("name")) for entry in place if isinstance(entry, dict)]
                raise InputError(f"override {text!r}: nothing is called {step!r}.{check.nearest(step, names)}")
            place = named[0]
        elif isinstance(place, dict):
            place = place.setdefault(step, {})
        else:
            raise InputError(f"override {text!r}: {step!r} lies below a value that is no table.")
    if isinstance(place, list):
        raise InputError(f"override {text!r}: name one of the entries, for example {parents[-1]}.NAME.{last}=...")
    if not isinstance(place, dict):
        raise InputError(f"override {text!r}: {last!r} lies below a value that is no table.")
    place[last] = parsed


def parse_value(text: str) -> Any:
    """A value as TOML; a bare word is a string, so that the shell needs no nested quotes.

    >>> parse_value("1e-5"), parse_value("adam")
    (1e-05, 'adam')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
