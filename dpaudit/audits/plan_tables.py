"""The small tables of a plan; each experiment's table is in its own folder."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from dpaudit.accounting.claim import (
    Adjacency,
    Claim,
    Design,
    LawSteps,
    Poisson,
    Sampling,
    Shuffled,
    TruncatedPoisson,
    Unit,
)
from dpaudit.accounting.law_epsilon import claim_of_law
from dpaudit.audits.architecture import AdapterSettings, ArchitectureSettings
from dpaudit.audits.by_name import BoundSettings, as_table
from dpaudit.data.dataset import RecordTask
from dpaudit.data.load import Encode
from dpaudit.data.text import TextRoles
from dpaudit.data.users import Clients
from dpaudit.reports.context import CONTEXT, checked_context
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.training.trainer import Trainer

ADAPTING = ("dp-sgd", "sgd", "federated")  # trainers that the stacked engine runs
TEXT_ONLY = ("text", "context", "tokenizer")
RECORDS_ONLY = ("task", "label", "clients", "drop", "features", "encode")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_changed(table: BaseModel, key: str) -> bool:
    """Whether a key has another value than its default: a stored plan has every default written out.

    >>> class Table(BaseModel):
    ...     size: int = 3
    >>> is_changed(Table(size=3), "size"), is_changed(Table(size=4), "size")
    (False, True)
    """
    return bool(getattr(table, key) != type(table).model_fields[key].default)


class PlanTable(BaseModel):
    """A table whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataSettings(PlanTable):
    """``[data]``: the records.

    ``population`` is the share of the records that is set aside: no model is trained on them and they are not audited.
    ``clients`` assigns the records to users, where the data does not say whose they are. Of a table, every column is a
    feature but ``label``, ``user`` and those of ``drop``, or ``features`` names them; ``label`` is a list where each
    record has several labels (task ``multilabel``); ``encode = "auto"`` makes numbers of words, dates and gaps.

    With ``kind`` ``text`` each record is a text, and a model predicts every token from those before: ``source`` is
    ``shakespeare``, a CSV, Parquet or JSON-lines file with a column ``text``, or a folder of ``.txt`` files. At most
    ``context`` tokens of a text are kept; ``tokenizer`` is ``bytes`` or the path of a ``tokenizer.json``.
    """

    kind: Literal["records", "text"] = "records"
    source: str
    task: RecordTask = "multiclass"
    label: str | list[str] = "label"
    user: str | None = None
    clients: Clients | None = None
    drop: list[str] = []
    features: list[str] = []
    encode: Encode = "none"
    population: float = Field(default=0.2, gt=0, lt=1)
    text: str = "text"
    context: int = Field(default=64, ge=2)
    tokenizer: str = "bytes"

    @model_validator(mode="after")
    def _fits_the_kind(self) -> "DataSettings":
        others = TEXT_ONLY if self.kind == "records" else RECORDS_ONLY
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        wrong = [name for name in others if getattr(self, name) != defaults[name]]
        if wrong:
            raise ValueError(f"{wrong[0]} is not for data of kind {self.kind!r}")
        return self

    @property
    def roles(self) -> TextRoles | None:
        """How texts become records; None where the records are no texts."""
        return TextRoles(self.text, self.context, self.tokenizer) if self.kind == "text" else None


class ClaimSettings(PlanTable):
    """``[model.claim]``: the claim, where it is not the one computed from the training.

    Either ``epsilon``, or the noise it follows from: ``law`` (``laplace``, ``discrete-gaussian:SPACING``,
    ``banded:C0,C1,...:STEPS``, ``tree:STEPS`` or ``gaussian``), ``noise_multiplier``, ``steps`` and ``rate``, the share
    of the records in a batch. With ``largest_batch`` and ``records``, Poisson batches are cut at that size.
    """

    epsilon: float | None = Field(default=None, ge=0)
    delta: float = Field(ge=0, lt=1)
    unit: Unit = "record"
    adjacency: Adjacency = "add-remove"
    source: str = "stated in the plan"
    law: str | None = None
    noise_multiplier: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    rate: float | None = Field(default=None, gt=0, le=1)
    largest_batch: int | None = Field(default=None, ge=1)
    records: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _epsilon_or_noise(self) -> "ClaimSettings":
        of_noise = (self.law, self.noise_multiplier, self.steps, self.rate)
        given = [each is not None for each in of_noise]
        if (self.epsilon is None) != any(given) or any(given) != all(given):
            raise ValueError("give epsilon, or law, noise_multiplier, steps and rate, from which it follows")
        if (self.largest_batch is None) != (self.records is None) or (self.epsilon is not None and self.records):
            raise ValueError("give largest_batch and records together, with the law they are for")
        return self

    def stated(self) -> Claim:
        """The claim."""
        if self.epsilon is not None:
            return Claim(self.epsilon, self.delta, self.unit, self.adjacency, self.source)
        assert self.law is not None
        assert self.noise_multiplier is not None
        assert self.steps is not None
        assert self.rate is not None
        sampling: Sampling = Poisson(self.rate)
        if self.largest_batch is not None and self.records is not None:
            sampling = TruncatedPoisson(self.rate, self.largest_batch, self.records)
        elif self.law.startswith("tree"):  # which takes part in no sampling
            sampling = Shuffled(max(1, round(1 / self.rate)))
        steps = LawSteps(self.law, self.noise_multiplier, self.steps, sampling)
        return claim_of_law(steps, delta=self.delta, adjacency=self.adjacency, unit=self.unit)


