"""Results with the chapters that a membership audit has not: the ladder, a federation, gradients, and all at once."""

from functools import lru_cache

import numpy as np

from dpaudit.audits.extract import audit_extraction
from dpaudit.audits.ladder.settings import RUNGS
from dpaudit.audits.text.run import audit_text
from dpaudit.bounds.lower_bound import Estimate, Finding, LowerBound, Unchecked
from dpaudit.bounds.reconstruction import ReconstructionVerdict
from dpaudit.data.token_columns import token_logprobs
from dpaudit.data.token_logprobs import TokenLogprobs
from dpaudit.results.facts import with_verdicts
from dpaudit.results.federated import (
    CanaryResult,
    CraftedResult,
    FairnessResult,
    FederatedResult,
    LiftedResult,
    PropertyResult,
    SourceResult,
    TrainingCourse,
    TrainingRound,
    UserResult,
)
from dpaudit.results.gradient import DefenceCost, GradientCell, GradientResult, Picture
from dpaudit.results.ladder import BudgetChoice, LadderResult, RungResult
from dpaudit.results.membership import PoolResult
from dpaudit.results.prior import GameCell, PriorResult
from dpaudit.results.result import Result
from dpaudit.results.text_gradient import ShownText, TextCell
from dpaudit.results.trace import TraceResult
from dpaudit.scores.targets import Mean, NullCheck, OverTargets
from tests.reports.results import three
from tests.small_audits import DELTA

SAMPLER = "Gaussian noise on the accounted sampler"
FINDING = Finding(
    check="claimed figure", severity="violation", fed="claimed ε = 1", observed="its own mechanism gives ε = 20.4",
    expected="ε of at least 20.4", remedy="state the accountant's figure", rung=0, true_epsilon=20.4,
)  # fmt: skip


def bound(epsilon: float, ceiling: float, *, family: str = "", method: str = "one-run") -> LowerBound:
    """A lower bound on 400 trials."""
    return LowerBound(epsilon, DELTA, 0.99, method, "add-remove", "record", ("coins are fair",), ceiling, 400, family)


def _without_attacks(models: int) -> Result:
    whole = three()
    return whole.model_copy(update={"models": whole.models[:models], "membership": None, "comparisons": []})


@lru_cache(maxsize=1)
def ladder() -> Result:
    """Rungs 0 to 4 on two models: a violation, a warning, bounds of both kinds, one left out by a budget."""
    given = "gradients of norm 1 to 1e6"
    warning = Finding("non-finite gradient", "warning", given, "it raised", "a finite release", "drop them first", 1)
    rungs = []
    for name in ("dp-low-noise", "dp-high-noise"):
        for number, (title, sees, blind) in RUNGS.items():
            left_out = number == 4 and name == "dp-low-noise"
            choice = BudgetChoice(
                rung=number, chosen=not left_out, amount="300 steps", seconds=4.0, visible=1.5 if number > 1 else None,
                reason="the time is up" if left_out else "the most power for its time",
            )  # fmt: skip
            rungs.append(
                RungResult(
                    model=name, rung=number, name=title, sees=sees, blind_to=blind, seconds=0.5 + 3 * number,
                    findings=[[FINDING], [warning], [], [], []][number] if name == "dp-low-noise" else [],
                    bound={2: bound(3.72, 97.9, family=SAMPLER), 3: bound(0.4, 2.4), 4: bound(0.0, 0.7)}.get(number)
                    if not left_out else None,
                    noise_multiplier=1.02 if number in (1, 2) else None,
                    skipped="the budget left it out: the time is up" if left_out else "", choice=choice,
                )
            )  # fmt: skip
    found = LadderResult(rungs=rungs)
    result = _without_attacks(3).model_copy(update={"ladder": found})
    return with_verdicts(result)


