"""Where each claim of a claims file stands, for marks beside its line: TOML's reader gives values without places."""

import re
from dataclasses import dataclass

HEADER = re.compile(r"""\s*\[\[\s*(?:["']?tool["']?\s*\.\s*["']?dpaudit["']?\s*\.\s*)?["']?claim["']?\s*\]\]""")


@dataclass(frozen=True)
class ClaimPlace:
    """A file and a line in it.

    Args:
        file: as the caller named it.
        line: of the claim's ``[[claim]]``, from 1 on; 1 where its claims are written in another way.
    """

    file: str
    line: int


def claim_places(text: str, file: str, claims: int) -> list[ClaimPlace]:
    """The place of each claim in the text of a claims file.

    Args:
        text: TOML that was read without an error.
        file: its name.
        claims: how many claims it holds.

    >>> [place.line for place in claim_places('schema = 1\\n[[claim]]\\nid = "a"\\n\\n[[claim]]\\n', "claims.toml", 2)]
    [2, 5]
    """
    lines = [number for number, line in enumerate(text.splitlines(), start=1) if HEADER.match(line)]
    if len(lines) != claims:  # tables in one line, or a header inside a text of several lines
        lines = [1] * claims
    return [ClaimPlace(file, line) for line in lines]
