"""DP-SGD with ghost clipping, or SGD, of many models by ``torch.func``: vmap over models of grad. Prints one JSON line.

The same algorithm as in jax_training.py: norms from activations and output gradients, sums from one weighted product.
"""

import json
import sys
import time

import numpy as np
import torch
from torch.func import grad, vmap
from torch.nn import functional as F

CLIP, NOISE, RATE = 1.0, 1.0, 0.1
SHAPES = {"mlp": [(128, 784), (10, 128)], "cnn": [(16, 1, 8, 8), (32, 16, 4, 4), (32, 512), (10, 32)]}
OUTPUTS = {"mlp": [(128,), (10,)], "cnn": [(16, 14, 14), (32, 5, 5), (32,), (10,)]}
WINDOWS = [(8, 2, 3), (4, 2, 0)]  # size, stride and padding of the convolutions


def start(kind, models):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(models, *s, generator=generator) * np.sqrt(2 / np.prod(s[1:])), torch.zeros(models, s[0]))
        for s in SHAPES[kind]
    ]


def forward(kind, params, offsets, x):
    """Logits; ``offsets`` are zeros added to every layer's output so that their gradients are the output gradients."""
    seen, convolutions = [], 0 if kind == "mlp" else 2
    for (w, b), offset, (_, stride, padding) in zip(params[:convolutions], offsets, WINDOWS, strict=False):
        seen.append(x)
        x = F.max_pool2d(F.relu(F.conv2d(x, w, b, stride, padding) + offset), 2, 1)
    x = x.flatten(1)
    for i in range(convolutions, len(params)):
        seen.append(x)
        x = F.linear(x, *params[i]) + offsets[i]
        x = F.relu(x) if i < len(params) - 1 else x
    return x, seen


def clipped(kind, params, x, y):
    """Σ of clipped per-example gradients of one model."""

    def loss(offsets):
        logits, seen = forward(kind, params, offsets, x)
        return F.cross_entropy(logits, y, reduction="sum"), seen

    slopes, seen = grad(loss, has_aux=True)([torch.zeros(len(x), *s) for s in OUTPUTS[kind]])
    squares, held = 0.0, []
    for i, (a, d) in enumerate(zip(seen, slopes, strict=True)):
        if a.ndim == 2:
            squares = squares + ((a * a).sum(1) + 1) * (d * d).sum(1)
            held.append((a, d))
        else:
            size, stride, padding = WINDOWS[i]
            g = d.flatten(2) @ F.unfold(a, size, padding=padding, stride=stride).transpose(1, 2)
            b = d.sum((2, 3))
            squares = squares + (g * g).sum((1, 2)) + (b * b).sum(1)
            held.append((g, b))
    weight = CLIP / torch.clamp(squares.sqrt(), min=CLIP)
    sums = []
    for (first, second), (w, _), a in zip(held, params, seen, strict=True):
        if a.ndim == 2:
            scaled = second * weight[:, None]
            sums.append((scaled.T @ first, scaled.sum(0)))
        else:
            sums.append(((weight @ first.flatten(1)).reshape(w.shape), weight @ second))
    return sums


def plain(kind, params, x, y):
    def loss(params):
        return F.cross_entropy(forward(kind, params, [0.0] * len(params), x)[0], y, reduction="sum")

    return grad(loss)(params)


def main():
    kind, models, path, batch, seconds, mode = (
        sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]), sys.argv[6],
    )  # fmt: skip
    torch.manual_seed(0)
    data = np.load(path)
    x = torch.tensor(data["features"].transpose(0, 3, 1, 2).copy())
    y = torch.tensor(data["labels"])
    private = mode == "dp"
    sums = vmap(lambda params, x, y: (clipped if private else plain)(kind, params, x, y))

    def step(params, rows):
        found = sums(params, x[rows], y[rows])
        noise = CLIP * NOISE if private else 0.0
        return [
            tuple(
                p - RATE * (g + (noise * torch.randn_like(g) if noise else 0.0)) / batch
                for p, g in zip(own, mine, strict=True)
            )
            for own, mine in zip(params, found, strict=True)
        ]

    params, count = start(kind, models), len(x) // batch
    rng = np.random.default_rng(0)

    def rows():
        order = np.stack([rng.permutation(len(x))[: count * batch] for _ in range(models)])
        return torch.tensor(order.reshape(models, count, batch)).transpose(0, 1)

    for each in rows()[:3]:
        params = step(params, each)
    done, begin, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        for each in rows():
            params = step(params, each)
            done += models * batch
            if time.perf_counter() - begin > seconds:
                break
    spent, cpu = time.perf_counter() - begin, time.process_time() - cpu
    assert all(torch.isfinite(value).all() for own in params for value in own)
    print(json.dumps({"examples_per_second": done / spent, "examples_per_cpu_second": done / cpu}))


main()
