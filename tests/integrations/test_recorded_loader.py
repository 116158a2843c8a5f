"""What a loader drew is counted when its step is taken, not when it was drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.inspection.step_trace import read_steps
from dpaudit.integrations.recorded_loader import RecordedLoader
from dpaudit.runtime.errors import InputError


class Ahead:
    """A loader that draws one batch more than it hands out, as accelerate's does."""

    def __init__(self, records: int, batch: int) -> None:
        self.dataset = list(range(records))
        self.batch_sampler: Any = [list(range(at, at + batch)) for at in range(0, records, batch)]

    def __iter__(self):
        held = None
        for batch in self.batch_sampler:
            if held is not None:
                yield held
            held = batch
        yield held


def test_steps_are_what_was_used(tmp_path: Path) -> None:
    """Three batches of an epoch that ends early, then two accumulated ones: what was drawn ahead is forgotten."""
    loader = Ahead(10, 2)
    recorded = RecordedLoader(loader)
    assert len(loader.batch_sampler) == 5
    for seen, _ in enumerate(loader, start=1):
        recorded.step()
        if seen == 3:
            break
    drawn = iter(loader)
    next(drawn), next(drawn)
    recorded.step(2)
    recorded.write(tmp_path / "s.npz")
    batches, accounted = read_steps(tmp_path / "s.npz")
    assert [batch.tolist() for batch in batches.batches] == [[0, 1], [2, 3], [4, 5], [0, 1, 2, 3]]
    assert (batches.records, accounted) == (10, None)


def test_another_loader_is_noticed() -> None:
    """A step without a batch of the recorded loader stops; so does a stream, whose records have no numbers."""
    with pytest.raises(InputError, match="train with the loader that is recorded"):
        RecordedLoader(Ahead(10, 2)).step()
    stream = Ahead(10, 2)
    stream.dataset = iter([])  # type: ignore[assignment]  # a stream has no length
    with pytest.raises(InputError, match="draws from a stream"):
        RecordedLoader(stream)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_poisson_batches_of_opacus() -> None:
    """What the recorder says is in the batch is in it, an empty batch too."""
    torch = pytest.importorskip("torch", reason="needs dpaudit[torch]; make test-torch runs it")
    opacus = pytest.importorskip("opacus", reason="needs dpaudit[torch]; make test-torch runs it")
    data = torch.utils.data.TensorDataset(torch.arange(12.0)[:, None])
    plain = torch.utils.data.DataLoader(data, batch_size=2)
    loader = opacus.data_loader.DPDataLoader.from_data_loader(plain, generator=torch.Generator().manual_seed(1))
    recorded = RecordedLoader(loader)
    seen = []
    for _ in range(5):
        for (batch,) in loader:
            recorded.step()
            seen.append(batch[:, 0].numpy().astype(int).tolist())
    assert [step.tolist() for step in recorded.steps] == seen
    assert [] in seen
    assert np.unique(np.concatenate(recorded.steps)).size == 12
