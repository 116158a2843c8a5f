"""What attacks drew from the gradients of a language model, as the result keeps it."""

from pydantic import BaseModel, Field, model_validator

from dpaudit.bounds.reconstruction import ReconstructionVerdict, Successes
from dpaudit.scores.intervals import interval

SHOWN = 0.95  # confidence of the intervals beside a share; no claim is judged by them


class TextCell(BaseModel):
    """One scenario, defence and attack on texts; lists have one value for each victim.

    Args:
        scenario: name.
        defence: name.
        attack: name.
        epsilon: of one release at the audit's δ; None without noise.
        refused: why the attack found nothing on some victims, each reason once.
        tokens: different tokens in the batch.
        named: tokens that the attack names.
        right: of those, tokens that are in the batch.
        texts: different texts in the batch.
        recovered: of those, texts found word for word; None when the attack looks for tokens only.
        invented: texts that the attack gives and that are not in the batch; None as before.
        kappa: probability that guessing without the gradient names a victim's text, as all know what texts there are.
        verdict: against the reconstruction bound, on whole batches; None without an ε, and for tokens only.
    """

    scenario: str
    defence: str
    attack: str
    epsilon: float | None
    refused: list[str]
    tokens: list[int] = Field(min_length=1)
    named: list[int]
    right: list[int]
    texts: list[int]
    recovered: list[int] | None
    invented: list[int] | None
    kappa: float = Field(gt=0, lt=1)
    verdict: ReconstructionVerdict | None

    @model_validator(mode="after")
    def _of_the_same_victims(self) -> "TextCell":
        lists = [self.named, self.right, self.texts, *(each for each in (self.recovered, self.invented) if each)]
        if any(len(values) != len(self.tokens) for values in lists):
            raise ValueError(f"every list needs one value for each of the {len(self.tokens)} victims")
        if any(r > min(n, t) for r, n, t in zip(self.right, self.named, self.tokens, strict=True)):
            raise ValueError("no more tokens can be right than are named or there")
        if self.recovered is not None and any(r > t for r, t in zip(self.recovered, self.texts, strict=True)):
            raise ValueError("no more texts can be recovered than there are")
        return self

    @property
    def name(self) -> str:
        """What was released, and who attacked it."""
        return f"{self.scenario}, {self.defence}, {self.attack}"

    @property
    def victims(self) -> int:
        """Victims tried."""
        return len(self.tokens)

    @property
    def precision(self) -> float | None:
        """Share of the named tokens that are right; None when none is named."""
        return sum(self.right) / sum(self.named) if sum(self.named) else None

    @property
    def recall(self) -> float:
        """Share of the tokens that are named."""
        return sum(self.right) / sum(self.tokens)

    @property
    def whole(self) -> int:
        """Victims whose every text is recovered, with none invented beside them."""
        if self.recovered is None or self.invented is None:
            return 0
        each = zip(self.recovered, self.texts, self.invented, strict=True)
        return sum(found == there and not more for found, there, more in each)

    @property
    def whole_share(self) -> tuple[float, float]:
        """Exact 95 % limits of the share of such victims: the texts of one victim are no trials apart."""
        low, high = interval(self.whole, self.victims, SHOWN)
        return float(low), float(high)

    @property
    def successes(self) -> Successes | None:
        """Whole batches recovered; None for an attack on tokens."""
        return None if self.recovered is None else Successes(self.whole, self.victims, self.kappa)


class ShownText(BaseModel):
    """A victim's first text, and what an attack made of its gradient.

    Args:
        scenario: name.
        defence: name.
        text: as it was.
        found: the same text as recovered; None when it was not.
    """

    scenario: str
    defence: str
    text: str
    found: str | None
