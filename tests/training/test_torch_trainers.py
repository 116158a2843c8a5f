"""The trainers ``torch`` and ``opacus``: what they train, what they say of themselves, and what they refuse."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="needs dpaudit[torch]; make test-torch runs it")
pytest.importorskip("opacus", reason="needs dpaudit[torch]; make test-torch runs it")

from dpaudit.accounting.claim import Claim, GaussianSteps, Poisson  # noqa: E402
from dpaudit.audits.plan import plan_from  # noqa: E402
from dpaudit.audits.run import run  # noqa: E402
from dpaudit.data.dataset import Dataset, Task  # noqa: E402
from dpaudit.inspection.under_test import UnderTest  # noqa: E402
from dpaudit.runtime import plugins as registry  # noqa: E402
from dpaudit.runtime.errors import AuditFailed, InputError  # noqa: E402
from dpaudit.training.capabilities import adds_noise, at_epoch, outside_code, probe  # noqa: E402
from dpaudit.training.opacus_sgd import Opacus  # noqa: E402
from dpaudit.training.torch_network import loss_of  # noqa: E402
from dpaudit.training.torch_sgd import Torch  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
HERE = "tests.training.torch_functions"


def records() -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 5)).astype(np.float32)
    return Dataset("line", x, (x[:, 0] + 0.3 * x[:, 1] > 0).astype(int))


HALF = np.arange(120) < 80


def test_both_learn_and_are_restored_from_their_weights() -> None:
    """Better than chance on other records, the same for one seed, another for another; stored weights give the same."""
    data = records()
    for trainer in (
        Torch(f"{HERE}:mlp", epochs=10, batch_size=16),
        Opacus(f"{HERE}:mlp", 1.0, 0.5, epochs=10, batch_size=16, learning_rate=0.5),
    ):
        model, again, other = (trainer(data, HALF, seed=seed) for seed in (1, 1, 2))
        answers = model.predict(data.features)
        assert (answers[~HALF].argmax(axis=1) == data.labels[~HALF]).mean() > 0.8
        np.testing.assert_array_equal(answers, again.predict(data.features))
        assert np.abs(answers - other.predict(data.features)).max() > 0.01
        stored = {key: np.array(value) for key, value in model.weights.items()}
        np.testing.assert_array_equal(answers, trainer.restore(stored, data).predict(data.features))
        assert model.mechanism == trainer.mechanism(80)


@pytest.mark.parametrize("clipping", ["flat", "per-layer", "ghost"])
def test_opacus_says_what_it_does_and_its_step_agrees(clipping: str) -> None:
    """80 records in batches of 20: 4 steps an epoch at rate 1/4. The probe's inspection (level 1e-6) finds nothing."""
    trainer = registry.build(
        "trainers", "opacus", {"network": f"{HERE}:mlp", "l2_norm_clip": 2.0, "noise_multiplier": 1.5, "epochs": 3,
                               "batch_size": 20, "clipping": clipping}, where="model")  # fmt: skip
    assert trainer.mechanism(80) == GaussianSteps(1.5, 12, Poisson(0.25))
    assert (adds_noise(trainer), outside_code(trainer)) == (True, f"{HERE}:mlp")
    assert at_epoch(trainer, 2).mechanism(80) == GaussianSteps(1.5, 8, Poisson(0.25))
    asked = probe(trainer, records(), seed=1)
    assert isinstance(asked, UnderTest)
    found = asked.inspect(seed=1, claim=Claim(3.0, 1e-5, "record", "add-remove", "x", trainer.mechanism(80)))
    assert found.violations == ()
    assert found.noise_multiplier == pytest.approx(1.5, rel=0.05)
    assert trainer(records(), HALF, seed=0).predict(records().features).shape == (120, 2)


