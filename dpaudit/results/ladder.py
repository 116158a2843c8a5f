"""What the audit ladder found, rung by rung."""

from pydantic import BaseModel

from dpaudit.bounds.lower_bound import Finding, LowerBound


class BudgetChoice(BaseModel):
    """What a budget gave one rung on one model, before any score was seen.

    Args:
        rung: which.
        chosen: whether it runs.
        amount: of what, in words.
        seconds: it is predicted to take.
        visible: smallest true ε at which it would contradict the claim with probability 0.8, if the attack saw all
            that leaks; None where nothing is guessed or nothing claimed.
        reason: for the amount.
    """

    rung: int
    chosen: bool
    amount: str
    seconds: float
    visible: float | None
    reason: str


class RungResult(BaseModel):
    """What one rung found on one model.

    ``skipped`` says why it could not run; empty when it ran. ``choice``: what a budget gave it; None without one.
    """

    model: str
    rung: int
    name: str
    sees: str
    blind_to: str
    findings: list[Finding] = []
    bound: LowerBound | None = None
    noise_multiplier: float | None = None
    seconds: float = 0.0
    skipped: str = ""
    choice: BudgetChoice | None = None


class LadderResult(BaseModel):
    """The ladder, rung by rung."""

    rungs: list[RungResult]

    def bounds(self, model: str) -> list[LowerBound]:
        """Lower bounds on one model's ε."""
        return [rung.bound for rung in self.rungs if rung.model == model and rung.bound is not None]

    def findings(self, model: str) -> list[Finding]:
        """Findings on one model."""
        return [finding for rung in self.rungs if rung.model == model for finding in rung.findings]
