"""The gate's answer for each result of a release train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpaudit.gate.claims_file import Claims, NoGrowthClaim
from dpaudit.gate.verify import Gate, verify
from dpaudit.results.result import Result
from dpaudit.runtime.errors import InputError

WORDS = {0: "passes", 1: "stopped", 3: "no verdict"}


@dataclass(frozen=True)
class ReleaseAnswer:
    """What the gate says of one result.

    Args:
        gate: all judgements; None where it refuses.
        refused: why it does, as the command would say it; empty where it does not.
        left_out: claims on growth that have no earlier result to compare with.
    """

    gate: Gate | None
    refused: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The answer in a word or two."""
        return "refused" if self.gate is None else WORDS[self.gate.exit_code()]


def answer_releases(results: Mapping[Path, Result], claims: Sequence[Claims]) -> dict[Path, ReleaseAnswer]:
    """The gate's answer for every result, each with the one before it as the baseline of claims on growth.

    Args:
        results: by their paths, oldest first.
        claims: what all of them are held to.
    """
    answers: dict[Path, ReleaseAnswer] = {}
    before: Result | None = None
    for path, result in results.items():
        answers[path] = _answer(result, claims, before)
        before = result
    return answers


def chance_of_any(answers: Mapping[Path, ReleaseAnswer]) -> float:
    """At most this often the gate stops any of the releases by chance, though all of them keep every claim.

    >>> chance_of_any({})
    0.0
    """
    return min(1.0, sum((each.gate.false_alarms for each in answers.values() if each.gate is not None), 0.0))


def _answer(result: Result, claims: Sequence[Claims], before: Result | None) -> ReleaseAnswer:
    growth = [each.id for file in claims for each in file.claim if isinstance(each, NoGrowthClaim)]
    files = list(claims)
    left_out: tuple[str, ...] = ()
    if before is None and growth:
        kept = [[each for each in file.claim if not isinstance(each, NoGrowthClaim)] for file in claims]
        files = [file.model_copy(update={"claim": own}) for file, own in zip(claims, kept, strict=True) if own]
        left_out = tuple(growth)
        if not files:
            return ReleaseAnswer(None, "Every claim is on growth, and there is no earlier result.", left_out)
    try:
        return ReleaseAnswer(verify(result, files, baseline=before if growth else None), "", left_out)
    except InputError as error:  # a train may hold results that a claim is not about, and the page says so
        return ReleaseAnswer(None, str(error), left_out)
