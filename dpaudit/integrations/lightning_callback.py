"""Leakage while a model trains, epoch by epoch, from inside a Trainer of Lightning."""

from pathlib import Path
from typing import Any

from dpaudit.data.dataset import Dataset
from dpaudit.integrations.leakage import Leakage, beliefs
from dpaudit.runtime.errors import MissingDependency
from dpaudit.scores.from_outputs import OutputKind
from dpaudit.training.torch_module import in_inference_mode, module_outputs

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback  # the same classes under their older name
    except ImportError as error:
        raise MissingDependency(f"this needs Lightning: pip install lightning ({error})") from error


class LightningLeakage(Callback):  # type: ignore[misc]  # Lightning is not installed where types are checked
    """Runs the loss attack at the end of epochs and logs what it finds with the module's own ``log_dict``.

    So every logger of the Trainer (TensorBoard, MLflow, CSV) gets ``leakage_auc``, ``leakage_advantage`` and
    ``leakage_tpr`` (the TPR at ``fpr``), and early stopping can watch them. ``rows`` holds them with the standard
    error and the epoch.

    Args:
        members: records of the training data, or a sample of them, as the module's ``forward`` takes their features.
        nonmembers: records that are not in it.
        kind: what the module returns, ``logits`` or ``probabilities``.
        fpr: false-positive rate of ``leakage_tpr``.
        every: attack after every so many epochs.
        path: also write the rows as JSON to this file after each of them; None writes nothing.

    Raises:
        InputError: a rate or a number is out of range; there are too few non-members to show the rate; the module's
            outputs do not fit the data, or `dpaudit.training.torch_module.module_outputs` refuses it.
    """

    def __init__(
        self,
        members: Dataset,
        nonmembers: Dataset,
        *,
        kind: OutputKind = "logits",
        fpr: float = 0.01,
        every: int = 1,
        path: Path | None = None,
    ) -> None:
        self._leakage = Leakage(members, nonmembers, fpr, every, path)
        self._kind: OutputKind = kind
        self.rows = self._leakage.rows

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Attack the module as it is now; it stays in its mode."""
        with in_inference_mode(pl_module):
            found = self._leakage.after(trainer.current_epoch + 1, beliefs(module_outputs(pl_module), self._kind))
        if found:
            pl_module.log_dict(found)
