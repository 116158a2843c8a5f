"""A client of PyTorch is attacked through what it sends."""

from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="needs dpaudit[torch]; make test-torch runs it")

from dpaudit.attacks.gradient.bag_of_words import BagOfWords  # noqa: E402
from dpaudit.attacks.gradient.linear_layer import DenseInversion  # noqa: E402
from dpaudit.attacks.gradient.torch_view import parameter_names, torch_gradient, torch_update  # noqa: E402
from dpaudit.runtime.errors import AuditFailed, InputError  # noqa: E402

pytestmark = pytest.mark.torch


def client(seed: int = 0) -> tuple[Any, Any, Any]:
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    record, label = torch.rand(1, 20), torch.tensor([2])
    torch.nn.functional.cross_entropy(module(record), label).backward()
    return module, record.numpy(), label


def test_a_record_is_read_off_its_gradient() -> None:
    """Closed form (Phong et al. 2017): the first layer's gradient gives the record to single precision."""
    module, record, _ = client()
    found = DenseInversion()(torch_gradient(module, batch_size=1))
    np.testing.assert_allclose(found.records, record, atol=1e-4)


@pytest.mark.parametrize("sparse", [False, True])
def test_the_tokens_of_a_batch_are_read_off_an_embedding(sparse: bool) -> None:
    """The rows of the table that are not zero are the tokens, dense or sparse; a table tied to the head has none."""
    torch.manual_seed(0)
    texts = torch.tensor([[3, 7, 7, 30], [12, 3, 0, 5]])
    module = torch.nn.Sequential(torch.nn.Embedding(40, 8, sparse=sparse), torch.nn.Linear(8, 40))

    def send() -> Any:
        logits = module(texts[:, :-1]).reshape(-1, 40)
        torch.nn.functional.cross_entropy(logits, texts[:, 1:].reshape(-1)).backward()
        return torch_gradient(module, batch_size=2)

    assert BagOfWords().read(send()).tokens == (0, 3, 7, 12)
    if not sparse:
        module[1].weight = module[0].weight
        module.zero_grad()
        with pytest.raises(AuditFailed, match="tied to the head"):
            BagOfWords().read(send())


def test_gradients_by_name_and_in_order_are_the_same_view() -> None:
    """Names and order are those of the module's parameters."""
    module, _, _ = client()
    named = {name: parameter.grad.numpy() for name, parameter in reversed(list(module.named_parameters()))}
    views = [torch_gradient(module), torch_gradient(module, named), torch_gradient(module, list(named.values())[::-1])]
    assert parameter_names(module) == ("0.weight", "0.bias", "2.weight", "2.bias")
    for view in views[1:]:
        for one, other in zip(view.gradient, views[0].gradient, strict=True):
            np.testing.assert_array_equal(one, other)


def test_an_update_of_one_step_is_minus_the_rate_times_the_gradient() -> None:
    """By the definition of SGD, read from the weights before and after."""
    module, record, _ = client()
    after = {name: p.detach() - 0.1 * p.grad for name, p in module.named_parameters()}
    view = torch_update(module, after, learning_rate=0.1, epochs=1, local_batch=1, records=1)
    np.testing.assert_allclose(DenseInversion()(view).records, record, atol=1e-3)


def test_weights_are_in_the_layout_of_keras() -> None:
    """A dense kernel is (inputs, outputs), a convolution's (height, width, inputs, outputs); computed by index."""
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, (4, 5)), torch.nn.Flatten(), torch.nn.Linear(6, 7))
    values = [torch.rand_like(parameter) for parameter in module.parameters()]
    view = torch_gradient(module, values)
    assert [array.shape for array in view.gradient] == [(4, 5, 2, 3), (3,), (6, 7), (7,)]
    assert view.gradient[0][3, 4, 1, 2] == pytest.approx(float(values[0][2, 1, 3, 4]))
    assert view.gradient[2][5, 6] == pytest.approx(float(values[2][6, 5]))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda module: None, "'0.weight' has no gradient"),
        (lambda module: [np.zeros(3)], "must hold 4 arrays"),
        (lambda module: {"0.weight": np.zeros((16, 20))}, "hold no parameter '0.bias'"),
        (lambda module: [np.ones(p.shape[::-1]) for p in module.parameters()], "another module"),
    ],
)
def test_gradients_of_something_else_are_refused(given: Any, says: str) -> None:
    """No gradient, too few, a missing name, other shapes: one line."""
    module = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    with pytest.raises(InputError, match=says):
        torch_gradient(module, given(module))
