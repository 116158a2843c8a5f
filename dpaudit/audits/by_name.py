"""An attack or a bound as a plan names it: a name alone, or a table with the name and its parameters."""

from pydantic import BaseModel, ConfigDict

from dpaudit.accounting.claim import Design
from dpaudit.bounds.default import Bound, named_bound
from dpaudit.data.member_choice import MemberChoice


class ByName(BaseModel):
    """A name of the registry, with parameters beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str


class BoundSettings(ByName):
    """A bound on ε, by its name in ``dpaudit list bounds`` and its parameters."""

    def build(self, design: Design, chosen: MemberChoice, *, seed: int) -> Bound:
        """The bound for an audit."""
        return named_bound(self.name, self.model_extra or {}, design, chosen, seed=seed)


def as_table(value: object) -> object:
    """A name alone as a table, anything else as it is.

    >>> as_table("loss"), as_table({"name": "loss"})
    ({'name': 'loss'}, {'name': 'loss'})
    """
    return {"name": value} if isinstance(value, str) else value
