"""Numbers and names in words, for the page, the Markdown and the terminal alike."""

import math
import re
from collections.abc import Sequence

from dpaudit.accounting.claim import FixedSize, Poisson, Sampling, Shuffled, TruncatedPoisson

TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def percent(value: float) -> str:
    """A share with as many digits as it deserves.

    >>> percent(0.0084), percent(0.214), percent(0.0)
    ('0.84 %', '21 %', '0 %')
    """
    number = 100 * value
    if number in (0, 100):
        return f"{number:.0f} %"
    digits = 0 if 10 <= number < 99.5 else 1 if 1 <= number < 10 or number >= 99.5 else 2
    return f"{number:.{digits}f} %"


def figure(value: float | None) -> str:
    """A number for a table: three significant digits, ∞ when infinite.

    Zeros at the end stay, so that numbers below each other can be compared.

    >>> figure(3.14159), figure(6.0), figure(float("inf")), figure(None), figure(1e-5), figure(0.0), figure(1234.0)
    ('3.14', '6.00', '∞', '–', '1e-5', '0', '1234')
    """
    if value is None:
        return "–"
    if value == math.inf:
        return "∞"
    if 1e-3 <= abs(value) < 100:
        return f"{value:#.3g}"
    if 100 <= abs(value) < 1e6:
        return f"{value:.0f}"
    return re.sub(r"e([+-])0*", lambda found: "e" + found[1].strip("+"), f"{value:.3g}")


def share(fpr: float) -> str:
    """A rate as one in so many.

    >>> share(0.001)
    '1 in 1,000'
    """
    return f"1 in {round(1 / fpr):,}"


def short(name: str, longest: int = 60) -> str:
    """A name cut to a length, without the marks that would turn round the text after it.

    >>> short("a\u202eb" + "c" * 9, 5)
    'abcc…'
    """
    name = TURNING.sub("", name)
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def several(names: Sequence[str]) -> str:
    """Names in a sentence, at most three of them; a name with a comma in it is quoted.

    >>> several(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    shown = [f"“{short(name)}”" if "," in name else short(name) for name in names]
    if len(shown) > 3:
        return f"{', '.join(shown[:3])} and {len(shown) - 3} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def count_of(number: int, noun: str) -> str:
    """So many of something.

    >>> count_of(1, "slice"), count_of(3, "slice")
    ('1 slice', '3 slices')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def sampling(design: Sampling) -> str:
    """How batches were drawn.

    >>> sampling(Poisson(0.1))
    'Poisson, each record with probability 0.100'
    """
    match design:
        case Poisson(rate) if rate == 1:
            return "all records in every step"
        case Poisson(rate):
            return f"Poisson, each record with probability {figure(rate)}"
        case TruncatedPoisson(rate, largest_batch):
            return f"Poisson, each record with probability {figure(rate)}, at most {largest_batch} in a batch"
        case FixedSize(batch_size, records):
            return f"batches of {batch_size} out of {records} records"
        case Shuffled(batches):
            return f"shuffled, batches an epoch: {batches}"
