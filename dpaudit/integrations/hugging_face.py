"""Log-probabilities of texts under a causal language model of ``transformers``, which is imported nowhere else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpaudit.data.token_logprobs import TokenLogprobs
from dpaudit.runtime.check import BoolArray, IntArray
from dpaudit.runtime.errors import InputError, MissingDependency, one_line
from dpaudit.scores.observe_tokens import NextToken, observe_tokens


def hugging_face_token_logprobs(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    context: int | None = None,
    references: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    **how: Any,
) -> TokenLogprobs:
    """A table of texts under a causal language model, for `dpaudit.audit_text`.

    ::

        table = hugging_face_token_logprobs("gpt2", None, texts, references={"base": "distilgpt2"})
        write_token_logprobs("members.parquet", table)

    Args:
        model: an ``AutoModelForCausalLM`` or any model that returns ``logits``, or the folder or name of one.
        tokenizer: its tokenizer; None loads it from the same place as the model.
        texts: the records.
        context: tokens of a text that are read at most; the rest is left out. None reads all.
        references: other models with the same tokenizer, by name.
        columns: further ones, as for `observe_tokens`.
        how: ``given``, ``temperature`` and ``top_k`` of `observe_tokens`.

    Raises:
        MissingDependency: a name is given and ``transformers`` is not installed.
        InputError: there is no text, one has fewer than two tokens, of which none can be scored, or more than the
            model has positions; a model that cannot be loaded.
    """
    if tokenizer is None:
        if not isinstance(model, str | Path):
            raise InputError("give the tokenizer that belongs to the model.")
        tokenizer = _loaded("AutoTokenizer", model)
    sequences = [tokenizer.encode(text)[:context] for text in texts]
    begin = getattr(tokenizer, "bos_token_id", None)
    if begin is not None:  # so that the first token is scored too, where the tokenizer puts nothing before it
        sequences = [row if row[:1] == [begin] else [begin, *row][:context] for row in sequences]
    every = {
        "text": list(texts),
        "tokenizer": [str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)] * len(texts),
        **(columns or {}),
    }
    others = {name: next_token(other) for name, other in (references or {}).items()}
    return observe_tokens(next_token(model), sequences, columns=every, references=others, **how)


def next_token(given: Any) -> NextToken:
    """What predicts the next token, of a causal model or the name of one."""
    model = given
    if isinstance(given, str | Path):
        model = _loaded("AutoModelForCausalLM", given)
    model.eval()
    positions = getattr(getattr(model, "config", None), "max_position_embeddings", None)

    def predict(tokens: IntArray, inside: BoolArray) -> object:
        import torch

        if positions is not None and tokens.shape[1] > positions:
            raise InputError(
                f"a text has {tokens.shape[1]} tokens, the model {positions} positions: give context={positions}."
            )
        with torch.inference_mode():
            device = next(model.parameters()).device
            outputs = model(
                input_ids=torch.as_tensor(tokens, device=device),
                attention_mask=torch.as_tensor(inside.astype("int64"), device=device),
            )
        return outputs.logits.float().cpu().numpy()

    return predict


def _loaded(kind: str, name: str | Path) -> Any:
    """A model or a tokenizer, by its folder or name."""
    try:
        return getattr(_transformers(), kind).from_pretrained(str(name))
    except OSError as error:  # what the library raises where there is none
        raise InputError(f"cannot load {str(name)!r}: {one_line(error)}") from error


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingDependency(
            "a model by its name needs transformers: pip install 'dpaudit[transformers]'"
        ) from error
    return transformers
