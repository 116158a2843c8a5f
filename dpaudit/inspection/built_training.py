"""A training that says of itself what it does: its step, its noise and clip, its accountant and its batches."""

from dataclasses import dataclass, replace

from dpaudit.accounting.claim import Claim, GaussianSteps
from dpaudit.bounds.lower_bound import Finding, Unchecked
from dpaudit.inspection.mechanism import Mechanism, Stated
from dpaudit.inspection.participation import StatedParticipation, inspect_participation
from dpaudit.inspection.recorded import RecordedBatches

# What a trace of batches leaves open, and the step itself answers.
ASKED_OF_THE_STEP = ("noise at every step", "the accountant's own count of steps")


@dataclass(frozen=True)
class BuiltTraining:
    """What a factory built, read from where it stands.

    Args:
        mechanism: its step, to be asked chosen questions.
        stated: its clip, noise, divisor and adjacency.
        accounted: what its accountant is told.
        batches: batches that its loader drew; None when there is no loader to ask.
        findings: what reading it showed already.
        not_checked: what could not be read, and why.
    """

    mechanism: Mechanism
    stated: Stated
    accounted: GaussianSteps
    batches: RecordedBatches | None = None
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[Unchecked, ...] = ()

    def reconciled(self, claim: Claim, *, level: float) -> StatedParticipation:
        """Rung 0: what reading showed, and the batches that were drawn against those accounted for.

        Args:
            claim: at whose δ and adjacency the ε of records drawn too often is given.
            level: chance of a false alarm over all tests on the batches.
        """
        public = claim.adjacency != "add-remove"  # the number of records
        findings = tuple(each for each in self.findings if not (public and each.check == "divisor"))
        if self.batches is None:
            return StatedParticipation(findings, self.not_checked)
        drawn = replace(self.accounted, steps=len(self.batches.batches))
        found = inspect_participation(drawn, self.batches, level=level, claim=claim)
        unseen = [each for each in found.not_checked if each.check not in ASKED_OF_THE_STEP]
        return StatedParticipation((*findings, *found.findings), (*self.not_checked, *unseen))
