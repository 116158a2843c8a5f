"""Gradient inversion beside breaching 0.1.2, with the candidate attack and the golden suite: ratios from one run.

    python benchmarks/gradient.py             full size (about eight minutes on an idle core)
    python benchmarks/gradient.py --texts     no peer: texts of a decoder, share exact over B(T - 1) / width
    python benchmarks/gradient.py --exact     no peer: batches by SPEAR, errors, CPU seconds, what noise leaves
    python benchmarks/gradient.py --smoke     tiny, to see that it runs
    python benchmarks/gradient.py --out FILE  writes ratios, figures and targets as JSON too

Both sides get bit-identical weights, gradients and labels, and the same number of threads; both are scored by our PSNR.
Known faults of the peer are kept out of the comparison: labels are given (its joint attack returns random ones), total
variation is off (it crashes on one channel), gradients are compared before anything is timed. The peer runs in
``.benchmark-env/gradient``, made on first use. It gets the smallest of its budgets of iterations that comes within 1 dB
of our median fidelity, else the one that gets furthest. Times are of attacks whose program was traced before; the first
attack, with tracing, is a figure of its own.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.attacks.gradient.bag_of_words import BagOfWords
from dpaudit.attacks.gradient.candidate_attack import CandidateAttack, PrivacyUnits, RecordContributions
from dpaudit.attacks.gradient.candidate_game import Game, play_games
from dpaudit.attacks.gradient.dager import Dager
from dpaudit.attacks.gradient.defences import Defence
from dpaudit.attacks.gradient.dense_network import DenseNetwork
from dpaudit.attacks.gradient.gradient_matching import GradientMatching
from dpaudit.attacks.gradient.inverting_gradients import InvertingGradients
from dpaudit.attacks.gradient.metrics import assignment, psnr
from dpaudit.attacks.gradient.observed_gradient import batch_gradient, text_gradient, text_victims
from dpaudit.attacks.gradient.spear import Spear
from dpaudit.attacks.gradient.victims import Victims
from dpaudit.attacks.gradient.view import BatchGradient
from dpaudit.data.bundled import digits, mnist_5000
from dpaudit.data.text import TextRoles, load_text
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import AuditFailed
from dpaudit.runtime.tensorflow import keras, tf
from dpaudit.training.decoder import Decoder

BATCHES = ((12, 400, 5), (25, 400, 10), (40, 1000, 3), (50, 1000, 3), (64, 2000, 3), (80, 4000, 1), (100, 4000, 1))
BUDGET = 120.0  # CPU seconds of SPEAR for a batch
HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".benchmark-env" / "gradient"
PACKAGES = (("torch==2.13.0", "hydra-core", "scipy", "numpy"), ("--no-deps", "breaching==0.1.2"))


def environment() -> Path:
    """The peer's Python."""
    python = ENVIRONMENT / "bin" / "python"
    ready = ENVIRONMENT / ".ready"
    if not ready.exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        for packages in PACKAGES:
            subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        ready.touch()
    return python


def lenet(side: int, activation: str) -> Any:
    """Three convolutions of 12 channels and a dense layer; DLG's uniform start for the sigmoid, Glorot for ReLU."""

    def start(seed: int) -> Any:
        kind = keras.initializers.RandomUniform(-0.5, 0.5, seed) if activation == "sigmoid" else None
        return kind or keras.initializers.GlorotUniform(seed)

    layers = [
        keras.layers.Conv2D(
            12, 5, stride, "same", activation=activation, kernel_initializer=start(i), bias_initializer=start(9 + i)
        )
        for i, stride in enumerate((2, 2, 1))
    ]
    return keras.Sequential(
        [
            keras.Input((side, side, 1)),
            *layers,
            keras.layers.Flatten(),
            keras.layers.Dense(10, kernel_initializer=start(5)),
        ]
    )


