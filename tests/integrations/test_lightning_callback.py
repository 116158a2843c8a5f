"""Lightning's own logger gets the leakage of each epoch, and the numbers are the loss attack's."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="needs PyTorch; make test-torch runs it")
lightning: Any = pytest.importorskip("lightning.pytorch", reason="needs Lightning; make test-torch runs it")

from dpaudit.data.dataset import Dataset  # noqa: E402
from dpaudit.integrations.leakage import beliefs  # noqa: E402
from dpaudit.integrations.lightning_callback import LightningLeakage  # noqa: E402
from dpaudit.scores.roc import Roc  # noqa: E402
from dpaudit.scores.scores import Scores  # noqa: E402
from dpaudit.training.torch_module import module_outputs  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


class Memoriser(lightning.LightningModule):  # type: ignore[misc]  # Lightning is not installed where types are checked
    """Dropout and a wide layer, on labels that mean nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(
            torch.nn.Linear(8, 256), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(256, 2)
        )

    def forward(self, x: Any) -> Any:
        return self.network(x)

    def training_step(self, batch: Any, _: int) -> Any:
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def test_random_labels_leak_more_and_more(tmp_path: Path) -> None:
    """All a network can do with them is to memorise: the AUC ends above 0.7; dropout stays in training mode."""
    rng = np.random.default_rng(0)
    data = Dataset("noise", rng.normal(size=(240, 8)).astype(np.float32), rng.integers(0, 2, 240))
    members, others = data.take(np.arange(120)), data.take(np.arange(120, 240))
    torch.manual_seed(0)
    pairs = torch.utils.data.TensorDataset(torch.as_tensor(members.features), torch.as_tensor(members.labels))
    module, watch = Memoriser(), LightningLeakage(members, others, fpr=0.1, every=10)
    modes: list[bool] = []
    after = lightning.callbacks.LambdaCallback(on_train_epoch_start=lambda *_: modes.append(module.network[2].training))
    trainer = lightning.Trainer(
        max_epochs=30, accelerator="cpu", callbacks=[watch, after], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
        logger=lightning.loggers.CSVLogger(tmp_path, name="", version=""),
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(pairs, batch_size=20, shuffle=True))
    assert [row["epoch"] for row in watch.rows] == [10, 20, 30]
    assert all(modes)
    score = beliefs(module_outputs(module.eval()))
    assert watch.rows[-1]["leakage_auc"] == Roc.of(Scores(score(members), score(others))).auc > 0.7
    with (tmp_path / "metrics.csv").open() as stream:
        logged = [float(row["leakage_auc"]) for row in csv.DictReader(stream) if row.get("leakage_auc")]
    assert logged == pytest.approx([row["leakage_auc"] for row in watch.rows], rel=1e-6)
