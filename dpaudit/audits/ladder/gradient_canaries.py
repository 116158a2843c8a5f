"""Canaries in gradient space for one run: the training of a plan, sampler and all, on gradients that are chosen.

A model with one weight for each canary is trained as the plan says: the same engine, number of records, sampling,
steps, batch size, clipping and noise. A canary's gradient lies along its own weight, at the clip norm, and the other
records' gradients are zero; so what a release says of a canary is its presence in the batch and the noise. These are
the gradient canaries of `Steinke, Nasr and Jagielski (2023) <https://arxiv.org/abs/2305.08846>`_, without a network
that blurs them.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.training.dp_sgd import DpSgd

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = 1e-3  # learning rate; the releases are read off the weights, which it scales
FAR = 1e6  # target of a record with a gradient: so far that its gradient is beyond any clip norm


def gradient_canary_scores(
    trainer: DpSgd, records: int, coins: BoolArray, *, every_step: bool, seed: int
) -> FloatArray:
    """Scores of the canaries of one training, shape (canaries,).

    Args:
        trainer: of the plan, with a clip norm and noise.
        records: ordinary training records, beside the canaries whose coin says so.
        coins: which canaries take part, shape (canaries,).
        every_step: score by the likelihood of every release with the canary in a batch now and then, over that without
            it; otherwise by the sum of the releases, which is what a final model shows.
        seed: of the training.
    """
    from dpaudit.engine.network import Network
    from dpaudit.engine.optimizers import GradientDescent
    from dpaudit.engine.schedules import Constant
    from dpaudit.engine.training import Member, TrainingRecipe, train
    from dpaudit.runtime.tensorflow import keras

    assert trainer.l2_norm_clip is not None
    canaries, clip, noise = coins.size, trainer.l2_norm_clip, trainer.noise_multiplier
    rows = np.concatenate([np.arange(records), records + np.flatnonzero(coins)])
    features = np.zeros((records + canaries, canaries), np.float32)
    features[records:] = np.eye(canaries)
    sampling = trainer.event(rows.size)
    recipe = TrainingRecipe(
        "regression",
        trainer.steps(rows.size),
        trainer.batch_size,
        GradientDescent(),
        Constant(RATE),
        clip,
        noise,
        0.0,
        trainer.tolerance,
        trainer.compiled,
    )
    network = Network.from_keras(keras.Sequential([keras.Input((canaries,)), keras.layers.Dense(1, use_bias=False)]))
    total = np.zeros(canaries)

    def watch(models: "Sequence[int]", step: int, before: Any, after: Any) -> None:
        moved = (after[0].numpy()[0, :, 0] - before[0].numpy()[0, :, 0]).astype(np.float64)
        seen = moved * trainer.batch_size / (RATE * clip)  # 1 where the canary was in the batch, plus noise
        if every_step and noise:
            ratio, rate = (seen - 0.5) / noise**2, sampling.rate
            total[:] += ratio if rate == 1 else np.logaddexp(np.log1p(-rate), np.log(rate) + ratio)
        else:
            total[:] += seen

    train(
        network,
        network.stack([[np.zeros((canaries, 1), np.float32)]]),
        recipe,
        [Member(0, rows, sampling)],
        features=features,
        targets=np.full((records + canaries, 1), FAR, np.float32),
        seed=seed,
        watch=watch,
    )
    return total
