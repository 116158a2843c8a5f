"""Crafted canary records, round by round: CANIFE of `Maddock et al. (2022) <https://arxiv.org/abs/2210.02912>`_.

A rogue client holds one record, made so that what the client sends is as long as the clip allows and orthogonal to what
other clients would send; so nothing but the noise hides it. The round is then released many times with fresh noise, the
canary in or out of it. The estimate says how much noise there seems to be, and what ε the whole training would have
with that noise: as in the paper it carries no guarantee. The bound counts the same scores. Its coin is whether the
canary is in the federation, and it is still sampled as any client is: a bound for one round, and so for the training.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dpaudit.accounting.composed import epsilon_under
from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.federated.user_bound import user_bound
from dpaudit.bounds.lower_bound import Estimate
from dpaudit.bounds.one_shot import two_normals
from dpaudit.data.dataset import Dataset
from dpaudit.results.federated import CraftedResult
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores
from dpaudit.training.federated.aggregation import Aggregator, PlainMean, Tree

LEAST = 10  # draws with and without the canary below which a deviation is not worth fitting


class Crafted(BaseModel):
    """``[federated.crafted]``: how many rounds are audited, and how often each is released again.

    ``steps`` of Adam with ``learning_rate`` optimise the record. ``mock_clients`` are made of the population's records
    and stand for the clients, whose own updates the attacker does not see.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    rounds: int = Field(default=3, ge=1)
    draws: int = Field(default=200, ge=20)
    steps: int = Field(default=60, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    mock_clients: int = Field(default=20, ge=2)


class KeptRounds:
    """An observer that keeps some rounds of a training, evenly spaced, to be released again."""

    def __init__(self, rounds: int, looked_at: int) -> None:
        self.wanted = set(np.unique(np.linspace(0, rounds - 1, min(looked_at, rounds)).round().astype(int)).tolist())
        self.seen: list[Any] = []

    def __call__(self, moment: Any) -> None:
        """Keep a round that is wanted and released something."""
        if moment.entry.number in self.wanted and moment.mean is not None:
            self.seen.append(moment)


def require_fresh_noise(name: str, aggregator: Aggregator) -> None:
    """Refuse, before anything is trained, an aggregator whose noise is shared by rounds."""
    if isinstance(aggregator, Tree):
        raise InputError(
            f"federated.crafted releases a round again, and the tree of {name!r} has noise of many rounds."
        )


def crafted_audit(
    subject: Subject, prepared: Any, roster: int, moments: Sequence[Any], settings: Crafted, audit: Audit
) -> list[CraftedResult]:
    """Craft a canary for each of the rounds and release the round again with and without it.

    The aggregator is one of `require_fresh_noise`.

    Args:
        subject: the model under audit.
        prepared: its recipe.
        roster: clients of the federation.
        moments: the rounds.
        settings: how.
        audit: its population makes the mock clients.

    Raises:
        InputError: the model has no slope in its features, or too few draws hold the canary.
    """
    aggregator = prepared.recipe.aggregator
    if not moments:
        raise InputError(
            f"federated.crafted: none of the rounds of {subject.name!r} it looked at released anything; look at more "
            "rounds, or let more clients answer."
        )
    return [_one_round(subject, prepared, roster, moment, aggregator, settings, audit) for moment in moments]


def _one_round(
    subject: Subject, prepared: Any, roster: int, moment: Any, aggregator: Aggregator, settings: Crafted, audit: Audit
) -> CraftedResult:
    number = moment.entry.number
    rng = np.random.default_rng(audit.seed_for("crafted", subject.name, number))
    mock = _mock_updates(prepared, moment, settings, audit, rng)
    start = int(rng.integers(len(audit.population)))
    direction = craft(prepared.network, moment.before, mock, audit.population.take(np.array([start])), settings)
    clip = float(np.median(np.linalg.norm(mock, axis=1))) if moment.entry.clip is None else moment.entry.clip
    scores, inside, took_part = _released_again(
        prepared,
        roster,
        moment,
        aggregator,
        direction,
        clip,
        settings.draws,
        audit.seed_for("redraw", subject.name, number),
        rng,
    )
    seen, unseen = scores[took_part], scores[~took_part]
    if min(seen.size, unseen.size) < LEAST:
        raise InputError(
            f"of {settings.draws} draws of round {number} of {subject.name!r} {seen.size} hold the canary; at least "
            f"{LEAST} with and {LEAST} without are needed: raise federated.crafted.draws."
        )
    noise = _noise_multiplier(seen, unseen)
    return CraftedResult(
        model=subject.name,
        round=number,
        draws=settings.draws,
        took_part=int(took_part.sum()),
        overlap=float(np.sqrt(((mock @ direction / np.linalg.norm(mock, axis=1)) ** 2).mean())),
        noise_multiplier=noise,
        estimate=Estimate(
            two_normals(
                float(unseen.mean()), float(unseen.std()), float(seen.mean()), float(seen.std()), delta=audit.delta
            )
            if noise > 0
            else math.inf,
            audit.delta,
            "crafted canary, one round",
            "fit of two normals to one round; not a bound",
        ),
        training_epsilon=epsilon_under(subject.claim)(noise) if subject.claim is not None else None,
        bound=user_bound(
            Scores.join(scores, inside),
            audit.protection,
            audit.confidence,
            seed=audit.seed_for("crafted bound", subject.name, number),
        ),
    )


def craft(network: Any, weights: Any, mock: FloatArray, record: Dataset, settings: Crafted) -> FloatArray:
    """The direction of what a client sends that holds only a crafted record, a unit vector (coordinates,).

    The record starts from ``record`` and keeps its label; Adam lowers the mean squared cosine with the mock updates,
    plus the square of what the gradient's norm lacks of 1 so that it does not vanish (equation 2 of the paper, with
    lengths taken out because the rogue client sends as much as the clip allows).
    """
    from dpaudit.engine.losses import per_example_loss
    from dpaudit.runtime.tensorflow import keras, tf
    from dpaudit.training.keras_model import keras_targets

    copy = network.to_keras(network.stack([weights]), 0)
    trained = [copy.weights[i] for i in network.trainable]
    x = tf.Variable(record.features, dtype=tf.float32)
    truth = tf.constant(keras_targets(record))[None]
    others = tf.constant(mock / np.maximum(np.linalg.norm(mock, axis=1, keepdims=True), 1e-30), tf.float32)
    adam = keras.optimizers.Adam(settings.learning_rate)

    def gradient() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(trained)
            loss = tf.reduce_sum(per_example_loss(record.task, copy(x, training=False)[None], truth))
        return tf.concat([tf.reshape(part, [-1]) for part in tape.gradient(loss, trained)], axis=0)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def slope() -> Any:
        with tf.GradientTape() as tape:
            flat = gradient()
            norm = tf.norm(flat) + 1e-12
            cosines = tf.linalg.matvec(others, flat) / norm
            objective = tf.reduce_mean(cosines**2) + tf.maximum(1.0 - norm, 0.0) ** 2
        found = tape.gradient(objective, x)
        if found is None:
            raise InputError("federated.crafted moves a record along a slope, and this model has none in its features.")
        return found

    for _ in range(settings.steps):
        adam.apply_gradients([(slope(), x)])
    sent = -gradient().numpy().astype(np.float64)
    length = float(np.linalg.norm(sent))
    if not math.isfinite(length) or length == 0:
        raise InputError(f"no canary record could be crafted from {record.name}: its gradient has length {length:g}.")
    return np.asarray(sent / length)


def _mock_updates(prepared: Any, moment: Any, settings: Crafted, audit: Audit, rng: np.random.Generator) -> FloatArray:
    """Updates of clients made of the population, each of as many records as the clients of the round have."""
    size = max(1, int(np.median(moment.weights)))
    rows = [rng.choice(len(audit.population), size) for _ in range(settings.mock_clients)]
    aside = replace(prepared, dataset=audit.population)
    made: FloatArray = aside.updates(moment.before, rows, round_number=moment.entry.number, seed=audit.seed_for("mock"))
    return made


def _released_again(
    prepared: Any,
    roster: int,
    moment: Any,
    aggregator: Aggregator,
    direction: FloatArray,
    clip: float,
    draws: int,
    seed: int,
    rng: np.random.Generator,
) -> tuple[FloatArray, Any, Any]:
    """Scores of the draws, whether the canary was in the federation, and whether it took part in the round."""
    from dpaudit.runtime.tensorflow import tf
    from dpaudit.training.federated.queries import Aggregation

    participation = prepared.recipe.participation
    expected = participation.expected(roster + 1)
    at_clip = aggregator if isinstance(aggregator, PlainMean) else replace(aggregator, clip=clip)
    shapes = tuple(part.shape[1:] for part in moment.updates)
    aggregation = Aggregation(at_clip, shapes, expected, participation, seed)
    own = np.split(clip * direction, np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1])
    without = [tf.constant(part) for part in moment.updates]
    beside = [
        tf.concat([part, tf.constant(mine.reshape((1, *shape)), tf.float32)], axis=0)
        for part, mine, shape in zip(without, own, shapes, strict=True)
    ]
    inside = rng.random(draws) < 0.5
    took_part = inside & (rng.random(draws) < expected / (roster + 1))
    scores = np.empty(draws)
    for draw in range(draws):
        there = bool(took_part[draw])
        released = aggregation(
            aggregation.start(),
            beside if there else without,
            np.append(moment.weights, 1.0) if there else moment.weights,
            [*moment.clients, roster] if there else moment.clients,
            round_number=draw,
        )
        if released.mean is None:
            raise InputError(f"round {moment.entry.number} is given up when it is released again: too few clients.")
        flat = np.concatenate([np.ravel(part) for part in released.mean]).astype(np.float64)
        scores[draw] = flat @ direction * expected / clip
    return scores, inside, took_part


def _noise_multiplier(seen: FloatArray, unseen: FloatArray) -> float:
    """Pooled deviation over the shift the canary makes; infinite when it makes none."""
    shift = float(seen.mean() - unseen.mean())
    variance = (seen.var() * seen.size + unseen.var() * unseen.size) / (seen.size + unseen.size - 2)
    if shift <= 0:
        return math.inf
    return 0.0 if variance < 1e-12 * shift**2 else math.sqrt(variance) / shift
