"""A claims file: what a model is held to, release after release. TOML in, typed and complete out.

It is a file of its own (``claims.toml``) or the table ``[tool.dpaudit]`` of a project's ``pyproject.toml``.
"""

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from dpaudit.accounting.claim import (
    Adjacency,
    Claim,
    FixedSize,
    GaussianSteps,
    Poisson,
    Sampling,
    SamplingName,
    Shuffled,
    TruncatedPoisson,
    Unit,
)
from dpaudit.gate.claim_places import ClaimPlace, claim_places
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import parse_toml, read_text
from dpaudit.runtime.first_error import first_error

PLACES = ("claims.toml", "pyproject.toml")


class _ClaimsTable(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _OnAModel(_ClaimsTable):
    """What every claim has: a name of its own, and the model it is about."""

    id: str = Field(min_length=1, max_length=200)
    model: str | None = None
    _place: ClaimPlace | None = PrivateAttr(default=None)

    @property
    def place(self) -> ClaimPlace | None:
        """Where it stands; None for one that was not read from a file."""
        return self._place


class EpsilonClaim(_OnAModel):
    """``kind = "epsilon"``: the model is (ε, δ)-differentially private.

    ``model`` may be left out when a result holds one model. ``sampling`` says which sampling the number was accounted
    for; a training that sampled otherwise contradicts it.
    """

    kind: Literal["epsilon"]
    epsilon: float = Field(ge=0)
    delta: float = Field(ge=0, lt=1)
    unit: Unit
    adjacency: Adjacency
    sampling: SamplingName | None = None

    def claim(self) -> Claim:
        """The claim as it is judged."""
        return Claim(self.epsilon, self.delta, unit=self.unit, adjacency=self.adjacency, source=f"claim {self.id}")


class MechanismClaim(_OnAModel):
    """``kind = "mechanism"``: the model was trained by this mechanism; its whole trade-off curve follows.

    Give ``rate`` with Poisson sampling, ``rate``, ``largest_batch`` and ``records`` with truncated Poisson sampling,
    ``batch_size`` and ``records`` with fixed-size batches, ``batches_per_epoch`` with shuffled ones. ``l2_norm_clip``,
    when given, must be the clip norm the training recorded.
    """

    kind: Literal["mechanism"]
    noise_multiplier: float = Field(gt=0)
    steps: int = Field(ge=1)
    sampling: SamplingName
    rate: float | None = Field(default=None, gt=0, le=1)
    largest_batch: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    records: int | None = Field(default=None, ge=1)
    batches_per_epoch: int | None = Field(default=None, ge=1)
    l2_norm_clip: float | None = Field(default=None, gt=0)
    delta: float = Field(gt=0, lt=1)
    unit: Unit
    adjacency: Adjacency

    @model_validator(mode="after")
    def _parameters_fit_the_sampling(self) -> "MechanismClaim":
        wanted = {
            "poisson": {"rate"},
            "truncated-poisson": {"rate", "largest_batch", "records"},
            "fixed-size": {"batch_size", "records"},
            "shuffled": {"batches_per_epoch"},
        }[self.sampling]
        given = {
            name
            for name in ("rate", "largest_batch", "batch_size", "records", "batches_per_epoch")
            if getattr(self, name) is not None
        }
        if given != wanted:
            raise ValueError(f"{self.sampling} sampling needs {' and '.join(sorted(wanted))} and nothing else")
        self.mechanism()
        return self

    def mechanism(self) -> GaussianSteps:
        """The mechanism as its accountant sees it."""
        sampling: Sampling
        if self.rate is not None and self.largest_batch is not None and self.records is not None:
            sampling = TruncatedPoisson(self.rate, self.largest_batch, self.records)
        elif self.rate is not None:
            sampling = Poisson(self.rate)
        elif self.batch_size is not None and self.records is not None:
            sampling = FixedSize(self.batch_size, self.records)
        else:
            sampling = Shuffled(self.batches_per_epoch or 0)
        return GaussianSteps(self.noise_multiplier, self.steps, sampling, unit=self.unit)


class _Measured(_OnAModel):
    """A claim on a metric: of one attack, or of every attack on the model when none is named.

    The metric ``reconstruction`` is the share of hidden records that an attacker picks out of the candidates. It is
    about no model but about what was released: ``release`` says from which, as a pattern of their names in the report
    ("*, with noise, *"); left out, from any.
    """

    metric: str
    attack: str | None = None
    release: str | None = None

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, metric: str) -> str:
        parse_metric(metric)
        return metric

    @model_validator(mode="after")
    def _subject_fits_the_metric(self) -> "_Measured":
        unfit = ("model", "attack") if self.metric == "reconstruction" else ("release",)
        for key in unfit:
            if getattr(self, key) is not None:
                raise ValueError(f"metric {self.metric!r} takes no {key}")
        return self

    def covers(self, release: str) -> bool:
        """Whether a claim on reconstruction is about this release."""
        return self.release is None or fnmatchcase(release, self.release)


class CeilingClaim(_Measured):
    """``kind = "ceiling"``: a metric is at most ``max``, judged by the edges of its interval."""

    kind: Literal["ceiling"]
    max: float = Field(ge=0, le=1)


