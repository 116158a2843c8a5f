"""Which kernels get a low-rank adapter, and of which rank: a value, without TensorFlow."""

from dataclasses import dataclass

from dpaudit.runtime import check


@dataclass(frozen=True)
class Adapter:
    """Low-rank adapters beside kernels that stay as they are.

    Args:
        rank: columns of A and rows of B.
        alpha: times A B over the rank; the rank itself when None, which leaves A B as it is.
        layers: which kernels, by the name of a layer (``head``), the beginning of names (``block_0``) or a projection
            of attention (``query``); all kernels of dense layers and attention when empty.
    """

    rank: int
    alpha: float | None = None
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check.integer("rank", self.rank, at_least=1)
        if self.alpha is not None:
            check.positive("alpha", self.alpha)

    @property
    def scale(self) -> float:
        """α/r."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


def is_named(path: str, wanted: str) -> bool:
    """Whether a layer's path is what is wanted: it, a part of it, or one of those that begin so.

    >>> [is_named("block_0_attention/query", name) for name in ("block_0", "query", "block")]
    [True, True, True]
    >>> is_named("block_10_attention/query", "block_1"), is_named("head", "query")
    (False, False)
    """
    return path == wanted or path.startswith((f"{wanted}/", f"{wanted}_")) or path.endswith(f"/{wanted}")