@lru_cache(maxsize=1)
def federated() -> Result:
    """Every part of a federation's audit, for four models."""
    estimate = Estimate(2.5, DELTA, "one-shot", "no guarantee")
    names = ("iid", "skewed", "iid-dp", "skewed-dp")
    rounds = [
        TrainingRound(number=n, answered=18, clip=0.5, noise_multiplier=1.0, epsilon=0.4 * n, kilobytes=52.0)
        for n in range(1, 21)
    ]
    plain = [one.model_copy(update={"clip": None, "noise_multiplier": None, "epsilon": None}) for one in rounds]
    outcome = FederatedResult(
        canaries=[
            CanaryResult(model=name, view=view, canaries=200, present=97, dimension=2410, mean_cosine=0.0257,
                         estimate=estimate, bound=bound(1.23, 3.51))
            for name in names for view in ("final-model", "every-round")
        ],
        lifted=[LiftedResult(model="iid", federations=64, canaries=8, hits=0.61, alarms=0.05, bound=bound(1.1, 3.2))],
        crafted=[
            CraftedResult(model="iid-dp", round=3, draws=200, took_part=98, overlap=0.1, noise_multiplier=1.01,
                          estimate=estimate, training_epsilon=None, bound=bound(0.9, 4.0))
        ],
        users=[
            UserResult(model=name, view="final-model", references=8, users=40, members=21, auc=0.7,
                       auc_standard_error=0.08, bound=bound(0.3, 2.0))
            for name in names
        ],
        sources=[SourceResult(model="iid", clients=40, records=300, accuracy=0.3, standard_error=0.03, chance=0.03)],
        properties=[
            PropertyResult(model="skewed", property_class=3, clients=40, holders=9, auc=0.9, auc_standard_error=0.05)
        ],
        fairness=[
            FairnessResult(model=name, metric="accuracy", clients=40, overall=0.8, mean=0.8, best=1.0, worst=0.5,
                           gap=0.5)
            for name in names
        ],
        courses=[
            TrainingCourse(model=name, rounds=rounds if name.endswith("dp") else plain, total_kilobytes=1040.0,
                           given_up=2)
            for name in names
        ],
    )  # fmt: skip
    models = [model.model_copy(update={"name": name}) for name, model in zip(names, three().models * 2, strict=False)]
    result = _without_attacks(3).model_copy(update={"models": models, "federated": outcome, "unit": "user"})
    return with_verdicts(result)


@lru_cache(maxsize=1)
def gradient() -> Result:
    """Three scenarios under eight defences with two attacks, one of which refuses noise; and the candidate attack."""
    rng = np.random.default_rng(5)
    scenarios = ("one image", "batch of 4", "FedAvg update, 5 steps")
    defences = ("none", "clip 1", "ε = 50", "ε = 8", "ε = 1", "a tenth sent", "2 bits", "batch of 8")
    cells = []
    for scenario in scenarios:
        for number, defence in enumerate(defences):
            epsilon = float(defence[4:]) if defence.startswith("ε") else None
            for attack in ("matching", "dense"):
                refused = "noise was added" if attack == "dense" and epsilon else None
                verdict = ReconstructionVerdict("too weak", 0.1, 0.02, 0.5, 0.05, 0.99, "6 trials are too few.")
                batch = 4 if scenario == "batch of 4" else 1
                cells.append(
                    GradientCell(
                        scenario=scenario, defence=defence, attack=attack, epsilon=epsilon, refused=refused,
                        psnr=[] if refused else (rng.normal(80 - 9 * number, 6, 6 * batch)).tolist(),
                        ssim=[] if refused else rng.uniform(0, 1, 6 * batch).tolist(),
                        floor=[14.0] * (6 * batch), nearest=[15.0] * (6 * batch),
                        label_accuracy=None if batch == 4 else 0.8, labels_right=None if batch == 4 else 5,
                        identified=6 - number // 2, victims=6, decoys=19, p_value=1e-6,
                        verdict=verdict if epsilon else None,
                    )
                )  # fmt: skip
    pictures = [
        Picture(scenario=scenario, title=title, pixels=rng.uniform(0, 1, (8, 8)).round(3).tolist())
        for scenario in scenarios for title in ("original", *defences) if (scenario, title) != ("one image", "2 bits")
    ]  # fmt: skip
    costs = [DefenceCost(defence=name, accuracy=0.92 - 0.03 * number) for number, name in enumerate(defences)]
    outcome = GradientResult(cells=cells, gallery=pictures, costs=costs, delta=DELTA)
    games = [
        GameCell(
            noise_multiplier=sigma, claimed=sigma, epsilon=40 / sigma, candidates=many, successes=9, runs=60,
            gamma=0.3 / sigma, orthogonal=0.2 / sigma, simplex=0.2 / sigma, mean_norm=1.0, power=0.7,
            verdict=ReconstructionVerdict("consistent", 0.15, 0.08, 0.3, 1 / many, 0.99, "nothing contradicts it."),
            definition=bound(0.5, 2.0), family=bound(0.9, 9.0, family=SAMPLER),
        )
        for sigma in (1.0, 4.0, 20.0) for many in (8, 32)
    ]  # fmt: skip
    candidates = PriorResult(steps=20, rate=0.1, cells=games)
    update = {
        "gradient": outcome,
        "prior": candidates,
    }
    return with_verdicts(_without_attacks(0).model_copy(update=update))


