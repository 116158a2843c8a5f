"""What a client that scans the weights of its server finds before it trains on them."""

from dataclasses import dataclass

from dpaudit.attacks.gradient.scanner import NOT_SEEN, scan
from dpaudit.audits.gradient.stage import stage_of
from dpaudit.audits.gradient.stage_inputs import StageInputs
from dpaudit.audits.gradient.texts import text_stage_of
from dpaudit.results.gradient import FacedServer


@dataclass(frozen=True)
class Scanned:
    """What the scanner says."""

    server: FacedServer


@dataclass(frozen=True, eq=False)
class Scan:
    """A task: the weights that the server sends, as a client scans them."""

    given: StageInputs
    texts: bool

    def __call__(self) -> Scanned:
        """The findings."""
        victims = (text_stage_of if self.texts else stage_of)(self.given).victims
        name = self.given.settings.server.name
        return Scanned(FacedServer(name=name, findings=list(scan(victims.weights)), not_seen=list(NOT_SEEN)))
