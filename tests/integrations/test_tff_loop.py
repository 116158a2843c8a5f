"""The loop for TensorFlow Federated against a process with the same interface; the real package is `make test-tff`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dpaudit.integrations.canaries import canary_direction, canary_model
from dpaudit.integrations.tff import trace_writer, train
from dpaudit.runtime.errors import InputError
from dpaudit.trace import read_trace


class Counting:
    """A learning process whose weights grow by the number of clients in every round."""

    def get_model_weights(self, state: float) -> Any:
        return SimpleNamespace(trainable=[np.full((2, 3), state)], non_trainable=[np.full(2, 7.0)])

    def next(self, state: float, clients: list[Any]) -> Any:
        return SimpleNamespace(state=state + len(clients))


def test_every_round_of_a_process_is_written(tmp_path: Path) -> None:
    """Rounds of 1, 2 and 3 clients add 1, 2 and 3; buffers are marked as such."""
    process = Counting()
    with trace_writer(process, 0.0, tmp_path / "t") as writer:
        end = train(process, 0.0, lambda number: ["client"] * (number + 1), rounds=3, writer=writer)
    assert end == 6.0
    trace = read_trace(tmp_path / "t").whole()
    assert trace.manifest.trainable == (True, False)
    np.testing.assert_allclose(trace.releases[:, 0], [1, 2, 3])
    assert [one.replies for one in trace.rounds] == [1, 2, 3]


def test_a_round_without_clients_is_refused(tmp_path: Path) -> None:
    """The process could not run it, and the message says which round it was."""
    with pytest.raises(InputError, match="round 0 has no clients"):
        train(Counting(), 0.0, lambda _: [], rounds=1, writer=trace_writer(Counting(), 0.0, tmp_path / "t"))


def test_canary_models_move_by_the_norm_along_a_reproducible_direction() -> None:
    """Two canaries of 600 coordinates are nearly orthogonal (|cosine| < 0.2 has chance 1 - 1e-6) and of the norm."""
    sent = [np.zeros((20, 20), np.float32), np.zeros(200, np.float32)]
    moved = [
        np.concatenate([np.ravel(part) for part in canary_model(sent, norm=0.5, seed=1, canary=c)]) for c in (0, 1)
    ]
    assert np.linalg.norm(moved[0]) == pytest.approx(0.5, rel=1e-5)
    assert abs(float(moved[0] @ moved[1])) / 0.25 < 0.2
    np.testing.assert_allclose(moved[0], 0.5 * canary_direction(600, seed=1, canary=0), atol=1e-6)
