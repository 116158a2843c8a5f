"""A malicious server's layers: imprint modules and trap weights, and what they recover from a client's gradient.

Imprint (`Fowl et al. (2022), "Robbing the Fed" <https://arxiv.org/abs/2110.13057>`_): every neuron measures the same
thing of the input and switches on above its own threshold, so the difference of two neighbours is the sum over the
records between them. Trap weights (`Boenisch et al. (2023), "When the curious abandon honesty"
<https://arxiv.org/abs/2112.02918>`_): neurons so negative that few records switch them on.
"""

from dataclasses import dataclass

import numpy as np

from dpaudit.attacks.gradient.linear_layer import dense_gradient, dense_layers
from dpaudit.attacks.gradient.view import Arrays, GradientView, Reconstruction, gradient_of
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError


def expected_isolated(records: int, bins: int) -> float:
    """Records alone in their bin, on average: n(1 - 1/K)^(n-1) for K bins of equal mass.

    >>> round(expected_isolated(64, 256), 2)
    50.01
    """
    check.integer("records", records, at_least=1)
    check.integer("bins", bins, at_least=1)
    return float(records * (1 - 1 / bins) ** (records - 1))


def plant_imprint(weights: Arrays, auxiliary: FloatArray) -> Arrays:
    """Turn the first dense layer (followed by a ReLU and a dense layer) into an imprint module.

    Args:
        weights: of a model that starts dense, ReLU, dense.
        auxiliary: records of the same population; the thresholds are quantiles of their mean brightness, shape
            (records, ...).
    """
    layers = dense_layers(weights)
    if len(layers) < 2 or layers[0].kernel != 0:
        raise InputError("an imprint module replaces the first of two dense layers at the start of a model.")
    inputs, bins = weights[0].shape
    brightness = check.finite("auxiliary records", auxiliary).reshape(len(auxiliary), -1).mean(1)
    planted = list(weights)
    planted[0] = np.full((inputs, bins), 1 / inputs)
    planted[1] = -np.quantile(brightness, np.arange(bins) / bins)
    planted[1][0] = -(brightness.min() - 1.0)  # the first bin starts below every record
    # All bins pass the same gradient back when they go on to the next layer with equal weights.
    nxt = layers[1].kernel
    planted[nxt] = np.broadcast_to(weights[nxt].mean(0), weights[nxt].shape).copy()
    return tuple(planted)


def plant_traps(weights: Arrays, *, scale: float = 0.95, seed: int) -> Arrays:
    """Set the first dense layer's kernel to trap weights: half negative, half positive and ``scale`` times as large."""
    check.open_unit("scale", scale)
    layers = dense_layers(weights)
    if not layers:
        raise InputError("trap weights need a dense layer with a bias.")
    kernel, bias = layers[0]
    inputs, neurons = weights[kernel].shape
    rng = np.random.default_rng(seed)
    half = inputs // 2
    negative = -np.abs(rng.normal(0, 1 / np.sqrt(inputs), (half, neurons)))
    trap = np.concatenate([negative, -scale * negative, np.zeros((inputs - 2 * half, neurons))])
    planted = list(weights)
    planted[kernel] = rng.permuted(trap, axis=0)
    planted[bias] = np.zeros(neurons)
    return tuple(planted)


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
