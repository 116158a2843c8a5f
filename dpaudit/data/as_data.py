"""Members and non-members as data: what can be said of them before any model is looked at."""

from dataclasses import dataclass

from dpaudit.data.blind_baseline import BlindBaseline, blind_baseline
from dpaudit.data.duplicates import Duplicates, duplicates
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.seeds import derive_seed


@dataclass(frozen=True)
class AsData:
    """Whether members can be told from non-members without the model, and which records are there twice.

    ``duplicates``: None where only sizes of the records are known.
    """

    blind: BlindBaseline
    duplicates: Duplicates | None

    @classmethod
    def of(cls, features: object, labels: object, member: BoolArray, *, users: object = None, seed: int) -> "AsData":
        """Look at the records of both sides.

        Args:
            features: as for `blind_baseline`.
            labels: the same.
            member: who was trained on, shape (records,).
            users: whose record it is, shape (records,), where users were chosen.
            seed: of halves and samples.

        >>> import numpy as np
        >>> seen = AsData.of(np.arange(200.0).reshape(100, 2), None, np.arange(100) < 50, seed=0)
        >>> seen.blind.differs, seen.duplicates.exact_members
        (True, 0)
        """
        return cls(
            blind_baseline(features, labels, member, seed=derive_seed(seed, "blind baseline"), groups=users),
            duplicates(features, labels, member, seed=derive_seed(seed, "duplicates")),
        )
