"""What the games of ``[prior]`` showed: how often the hidden record was picked, beside what the noise allows."""

from pydantic import BaseModel, Field

from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.reconstruction import ReconstructionVerdict, Successes


class GameCell(BaseModel):
    """One mechanism and one number of candidates.

    Args:
        noise_multiplier: what was added.
        claimed: what the accountant was told.
        epsilon: of the claimed mechanism at the audit's δ.
        candidates: M.
        successes: games won.
        runs: games.
        gamma: the reconstruction bound γ(1/M) of the claimed mechanism.
        orthogonal: best success if all candidates' contributions are orthogonal and reach the clip norm.
        simplex: the same for the best arrangement known; for orientation, not proved.
        mean_norm: average contribution over the clip norm.
        power: probability that this audit contradicts the claim if only the suspected share of the noise is there.
        verdict: against γ.
        definition: ε by the definition.
        family: ε within Gaussian noise on this sampler.
    """

    noise_multiplier: float
    claimed: float
    epsilon: float
    candidates: int = Field(ge=2)
    successes: int = Field(ge=0)
    runs: int = Field(ge=1)
    gamma: float
    orthogonal: float
    simplex: float
    mean_norm: float
    power: float
    verdict: ReconstructionVerdict
    definition: LowerBound
    family: LowerBound


class PriorResult(BaseModel):
    """What the games showed."""

    steps: int
    rate: float
    cells: list[GameCell] = Field(min_length=1)

    def reconstructions(self) -> list[tuple[str, Successes]]:
        """Games won, by mechanism and number of candidates."""
        return [(self.named(cell), Successes(cell.successes, cell.runs, 1 / cell.candidates)) for cell in self.cells]

    def named(self, cell: GameCell) -> str:
        """What was played, in words."""
        added = "" if cell.noise_multiplier == cell.claimed else f" ({cell.noise_multiplier:g} added)"
        return f"noise multiplier {cell.claimed:g}{added}, {self.steps} steps, {cell.candidates} candidates"

    def bounds(self, model: str) -> list[LowerBound]:
        """None: the games train networks of their own, so they judge no model of the plan."""
        return []
