"""A second training by the recipe of a model under audit, watched from round to round."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dpaudit.audits.audit import Audit, Subject
from dpaudit.data.users import rows_of
from dpaudit.runtime.check import IntArray

RoundObserver = Callable[[Any], None]


class Watched:
    """A second training of a subject, with every round's model and release kept; others may look on."""

    def __init__(
        self, audit: Audit, subject: Subject, prepared: Any, owner: IntArray, *, observers: Sequence[RoundObserver] = ()
    ) -> None:
        self.prepared, self.owner = prepared, owner
        self.before: list[Any] = []
        self.released: list[Any] = []

        def observe(moment: Any) -> None:
            if moment.mean is not None:
                self.before.append(moment.before)
                self.released.append(np.concatenate([np.ravel(part) for part in moment.mean]))
            for other in observers:
                other(moment)

        rows = rows_of(owner, included=audit.member)
        seed = audit.seed_for("watched", subject.name)
        self.models, (self.ledger,) = prepared([rows], seed=seed, observe=observe)
