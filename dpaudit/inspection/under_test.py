"""The step of a trainer as it can be asked: a mechanism or a federated server, with what it states of itself."""

from dataclasses import dataclass

from dpaudit.accounting.claim import Claim
from dpaudit.inspection.inspect import Inspection, inspect_mechanism
from dpaudit.inspection.mechanism import Mechanism, Stated
from dpaudit.inspection.server import Server, inspect_server


@dataclass(frozen=True)
class UnderTest:
    """What a trainer's ``probe`` gives.

    Args:
        subject: takes per-example gradients, or per-client updates, that the audit chooses.
        stated: its clip norm, noise, denominator and the adjacency it is asked under.
    """

    subject: Mechanism | Server
    stated: Stated

    @property
    def mechanism(self) -> Mechanism:
        """One step, or one round of a server."""
        return self.subject.mechanism() if isinstance(self.subject, Server) else self.subject

    def inspect(self, *, seed: int, claim: Claim) -> Inspection:
        """Every check of a mechanism, and of a server those on weights and clip too."""
        if isinstance(self.subject, Server):
            return inspect_server(self.subject, self.stated, seed=seed, claim=claim)
        return inspect_mechanism(self.subject, self.stated, seed=seed, claim=claim)

    def canaries(self, wanted: int) -> int:
        """Canaries of one step: as many as wanted, or as the weights of a server show."""
        return min(wanted, self.subject.canaries) if isinstance(self.subject, Server) else wanted

    def with_canaries(self) -> Mechanism:
        """What step canaries are fed to."""
        return self.subject.canary_rounds(self.stated.clip) if isinstance(self.subject, Server) else self.subject
