"""dpaudit measures what a trained model leaks, and says whether that contradicts the privacy it claims.

The public names are listed in ``__init__.pyi`` and loaded when they are first used; importing dpaudit loads no
TensorFlow.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
