"""LoRA with DP on a language model of Hugging Face, by Opacus: inspected, then attacked by its token log-probabilities.

python examples/lora_opacus.py                    trains with DP and without, and audits both
dpaudit inspect examples/lora_opacus.py:build     asks the optimizer, the adapters' gradients and the loader

The model is a small GPT-2 with random weights, so nothing is downloaded. Only the adapters are trained; Opacus clips
their per-example gradients, and needs none of the frozen layers.
"""

from typing import Any

import numpy as np
import torch
from opacus import PrivacyEngine
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from transformers import GPT2Config, GPT2LMHeadModel

import dpaudit
from dpaudit.accounting import epsilon
from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.integrations.hugging_face import next_token
from dpaudit.scores.observe_tokens import observe_tokens

TEXTS, LENGTH, WORDS = 600, 12, 64
BATCH, EPOCHS, CLIP, NOISE, DELTA = 30, 20, 1.0, 2.0, 1e-5


class Lora(torch.nn.Module):
    """A frozen layer with a trained product of two narrow ones beside it (Hu et al. 2021, arXiv 2106.09685)."""

    def __init__(self, frozen: torch.nn.Module, inputs: int, outputs: int, rank: int = 8) -> None:
        super().__init__()
        self.frozen = frozen
        self.down = torch.nn.Linear(inputs, rank, bias=False)
        self.up = torch.nn.Linear(rank, outputs, bias=False)
        torch.nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.frozen(x) + 2 * self.up(self.down(x))


class NextToken(torch.nn.Module):
    """Token numbers (records, positions) -> logits, as Opacus takes a model: one tensor in, one tensor out."""

    def __init__(self) -> None:
        super().__init__()
        size = {"n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": WORDS, "n_positions": LENGTH}
        no_dropout = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
        self.language_model = GPT2LMHeadModel(GPT2Config(**size, **no_dropout, bos_token_id=0, eos_token_id=0))
        self.requires_grad_(False)
        for block in self.language_model.transformer.h:
            block.attn.c_attn = Lora(block.attn.c_attn, 64, 3 * 64)
            block.mlp.c_fc = Lora(block.mlp.c_fc, 64, 4 * 64)
            block.mlp.c_proj = Lora(block.mlp.c_proj, 4 * 64, 64)
        self.language_model.lm_head = Lora(self.language_model.lm_head, 64, WORDS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.language_model(input_ids=tokens).logits


def texts() -> tuple[np.ndarray, np.ndarray]:
    """Texts of random words, and which of them are trained on: each with probability 1/2."""
    drawn = np.random.default_rng(1)
    return drawn.integers(0, WORDS, (TEXTS, LENGTH)), drawn.random(TEXTS) < 0.5


def build(*, private: bool = True) -> Any:
    """Model, optimizer and loader as the training uses them; what ``dpaudit inspect`` calls."""
    torch.manual_seed(0)
    tokens, member = texts()
    model = NextToken()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=5e-3)
    loader = DataLoader(TensorDataset(torch.as_tensor(tokens[member])), batch_size=BATCH, shuffle=True)
    if not private:
        return model, optimizer, loader
    made = PrivacyEngine().make_private(
        module=model.train(), optimizer=optimizer, data_loader=loader, noise_multiplier=NOISE, max_grad_norm=CLIP
    )
    made[1].expected_batch_size = BATCH  # Opacus would divide by a number that depends on the private records
    return made


def train(*, private: bool) -> torch.nn.Module:
    model, optimizer, loader = build(private=private)
    for _ in range(EPOCHS):
        for (tokens,) in loader:
            optimizer.zero_grad()
            logits = model(tokens)
            losses = cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
            losses.mean(dim=1).mean().backward()
            optimizer.step()
    return model.to_standard_module().language_model if private else model.language_model


def audit(model: torch.nn.Module, claimed: float | None, name: str) -> Any:
    """What the log-probabilities of the texts say of who was trained on."""
    tokens, member = texts()
    ids = np.arange(TEXTS).astype(str)
    inside, outside = (
        observe_tokens(
            next_token(model), tokens[side], columns={"id": ids[side], "tokenizer": ["words"] * int(side.sum())}
        )
        for side in (member, ~member)
    )
    return dpaudit.audit_text(
        inside, outside, epsilon=claimed, delta=DELTA, chosen_by="coin", attacks=["perplexity"], name=name
    )


def main() -> None:
    records = int(texts()[1].sum())
    batches = -(-records // BATCH)
    steps = GaussianSteps(NOISE, EPOCHS * batches, Poisson(1 / batches))
    claimed = epsilon(steps, delta=DELTA, adjacency="add-remove").epsilon
    for private, name in ((False, "without DP"), (True, "with DP")):
        result = audit(train(private=private), claimed, name)
        print(f"{name}: AUC {result.membership.attacks[0].auc:.3f}; {result.comparisons[0].sentence}")


if __name__ == "__main__":
    main()
