"""What an audit of texts looked at: which score decided, how well the model predicts, what stands out."""

from pydantic import BaseModel


class TellingText(BaseModel):
    """A record of the members whose score is among the highest.

    Args:
        row: its place among the members, from 0 on.
        score: by the score that decides, or by the first.
        text: itself, only where raw records were asked for.
    """

    row: int
    score: float
    text: str | None = None


class TextResult(BaseModel):
    """Texts under membership attacks.

    Args:
        decides: the score whose bound was computed; ``all`` where they shared the error level.
        stated: whether the caller named it; without that the rule is fixed: ``reference`` where there are reference
            models, else ``perplexity``, or the first score asked for where that one was not.
        tokens: number of tokens scored.
        tokenizer: its name; empty where nobody said it.
        perplexity: of members and of others, the exponential of minus the mean log-probability of their tokens.
        floored: how many log-probabilities were -inf, outside the k likeliest, and taken as the smallest finite one.
        formulas: of the scores, by name.
        telling: members with the highest scores, highest first.
    """

    decides: str
    stated: bool
    tokens: int
    tokenizer: str
    perplexity: tuple[float, float]
    floored: int
    formulas: dict[str, str]
    telling: list[TellingText] = []
