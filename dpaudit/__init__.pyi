from .attacking import References as References
from .attacking import attack_model as attack_model
from .attacking import attack_predictions as attack_predictions
from .calibration.table import selftest as selftest
from .claim import Claim as Claim
from .claims import load_claims as load_claims
from .compare import Comparison as Comparison
from .data.dataset import Dataset as Dataset
from .evidence import CredibleInterval as CredibleInterval
from .evidence import Estimate as Estimate
from .evidence import Finding as Finding
from .evidence import LowerBound as LowerBound
from .forensics.inspection import inspect_mechanism as inspect_mechanism
from .forensics.mechanism import Mechanism as Mechanism
from .forensics.mechanism import Stated as Stated
from .gate import verify as verify
from .pipeline import run as run
from .plan import Plan as Plan
from .plan import load_plan as load_plan
from .planning import power as power
from .result import Result as Result
from .result import load_result as load_result
from .score import audit_predictions as audit_predictions
from .score import audit_scores as audit_scores
from .scores import Scores as Scores
from .signals import Signals as Signals

__version__: str
