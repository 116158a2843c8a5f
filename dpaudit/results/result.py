"""What an audit found: typed, JSON both ways, enough to draw the report again and to gate on."""

import math
import platform
import sys
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import to_json

from dpaudit.accounting.accounted_claim import AccountedClaim
from dpaudit.accounting.claim import Adjacency, GaussianSteps, NoiseKnowledge, Unit
from dpaudit.bounds.lower_bound import ErrorLevel, Finding, LowerBound
from dpaudit.bounds.reconstruction import Successes
from dpaudit.bounds.verdict import Comparison
from dpaudit.data.dataset import Dataset
from dpaudit.results.extraction import ExtractionResult
from dpaudit.results.federated import FederatedResult
from dpaudit.results.gradient import GradientResult
from dpaudit.results.ladder import LadderResult
from dpaudit.results.membership import MembershipResult
from dpaudit.results.metric import Metric
from dpaudit.results.prior import PriorResult
from dpaudit.results.record_scores import FILE as SCORES_FILE
from dpaudit.results.record_scores import ScoresBeside
from dpaudit.results.trace import TraceResult
from dpaudit.results.unlearning import UnlearningResult
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.runtime.files import alone_in, read_text, write_text
from dpaudit.runtime.first_error import first_error
from dpaudit.runtime.machine import versions_of

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
VERSIONS_OF = (
    "dpaudit", "numpy", "scipy", "pandas", "scikit-learn", "dp-accounting",
    "tensorflow", "tf-keras", "tensorflow-privacy",
)  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Provenance(_Part):
    """Where the numbers come from."""

    created: str
    versions: dict[str, str]
    platform: str
    seed: int | None
    plan: str | None
    plan_fingerprint: str | None


class DataSummary(_Part):
    """The audited data, without a single record of it. ``notes``: how it was read and encoded, in sentences."""

    name: str
    records: int
    members: int
    population: int
    fingerprint: str | None
    licence: str
    notes: list[str] = []


class Utility(_Part):
    """How good the model is: accuracy of a classifier, mean squared error of a regression, mean loss of a token."""

    metric: Metric
    train: float
    test: float


class ModelResult(_Part):
    """One model under audit.

    ``noise``: what is known of the noise of its training; None in results that did not record it, where the trainer and
    the mechanism say it. ``start``: the weights it started from, in a sentence; None where they were drawn at random.
    """

    name: str
    trainer: str
    parameters: dict[str, Any]
    mechanism: GaussianSteps | None
    accounted: Annotated[AccountedClaim | None, Field(validation_alias=AliasChoices("accounted", "promise"))]
    utility: Utility | None
    noise: NoiseKnowledge | None = None
    start: str | None = None


