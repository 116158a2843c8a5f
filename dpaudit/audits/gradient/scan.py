"""What a client that scans the weights of its server finds before it trains on them."""

from dataclasses import dataclass

from dpaudit.attacks.gradient.scanner import NOT_SEEN, scan
from dpaudit.audits.gradient.stage import stage_of
from dpaudit.audits.gradient.stage_inputs import StageInputs
from dpaudit.audits.gradient.texts import TextStage, text_stage_of
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
        stage = (text_stage_of if self.texts else stage_of)(self.given)
        name, queries = self.given.settings.server.name, 1 if isinstance(stage, TextStage) else stage.asks
        found = list(scan(stage.victims.weights))
        return Scanned(FacedServer(name=name, findings=found, not_seen=list(NOT_SEEN), queries=queries))
