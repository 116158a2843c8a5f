"""A Hugging Face Trainer logs the leakage of each epoch and writes down who was in the batch of each step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="needs PyTorch; make test-torch runs it")
transformers: Any = pytest.importorskip("transformers", reason="needs transformers; make test-torch runs it")
pytest.importorskip("accelerate", reason="the Trainer needs it; make test-torch runs it")

from dpaudit.accounting.claim import GaussianSteps, Poisson, Shuffled  # noqa: E402
from dpaudit.inspection.participation import reconcile_trace  # noqa: E402
from dpaudit.inspection.step_trace import read_steps  # noqa: E402
from dpaudit.integrations.hugging_face_callback import HuggingFaceLeakage, HuggingFaceSteps  # noqa: E402
from dpaudit.runtime.errors import InputError  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
SIZE = {"vocab_size": 32, "n_positions": 8, "n_embd": 32, "n_layer": 1, "n_head": 2, "pad_token_id": 0}


def texts(count: int, *, seed: int, label: bool = False) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = [rng.integers(1, 32, 8).tolist() for _ in range(count)]
    return [{"input_ids": row, "labels": int(rng.integers(2)) if label else row} for row in rows]


def trainer_of(model: Any, data: Any, folder: Path, **settings: Any) -> Any:
    common = {"learning_rate": 1e-2, "report_to": [], "save_strategy": "no", "disable_tqdm": True, "use_cpu": True}
    given = transformers.TrainingArguments(output_dir=str(folder), **{**common, **settings})
    return transformers.Trainer(model=model, args=given, train_dataset=data)


@pytest.mark.parametrize("kind", ["GPT2LMHeadModel", "GPT2ForSequenceClassification"])
def test_random_texts_are_memorised_and_every_step_is_recorded(tmp_path: Path, kind: str) -> None:
    """The AUC ends above 0.7 and is in the Trainer's own history. Two batches of 8 make a step, of 40 texts an epoch.

    Three steps an epoch, the last of one batch. Its records are each in one step of an epoch: so they are shuffled,
    and not drawn at rate 0.4 independently, which the trace shows (level 1e-6).
    """
    torch.manual_seed(0)
    label = kind.endswith("Classification")
    model = getattr(transformers, kind)(transformers.GPT2Config(**SIZE))
    members, others = texts(40, seed=1, label=label), texts(40, seed=2, label=label)
    trainer = trainer_of(
        model, members, tmp_path, num_train_epochs=30, per_device_train_batch_size=8, gradient_accumulation_steps=2
    )
    watch = HuggingFaceLeakage(trainer, members, others, fpr=0.1, every=15)
    steps = HuggingFaceSteps(tmp_path / "steps.npz", accounted=GaussianSteps(1.0, 90, Poisson(0.4)))
    trainer.add_callback(watch)
    trainer.add_callback(steps)
    trainer.train()
    assert [row["epoch"] for row in watch.rows] == [15, 30]
    assert watch.rows[-1]["leakage_auc"] > 0.7
    logged = [row["leakage_auc"] for row in trainer.state.log_history if "leakage_auc" in row]
    assert logged == [row["leakage_auc"] for row in watch.rows]
    batches, accounted = read_steps(tmp_path / "steps.npz")
    assert [len(batch) for batch in batches.batches] == [16, 16, 8] * 30
    assert all(sorted(np.concatenate(batches.batches[at : at + 3])) == list(range(40)) for at in range(0, 90, 3))
    assert accounted is not None
    assert "sampler" in [finding.check for finding in reconcile_trace(accounted, batches)]
    assert reconcile_trace(GaussianSteps(1.0, 90, Shuffled(3)), batches) == ()


def test_what_cannot_be_recorded_is_said(tmp_path: Path) -> None:
    """A stream has no record numbers, an example without tokens is none, and the file's ending is fixed."""

    class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc]  # PyTorch has no types here
        def __iter__(self) -> Any:
            return iter(texts(16, seed=1))

    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZE))
    trainer = trainer_of(model, Stream(), tmp_path, max_steps=1)
    trainer.add_callback(HuggingFaceSteps(tmp_path / "steps.npz"))
    with pytest.raises(InputError, match="draws from a stream"):
        trainer.train()
    trainer = trainer_of(model, texts(16, seed=1), tmp_path, max_steps=1)
    trainer.add_callback(HuggingFaceLeakage(trainer, [{"text": "a"}] * 20, [{"text": "b"}] * 20, fpr=0.1))
    with pytest.raises(InputError, match="has no 'input_ids', but text: tokenize it first"):
        trainer.train()
    with pytest.raises(InputError, match=r"is an \.npz file"):
        HuggingFaceSteps(tmp_path / "steps.csv")


def test_a_callback_that_comes_too_late_says_so(tmp_path: Path) -> None:
    """Added in the middle of a training it knows no loader, and says so at the next step instead of writing no file."""
    with pytest.raises(InputError, match="added after the training began"):
        HuggingFaceSteps(tmp_path / "steps.npz").on_step_end(None, None, None)
    with pytest.raises(InputError, match="added after the training began"):
        HuggingFaceSteps(tmp_path / "steps.npz").on_train_end(None, None, None)
