"""What whoever sees every step of a DP training learns of many canaries at once, their gradients decorrelated.

The weights before and after a step tell the noisy sum u of clipped gradients. The attacker knows the records that are
no canaries and subtracts their part, and knows the clipped gradient of every canary, a row of G. These overlap, so that
the product of one with u is mostly about the others. With sampling rate q and noise of deviation σ times the clip norm
C, the best linear estimate of who was in is (4 I + q² Σ G Gᵀ / (σC)²)⁻¹ q Σ G (u - half of all canaries) / (σC)², the
sums over steps; 1/4 is the variance of a fair coin. It is exact where every record is in every batch (q = 1);
otherwise it takes the noise of the sampling for none. A bound from it holds in any case.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dpaudit.bounds.lower_bound import Skipped
from dpaudit.data.dataset import Dataset, Task
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.training.dp_sgd import DpSgd

if TYPE_CHECKING:
    from dpaudit.engine.network import Network, Parameters

AT_A_TIME = 50  # records whose gradients are computed together


def cannot_decorrelate(trainer: DpSgd) -> Skipped | None:
    """Why the noisy sums of a training cannot be read off its weights, or weighed; None where they can.

    >>> from dpaudit.training.architecture import Mlp
    >>> cannot_decorrelate(DpSgd(Mlp(), noise_multiplier=1.0)) is None, cannot_decorrelate(DpSgd(Mlp())) is None
    (True, False)
    """
    if trainer.l2_norm_clip is None or not trainer.noise_multiplier:
        return Skipped("decorrelated canaries are weighed by the noise, and there is none; use the score 'white-box'")
    if trainer.optimizer != "sgd" or trainer.momentum:
        return Skipped(
            "the noisy sums cannot be read off the weights of an optimizer with a memory; use optimizer 'sgd' without "
            "momentum, or the score 'white-box'"
        )
    return None


def decorrelated_scores(trainer: DpSgd, data: Dataset, included: BoolArray, canaries: int, *, seed: int) -> FloatArray:
    """Scores of the canaries of one training, shape (canaries,).

    Args:
        trainer: of the plan, with a clip norm and noise.
        data: the records, canaries last.
        included: who is trained on, shape (records,); of the canaries the scores know nothing of it.
        canaries: how many there are.
        seed: of the training.
    """
    watch = EveryStep(trainer, data, included[:-canaries], canaries, int(included.sum()))
    trainer.train_many(data, included[None], seeds=[seed], watch=watch)
    return watch.scores()


class EveryStep:
    """What the weights before and after each step say of every canary: adds up as one training goes."""

    def __init__(self, trainer: DpSgd, data: Dataset, others: BoolArray, canaries: int, records: int) -> None:
        from dpaudit.accounting.claim import Poisson
        from dpaudit.training.keras_model import keras_targets, network_inputs

        assert trainer.l2_norm_clip is not None
        x, y, event = network_inputs(data), keras_targets(data), trainer.event(records)
        self.network, self.recipe = trainer.network(data), trainer.recipe(data, records)
        self.clip = trainer.l2_norm_clip
        self.rate = event.rate if isinstance(event, Poisson) else min(1.0, trainer.batch_size / records)
        self.others = (x[:-canaries][others], y[:-canaries][others])
        self.canaries = (x[-canaries:], y[-canaries:])
        self.gram, self.products, self.centred = np.zeros((canaries, canaries)), np.zeros(canaries), np.zeros(canaries)
        self._each, self._together = _programs(self.network, data.task, self.clip, trainer.compiled)

    def __call__(self, models: Sequence[int], step: int, before: "Parameters", after: "Parameters") -> None:
        """See a step of the model."""
        learning_rate = float(self.recipe.learning_rate(self.recipe.steps)[step])
        before = tuple(value[:1] for value in before)
        moved = [
            (before[i] - after[i][:1]) / learning_rate - self.recipe.weight_decay * before[i]
            for i in self.network.trainable
        ]
        released = _flat(moved) * np.float32(self.recipe.batch_size)
        for x, y in _parts(self.others):
            released -= np.float32(self.rate) * _flat(self._together(before, x, y[None]))
        gradients = np.empty((len(self.products), released.size), np.float32)
        for place, (x, y) in enumerate(_parts(self.canaries)):
            gradients[place * AT_A_TIME : (place + 1) * AT_A_TIME] = self._each(before, x, y).numpy()
        gram, products = self.rate**2 * (gradients @ gradients.T), self.rate * (gradients @ released)
        self.gram += gram
        self.products += products
        self.centred += products - gram.sum(axis=1) / 2

    def scores(self) -> FloatArray:
        """The best linear estimate of each coin, less one half, shape (canaries,)."""
        noise = (self.recipe.noise_multiplier * self.clip) ** 2
        precision = 4 * np.eye(len(self.gram)) + self.gram / noise
        return np.asarray(np.linalg.solve(precision, self.centred / noise), np.float64)


@lru_cache(maxsize=16)
def _programs(
    network: "Network", task: Task, clip: float, compiled: bool
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Each record's clipped gradient, shape (records, parameters), and the sum of all; trainings share them."""
    from dpaudit.engine.gradients import clipped_sum, plain_sum
    from dpaudit.engine.losses import per_example_loss
    from dpaudit.runtime.tensorflow import tf

    loss = partial(per_example_loss, task)

    def each(parameters: "Parameters", x: Any, y: Any) -> Any:
        # As many copies of the model with one record; what an adapter leaves as it is has one copy for all.
        records, trained = x.shape[0], network.trainable
        copies = tuple(tf.repeat(v, records, axis=0) if i in trained else v for i, v in enumerate(parameters))
        sums = plain_sum(network, copies, x[:, None], y[:, None], loss=loss).gradients
        flat = tf.concat([tf.reshape(value, [records, -1]) for value in sums], axis=1)
        norms = tf.norm(flat, axis=1, keepdims=True)
        return tf.where(tf.math.is_finite(norms), flat * clip / tf.maximum(norms, clip), 0.0)

    def together(parameters: "Parameters", x: Any, y: Any) -> Any:
        return clipped_sum(network, parameters, x, y, loss=loss, clip=clip, bounded=True).gradients

    return tf.function(each, autograph=False), tf.function(together, jit_compile=compiled, autograph=False)


def _flat(values: Sequence[Any]) -> npt.NDArray[np.float32]:
    """The parameters of the one model in a row."""
    row: npt.NDArray[np.float32] = np.concatenate([value.numpy()[0].ravel() for value in values])
    return row


def _parts(records: tuple[Any, Any]) -> list[tuple[Any, Any]]:
    from dpaudit.runtime.tensorflow import tf

    x, y = records
    return [
        (tf.constant(x[at : at + AT_A_TIME]), tf.constant(y[at : at + AT_A_TIME])) for at in range(0, len(x), AT_A_TIME)
    ]
