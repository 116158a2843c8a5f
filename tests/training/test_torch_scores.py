"""White-box scores of PyTorch trainers: by the per-example gradients of Opacus, equal to autograd one by one."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="needs dpaudit[torch]; make test-torch runs it")
pytest.importorskip("opacus", reason="needs dpaudit[torch]; make test-torch runs it")

from dpaudit.audits.ladder.run import audit_ladder  # noqa: E402
from dpaudit.audits.ladder.settings import LadderSettings  # noqa: E402
from dpaudit.bounds.lower_bound import Skipped  # noqa: E402
from dpaudit.data.dataset import Dataset  # noqa: E402
from dpaudit.runtime.errors import InputError  # noqa: E402
from dpaudit.training.function import Function  # noqa: E402
from dpaudit.training.opacus_sgd import Opacus  # noqa: E402
from dpaudit.training.torch_network import targets_of, weights_of  # noqa: E402
from dpaudit.training.torch_scores import per_example_gradients  # noqa: E402
from dpaudit.training.torch_sgd import Torch  # noqa: E402
from dpaudit.training.watched import watched  # noqa: E402
from tests.audits.ladder.test_run import audit_of  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
HERE = "tests.training.torch_functions"
RNG = np.random.default_rng(0)
RECORDS = Dataset("images", RNG.normal(size=(7, 6, 6)).astype(np.float32), np.arange(7) % 3)


def convolutional() -> Any:
    """Convolution, group normalisation, dropout and a dense layer, one of whose weights is frozen."""
    torch.manual_seed(1)
    module = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 6)), torch.nn.Conv2d(1, 4, 3), torch.nn.GroupNorm(2, 4), torch.nn.Tanh(),
        torch.nn.Dropout(0.5), torch.nn.Flatten(), torch.nn.Linear(64, 3),
    )  # fmt: skip
    module[6].bias.requires_grad_(False)
    return module.train()


def one_by_one(module: Any, criterion: Any, records: Dataset) -> list[list[Any]]:
    """Of each record the gradient of each trained weight, by autograd alone."""
    module.eval()
    weights = [value for value in module.parameters() if value.requires_grad]
    features, targets = torch.as_tensor(records.features), targets_of(records)
    return [
        [each.numpy() for each in torch.autograd.grad(criterion(module(x[None]), y[None]), weights)]
        for x, y in zip(features, targets, strict=True)
    ]


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_per_example_gradients_are_those_of_autograd(task: Any) -> None:
    """Every trained weight of every record, in one batch; dropout is off, and the module is left as it was."""
    criterion = torch.nn.CrossEntropyLoss() if task == "multiclass" else torch.nn.MSELoss()
    labels = RECORDS.labels if task == "multiclass" else RNG.normal(size=(7, 3)).astype(np.float32)
    records, module = Dataset("images", RECORDS.features, labels, task=task), convolutional()
    modes = [part.training for part in module.modules()]
    found = per_example_gradients(module, criterion, records)
    assert [part.training for part in module.modules()] == modes
    assert not any(hasattr(value, "grad_sample") for value in module.parameters())
    for row, alone in enumerate(one_by_one(convolutional(), criterion, records)):
        for together, expected in zip(found, alone, strict=True):
            np.testing.assert_allclose(together[row].numpy(), expected, atol=1e-6)


def test_layers_that_mix_records_are_refused() -> None:
    """With batch normalisation no record has a gradient of its own."""
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 4), torch.nn.BatchNorm1d(4))
    with pytest.raises(InputError, match="no per-example gradients of Sequential"):
        per_example_gradients(module, torch.nn.CrossEntropyLoss(), RECORDS)


def line() -> Dataset:
    x = RNG.normal(size=(60, 5)).astype(np.float32)
    return Dataset("line", x, (x[:, 0] > 0).astype(int))


@pytest.mark.parametrize(
    "trainer",
    [
        Torch(f"{HERE}:mlp", epochs=2, batch_size=20),
        Opacus(f"{HERE}:mlp", 0.3, 0.5, epochs=2, batch_size=20),
        Opacus(f"{HERE}:mlp", 0.3, 0.5, epochs=2, batch_size=20, clipping="per-layer"),
        Opacus(f"{HERE}:mlp", 0.3, 0.5, epochs=2, batch_size=20, clipping="ghost"),
    ],
    ids=lambda trainer: getattr(trainer, "clipping", "none"),
)
def test_scores_are_products_with_clipped_gradients(trainer: Any) -> None:
    """Of every watched step: (before - after) · clip(gradient), the gradient by autograd at the weights before."""
    data, seen = line(), list[Any]()
    records = data.take(np.arange(40, 60))
    measure = trainer.measure(records, along_gradients=True)
    believed = trainer.measure(records, along_gradients=False)
    models = trainer.train_many(
        data, np.arange(60)[None] < 40, seeds=[5], watch=lambda *step: seen.append(step)
    )  # fmt: skip
    assert [(tuple(seeds), step) for seeds, step, _, _ in seen] == [((5,), step) for step in range(4)]
    from tests.training.torch_functions import mlp

    module = mlp((5,), 2)
    for _, _, before, after in seen:
        with torch.no_grad():
            for own, value in zip(module.parameters(), before, strict=True):
                own.copy_(torch.as_tensor(value[0]))
        expected = []
        for row in one_by_one(module, torch.nn.CrossEntropyLoss(), records):
            norms = [float(np.linalg.norm(each)) for each in row]
            clip = getattr(trainer, "l2_norm_clip", math.inf)
            if getattr(trainer, "clipping", "") == "per-layer":
                shrink = [min(1.0, clip / 2 / norm) for norm in norms]  # four weights: √4
            else:
                shrink = [min(1.0, clip / math.hypot(*norms))] * 4
            moved = [old[0] - new[0] for old, new in zip(before, after, strict=True)]
            expected.append(sum(s * (g * m).sum() for s, g, m in zip(shrink, row, moved, strict=True)))
        np.testing.assert_allclose(measure(before, after)[0], expected, rtol=1e-4, atol=1e-7)
    final = [value for _, value in sorted(models[0].weights.items())]
    for last, weight in zip(seen[-1][3], final, strict=True):
        np.testing.assert_array_equal(last[0], weight)
    outputs = models[0].predict(records.features)
    labels = records.labels.astype(int)
    gap = outputs[np.arange(20), labels] - outputs[np.arange(20), 1 - labels]
    np.testing.assert_allclose(believed(seen[-1][2], seen[-1][3])[0], gap, rtol=1e-4, atol=1e-5)  # log p / (1 - p)


def test_a_start_is_taken_and_a_plain_twin_exists() -> None:
    """Weights of another network are refused; the twin without privacy trains the same network; a model's own start is
    the one of its seed.
    """
    trainer = Opacus(f"{HERE}:mlp", 1.0, 0.0, epochs=1, batch_size=20, learning_rate=1e-9)
    data, everyone = line(), np.ones((1, 60), bool)
    start = [value for _, value in sorted(trainer.without_privacy()(data, everyone[0], seed=3).weights.items())]
    again = trainer.train_many(data, everyone, seeds=[4], start=[start])[0]
    for own, given in zip(sorted(again.weights), start, strict=True):
        np.testing.assert_allclose(again.weights[own], given, atol=1e-6)
    with pytest.raises(InputError, match="do not fit the network"):
        trainer.train_many(data, everyone, seeds=[4], start=[start[1:]])
    drawn = trainer.train_many(data, everyone, seeds=[5])[0]
    for own, given in zip(sorted(drawn.weights), trainer.initial_weights(data, seed=5), strict=True):
        np.testing.assert_allclose(drawn.weights[own], given, atol=1e-6)
    assert isinstance(watched(Function(lambda *_, **__: None), data), Skipped)
    assert watched(trainer, data) is trainer


@pytest.mark.parametrize("observe", ["final", "all-steps"])
def test_the_white_box_sees_canaries_in_a_training_of_opacus(tmp_path: Path, observe: Any) -> None:
    """As for the engine: σ = 0.2, and directions in which the digits hardly vary; rung 3 certifies ε > 0.5."""
    trainer = Opacus(f"{HERE}:flat", 1.0, 0.2, epochs=20, batch_size=50, learning_rate=0.05)
    settings = LadderSettings(rungs=[3], canaries=60, canary="clipbkd", score="white-box", observe=observe)
    assert audit_ladder(settings, audit_of(trainer, tmp_path)).bounds("model")[0].epsilon > 0.5


def test_the_start_of_many_runs_may_be_the_worst_case(tmp_path: Path) -> None:
    """Without noise a blank canary shows in every run it is in: 60 runs certify ε > 1, as on the engine."""
    trainer = Opacus(f"{HERE}:flat", 1.0, 0.0, epochs=20, batch_size=100, learning_rate=0.05)
    settings = LadderSettings(rungs=[4], runs=60, canary="blank", start="worst-case", score="white-box")
    assert audit_ladder(settings, audit_of(trainer, tmp_path)).bounds("model")[0].epsilon > 1
    assert weights_of(torch.nn.Linear(2, 1))[0].shape == (1, 1, 2)