def test_a_checkpoint_is_the_training_stopped_there() -> None:
    """The first epochs of a training are those of the shorter one: two epochs and then one more are three."""
    data = records()
    trainer = Torch(f"{HERE}:mlp", epochs=3, batch_size=16, learning_rate=0.01)
    gap = [np.abs(trainer.with_epochs(n)(data, HALF, seed=1).predict(data.features)
                  - at_epoch(trainer, 2)(data, HALF, seed=1).predict(data.features)).max() for n in (2, 3)]  # fmt: skip
    assert gap[0] == 0 < gap[1] < 0.1


@pytest.mark.parametrize(
    ("trainer", "says"),
    [
        (lambda: Torch(f"{HERE}:number"), "must return a torch.nn.Module, got int"),
        (lambda: Torch(f"{HERE}:wide"), r"must return shape \(2, 2\), got \(2, 3\)"),
        (lambda: Torch(f"{HERE}:narrow"), r"does not take records of shape \(5,\)"),
        (lambda: Torch(f"{HERE}:nothing"), "cannot be imported"),
        (lambda: Torch(f"{HERE}:mlp", loss="Linear"), "loss must be the name of a loss of torch.nn"),
        (lambda: Torch(f"{HERE}:mlp", optimizer="adam", momentum=0.9), "momentum belongs to the sgd"),
        (lambda: Opacus(f"{HERE}:normalised", 1.0, 1.0, batch_size=10), "Opacus cannot train network"),
        (lambda: Opacus(f"{HERE}:mlp", 1.0, 1.0, batch_size=100), "batch_size 100 is larger than the 80"),
        (lambda: Opacus(f"{HERE}:mlp", 0.0, 1.0), "l2_norm_clip"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(trainer: Any, says: str) -> None:
    """No module, other shapes, names that are none, layers that mix records, batches larger than the data."""
    with pytest.raises(InputError, match=says) as caught:
        trainer()(records(), HALF, seed=0)
    assert "\n" not in str(caught.value)


def test_a_training_that_diverges_is_no_result() -> None:
    """Weights that are not finite stop the audit."""
    with pytest.raises(AuditFailed, match="lower learning_rate"):
        Torch(f"{HERE}:mlp", learning_rate=1e30)(
            Dataset("far", records().features, 1e6 * records().features[:, 0], task="regression"), HALF, seed=0
        )


def test_every_task_has_its_usual_loss() -> None:
    """By PyTorch's own names; another may be stated."""
    tasks: tuple[Task, ...] = ("multiclass", "binary", "multilabel", "regression")
    names = [type(loss_of(None, task)).__name__ for task in tasks]
    assert names == ["CrossEntropyLoss", "BCEWithLogitsLoss", "BCEWithLogitsLoss", "MSELoss"]
    assert type(loss_of("SmoothL1Loss", "regression")).__name__ == "SmoothL1Loss"


def test_a_plan_trains_them_with_references_and_finds_them_again(tmp_path: Path) -> None:
    """One plan: both trainers, four reference models each, all rungs; a second run trains nothing and says the same."""
    np.savez(tmp_path / "line.npz", features=records().features, labels=records().labels)
    common = {"network": f"{HERE}:mlp", "epochs": 2, "batch_size": 10}
    plan = plan_from(
        {
            "schema": 1,
            "name": "torch",
            "seed": 3,
            "data": {"source": str(tmp_path / "line.npz")},
            "audit": {"delta": 1e-5, "design": "one-run"},
            "model": [
                {"name": "plain", "trainer": "torch", **common},
                {"name": "dp", "trainer": "opacus", "l2_norm_clip": 1.0, "noise_multiplier": 1.0, **common},
            ],
            "membership": {"attacks": ["lira"], "references": 4},
            "ladder": {"rungs": [0, 1, 2], "budget": "2s"},
        }
    )
    first, second = (run(plan, folder=tmp_path / "out", trust=True) for _ in range(2))
    assert [model.name for model in first.models] == ["plain", "dp"]
    assert first.models == second.models
    assert first.comparisons == second.comparisons
    assert first.ladder is not None