class ModelSettings(BaseModel):
    """``[[model]]``: a model under audit: a name, a trainer and the trainer's parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str
    trainer: str
    claim: ClaimSettings | None = None
    architecture: ArchitectureSettings | None = None
    adapter: AdapterSettings | None = None

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, name: str) -> str:
        return file_name(name)

    def build(self, shared: ArchitectureSettings | None, adapter: AdapterSettings | None = None) -> Trainer:
        """The trainer, with the model's own architecture and adapter or the plan's where it takes them."""
        where = f"model {self.name!r}"
        adapter = self.adapter or adapter
        if adapter is not None and self.trainer not in ADAPTING:
            raise InputError(
                f"{where}: [adapter] is trained on the stacked engine, by {', '.join(ADAPTING)}; the trainer is "
                f"{self.trainer!r}."
            )
        parts: dict[str, Any] = {}
        if "architecture" in registry.parameters("trainers", self.trainer, where=where):
            settings = self.architecture or shared
            if settings is None:
                raise InputError(f"{where}: there is no [architecture] in the plan and none in the model.")
            parts["architecture"] = settings.build(where, adapter)
        elif self.architecture is not None:
            raise InputError(f"{where}: a trainer of kind {self.trainer!r} takes no architecture.")
        trainer: Trainer = registry.build("trainers", self.trainer, self.model_extra or {}, where=where, **parts)
        return trainer

    def stated_claim(self) -> Claim | None:
        """The claim of the plan; None when it should follow from the training."""
        if self.claim is None:
            return None
        return self.claim.stated()


class AuditSettings(PlanTable):
    """``[audit]``: δ, the confidence of all bounds together, the design, the unit and the bound.

    With ``unit`` ``user``, all records of a user are included together, with probability 1/2. Beside ``[trace]``, unit
    and δ are those of the trace, and values given here must agree with them. ``bound`` judges the scores of
    ``[membership]``: a name of ``dpaudit list bounds``, your own among them, or a table with parameters; left out, it
    is the default of the design.
    """

    delta: float = Field(default=1e-5, ge=0, lt=1)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    design: Design = "one-run"
    unit: Unit = "record"
    bound: Annotated[BoundSettings, BeforeValidator(as_table)] | None = None


class SeedSettings(PlanTable):
    """``[seeds]``: seeds apart from one another; one that is not given is the plan's ``seed``.

    ``split`` draws the members, the population and the clients, ``training`` trains the models under audit, and
    ``attack`` is of everything else: reference models, canaries, attacks and bounds.
    """

    split: int | None = Field(default=None, ge=0)
    training: int | None = Field(default=None, ge=0)
    attack: int | None = Field(default=None, ge=0)


class ContextSettings(PlanTable):
    """``[report.context]``: what dpaudit cannot know, for the tables of evidence and the registry entry."""

    purpose: str = Field(default="", description=CONTEXT["purpose"])
    population: str = Field(default="", description=CONTEXT["population"])
    deployment: str = Field(default="", description=CONTEXT["deployment"])
    trust_model: str = Field(default="", description=CONTEXT["trust_model"])
    curator: str = Field(default="", description=CONTEXT["curator"])
    curator_type: str = Field(default="", description=CONTEXT["curator_type"])
    region: str = Field(default="", description=CONTEXT["region"])
    sector: str = Field(default="", description=CONTEXT["sector"])
    published: str = Field(default="", description=CONTEXT["published"])
    authors: str = Field(default="", description=CONTEXT["authors"])

    @model_validator(mode="after")
    def _can_be_used(self) -> "ContextSettings":
        checked_context({key: value for key, value in self if value})
        return self


class ReportSettings(PlanTable):
    """``[report]``: what the report says beside the figures."""

    context: ContextSettings = ContextSettings()


def file_name(name: str) -> str:
    """The name, if it can name a file."""
    if not NAME.fullmatch(name):
        raise ValueError(
            "must be 1 to 64 letters, digits, dots, dashes or underscores, starting with a letter or digit"
        )
    return name
