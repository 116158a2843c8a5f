"""A torch.nn.Module is attacked as it predicts, or refused in one line."""

from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="needs dpaudit[torch]; make test-torch runs it")

from dpaudit import attack_model  # noqa: E402
from dpaudit.runtime.errors import InputError  # noqa: E402
from dpaudit.training.torch_module import module_outputs  # noqa: E402

pytestmark = pytest.mark.torch
ROWS = np.random.default_rng(0).normal(size=(5000, 4)).astype(np.float32)


def test_outputs_are_those_of_the_module_in_inference_mode() -> None:
    """Equal to the module's own in eval mode, over several batches, and the module keeps its mode."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    with torch.no_grad():
        expected = module(torch.as_tensor(ROWS)).numpy()
    np.testing.assert_allclose(module_outputs(module)(ROWS), expected, atol=1e-6)
    assert module.training


def test_dropout_within_a_function_is_switched_off() -> None:
    """``functional.dropout(..., self.training)`` follows the mode, which is inference while it is asked."""

    class Dropping(torch.nn.Module):  # type: ignore[misc]  # PyTorch has no types here
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.dropout(x, 0.5, self.training)

    np.testing.assert_array_equal(module_outputs(Dropping())(ROWS), ROWS.astype(np.float64))


def _mixed() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2, device="meta")).eval()


class _Random(torch.nn.Module):  # type: ignore[misc]  # PyTorch has no types here
    def forward(self, x: Any) -> Any:
        return x + torch.rand_like(x)


class _Two(torch.nn.Module):  # type: ignore[misc]  # PyTorch has no types here
    def forward(self, x: Any) -> Any:
        return x, x


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (lambda: torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Dropout()), r"training mode.*\.eval\(\)"),
        (lambda: torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2)), r"training mode.*\.eval\(\)"),
        (lambda: torch.nn.BatchNorm1d(4, track_running_stats=False).eval(), "normalises over the batch"),
        (lambda: torch.nn.LazyLinear(2).eval(), "lazy layers"),
        (lambda: torch.nn.Linear(4, 2).half(), r"float16; convert it with \.float"),
        (lambda: torch.nn.Linear(4, 2).bfloat16(), "bfloat16"),
        (_mixed, "lies on cpu and meta"),
        (lambda: torch.nn.Linear(4, 2, device="meta").eval(), "lies on the meta device"),
        (_Random, "answers differently"),
        (_Two, "must return a tensor"),
        (lambda: torch.nn.Linear(5, 2), "does not take records of shape"),
        (lambda: torch.zeros(3), "give the torch.nn.Module"),
    ],
)
def test_what_would_give_wrong_answers_is_refused(module: Any, says: str) -> None:
    """Training mode, lazy layers, half precision, two devices, random answers, no tensor, other shapes."""
    with pytest.raises(InputError, match=says) as caught:
        module_outputs(module())(ROWS)
    assert "\n" not in str(caught.value)


def test_a_network_that_remembers_its_members_is_attacked() -> None:
    """A network fitted to random labels: members have the smaller loss, so the attack's AUC is far above 1/2."""
    torch.manual_seed(0)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 10)).astype(np.float32), rng.integers(0, 2, 200)
    module = torch.nn.Sequential(torch.nn.Linear(10, 128), torch.nn.ReLU(), torch.nn.Linear(128, 2))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(torch.as_tensor(x[:100])), torch.as_tensor(y[:100])).backward()
        optimizer.step()
    result = attack_model(module.eval(), (x[:100], y[:100]), (x[100:], y[100:]), attacks=["loss"])
    assert result.membership is not None
    assert result.membership.attacks[0].auc > 0.8
