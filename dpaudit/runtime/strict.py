"""A base for dataclasses that are read from a plan."""

from typing import ClassVar

from pydantic import ConfigDict


class Strict:
    """A key that is no field of the dataclass is refused by name where pydantic reads one."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
