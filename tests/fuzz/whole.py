"""Files that are right, each as full as it can be: where the walk of the fuzzing starts from."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.accounting.accounted_claim import account
from dpaudit.accounting.claim import Claim, GaussianSteps, Poisson
from dpaudit.accounting.trade_off_curve import gaussian_trade_off
from dpaudit.bounds.lower_bound import Estimate, Finding
from dpaudit.bounds.reconstruction import Successes, from_definition, judge_reconstruction, within_family
from dpaudit.bounds.verdict import Facts, Measured
from dpaudit.bounds.verdict import judge as the_verdict
from dpaudit.results.federated import (
    CanaryResult,
    FairnessResult,
    FederatedResult,
    TrainingCourse,
    TrainingRound,
    UserResult,
)
from dpaudit.results.gradient import DefenceCost, GradientCell, GradientResult, Picture
from dpaudit.results.ladder import LadderResult, RungResult
from dpaudit.results.prior import GameCell, PriorResult
from dpaudit.results.result import Result
from dpaudit.runtime.files import parse_toml
from dpaudit.trace import DpClaim, Manifest, ServerStep, TraceWriter
from tests.small_audits import DELTA, gaussian_audit

ROOT = Path(__file__).parent.parent.parent
STEPS = GaussianSteps(1.0, 100, Poisson(0.1))
WHOLE_BATCHES = GaussianSteps(10.0, 100, Poisson(1.0))  # whose bound within the family is a closed form
CLAIM = Claim(2.0, DELTA, "record", "add-remove", "the test")


def result() -> dict[str, Any]:
    """A result in which every experiment has found something."""
    audit = gaussian_audit(1.0, seed=1, records=300, attacks=2)
    bound = audit.bounds("model")[0]
    picked = Successes(3, 20, 0.1)
    verdict = judge_reconstruction(picked, gaussian_trade_off(1.0), confidence=0.95)
    pixels = [[0.0, 0.5], [1.0, 0.2]]
    model = audit.models[0].model_copy(
        update={
            "mechanism": STEPS,
            "accounted": account(STEPS, CLAIM, delta=DELTA, adjacency="add-remove", unit="record"),
        }
    )
    finding = Finding("scale", "violation", "ones", "no noise", "noise", "add it", 1, 9.0)
    whole = audit.model_copy(
        update={
            "models": [model],
            "comparisons": [the_verdict(CLAIM, Facts("model", (Measured(bound),)))],
            "gradient": GradientResult(
                cells=[
                    GradientCell(
                        scenario="one", defence="none", attack="dense", epsilon=2.0, refused=None, psnr=[20.0] * 20,
                        ssim=[0.5] * 20, floor=[10.0] * 20, nearest=[12.0], label_accuracy=1.0, identified=3,
                        victims=20, decoys=9, p_value=0.2, verdict=verdict,
                    )
                ],
                gallery=[
                    Picture(scenario="one", title=title, pixels=pixels) for title in ("original", "b")
                ],
                costs=[DefenceCost(defence="none", accuracy=0.9)],
                delta=DELTA,
            ),
            "prior": PriorResult(
                steps=100,
                rate=0.1,
                cells=[
                    GameCell(
                        noise_multiplier=1.0, claimed=1.0, epsilon=2.0, candidates=10, successes=3, runs=20, gamma=0.4,
                        orthogonal=0.3, simplex=0.3, mean_norm=0.9, power=0.5, verdict=verdict,
                        definition=from_definition(picked, delta=DELTA, confidence=0.95),
                        family=within_family(picked, WHOLE_BATCHES, delta=DELTA, confidence=0.95),
                    )
                ],
            ),
            "ladder": LadderResult(
                rungs=[
                    RungResult(
                        model="model", rung=1, name="forensics", sees="much", blind_to="some", findings=[finding],
                        bound=bound, noise_multiplier=1.0, seconds=1.0,
                    )
                ]
            ),
            "federated": FederatedResult(
                canaries=[
                    CanaryResult(
                        model="model", view="final-model", canaries=20, present=10, dimension=100, mean_cosine=0.1,
                        estimate=Estimate(1.0, DELTA, "one-shot", "a guess"), bound=bound,
                    )
                ],
                users=[
                    UserResult(
                        model="model", view="final-model", references=0, users=20, members=10, auc=0.6,
                        auc_standard_error=0.1, bound=bound,
                    )
                ],
                fairness=[
                    FairnessResult(
                        model="model", metric="accuracy", clients=5, overall=0.9, mean=0.8, best=1.0, worst=0.5, gap=0.2
                    )
                ],
                courses=[
                    TrainingCourse(
                        model="model", total_kilobytes=9.0, given_up=0,
                        rounds=[
                            TrainingRound(
                                number=i, answered=5, clip=1.0, noise_multiplier=1.0, epsilon=0.5 * i, kilobytes=1.0
                            )
                            for i in range(2)
                        ],
                    )
                ],
            ),
        }
    )  # fmt: skip
    found: dict[str, Any] = json.loads(Result.json(whole))
    return found


def claims() -> dict[str, Any]:
    """A claim of every kind."""
    return {
        "schema": 1,
        "confidence": 0.5,
        "claim": [
            {"id": "a", "kind": "epsilon", "model": "model", "epsilon": 30.0, "delta": DELTA, "unit": "record",
             "adjacency": "add-remove", "sampling": "poisson"},
            {"id": "b", "kind": "ceiling", "metric": "tpr@fpr=0.01", "attack": "attack-0", "max": 0.5},
            {"id": "c", "kind": "no-growth", "metric": "auc", "tolerance": 0.1},
            {"id": "d", "kind": "ceiling", "metric": "advantage", "max": 0.5},
            {"id": "e", "kind": "ceiling", "metric": "reconstruction", "release": "one, *", "max": 0.5},
            {"id": "f", "kind": "mechanism", "noise_multiplier": 1.0, "steps": 100, "sampling": "poisson", "rate": 0.1,
             "delta": DELTA, "unit": "record", "adjacency": "add-remove"},
        ],
    }  # fmt: skip


def plans() -> list[dict[str, Any]]:
    """The plans of the examples: between them they hold every table a plan can have."""
    found = sorted((ROOT / "examples").glob("*.toml"))
    tables = [parse_toml(path.read_text(encoding="utf-8"), path) for path in found]
    return [table for table in tables if "name" in table]  # the others are settings of a script


def archive(**arrays: Any) -> bytes:
    """An NPZ file of arrays."""
    stream = io.BytesIO()
    np.savez(stream, **{name: np.asarray(values) for name, values in arrays.items()})
    return stream.getvalue()


def trace(epsilon: float = 5.0) -> dict[str, bytes]:
    """The files of a federation's trace, by name."""
    claim = DpClaim(
        epsilon=epsilon, delta=DELTA, clip=0.5, noise_multiplier=1.0, sampler="poisson", clients=2, of=4, rounds=2,
        weighting="uniform", accountant="pld",
    )  # fmt: skip
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        manifest = Manifest(
            weight_names=("kernel", "bias"),
            shapes=[(3, 2), (2,)],
            framework="test",
            dp_claim=claim,
            server=ServerStep("momentum", 0.1, 0.9),
        )
        with TraceWriter(Path(folder), manifest) as writer:
            for _ in range(2):
                before, after = ([rng.normal(size=shape) for shape in ((3, 2), (2,))] for _ in range(2))
                updates = {f"c{i}": [rng.normal(size=shape) for shape in ((3, 2), (2,))] for i in range(2)}
                writer.round(before=before, after=after, clip=0.5, replies=2, weights=[1.0, 1.0], updates=updates)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}
