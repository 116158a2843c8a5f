"""What a mechanism costs: (ε, δ), the whole trade-off curve, and the reconstruction bound that follows from it.

Everything rests on the privacy loss distribution of the mechanism as dp-accounting composes it (0.4.3 and later).
The noise multiplier of `GaussianSteps` is relative to the clip norm, so a replaced record moves the sum of a batch
by up to two clip norms.
"""

import lazy_loader

# What only names a claim needs neither SciPy nor dp-accounting.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
