"""ε of releasing only the best of several private trainings, whose number is drawn at random.

`Papernot and Steinke (2021) <https://arxiv.org/abs/2110.03620>`_: it is a small multiple of the ε of one training, and
grows with the logarithm of their mean number.
"""

from dataclasses import dataclass

from dpaudit.accounting.claim import Adjacency, GaussianSteps, Poisson, Shuffled
from dpaudit.accounting.mechanism import Accounted, refuse, renyi
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

SHAPES = {"geometric": 1.0, "logarithmic": 0.0, "poisson": float("inf")}


@dataclass(frozen=True)
class Selection:
    """How many trainings there are.

    Args:
        law: of their number: ``geometric`` and ``logarithmic`` are at least 1; ``poisson`` may be 0, and then
            nothing is released.
        mean: of that law; above 1 but for ``poisson``.
    """

    law: str
    mean: float

    def __post_init__(self) -> None:
        check.one_of("the law of the number of trainings", self.law, tuple(SHAPES))
        check.positive("mean number of trainings", self.mean)
        if self.mean <= 1 and self.law != "poisson":
            raise InputError(f"a {self.law} number of trainings has a mean above 1, got {self.mean:g}.")


def selection_from(text: str) -> Selection:
    """``LAW:MEAN``, for example ``geometric:10``.

    Raises:
        InputError: another text.

    >>> selection_from("geometric:10")
    Selection(law='geometric', mean=10.0)
    """
    law, _, mean = text.partition(":")
    try:
        trainings = float(mean)
    except ValueError as error:
        raise InputError(f"--selection is LAW:MEAN, for example geometric:10, got {text!r}.") from error
    return Selection(law, trainings)


def selected_epsilon(
    mechanism: GaussianSteps, selection: Selection, *, delta: float, adjacency: Adjacency = "add-remove"
) -> Accounted:
    """An upper bound on ε where the best of a random number of trainings is released, by Rényi divergences.

    Args:
        mechanism: one training.
        selection: the law of their number.
        delta: in (0, 1).
        adjacency: as in `epsilon`.

    Raises:
        InputError: shuffled batches, Poisson batches under replace-one, fixed-size batches under add-remove.

    >>> from dpaudit.accounting.claim import Poisson
    >>> once = GaussianSteps(1.0, 1000, Poisson(0.01))
    >>> selected_epsilon(once, Selection("geometric", 10.0), delta=1e-5).method
    'RDP, best of a random number of trainings'
    """
    from dp_accounting.dp_event import RepeatAndSelectDpEvent

    check.open_unit("delta", delta)
    if isinstance(mechanism.sampling, Shuffled) or mechanism.slack:
        raise InputError("the best of several trainings has no accounting for shuffled or cut batches.")
    refuse(mechanism.sampling, adjacency)
    if isinstance(mechanism.sampling, Poisson) and adjacency == "replace-one":
        raise InputError("the best of several trainings has no replace-one accounting for Poisson batches.")
    shape = SHAPES[selection.law]
    accountant = renyi(mechanism, lambda once: RepeatAndSelectDpEvent(once, selection.mean, shape))
    method = "RDP, best of a random number of trainings"
    return Accounted(float(accountant.get_epsilon(delta)), delta, adjacency, method)