class NoGrowthClaim(_Measured):
    """``kind = "no-growth"``: a metric has not grown by more than ``tolerance`` since the baseline."""

    kind: Literal["no-growth"]
    tolerance: float = Field(ge=0, le=1)


class ExtractionClaim(_OnAModel):
    """``kind = "extraction"``: at most ``max`` of the records whose extraction was measured are (n, p)-extractable.

    That is: n samples of what follows a record's prefix hold the rest with probability p or more. It is arithmetic on
    the records that were measured, and says nothing about others.
    """

    kind: Literal["extraction"]
    n: int = Field(ge=1)
    p: float = Field(gt=0, lt=1)
    max: int = Field(default=0, ge=0)


class UnlearningClaim(_OnAModel):
    """``kind = "unlearning"``: a record that was forgotten is within ε of one that was never there.

    It is about the method of ``[unlearning]`` on models like this one, and is judged by the lower bound measured there.
    """

    kind: Literal["unlearning"]
    epsilon: float = Field(ge=0)
    delta: float = Field(ge=0, lt=1)

    def claim(self) -> Claim:
        """The claim as it is judged."""
        return Claim(self.epsilon, self.delta, unit="record", adjacency="add-remove", source=f"claim {self.id}")


AnyClaim = Annotated[
    EpsilonClaim | MechanismClaim | CeilingClaim | NoGrowthClaim | ExtractionClaim | UnlearningClaim,
    Field(discriminator="kind"),
]


class Claims(_ClaimsTable):
    """A whole claims file.

    ``result`` and ``baseline`` are used when none are given elsewhere. They are relative to the file's folder.
    ``confidence`` is the probability that a model for which every claim is true passes. Without it, tests on metrics
    share 0.05, and the lower bounds on ε add the error level of their audit.
    """

    claims_schema: Literal[1] = Field(default=1, alias="schema")
    result: str | None = None
    baseline: str | None = None
    confidence: float | None = Field(default=None, gt=0, lt=1)
    claim: list[AnyClaim] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_differ(self) -> "Claims":
        ids = [claim.id for claim in self.claim]
        twice = sorted({each for each in ids if ids.count(each) > 1})
        if twice:
            raise ValueError(f"two claims have the id {twice[0]!r}")
        return self


def load_claims(path: Path) -> Claims:
    """Read a claims file, or ``[tool.dpaudit]`` of a ``pyproject.toml``.

    Raises:
        InputError: the file is missing or no TOML, holds no claim, a key is unknown (the nearest known one is offered),
            or a value has the wrong type or is out of range.
    """
    text = read_text(path)
    table = parse_toml(text, path)
    if path.name == "pyproject.toml":
        tool = table.get("tool", {})
        found = tool.get("dpaudit") if isinstance(tool, dict) else None
        if not isinstance(found, dict):
            raise InputError(f"{path} has no [tool.dpaudit] table with claims.")
        table = found
    claims = claims_from(table, where=str(path))
    for claim, place in zip(claims.claim, claim_places(text, path.as_posix(), len(claims.claim)), strict=True):
        claim._place = place  # of the file, not of what is claimed
    beside = {
        key: str(path.parent / value)
        for key, value in {"result": claims.result, "baseline": claims.baseline}.items()
        if value is not None
    }
    return claims.model_copy(update=beside)


def find_claims(folder: Path) -> Path:
    """``claims.toml`` of a folder, else its ``pyproject.toml`` with a ``[tool.dpaudit]`` table.

    Raises:
        InputError: there is neither.
    """
    for path in (folder / name for name in PLACES):
        if path.is_file() and (path.name != "pyproject.toml" or "[tool.dpaudit" in read_text(path)):
            return path
    raise InputError(
        "there are no claims: give --claims FILE, or write claims.toml or a [tool.dpaudit] table in pyproject.toml."
    )


def claims_from(table: dict[str, Any], *, where: str = "claims") -> Claims:
    """Claims from a table, checked.

    >>> table = {"id": "low", "kind": "ceiling", "metric": "auc", "max": 0.6}
    >>> claims_from({"claim": [table]}).claim[0].id
    'low'
    """
    try:
        return Claims.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        raise InputError(f"{where}: {first_error(error, Claims)}") from error


def parse_metric(text: str) -> tuple[str, float | None]:
    """A metric's name and the false-positive rate it is read at.

    >>> parse_metric("tpr@fpr=0.01"), parse_metric("auc")
    (('tpr', 0.01), ('auc', None))
    """
    name, at, rate = text.partition("@fpr=")
    if name == "tpr" and at:
        try:
            fpr = float(rate)
        except ValueError as error:
            raise InputError(f"metric {text!r}: the false-positive rate must be a number, got {rate!r}.") from error
        if not 0 < fpr < 1:
            raise InputError(f"metric {text!r}: the false-positive rate must be in (0, 1), got {rate}.")
        return "tpr", fpr
    if text in METRICS:
        return text, None
    raise InputError(
        f"metric must be one of {', '.join(map(repr, METRICS))} or 'tpr@fpr=0.01', got {text!r}."
        f"{check.nearest(text, METRICS)}"
    )


METRICS = ("advantage", "auc", "reconstruction")