class Result(_Part):
    """A whole audit."""

    result_schema: Literal[1] = Field(default=1, alias="schema")
    name: str
    title: str
    unit: Unit
    adjacency: Adjacency
    delta: float
    provenance: Provenance
    data: DataSummary
    level: ErrorLevel
    models: list[ModelResult]
    comparisons: list[Comparison]
    membership: MembershipResult | None = None
    federated: FederatedResult | None = None
    ladder: LadderResult | None = None
    unlearning: UnlearningResult | None = None
    gradient: GradientResult | None = None
    prior: PriorResult | None = None
    trace: TraceResult | None = None
    extraction: list[ExtractionResult] = []
    timing: dict[str, float] = {}

    @field_validator("extraction", mode="before")
    @classmethod
    def _of_one_model(cls, given: Any) -> Any:
        """Results were once of one model, or of none."""
        return [] if given is None else [given] if isinstance(given, dict) else given

    def extraction_from(self, model: str) -> ExtractionResult | None:
        """What can be extracted from one model; None where nothing was measured."""
        return next((found for found in self.extraction if found.model in ("", model)), None)

    def comparison(self, model: str) -> Comparison | None:
        """The verdict on one model; None when it claims nothing."""
        return next((found for found in self.comparisons if found.subject == model), None)

    @property
    def outcomes(
        self,
    ) -> list[
        MembershipResult
        | FederatedResult
        | LadderResult
        | UnlearningResult
        | GradientResult
        | PriorResult
        | TraceResult
        | ExtractionResult
    ]:
        """What the experiments of this audit found, one entry for each that ran."""
        every = (
            self.membership,
            self.federated,
            self.ladder,
            self.unlearning,
            self.gradient,
            self.prior,
            self.trace,
            *self.extraction,
        )
        return [outcome for outcome in every if outcome is not None]

    def bounds(self, model: str) -> list[LowerBound]:
        """Every lower bound on one model's ε."""
        return [bound for outcome in self.outcomes for bound in outcome.bounds(model)]

    def findings(self, model: str) -> list[Finding]:
        """Everything a check saw on one model that should not be there."""
        return [
            finding for outcome in self.outcomes if hasattr(outcome, "findings") for finding in outcome.findings(model)
        ]

    @property
    def reconstructions(self) -> dict[str, Successes]:
        """How often an attacker picked the hidden record out of its candidates, by what was released."""
        parts = (self.gradient, self.prior)
        return {name: tried for part in parts if part is not None for name, tried in part.reconstructions()}

    @property
    def contradicted(self) -> bool:
        """Whether any claim is contradicted."""
        return any(found.verdict == "contradicted" for found in self.comparisons)

    @property
    def no_verdict(self) -> bool:
        """Whether what was measured says nothing about a claim."""
        return any(found.verdict == "no verdict" for found in self.comparisons)

    def frame(self, name: str) -> "pd.DataFrame":
        """A table of pandas, one row for each thing that was measured.

        Args:
            name: ``attacks``, ``bounds``, ``models``, ``pools``, ``scores`` (of single records) or ``slices``; the
                columns and their units are listed in `dpaudit.results.frames.COLUMNS`. A table of what the audit did
                not measure has no rows.

        Raises:
            InputError: no such table, or the scores of single records were moved away from the result.

        >>> import dpaudit
        >>> result = dpaudit.audit_scores([3.0, 2.0, 1.0, 0.0], [True, True, False, False])
        >>> result.frame("scores")["score"].tolist()
        [3.0, 2.0, 1.0, 0.0]
        """
        from dpaudit.results.frames import frame

        return frame(self, name)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write what the commands write: ``result.json``, ``scores.npz``, ``report.html`` and its figures.

        `dpaudit.load_result` reads it, and ``dpaudit report``, ``verify`` and ``export`` work on the folder.

        Args:
            folder: made if it is not there.
            overwrite: whether another result in the folder may be replaced; the same result may be saved again.

        Raises:
            InputError: the folder holds another result, or cannot be written.
        """
        folder = Path(folder)
        with alone_in(folder):  # or the result of one audit could lie beside the report of another
            there = folder / "result.json"
            if there.exists() and not overwrite and not _same(there, self):
                raise InputError(
                    f"{folder} holds another result and is kept as it is; give another folder, or overwrite=True."
                )
            self.write(folder)

    def write(self, folder: Path) -> None:
        """`save` for a caller that has the folder for itself, whatever lies in it."""
        from dpaudit.reports.html import write_report

        scores = folder / SCORES_FILE
        if self.membership is not None and self.membership.scores.known:
            self.membership.scores.read().write(scores)
        else:  # those that lie there are of another result
            scores.unlink(missing_ok=True)
        write_text(folder / "result.json", self.json())
        write_report(self, folder)

    def _repr_html_(self) -> str:
        """What a notebook shows: one row for each model, and below it the whole report in a frame of its own.

        Where a notebook is shown without scripts and frames, as on GitHub, the table remains.
        """
        from dpaudit.reports.html import page

        rows = []
        for model in self.models:
            found = self.comparison(model.name)
            strongest = max((bound.epsilon for bound in self.bounds(model.name)), default=None)
            cells = (
                model.name,
                found.verdict if found is not None else "no claim",
                f"{found.claim.epsilon:.3g}" if found is not None else "–",
                f"{strongest:.3g}" if strongest is not None else "–",
                found.sentence if found is not None else "",
            )
            rows.append("".join(f"<td>{escape(cell)}</td>" for cell in cells))
        head = "".join(f"<th>{word}</th>" for word in ("model", "verdict", "claimed ε", "measured ε ≥", "in words"))
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        table = (
            f"<table><caption>{escape(self.title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )
        return (
            f'{table}<iframe title="The whole report" sandbox="allow-scripts" style="width:100%;height:40rem;border:0" '
            f'srcdoc="{escape(page(self))}"></iframe>'
        )

    def json(self) -> str:  # type: ignore[override]  # pydantic's deprecated method of the same name
        """The text of ``result.json``; infinite values are the string "Infinity".

        Raises:
            AuditFailed: a value is NaN, which no part of an audit may pass on.
        """
        content = self.model_dump(by_alias=True)
        if (place := _nan_in(content)) is not None:
            raise AuditFailed(f"{place} of the result is NaN; please report this with the plan.")
        return to_json(content, indent=1, inf_nan_mode="strings").decode() + "\n"


def _nan_in(value: object, place: str = "") -> str | None:
    """Where the first NaN is."""
    if isinstance(value, float):
        return place if math.isnan(value) else None
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return next((found for key, part in items if (found := _nan_in(part, f"{place}.{key}".lstrip(".")))), None)


def _same(path: Path, result: Result) -> bool:
    """Whether a file holds this result, but for when and how fast it was made."""

    def apart_from_time(one: Result) -> str:
        when = one.provenance.model_copy(update={"created": ""})
        return one.model_copy(update={"timing": {}, "provenance": when}).json()

    try:
        return path.exists() and apart_from_time(load_result(path)) == apart_from_time(result)
    except InputError:  # no result of ours, so another one in any case
        return False


def load_result(path: str | Path) -> Result:
    """Read a ``result.json``, or the one in a folder.

    Raises:
        InputError: it is missing, no JSON, or not a result of this schema.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "result.json"
    found = result_from_json(read_text(path), where=str(path))
    if found.membership is not None:
        found.membership.keep(ScoresBeside(path=path.with_name(SCORES_FILE)))
    return found


def result_from_json(text: str, *, where: str) -> Result:
    """A result from JSON text."""
    try:
        return Result.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{where} is not a result of schema {SCHEMA}: {first_error(error, Result)}") from error


def provenance(*, seed: int | None, plan: str | None = None, fingerprint: str | None = None) -> Provenance:
    """Versions, machine and time of this audit."""
    return Provenance(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=versions_of(VERSIONS_OF),
        platform=f"{platform.system()} {platform.machine()}, {sys.implementation.name}",
        seed=seed,
        plan=plan,
        plan_fingerprint=fingerprint,
    )


def summary(dataset: Dataset, *, members: int, population: int) -> DataSummary:
    """What a result says about its data."""
    return DataSummary(
        name=dataset.name,
        records=len(dataset),
        members=members,
        population=population,
        fingerprint=dataset.fingerprint,
        licence=dataset.licence,
        notes=list(dataset.reading),
    )
