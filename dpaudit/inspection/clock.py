"""The time of an inspection: every question looks at it before it asks, and what was left out is listed."""

import math
import time
from dataclasses import dataclass, field

from dpaudit.inspection.sight import Sight


@dataclass
class Clock:
    """When questions end, and which of them there was no time for.

    Args:
        seconds: that an inspection may take from now on; without end when not given.
        planned: seconds that are planned, where it may take longer on a busy machine.

    >>> clock = Clock(0.0)
    >>> clock.allows("the clip")
    False
    >>> clock.sights()[0].kind
    'the clip'
    """

    seconds: float = math.inf
    planned: float = math.inf
    begin: float = field(default_factory=lambda: time.monotonic())
    until: float = math.inf
    late: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.planned = min(self.planned, self.seconds)
        self.until = self.begin + self.seconds

    def stage(self, share: float, *, planned: bool = False) -> None:
        """The questions from here on end when this share of all the time, or of the planned time, is over."""
        self.until = self.begin + share * (self.planned if planned else self.seconds)

    @property
    def left(self) -> float:
        """Seconds until the end of this stage."""
        return self.until - time.monotonic()

    def allows(self, kind: str) -> bool:
        """Whether there is time for one more question; if not, its kind is remembered."""
        if self.left > 0:
            return True
        self.miss(kind)
        return False

    def miss(self, kind: str) -> None:
        """Remember a question that there was no time for."""
        self.late[kind] = None

    def sights(self) -> list[Sight]:
        """What there was no time for."""
        return [
            Sight(kind, "no time was left for all of it: a longer budget asks more (--budget)", asked=False)
            for kind in self.late
        ]
