"""An attack as a plan names it: a name alone, or a table with the name and its parameters."""

from pydantic import BaseModel, ConfigDict


class ByName(BaseModel):
    """A name of the registry, with parameters beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str


def as_table(value: object) -> object:
    """A name alone as a table, anything else as it is.

    >>> as_table("loss"), as_table({"name": "loss"})
    ({'name': 'loss'}, {'name': 'loss'})
    """
    return {"name": value} if isinstance(value, str) else value
