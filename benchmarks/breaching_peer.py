"""Run inside the peer's own environment: breaching 0.1.2 on gradients given to it. Called by benchmarks/gradient.py.

Its attack code never touches torchvision, whose wheels do not go with the CPU build of torch, so a stub stands in.
"""

import json
import sys
import time
import types

import numpy as np


class _Stub(types.ModuleType):
    __path__: list = []  # noqa: RUF012 - a module attribute

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or type(name, (), {})


_STUBBED = (
    "", ".transforms", ".transforms.functional", ".datasets", ".datasets.utils", ".datasets.vision",
    ".models", ".models.resnet", ".models.densenet", ".models.vgg",
)  # fmt: skip
for _name in _STUBBED:
    sys.modules[f"torchvision{_name}"] = _Stub(f"torchvision{_name}")

import breaching  # noqa: E402 - after the stub
import torch  # noqa: E402


class Metadata(dict):
    """What breaching reads as attributes and as items."""

    modality, classes, task = "vision", 10, "classification"

    def __init__(self, side):
        super().__init__(modality="vision", task="classification", classes=10)
        self.shape = (1, side, side)


def network(weights, activation, side):
    """The same LeNet; TensorFlow's SAME with stride 2 pads one before and two after."""
    layers, channels = [], 1
    for number in range(3):
        kernel = weights[2 * number].transpose(3, 2, 0, 1)
        stride = 1 if number == 2 else 2
        layers += [torch.nn.ZeroPad2d((2, 2, 2, 2) if stride == 1 else (1, 2, 1, 2))]
        convolution = torch.nn.Conv2d(channels, 12, 5, stride)
        convolution.weight.data, convolution.bias.data = torch.tensor(kernel), torch.tensor(weights[2 * number + 1])
        layers += [convolution, {"sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU}[activation]()]
        channels = 12
    small = -(-side // 4)
    dense = torch.nn.Linear(small * small * 12, 10)
    dense.weight.data = torch.tensor(flattened(weights[6], small))
    dense.bias.data = torch.tensor(weights[7])
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), dense)


def flattened(kernel, small):
    """A dense kernel after Flatten from channels-last order to channels-first."""
    return kernel.reshape(small, small, 12, -1).transpose(3, 2, 0, 1).reshape(kernel.shape[1], -1)


def as_torch(arrays, small, dtype):
    out = []
    for array in arrays:
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif array.ndim == 2:
            array = flattened(array, small)
        out.append(torch.tensor(np.ascontiguousarray(array), dtype=dtype))
    return out


def main(path):
    given = np.load(path)
    job = json.loads(str(given["job"]))
    torch.set_num_threads(job["threads"])
    dtype = torch.double if job["attack"] == "deepleakage" else torch.float
    side, small = job["side"], -(-job["side"] // 4)
    net = network([given[f"w{i}"].astype(np.float64) for i in range(8)], job["activation"], side).to(dtype).eval()
    # The two frameworks must agree on a gradient before anything is compared.
    check = torch.tensor(given["check_x"].transpose(0, 3, 1, 2), dtype=dtype)
    loss = torch.nn.CrossEntropyLoss()(net(check), torch.tensor(given["check_y"]))
    mine = torch.autograd.grad(loss, list(net.parameters()))
    theirs = as_torch([given[f"check_g{i}"] for i in range(8)], small, dtype)
    gap = max(float((a - b).norm() / b.norm()) for a, b in zip(mine, theirs, strict=True))
    assert gap < 1e-5, f"gradients disagree by {gap}"
    overrides = ["optim.callback=100000000", f"optim.max_iterations={job['iterations']}"]
    if job["attack"] == "deepleakage":
        overrides += ["attack_type=optimization", "impl.dtype=double"]
    else:
        overrides += ["init=randn", "regularization.total_variation.scale=0"]
    found, seconds = [], []
    for victim in range(job["victims"]):
        torch.manual_seed(victim)
        config = breaching.get_attack_config(job["attack"], overrides=overrides)
        setup = {"device": torch.device("cpu"), "dtype": dtype}
        attack = breaching.attacks.prepare_attack(net, torch.nn.CrossEntropyLoss(), config, setup)
        gradients = as_torch([given[f"g{victim}_{i}"] for i in range(8)], small, dtype)
        payload = [{"parameters": list(net.parameters()), "buffers": None, "metadata": Metadata(side)}]
        labels = torch.tensor(given[f"y{victim}"])
        metadata = {"num_data_points": len(labels), "labels": labels, "local_hyperparams": None}
        shared = [{"gradients": gradients, "buffers": None, "metadata": metadata}]
        begin = time.perf_counter()
        result, _ = attack.reconstruct(payload, shared, {}, dryrun=False)
        seconds.append(time.perf_counter() - begin)
        found.append(result["data"].detach().double().numpy().transpose(0, 2, 3, 1))
    np.savez(job["out"], found=np.stack(found), seconds=np.array(seconds))


if __name__ == "__main__":
    main(sys.argv[1])
