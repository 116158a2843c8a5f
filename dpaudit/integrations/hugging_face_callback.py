"""Callbacks of a Hugging Face ``Trainer``: leakage epoch by epoch, and who was in the batch of each step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.accounting.claim import GaussianSteps
from dpaudit.inspection.step_trace import checked_path
from dpaudit.integrations.hugging_face import next_token
from dpaudit.integrations.leakage import Leakage
from dpaudit.integrations.recorded_loader import RecordedLoader
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError, MissingDependency
from dpaudit.scores.from_outputs import observe
from dpaudit.scores.observe_tokens import observe_tokens
from dpaudit.scores.text_scores import weighted_means
from dpaudit.training.torch_module import in_inference_mode

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise MissingDependency(f"this needs transformers: pip install 'dpaudit[transformers]' ({error})") from error

Examples = Sequence[Mapping[str, Any]]
TOGETHER = 64  # examples of a classifier that are predicted at once


class HuggingFaceLeakage(TrainerCallback):  # type: ignore[misc]  # it is not installed where types are checked
    """Attacks the model at the end of epochs and logs what it finds with the Trainer's own ``log``.

    So every place the Trainer reports to (TensorBoard, MLflow) gets ``leakage_auc``, ``leakage_advantage`` and
    ``leakage_tpr`` (the TPR at ``fpr``), and so does its history. A causal language model is attacked by the mean
    log-probability of an example's tokens, a classifier by how sure it is of the example's label::

        trainer.add_callback(HuggingFaceLeakage(trainer, members, nonmembers))

    Args:
        trainer: the one that is watched.
        members: examples of the training data with ``input_ids``, and for a classifier ``labels`` or ``label``.
        nonmembers: examples that are not in it.
        fpr: false-positive rate of ``leakage_tpr``.
        every: attack after every so many epochs.
        path: also write the rows as JSON to this file after each of them; None writes nothing.

    Raises:
        InputError: a rate or a number is out of range; there are too few non-members to show the rate; an example has
            no ``input_ids``.
    """

    def __init__(
        self,
        trainer: Any,
        members: Examples,
        nonmembers: Examples,
        *,
        fpr: float = 0.01,
        every: int = 1,
        path: Path | None = None,
    ) -> None:
        self._trainer = trainer
        self._leakage = Leakage(members, nonmembers, fpr, every, path)
        self.rows = self._leakage.rows

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Attack the model as it is now; it stays in its mode."""
        model = given["model"]

        def score(examples: Examples) -> FloatArray:
            return _beliefs(model, examples, self._trainer.data_collator)

        with in_inference_mode(model):
            found = self._leakage.after(max(1, round(state.epoch)), score)
        if found:
            self._trainer.log(found)


class HuggingFaceSteps(TrainerCallback):  # type: ignore[misc]  # it is not installed where types are checked
    """Writes down who was in the batch of each step, for ``dpaudit inspect PATH``: participation, as it was accounted.

    Accumulated batches count as one step. The training is one process, and not resumed.

    Args:
        path: the ``.npz`` file, written when the training ends.
        accounted: what the accountant was told; None leaves it to whoever inspects the file.

    Raises:
        InputError: the training has several processes, is resumed, or its data set has no length.
    """

    def __init__(self, path: str | Path, *, accounted: GaussianSteps | None = None) -> None:
        self.path, self.accounted = checked_path(path), accounted
        self.recorded: RecordedLoader | None = None
        self._batches = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Record the Trainer's loader."""
        if args.world_size > 1:
            raise InputError(f"steps are recorded in one process, and this training has {args.world_size}.")
        if state.global_step:
            raise InputError(f"the training is resumed at step {state.global_step}: the steps before are not recorded.")
        self.recorded = RecordedLoader(given["train_dataloader"])

    def on_substep_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Count a batch whose gradients are kept for a later step."""
        self._batches += 1

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Count the batches of this step."""
        self._recorded().step(self._batches + 1)
        self._batches = 0

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Write the file."""
        self._recorded().write(self.path, accounted=self.accounted)

    def _recorded(self) -> RecordedLoader:
        if self.recorded is None:
            raise InputError("HuggingFaceSteps was added after the training began: its first steps are not recorded.")
        return self.recorded


def _beliefs(model: Any, examples: Examples, collate: Any) -> FloatArray:
    """How sure a model is of each example, shape (examples,)."""
    rows = [examples[i] for i in range(len(examples))]
    missing = next((i for i, row in enumerate(rows) if "input_ids" not in row), None)
    if missing is not None:
        raise InputError(f"example {missing} has no 'input_ids', but {', '.join(rows[missing])}: tokenize it first.")
    labels = [row.get("labels", row.get("label")) for row in rows]
    if any(label is None or np.ndim(label) for label in labels):
        table = observe_tokens(next_token(model), [np.asarray(row["input_ids"]).tolist() for row in rows])
        return weighted_means(table, table.logprobs)
    import torch

    device = next(model.parameters()).device
    parts = []
    with torch.no_grad():
        for start in range(0, len(rows), TOGETHER):
            batch = collate([dict(row) for row in rows[start : start + TOGETHER]])
            parts.append(
                model(**{name: value.to(device) for name, value in batch.items()}).logits.float().cpu().numpy()
            )
    outputs = np.asarray(np.concatenate(parts), np.float64)
    return observe(outputs, np.asarray(labels), task="multiclass").phi
