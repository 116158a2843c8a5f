"""What an audit can find: lower bounds, estimates, credible intervals, findings. Different types on purpose.

Only a `LowerBound` is compared with a claim. An `Estimate` carries no guarantee and a `CredibleInterval` holds
under its prior, so neither can be passed where a bound is wanted.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from dpaudit.accounting.claim import Adjacency, Protection, Unit
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

ProcedureKind = Literal["", "fixed", "held-out", "union", "several-splits", "sequential", "cross-fit"]
PROCEDURES: tuple[str, ...] = get_args(ProcedureKind)


@dataclass(frozen=True)
class Procedure:
    """How the threshold or the number of guesses behind a bound was chosen; its power depends on it.

    Args:
        kind: ``fixed`` beforehand, ``held-out``, ``union`` of a list, ``several-splits``, or ``sequential`` where the
            trials end with the refutation; empty when it is not known.
        figures: of ``fixed`` the threshold, or the numbers of guesses of members and of non-members; of ``union`` the
            thresholds, or the shares of the trials that are guessed; of ``held-out`` the share that is held out (of
            a bound of one run the share that was, which differs by chance); of ``several-splits`` their number and the
            share that each holds out; of ``cross-fit``, in results of earlier
            versions, the number of folds.
        member_share: share of members among the trials judged.
        split: whether a part of a random split was judged, where one change moves the scores of two records.
    """

    kind: ProcedureKind = ""
    figures: tuple[float, ...] = ()
    member_share: float = 0.5
    split: bool = False

    def __post_init__(self) -> None:
        check.one_of("procedure", self.kind, PROCEDURES)


@dataclass(frozen=True)
class ErrorLevel:
    """How the audit's one error level is shared among its lower bounds (a union bound)."""

    confidence: float
    bounds: int
    per_bound: float

    @classmethod
    def shared(cls, confidence: float, bounds: int) -> "ErrorLevel":
        """One error level shared equally among all lower bounds, so that they all hold together.

        >>> ErrorLevel.shared(0.95, 5).per_bound
        0.99
        """
        return cls(confidence=confidence, bounds=bounds, per_bound=round(1 - (1 - confidence) / max(1, bounds), 12))


@dataclass(frozen=True)
class Skipped:
    """Why something was not done, in place of what would have come out of it.

    Args:
        reason: part of a sentence, without a full stop.
    """

    reason: str


@dataclass(frozen=True)
class Unchecked:
    """A check that was not made, and why.

    Args:
        check: what would have been checked.
        reason: in words, without a full stop.
    """

    check: str
    reason: str


@dataclass(frozen=True)
class LowerBound:
    """ε is at least ``epsilon``, said with ``confidence``; never a bare number.

    Args:
        epsilon: the bound, at least 0 and at most ``ceiling``.
        delta: the δ it holds for.
        confidence: probability, over the audit's own randomness, that a true ε is not below the bound.
        method: name of the bound, as in `dpaudit.runtime.plugins`.
        adjacency: neighbouring data sets it speaks of.
        unit: ``record`` or ``user``.
        assumptions: what must be true for it to hold, one sentence each.
        ceiling: what a perfect attack could have certified on the same number of trials.
        family: empty when it holds by the definition of differential privacy; otherwise the family of mechanisms
            within which it holds ("Gaussian noise on the accounted sampler").
        trials: number of independent membership coins behind it, as used: fewer than the records given where members
            were chosen unevenly.
        procedure: how the threshold or the number of guesses was chosen.
        note: what a reader should know about the trials or δ, in one sentence; empty when there is nothing.
    """

    epsilon: float
    delta: float
    confidence: float
    method: str
    adjacency: Adjacency
    unit: Unit
    assumptions: tuple[str, ...]
    ceiling: float
    trials: int
    family: str = ""
    procedure: Procedure = Procedure()
    note: str = ""

    def __post_init__(self) -> None:
        check.nonnegative("epsilon", self.epsilon)
        _ = self.protection  # which checks itself
        check.open_unit("confidence", self.confidence)
        if not self.epsilon <= self.ceiling + 1e-9 * max(1.0, self.ceiling):
            raise InputError(f"epsilon {self.epsilon!r} is above its ceiling {self.ceiling!r}.")

    @property
    def protection(self) -> Protection:
        """Of what it bounds the ε."""
        return Protection(self.unit, self.adjacency, self.delta)


@dataclass(frozen=True)
class Estimate:
    """A guess at ε without a guarantee; it cannot be compared with a claim."""

    epsilon: float
    delta: float
    method: str
    note: str


@dataclass(frozen=True)
class CredibleInterval:
    """ε lies in [low, high] with posterior probability ``credibility`` under the stated prior.

    It is not a confidence bound.
    """

    low: float
    high: float
    delta: float
    credibility: float
    method: str
    prior: str


@dataclass(frozen=True)
class Finding:
    """Something a check saw that should not be there.

    Args:
        check: name of the check.
        severity: ``violation`` contradicts the claim; ``warning`` does not by itself.
        fed: what was put in.
        observed: what came out.
        expected: what a right implementation gives.
        remedy: how to mend it.
        true_epsilon: the ε there really is, when it can be computed.
        rung: rung of the audit ladder that saw it.
    """

    check: str
    severity: Literal["violation", "warning"]
    fed: str
    observed: str
    expected: str
    remedy: str
    rung: int
    true_epsilon: float | None = None
