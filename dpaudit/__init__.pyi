from .claim import Claim as Claim
from .data.dataset import Dataset as Dataset
from .evidence import CredibleInterval as CredibleInterval
from .evidence import Estimate as Estimate
from .evidence import Finding as Finding
from .evidence import LowerBound as LowerBound
from .scores import Scores as Scores
from .signals import Signals as Signals

__version__: str
