"""What the tests of bounds share: values of other implementations, and a claimed mechanism."""

import json
from pathlib import Path
from typing import Any

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.bounds.hypothesis import MechanismFamily

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "reference.json").read_text())
RECORD: Any = {"adjacency": "add-remove", "unit": "record"}
CLAIM = MechanismFamily(GaussianSteps(1.5, 10, Poisson(0.3)), "add-remove")
