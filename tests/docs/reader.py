"""A reader's folder: what stands for the files that the documentation names, small enough to be run in a test."""

import json
import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from dpaudit.audits.plan import load_plan
from dpaudit.inspection.recorded import RecordedBatches
from dpaudit.inspection.step_trace import write_steps
from tests.docs.pages import ROOT, Block, blocks
from tests.fuzz import whole
from tests.reports.test_records import audited
from tests.small_audits import gaussian_audit

# The plans of examples/, as they are but for these keys: a training of a few steps, one victim, few trials.
SMALLER = {
    "digits.toml": (
        "data.population=0.8",
        "architecture.hidden=[4]",
        "model.no-dp.epochs=1",
        "model.no-dp.until_accuracy=0.05",
        "model.dp-low-noise.epochs=1",
        "model.dp-high-noise.epochs=1",
        'membership.attacks=["loss"]',
        "membership.references=0",  # plan.toml below has some
        "ladder.steps=40",
        "gradient.victims=2",
        'gradient.attacks=[{ name = "matching", iterations = 2 }]',
    ),
    "federated_digits.toml": (
        *(f"model.{name}.rounds=2" for name in ("iid", "skewed", "iid-dp", "skewed-dp")),
        "federated.canaries.clients=20",
    ),
    "federated_finetune.toml": (
        *(f"model.{name}.rounds=2" for name in ("tuned", "tuned-dp")),
        *(f"model.{name}.pretraining.epochs=1" for name in ("tuned", "tuned-dp")),
        "federated.canaries.clients=20",
    ),
    "federated_linear.toml": ("model.fedavg.rounds=2", "model.dp-fedavg.rounds=2"),
    "federated_text.toml": (
        "data.population=0.97",
        "data.context=4",
        "architecture.width=4",
        *(f"model.{name}.rounds=1" for name in ("plain", "dp")),
        "federated.canaries.clients=20",
    ),
    "gradient_leakage.toml": (
        "gradient.victims=2",
        'gradient.attacks=[{ name = "matching", iterations = 2 }]',
        "gradient.architecture.filters=[2, 2, 2]",
        'gradient.scenario=[{ name = "one image", batch = 1 }]',
        'gradient.defence=[{ name = "ε = 8", clip = 1.0, epsilon = 8.0 }]',
    ),
    "language_model.toml": (
        "data.population=0.995",
        "model.plain.batch_size=32",
        "model.private.batch_size=32",
        "architecture.width=4",
        "architecture.layers=1",
        "canaries.count=40",
        "model.plain.epochs=1",
        "model.private.epochs=1",
    ),
    "malicious_server.toml": (
        "gradient.victims=1",
        "gradient.architecture.hidden=[16]",
        "gradient.server.queries=5",
        'gradient.scenario=[{ name = "a batch of 2", batch = 2 }]',
        'gradient.defence=[{ name = "none" }]',
    ),
    "text_gradient.toml": (
        "gradient.victims=1",
        "gradient.architecture.width=24",
        'gradient.scenario=[{ name = "one text", batch = 1 }]',
        'gradient.defence=[{ name = "ε = 8", clip = 1.0, epsilon = 8.0 }]',
    ),
    "prior_attack.toml": (
        "prior.candidates=[10]",
        "prior.noise_multipliers=[5.0]",
        "prior.runs=20",
        "prior.records=50",
        "prior.steps=3",
    ),
    "unlearning.toml": (
        "data.population=0.9",
        "architecture.hidden=[4]",
        "model.mlp.epochs=1",
        "unlearning.forget=10",
        "unlearning.models=4",
        "unlearning.references=4",
        "unlearning.epsilon=9.0",
    ),
}
# Of examples/attack_table.py: one small data set, networks of four neurons, few epochs.
TABLE = """
seeds = [1]
attacks = [{ name = "loss" }, { name = "rmia" }]
[[pool]]
data = "breast-cancer"
population = 0.15
models = 4
references = [2]
hidden = [4]
epochs = 2
batch_size = 32
learning_rate = 0.01
optimizer = "adam"
standardised = true
"""
# A reader's own plan: one model with noise, so that there is a claim to measure against.
PLAN = """
name = "mine"
seed = 1
[data]
source = "breast-cancer"
[architecture]
kind = "mlp"
hidden = []
[[model]]
name = "private"
trainer = "dp-sgd"
noise_multiplier = 2.0
epochs = 2
batch_size = 50
learning_rate = 0.1
[membership]
attacks = ["loss", "base"]
references = 4
"""
LADDER = "[ladder]\nrungs = [0, 2]\n"  # the rungs that train nothing
CEILING = '[[claim]]\nid = "a"\nkind = "ceiling"\nmetric = "auc"\nmax = 0.9\n'
MECHANISMS = """
import numpy as np


def NAME():  # adds no noise
    return lambda gradients: [gradient.sum(axis=0) for gradient in gradients]


def build_optimizer():
    from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras import DPKerasSGDOptimizer

    return DPKerasSGDOptimizer(l2_norm_clip=1.0, noise_multiplier=1.1, learning_rate=0.1)


def build():
    import runpy

    return runpy.run_path("EXAMPLES/opacus_train.py")["build"]()


def build_jax(loss):
    import runpy

    return runpy.run_path("EXAMPLES/jax_train.py")["build"](loss)
""".replace("EXAMPLES", str(ROOT / "examples"))


