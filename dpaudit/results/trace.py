"""What a recorded federation shows."""

from pydantic import BaseModel

from dpaudit.bounds.lower_bound import Finding, LowerBound, Unchecked
from dpaudit.results.federated import CanaryResult, UserResult


class TraceResult(BaseModel):
    """What the trace shows."""

    name: str
    framework: str
    rounds: int
    missing: list[int]
    checks: list[Finding]
    not_checked: list[Unchecked] = []
    canaries: list[CanaryResult] = []
    users: list[UserResult] = []

    def bounds(self, model: str) -> list[LowerBound]:
        """Lower bounds on the federation's ε."""
        return [found.bound for found in self.canaries if found.model == model] + [
            found.bound for found in self.users if found.model == model
        ]

    def findings(self, model: str) -> list[Finding]:
        """What in the trace contradicts its claim."""
        return self.checks if model == self.name else []