def peer(job: dict[str, Any], views: list[Any], check: Any) -> tuple[FloatArray, FloatArray]:
    """Reconstructions and seconds per victim of breaching."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "job.npz", Path(folder) / "out.npz"
        content: dict[str, Any] = {"job": json.dumps({**job, "out": str(out)})}
        content |= {f"w{i}": w for i, w in enumerate(views[0].weights)}
        for v, view in enumerate(views):
            content |= {f"g{v}_{i}": g for i, g in enumerate(view.gradient)}
            content[f"y{v}"] = view.labels
        content |= {"check_x": check[0], "check_y": check[1]}
        content |= {f"check_g{i}": g for i, g in enumerate(check[2].gradient)}
        np.savez(path, **content)
        subprocess.run([environment(), HERE / "breaching_peer.py", path], check=True, stdout=subprocess.DEVNULL)
        with np.load(out) as found:
            return found["found"], found["seconds"]


def scored(found: list[FloatArray], truth: FloatArray) -> float:
    """Median over the victims of the mean PSNR of their records, matched by assignment."""
    values = [psnr(np.clip(f, 0, 1)[assignment(f, t)], t).mean() for f, t in zip(found, truth, strict=True)]
    return float(statistics.median(values))


def ratio(theirs: FloatArray, ours: FloatArray) -> dict[str, float]:
    """How many times as fast, from seconds per victim: medians, and the quartiles against each other."""
    fast, middle, slow = np.percentile(ours, (25, 50, 75))
    low, median, high = np.percentile(theirs, (25, 50, 75))
    return {"median": median / middle, "low": low / slow, "high": high / fast}


def compare(
    name: str,
    data: Any,
    activation: str,
    found: dict[str, Any],
    *,
    victims: int,
    alone: int,
    repeats: int,
    threads: int,
    budgets: tuple[int, ...],
    tolerance: float,
) -> None:
    """One model: ours one by one and stacked, and the peer, which goes one by one, on the first ``alone`` victims."""
    side = data.features.shape[1]
    rows = np.random.default_rng(0).choice(len(data), victims, replace=False)
    truth, labels = data.features[rows, None].astype(np.float64), data.classes[rows, None]
    model = lenet(side, activation)
    model_victims = Victims.of(model)
    views = [batch_gradient(model_victims, x, y, knows=("labels",)) for x, y in zip(truth, labels, strict=True)]
    check = (truth[0], labels[0], views[0])  # of this very record: what both frameworks must agree on
    cosine = activation == "relu"
    kind = "invertinggradients" if cosine else "deepleakage"
    job = {"attack": kind, "activation": activation, "side": side, "threads": threads, "victims": alone}

    def attack() -> Any:
        if cosine:
            return InvertingGradients(model, restarts=1, iterations=500, variation=1e-3)
        return GradientMatching(model, restarts=1, iterations=800, tolerance=tolerance)

    def timed(work: Any) -> tuple[Any, float]:
        begin = time.perf_counter()
        result = work()
        return result, time.perf_counter() - begin

    single, together = attack(), attack()
    _, first_alone = timed(lambda: single(views[0]))
    one_by_one = [timed(lambda view=view: single(view)) for view in views[:alone]]
    _, first_together = timed(lambda: together.together(views))
    stacked = [timed(lambda: together.together(views)) for _ in range(repeats)]
    seconds = np.array([s for _, s in one_by_one])
    stacked_seconds = np.array([s for _, s in stacked]) / victims
    fidelity = scored([r.records for r, _ in one_by_one], truth[:alone])
    all_fidelity = scored([r.records for r in stacked[0][0]], truth)
    reached, peer_seconds, budget = -np.inf, np.empty(0), 0
    for iterations in budgets:
        records, taken = peer({**job, "iterations": iterations}, views[:alone], check)
        theirs = scored(list(records), truth[:alone])
        if theirs > reached:
            reached, peer_seconds, budget = theirs, taken, iterations
        if theirs >= fidelity - 1:
            break
    title = f"{name}, {activation}"
    found["ratios"][f"{title}, one image"] = ratio(peer_seconds, seconds)
    found["ratios"][f"{title}, {victims} victims stacked"] = ratio(peer_seconds, stacked_seconds)
    found["targets"][f"{title}, one image"] = 5.0
    found["targets"][f"{title}, {victims} victims stacked"] = 10.0
    found["figures"][title] = {
        "peer per minute": 60 / float(np.median(peer_seconds)),
        "peer PSNR, dB": reached,
        "peer iterations": budget,
        "one by one per minute": 60 / float(np.median(seconds)),
        "one by one PSNR, dB": fidelity,
        "stacked per minute": 60 / float(np.median(stacked_seconds)),
        "stacked PSNR, dB": all_fidelity,
        "first image with tracing, s": first_alone,
        "first stack with tracing, s": first_together,
        "equal or better PSNR": str(bool(min(fidelity, all_fidelity) >= reached - 1)).lower(),
    }
    print(f"{title}: {kind}, {threads} threads")
    for label, value in found["figures"][title].items():
        print(f"  {label:30} {value if isinstance(value, str) else f'{value:10.1f}'}")
    for label in (f"{title}, one image", f"{title}, {victims} victims stacked"):
        r = found["ratios"][label]
        print(f"  {label}: x{r['median']:.1f} ({r['low']:.1f} to {r['high']:.1f}), wanted {found['targets'][label]:g}")


def golden_suite() -> float:
    """Seconds the tests of gradient attacks take, the golden numbers among them."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "tests/attacks/gradient"]
    subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def prior_runs(runs: int) -> float:
    """Seconds of the candidate attack in the published setting."""
    data = mnist_5000()
    x, y = 2 * data.features.reshape(len(data), -1) - 1, data.classes
    order = np.random.default_rng(0).permutation(len(data))
    network = DenseNetwork((784, 10, 10))
    contributions = RecordContributions(network, 0.1)
    known = PrivacyUnits(x[order[:999]], y[order[:999]])
    candidates = PrivacyUnits(x[order[1000:1008]], y[order[1000:1008]])
    game = Game(contributions, known, noise_multiplier=5.0, steps=100, learning_rate=9.0)
    begin = time.perf_counter()
    won = play_games(game, CandidateAttack(contributions), network.initial(seed=1), candidates, runs=runs, seed=0)
    seconds = time.perf_counter() - begin
    print(f"candidate attack: {runs} runs in {seconds:.1f} s, success {won.successes / runs:.3f}")
    return seconds


