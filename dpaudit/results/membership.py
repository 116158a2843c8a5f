"""What membership inference found: of each attack on each model, on its reference models, and on single records."""

from typing import Annotated

from pydantic import AliasChoices, BaseModel, Field, PrivateAttr, model_validator

from dpaudit.accounting.claim import Design
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.data.blind_baseline import BlindBaseline
from dpaudit.data.duplicates import Duplicates
from dpaudit.data.member_choice import MemberChoice
from dpaudit.results.record_scores import ScoresBeside
from dpaudit.results.text import TextResult
from dpaudit.scores.roc import TprAtFpr
from dpaudit.scores.slices import Slices
from dpaudit.scores.targets import NullCheck, OverTargets
from dpaudit.scores.vulnerable_records import Exposed, RecordRates


class RocCurve(BaseModel):
    """A ROC curve thinned to what can be seen, with its pointwise 95 % band."""

    fpr: list[float]
    tpr: list[float]
    low: list[float]
    high: list[float]

    @model_validator(mode="after")
    def _same_length(self) -> "RocCurve":
        if not 0 < len(self.fpr) == len(self.tpr) == len(self.low) == len(self.high):
            raise ValueError("a curve needs as many rates of one kind as of the other, at least one")
        return self


class AttackResult(BaseModel):
    """What one attack found on one model.

    Args:
        members: how many records, or users, of those that the scores are about are members.
        nonmembers: how many are not.
        bound: None when the scores allow no bound on ε, because of how the members were chosen, or when another attack
            was named beforehand as the one that decides.
        spent: records whose membership the attack was told, and which it was not judged on.
    """

    model: str
    attack: str
    version: str
    paper: str
    members: int
    nonmembers: int
    auc: float
    auc_standard_error: float
    advantage: float
    tpr_at_fpr: list[TprAtFpr]
    bound: LowerBound | None
    curve: RocCurve
    slices: Slices | None = None
    spent: int = 0


class PoolResult(BaseModel):
    """What one attack found on the reference models of one model, each in turn the target.

    ``null`` is the same on shuffled signals, which cannot leak: the self-test of the experiment. Of
    more than 20,000 records it is 40 shuffles of 5,000 each, which show an AUC that is off by 0.001 under 64 models.
    """

    model: str
    attack: str
    version: str
    over_targets: OverTargets
    null: NullCheck


class ExposedRecords(BaseModel):
    """Records whose membership shows in models trained like this one, by row number in the source of the data.

    ``rates``: for the same records in the same order, how often the attack ``auto`` calls them members.
    ``trained_on``: which of them were in this model's own training data; None in results that do not say.
    """

    model: str
    exposed: Exposed
    rates: RecordRates | None = Field(default=None, validation_alias=AliasChoices("rates", "accused"))
    trained_on: tuple[bool, ...] | None = None


class SkippedAttack(BaseModel):
    """An attack that could not run, and what it lacked."""

    attack: str
    reason: str


class Trained(BaseModel):
    """How a model was trained, as far as that is known, and the accuracy it reached.

    Args:
        optimizer: its name; empty when unknown.
        learning_rate: the number, or the class of a schedule; empty when unknown.
        steps: of the optimizer; None when unknown.
        train: accuracy on training records, of references their mean.
        test: accuracy on held-out records.
    """

    optimizer: str
    learning_rate: str
    steps: int | None
    train: float
    test: float


class Likeness(BaseModel):
    """Target and references side by side.

    ``unlike`` says in sentences where they differ by more than chance; empty when they do not.
    """

    target: Trained
    references: Trained
    train_sd: float
    test_sd: float
    models: int
    unlike: list[str] = []


class MembershipResult(BaseModel):
    """What the attacks found.

    ``stacked``: models whose references were trained by the stacked engine, though they were not themselves.
    ``chosen``: how members were chosen; None in results from before that was recorded, and where every score is of a
    training of its own. ``lower_is_member``: whether the scores given were negated, because lower meant a member.
    ``blind`` and ``duplicates``: of the records themselves, where they are known.
    ``likeness``: of a given model and its references, where accuracies can be compared.
    ``caveats``: what a reader must know beside the verdicts, in sentences; they decide nothing.
    ``text``: of records that are texts; an attack without a bound there did not decide.
    """

    design: Design
    chosen: Annotated[MemberChoice, Field(discriminator="kind")] | None = None
    lower_is_member: bool = False
    blind: BlindBaseline | None = None
    duplicates: Duplicates | None = None
    attacks: list[AttackResult]
    references: int = 0
    likeness: Likeness | None = None
    stacked: list[str] = []
    pools: list[PoolResult] = []
    exposed: list[ExposedRecords] = []
    skipped: list[SkippedAttack] = []
    floored: dict[str, int] = {}
    caveats: list[str] = []
    text: TextResult | None = None
    _scores: ScoresBeside = PrivateAttr(default_factory=ScoresBeside)

    @property
    def scores(self) -> ScoresBeside:
        """Scores of single records, in the order of ``attacks``; they lie beside ``result.json``."""
        return self._scores

    def keep(self, scores: ScoresBeside) -> None:
        """Say where the scores of single records are."""
        self._scores = scores

    def bounds(self, model: str) -> list[LowerBound]:
        """Lower bounds on one model's ε."""
        return [attack.bound for attack in self.attacks if attack.model == model and attack.bound is not None]

    def by_name(self, model: str) -> dict[str, AttackResult]:
        """Attacks on one model; one that ran again, with other parameters, has a number behind its name."""
        found: dict[str, AttackResult] = {}
        for outcome in self.attacks:
            if outcome.model == model:
                before = sum(other.attack == outcome.attack for other in found.values())
                found[f"{outcome.attack} ({before + 1})" if before else outcome.attack] = outcome
        return found
