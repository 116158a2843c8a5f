"""DP-SGD with ghost clipping written by hand in JAX, whole epochs in one jitted loop. Prints one JSON line.

Norms from activations and output gradients, sums from one weighted product; convolutions by per-example products.
"""

import json
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

CLIP, NOISE, RATE = 1.0, 1.0, 0.1
WIDE = ("NHWC", "HWIO", "NHWC")


def conv(x, w, stride, padding):
    return lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=WIDE)


def patches(x, size, stride, padding):
    found = lax.conv_general_dilated_patches(
        x, (size, size), (stride, stride), padding, dimension_numbers=WIDE
    )  # channels come first in each patch
    return found.reshape(x.shape[0], -1, found.shape[-1])


def pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID")


def start(kind, key):
    shapes = [(784, 128), (128, 10)] if kind == "mlp" else [(8, 8, 1, 16), (4, 4, 16, 32), (512, 32), (32, 10)]
    keys = jax.random.split(key, len(shapes))
    return [
        (jax.random.normal(k, s) * np.sqrt(2 / np.prod(s[:-1])), jnp.zeros(s[-1]))
        for k, s in zip(keys, shapes, strict=True)
    ]


def forward(kind, params, offsets, x):
    """Logits; ``offsets`` are zeros added to every layer's output so that their gradients are the output gradients."""
    seen = []
    if kind == "mlp":
        x = x.reshape(x.shape[0], -1)
    else:
        for i, (stride, padding) in enumerate(((2, "SAME"), (2, "VALID"))):
            seen.append(x)
            z = conv(x, params[i][0], stride, padding) + params[i][1] + offsets[i]
            x = pool(jax.nn.relu(z))
        x = x.reshape(x.shape[0], -1)
    for i in range(0 if kind == "mlp" else 2, len(params)):
        seen.append(x)
        x = x @ params[i][0] + params[i][1] + offsets[i]
        if i < len(params) - 1:
            x = jax.nn.relu(x)
    return x, seen


def clipped(kind, params, x, y):
    batch = x.shape[0]
    shapes = [(batch, 128), (batch, 10)] if kind == "mlp" else [
        (batch, 14, 14, 16), (batch, 5, 5, 32), (batch, 32), (batch, 10)]  # fmt: skip

    def loss(offsets):
        logits, seen = forward(kind, params, offsets, x)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).sum(), seen

    slopes, seen = jax.grad(loss, has_aux=True)([jnp.zeros(s) for s in shapes])
    squares, held = 0.0, []
    for i, (a, d) in enumerate(zip(seen, slopes, strict=True)):
        if a.ndim == 2:
            squares += ((a * a).sum(1) + 1) * (d * d).sum(1)
            held.append((a, d))
        else:
            rows = patches(a, *((8, 2, "SAME") if i == 0 else (4, 2, "VALID")))
            columns = d.reshape(batch, -1, d.shape[-1])
            g = jnp.einsum("bpk,bpo->bok", rows, columns)
            b = columns.sum(1)
            squares += (g * g).sum((1, 2)) + (b * b).sum(1)
            held.append((g, b))
    weight = 1 / jnp.maximum(jnp.sqrt(squares) / CLIP, 1)
    sums = []
    for (first, second), (w, _), a in zip(held, params, seen, strict=True):
        if a.ndim == 2:
            scaled = second * weight[:, None]
            sums.append((first.T @ scaled, scaled.sum(0)))
        else:
            total = jnp.einsum("b,bok->ko", weight, first)
            height, width, channels, outputs = w.shape
            total = total.reshape(channels, height, width, outputs).transpose(1, 2, 0, 3)
            sums.append((total, weight @ second))
    return sums


def step(kind, params, key, x, y):
    sums = clipped(kind, params, x, y)
    leaves, tree = jax.tree.flatten(sums)
    keys = jax.random.split(key, len(leaves))
    noisy = [s + CLIP * NOISE * jax.random.normal(k, s.shape) for s, k in zip(leaves, keys, strict=True)]
    return jax.tree.map(lambda p, g: p - RATE * g / x.shape[0], params, jax.tree.unflatten(tree, noisy))


@partial(jax.jit, static_argnums=(0, 1))
def epoch(kind, batch, params, key, x, y):
    """One epoch of every model; the models share nothing but the data."""
    count = x.shape[0] // batch

    def one(params, key):
        order = jax.random.permutation(key, x.shape[0])[: count * batch].reshape(count, batch)

        def body(t, params):
            return step(kind, params, jax.random.fold_in(key, t), x[order[t]], y[order[t]])

        return lax.fori_loop(0, count, body, params)

    return jax.vmap(one)(params, key)


def main():
    kind, models, path, batch, seconds = (
        sys.argv[1],
        int(sys.argv[2]),
        sys.argv[3],
        int(sys.argv[4]),
        float(sys.argv[5]),
    )
    data = np.load(path)
    x, y = jnp.asarray(data["features"]), jnp.asarray(data["labels"])
    params = jax.vmap(partial(start, kind))(jax.random.split(jax.random.key(0), models))
    keys = jax.random.split(jax.random.key(1), models)
    params = jax.block_until_ready(epoch(kind, batch, params, keys, x, y))
    done, begin, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        keys = jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys)
        params = jax.block_until_ready(epoch(kind, batch, params, keys, x, y))
        done += models * (len(x) // batch) * batch
    spent, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(json.dumps({"examples_per_second": done / spent, "examples_per_cpu_second": done / cpu}))


main()