def exact_texts(width: int, positions: int, batches: tuple[int, ...], *, victims: int, made: str) -> dict[str, Any]:
    """Share of texts recovered word for word, by batch size: new texts for each victim of one untrained model."""
    shakespeare = load_text("shakespeare", TextRoles(context=positions))
    keras.utils.set_random_seed(width)
    model = text_victims(Decoder(width=width, layers=2, heads=4)((positions,), 257))
    found: dict[str, Any] = {}
    for batch in batches:
        exact, invented, bags, seconds = 0.0, 0, 0, 0.0
        for victim in range(victims):
            rng = np.random.default_rng([batch, victim])
            rows = rng.choice(len(shakespeare), batch, replace=False)
            tokens, counted = shakespeare.features[rows].astype(np.float64), shakespeare.labels[rows].astype(np.float64)
            if made == "random":
                tokens[:, 1:] = rng.integers(0, 256, (batch, positions))
                counted[:] = 1
            truth = {tuple(t[1 : 1 + int(c.sum())].astype(int).tolist()) for t, c in zip(tokens, counted, strict=True)}
            given = {int(token) for t, c in zip(tokens, counted, strict=True) for token in t[: int(c.sum())]}
            view = text_gradient(model, tokens, counted)
            begin = time.process_time()
            try:
                texts = set(Dager().read(view).texts or ())
            except AuditFailed:
                texts = set()
            seconds += time.process_time() - begin
            exact += len(texts & truth) / len(truth)
            invented += len(texts - truth)
            bags += set(BagOfWords().read(view).tokens) == given
        share = batch * (positions - 1) / width
        found[f"B = {batch}, B(T - 1) / d = {share:.2f}"] = exact / victims
        print(
            f"texts, {made}, d = {width}, T = {positions}: B = {batch}, B(T - 1) / d = {share:.2f}: exact "
            f"{exact / victims:.3f}, invented {invented}, bag exact {bags} of {victims}, CPU {seconds / victims:.2f} s",
            flush=True,
        )
    return found


def too_long(*_: Any) -> None:
    """Of the timer of CPU time."""
    raise TimeoutError(f"not found in {BUDGET:g} CPU seconds")


