"""The reader of Hugging Face models against the real packages; without them, what is asked for by name."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.integrations.hugging_face import hugging_face_token_logprobs
from dpaudit.runtime.errors import InputError, MissingDependency

TEXTS = ["to be or not to be", "that is the question", "whether it is"]


class Bytes:
    """A tokenizer of bytes."""

    bos_token_id = 0
    name_or_path = "bytes"

    def encode(self, text: str) -> list[int]:
        return list(text.encode())


def test_a_name_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependency, match=r"pip install 'dpaudit\[transformers\]'"):
        hugging_face_token_logprobs("gpt2", None, TEXTS)
    with pytest.raises(InputError, match="give the tokenizer"):
        hugging_face_token_logprobs(object(), None, TEXTS)


@pytest.fixture(scope="module")
def models() -> list[Any]:
    """Two untrained models of GPT-2's kind."""
    torch = pytest.importorskip("torch", reason="make test-transformers installs it")
    transformers = pytest.importorskip("transformers", reason="make test-transformers installs it")
    torch.manual_seed(1)
    config = transformers.GPT2Config(vocab_size=256, n_positions=64, n_embd=32, n_layer=2, n_head=2)
    return [transformers.GPT2LMHeadModel(config) for _ in range(2)]


def test_sums_are_the_model_s_own_loss(models: list[Any]) -> None:
    """The mean log-probability of a text is minus the loss that the model itself returns, padded or not."""
    import torch

    table = hugging_face_token_logprobs(models[0], Bytes(), TEXTS, references={"other": models[1]})
    assert table.tokenizer == "bytes"
    for values, model in ((table.logprobs, models[0]), (table.references["other"], models[1])):
        for text, start, length in zip(TEXTS, table.starts, table.lengths, strict=True):
            ids = torch.tensor([[0, *text.encode()]])
            assert length == len(text.encode())
            with torch.no_grad():
                loss = float(model(ids, labels=ids).loss)
            assert -values[start : start + length].mean() == pytest.approx(loss, abs=1e-5)


def test_min_k_plus_plus_is_that_of_its_authors(models: list[Any]) -> None:
    """Mean and deviation are those of the code of Zhang et al. (2024), from the same logits."""
    import torch

    table = hugging_face_token_logprobs(models[0], Bytes(), TEXTS[:1])
    ids = torch.tensor([[0, *TEXTS[0].encode()]])
    with torch.no_grad():
        logs = torch.log_softmax(models[0](ids).logits[0, :-1], dim=-1)
    mu = (logs.exp() * logs).sum(-1)
    sigma = (logs.exp() * torch.square(logs)).sum(-1) - torch.square(mu)
    assert table.mean is not None
    assert table.deviation is not None
    np.testing.assert_allclose(table.mean, mu, atol=1e-5)
    np.testing.assert_allclose(table.deviation, sigma.sqrt(), atol=1e-3)
    assert table.top is not None
    assert table.top.tolist() == (logs.argmax(-1) == ids[0, 1:]).tolist()


def test_a_context_cuts_long_texts(models: list[Any]) -> None:
    """With the token that begins a text it is no longer than the model reads."""
    table = hugging_face_token_logprobs(models[0], Bytes(), ["a" * 100], context=64)
    assert table.lengths.tolist() == [63]


def test_what_a_model_cannot_read(models: list[Any], tmp_path: Path) -> None:
    """More tokens than it has positions, no texts, and a folder without a model, in a line each."""
    with pytest.raises(InputError, match="a text has 101 tokens, the model 64 positions: give context=64"):
        hugging_face_token_logprobs(models[0], Bytes(), ["a" * 100])
    with pytest.raises(InputError, match="there are no records to score"):
        hugging_face_token_logprobs(models[0], Bytes(), [])
    with pytest.raises(InputError, match=r"^cannot load '.*none'.*$"):
        hugging_face_token_logprobs(str(tmp_path / "none"), None, TEXTS)