@lru_cache(maxsize=1)
def read_texts() -> Result:
    """Texts in gradients: exact without defence, refused under noise, with the first text shown; and what it costs."""
    verdict = ReconstructionVerdict("consistent", 0.0, 0.0, 0.02, 1e-4, 0.99, "nothing contradicts it.")
    cells = [
        TextCell(
            scenario=scenario, defence=defence, attack=attack, epsilon=8.0 if noisy else None,
            refused=["DAGER: no texts explain <the> gradient."] if noisy and attack == "dager" else [],
            tokens=[9] * 6, named=[0 if noisy else 9] * 6, right=[0 if noisy else 9] * 6, texts=[batch] * 6,
            recovered=None if attack != "dager" else [0 if noisy else batch] * 6,
            invented=None if attack != "dager" else [0] * 6, kappa=1e-4,
            verdict=verdict if noisy and attack == "dager" else None,
        )
        for scenario, batch in (("one text", 1), ("a batch, of 4", 4))
        for defence, noisy in (("none", False), ("ε = 8", True))
        for attack in ("bag-of-words", "dager")
    ]  # fmt: skip
    shown = [
        ShownText(scenario="one text", defence=name, text="to be <b>or not", found=found)
        for name, found in (("none", "to be <b>or not"), ("ε = 8", None))
    ]
    costs = [DefenceCost(defence="none", accuracy=0.3), DefenceCost(defence="ε = 8", accuracy=0.2)]
    outcome = GradientResult(cells=[], texts=cells, shown=shown, gallery=[], costs=costs, delta=DELTA)
    return with_verdicts(_without_attacks(0).model_copy(update={"gradient": outcome}))


def _texts(name: str, *, shift: float, prefix: str = "the same words again and again") -> TokenLogprobs:
    """120 short records under a model that finds them likelier by ``shift``."""
    rng = np.random.default_rng(len(name))
    return token_logprobs(
        {
            "id": [f"{name}{row}" for row in range(120)],
            "text": [f"{prefix} {name}{row} <b>&" for row in range(120)],
            "tokenizer": ["words"] * 120,
            "logprobs": list(np.minimum(rng.uniform(-2, -0.1, (120, 5)) + shift, 0.0)),
        }
    )


@lru_cache(maxsize=1)
def texts() -> Result:
    """Scores of texts, with the texts that stand out."""
    one, other = _texts("a", shift=0.5), _texts("b", shift=0.0)
    return audit_text(one, other, attacks=["loss", "zlib"], chosen_by="split", epsilon=1.0, show_records=True)


@lru_cache(maxsize=1)
def extracted() -> Result:
    """Extraction with a curve of others, exposure and generations, without a text."""
    records = _texts("a", shift=0.5)
    assert records.texts is not None
    candidates = _texts("ccc", shift=-3.0)
    return audit_extraction(
        records, others=_texts("bb", shift=0.0), candidates=candidates, generations=[records.texts[3]], run=4
    )


@lru_cache(maxsize=1)
def everything() -> Result:
    """All chapters on one page: membership with pools and skipped attacks, a trace, and the three above."""
    whole = three()
    assert whole.membership is not None
    repeated = Mean(0.65, 0.03)
    over = OverTargets(2, repeated, repeated, (0.1,), (repeated,), 0.002, 0.65, (0.2,))
    pool = PoolResult(
        model="no-dp", attack="auto", version="1", over_targets=over, null=NullCheck(0.5, 0.01, 0.45, 0.55, 2)
    )
    update = {"pools": [pool], "references": 8, "floored": {"no-dp": 3}}
    federation = federated().federated
    assert federation is not None
    trace = TraceResult(
        name="theirs", framework="their own loop", rounds=30, missing=[7], checks=[FINDING],
        not_checked=[Unchecked("realised noise", "the step is <not> stated")],
        canaries=federation.canaries[:1], users=federation.users[:1],
    )  # fmt: skip
    parts = {
        "membership": whole.membership.model_copy(update=update), "trace": trace, "ladder": ladder().ladder,
        "federated": federation, "gradient": gradient().gradient, "prior": gradient().prior,
    }  # fmt: skip
    return whole.model_copy(update=parts)