def exact_batches(batch: int, width: int, seeds: int, *, noise_multiplier: float = 0.0) -> dict[str, Any]:
    """What SPEAR finds of MNIST batches through an untrained 784-width-10 ReLU network; clipped to 1 under noise.

    A batch that takes more than `BUDGET` CPU seconds counts as not found.
    """
    data = mnist_5000()
    images = data.features.reshape(len(data), -1).astype(np.float64)
    found, worst, quality, seconds, refusals = 0, 0.0, [], [], set()
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(data), batch, replace=False)
        first = rng.uniform(-1, 1, (784, width)) * np.sqrt(6 / (784 + width))
        second = rng.uniform(-1, 1, (width, 10)) * np.sqrt(6 / (width + 10))
        x = images[rows]
        hidden = np.maximum(x @ first, 0)
        logits = np.exp(hidden @ second)
        last = logits / logits.sum(1, keepdims=True) - np.eye(10)[data.classes[rows]]
        outputs = (last @ second.T) * (hidden > 0)
        each = (x[:, :, None] * outputs[:, None], outputs, hidden[:, :, None] * last[:, None], last)
        defence = Defence(clip=1.0, noise_multiplier=noise_multiplier) if noise_multiplier else Defence()
        weights = (first, np.zeros(width), second, np.zeros(10))
        view = BatchGradient(weights, defence.mean(each, rng), batch, noise=defence.deviation / batch)
        begin = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, BUDGET)
        try:
            records, said = Spear()(view).records, "found"
        except (AuditFailed, TimeoutError) as error:
            records, said = None, str(error)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            seconds.append(time.process_time() - begin)
        print(f"  batch {batch}, seed {seed}: {said} ({seconds[-1]:.1f} CPU s)", flush=True)
        if records is None:
            refusals.add(said)
            continue
        matched = records[assignment(records, x)]
        found += 1
        worst = max(worst, float(np.abs(matched - x).max()))
        quality.append(float(np.median(psnr(np.clip(matched, 0, 1), x))))
    figures: dict[str, Any] = {
        "found": found,
        "of": seeds,
        "largest error": worst,
        "CPU s, median": statistics.median(seconds),
    }
    figures |= {"CPU s, largest": max(seconds), "median PSNR, dB": statistics.median(quality) if quality else None}
    figures["refusals"] = sorted(refusals)
    print(f"SPEAR: batch {batch}, width {width}, noise multiplier {noise_multiplier:g}: {figures}", flush=True)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that it runs")
    parser.add_argument("--texts", action="store_true", help="only texts from gradients, which no peer reads")
    parser.add_argument("--exact", action="store_true", help="only exact batches by SPEAR, which no peer has")
    parser.add_argument("--threads", type=int, default=1, help="threads on both sides")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    chosen = parser.parse_args()
    signal.signal(signal.SIGPROF, too_long)
    tf.config.threading.set_intra_op_parallelism_threads(chosen.threads)
    tf.config.threading.set_inter_op_parallelism_threads(chosen.threads)
    found: dict[str, Any] = {"ratios": {}, "figures": {}, "targets": {}}
    if chosen.smoke:
        small = {"victims": 3, "alone": 2, "repeats": 1, "threads": chosen.threads}
        compare("digits", digits(), "sigmoid", found, **small, budgets=(10,), tolerance=1e-11)
        found["figures"]["5 candidate attacks, s"] = prior_runs(5)
        found["figures"]["texts"] = exact_texts(32, 8, (1, 4), victims=1, made="random")
        found["figures"]["exact batches"] = exact_batches(4, 100, 1)
    if chosen.exact:
        for noise in (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1):
            title = f"batch of 8, width 400, noise multiplier {noise:g}"
            found["figures"][title] = exact_batches(8, 400, 5, noise_multiplier=noise)
        for batch, width, seeds in BATCHES:
            found["figures"][f"exact batch of {batch}, width {width}"] = exact_batches(batch, width, seeds)
    for made in ("random", "Shakespeare") if chosen.texts else ():
        for width, positions, batches in ((64, 8, (1, 2, 4, 6, 8, 9)), (96, 16, (1, 2, 3, 4, 5, 6, 7))):
            title = f"exact texts, {made}, d = {width}, T = {positions}"
            found["figures"][title] = exact_texts(width, positions, batches, victims=10, made=made)
    if not (chosen.smoke or chosen.texts or chosen.exact):
        full = {"victims": 64, "alone": 16, "repeats": 3, "threads": chosen.threads}
        compare("digits", digits(), "sigmoid", found, **full, budgets=(10, 30, 100), tolerance=1e-11)
        large = {**full, "repeats": 1}
        compare("MNIST", mnist_5000(), "sigmoid", found, **large, budgets=(60, 120, 240), tolerance=1e-11)
        few = {**full, "victims": 16, "alone": 6, "repeats": 1}
        compare("MNIST", mnist_5000(), "relu", found, **few, budgets=(500, 1000, 2000), tolerance=0.0)
        found["figures"]["1,000 candidate attacks, s (wanted: at most 120)"] = prior_runs(1000)
        found["figures"]["golden suite, s (wanted: at most 180)"] = golden_suite()
        print(f"golden suite: {found['figures']['golden suite, s (wanted: at most 180)']:.0f} s")
    if chosen.out:
        chosen.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
