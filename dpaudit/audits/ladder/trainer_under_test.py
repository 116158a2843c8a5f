"""What rungs 1 and 2 ask: the step of a subject's own trainer, and what is claimed of it."""

from dataclasses import dataclass, replace

from dpaudit.accounting.claim import Claim
from dpaudit.audits.audit import Audit, Subject
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.inspection.under_test import UnderTest
from dpaudit.training.capabilities import probe

NOTHING_CLAIMED = Skipped("it claims nothing, or was trained without DP")


@dataclass(frozen=True)
class StepUnderTest:
    """A step under test, and the claim of its training under the adjacency it is asked under."""

    under_test: UnderTest
    claim: Claim


def mechanism_of(audit: Audit, subject: Subject, *, seed: int) -> StepUnderTest | Skipped:
    """The step of a subject's trainer; a reason where nothing is claimed or nothing can be fed to it."""
    ran = subject.model.mechanism
    if ran is None or subject.claim is None:
        return NOTHING_CLAIMED
    found = probe(subject.trainer, audit.dataset, seed=seed)
    if isinstance(found, Skipped):
        return found
    # What is cut to the padding of a batch belongs to the whole training, not to a step.
    mechanism = replace(ran, slack=0.0)
    return StepUnderTest(found, replace(subject.claim, adjacency=found.stated.adjacency, mechanism=mechanism))