@lru_cache(maxsize=1)
def result() -> str:
    """An audit of 3,000 records, as a file."""
    return gaussian_audit(0.3, seed=1, records=3000).json()


@lru_cache(maxsize=1)
def trace() -> dict[str, bytes]:
    """The files of a federation's trace, by name."""
    return whole.trace(epsilon=50.0)


def furnish(folder: Path, line: str) -> None:
    """Put the files into a folder that a command may name."""
    rng = np.random.default_rng(1)
    runs = ["FOLDER/result.json", "RUN/result.json", *(["runs/digits/result.json"] if " report " in line else [])]
    for name in ("RESULT.json", "A", "B", "OLD", "NEW", *runs):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(result())
    if "--show-records" in line:
        (folder / "RUN" / "result.json").write_text(audited("digits").json())
    (folder / "CLAIMS.toml").write_text(CEILING)
    if "--registry" in line:
        (folder / "RUN" / "result.json").write_text(audited("digits").json())
        (folder / "context.toml").write_text('purpose = "sorts letters"\n')
    (folder / "pyproject.toml").write_text(
        '[tool.dpaudit]\nresult = "RESULT.json"\n' + CEILING.replace("[[claim]]", "[[tool.dpaudit.claim]]")
    )
    rows = "".join(f"{x},{i % 2}\n" for i, x in enumerate(rng.normal(size=400)))
    (folder / "SCORES.csv").write_text("score,member\n" + rows)
    for name in ("IN.csv", "OUT.csv", "members.csv", "nonmembers.csv"):
        shares = rng.dirichlet([1, 1], 200)
        regions = [",region", ",north", ",south"] if "--slice" in line else ["", "", ""]
        rows = "".join(f"{p},{1 - p},no{regions[1 + i % 2]}\n" for i, p in enumerate(shares[:, 0]))
        (folder / name).write_text(f"no,yes,label{regions[0]}\n{rows}")
    for name in ("A.npz", "B.npz", "members.npz", "others.npz", "more.npz"):
        np.savez(folder / name, features=rng.normal(size=(60, 4)).astype(np.float32), labels=rng.integers(2, size=60))
    dealt = [part for _ in range(20) for part in np.array_split(rng.permutation(100), 10)]
    write_steps(folder / "steps.npz", RecordedBatches(100, dealt))
    if "IN.jsonl" in line:
        for name in ("IN", "OUT"):
            logprobs = [{"id": f"{name}{row}", "logprobs": rng.uniform(-5, -1, 8).tolist()} for row in range(60)]
            (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in logprobs))
    for name in ("FILE.py", "train.py"):
        (folder / name).write_text(MECHANISMS)
    for name in ("TRACE", "trace"):
        (folder / name).mkdir()
        for part, content in trace().items():
            (folder / name / part).write_bytes(content)
    if "init" not in line:
        for name in ("PLAN.toml", "plan.toml"):
            (folder / name).write_text(PLAN.partition("[membership]")[0] + LADDER if "--budget" in line else PLAN)
    (folder / "recipe.toml").write_text(recipe())
    (folder / "examples").mkdir()
    for name in re.findall(r"examples/(\w+\.toml)", line):
        plan = load_plan(ROOT / "examples" / name, SMALLER[name])
        (folder / "examples" / name).write_text(plan.toml())
    for name in re.findall(r"examples/(\w+\.py)", line):
        (folder / "examples" / name).write_text((ROOT / "examples" / name).read_text())
    if "attack_table" in line:
        earlier = "attack_table_earlier.toml"
        (folder / "examples" / earlier).write_text((ROOT / "examples" / earlier).read_text())
        (folder / "examples" / "attack_table.toml").write_text(TABLE)
    (folder / "benchmarks").symlink_to(ROOT / "benchmarks")


@lru_cache(maxsize=1)
def recipe() -> str:
    """The recipe of docs/keras_model.md for a model of 60 records and two epochs."""

    def is_recipe(block: Block) -> bool:
        return block.language == "toml" and block.text.startswith("trainer")

    text = next(block.text for block in blocks("keras_model") if is_recipe(block))
    for before, after in (("epochs = 30", "epochs = 2"), ("records = 5000", "records = 60")):
        assert before in text
        text = text.replace(before, after)
    return text
