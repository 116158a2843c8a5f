"""Opacus: ghost clipping and per-example hooks, tensors in memory. Prints one JSON line."""

import json
import sys
import time

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer
from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn


def network(kind):
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    return nn.Sequential(
        nn.ZeroPad2d(3), nn.Conv2d(1, 16, 8, 2), nn.ReLU(), nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.MaxPool2d(2, 1),
        nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def step_of(kind, mode, batch):
    model = network(kind)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    shared = {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "expected_batch_size": batch, "loss_reduction": "mean"}
    plain = nn.CrossEntropyLoss(reduction="mean")
    if mode == "ghost":
        wrapped = GradSampleModuleFastGradientClipping(model, max_grad_norm=1.0, use_ghost_clipping=True)
        optimizer = DPOptimizerFastGradientClipping(sgd, **shared)
        criterion = DPLossFastGradientClipping(wrapped, optimizer, plain, loss_reduction="mean")
    else:
        wrapped = GradSampleModule(model)
        optimizer = DPOptimizer(sgd, **shared)
        criterion = plain

    def step(x, y):
        optimizer.zero_grad()
        criterion(wrapped(x), y).backward()
        optimizer.step()

    return step


def main():
    kind, mode, path, batch, seconds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
    torch.manual_seed(0)
    data = np.load(path)
    x = torch.tensor(data["features"].transpose(0, 3, 1, 2).copy())
    y = torch.tensor(data["labels"])
    step = step_of(kind, mode, batch)
    rng = np.random.default_rng(0)
    for _ in range(3):
        rows = torch.tensor(rng.permutation(len(x))[:batch])
        step(x[rows], y[rows])
    done, begin, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        order = torch.tensor(rng.permutation(len(x)))
        for rows in order.split(batch)[: len(x) // batch]:
            step(x[rows], y[rows])
            done += batch
            if time.perf_counter() - begin > seconds:
                break
    spent, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(json.dumps({"examples_per_second": done / spent, "examples_per_cpu_second": done / cpu}))


main()
