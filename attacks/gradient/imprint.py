"""What an imprint module (`dpaudit.attacks.gradient.servers.imprint`) gives away of a client's gradient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpaudit.attacks.gradient.linear_layer import dense_gradient, dense_layers, require_dense_first
from dpaudit.attacks.gradient.view import Arrays, GradientView, Reconstruction, gradient_of
from dpaudit.runtime import check


def expected_isolated(records: int, bins: int) -> float:
    """Records alone in their bin, on average: n(1 - 1/K)^(n-1) for K bins of equal mass.

    >>> round(expected_isolated(64, 256), 2)
    50.01
    """
    check.integer("records", records, at_least=1)
    check.integer("bins", bins, at_least=1)
    return float(records * (1 - 1 / bins) ** (records - 1))


@dataclass(frozen=True)
class ImprintInversion:
    """Records caught alone in a bin of an imprint module; a bin with several records gives their mixture.

    Args:
        layer: which dense layer with a bias holds the module.
        tolerance: bins whose share of the bias gradient, relative to the largest, is below this are empty.
    """

    layer: int = 0
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        check.positive("tolerance", self.tolerance)

    def __call__(self, view: GradientView) -> Reconstruction:
        """One record per bin that is not empty, in the order of the thresholds."""
        gradient = gradient_of(view, "imprint inversion")
        kernel, bias = dense_gradient(gradient, self.layer, "imprint inversion")
        thresholds = -gradient.weights[dense_layers(gradient.weights)[self.layer].bias]
        order = np.argsort(thresholds, kind="stable")
        own_kernel, own_bias = kernel[:, order], bias[order]
        bin_kernel = own_kernel - np.column_stack([own_kernel[:, 1:], np.zeros(len(own_kernel))])
        bin_bias = own_bias - np.append(own_bias[1:], 0.0)
        full = np.abs(bin_bias) > self.tolerance * np.abs(bin_bias).max()
        records = (bin_kernel[:, full] / bin_bias[full]).T
        return Reconstruction(records if gradient.box is None else np.clip(records, *gradient.box))

    def together(self, views: Sequence[GradientView]) -> list[Reconstruction]:
        """The records of each of many victims."""
        return [self(view) for view in views]

    def require(self, weights: Arrays) -> None:
        """Refuse a model whose first layer's inputs are not the records themselves."""
        require_dense_first(weights, "imprint")
