"""An aggregator at work: TensorFlow Privacy's ``dp_query`` round by round, one record per client."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dpaudit.engine.randomness import Stream, normals
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.runtime.seeds import derive_seed
from dpaudit.runtime.tensorflow import tensorflow_privacy_module, tf
from dpaudit.training.federated.aggregation import (
    AdaptiveClip,
    Aggregator,
    Distributed,
    FixedClip,
    LocalNoise,
    PlainMean,
    Tree,
)
from dpaudit.training.federated.participation import OncePerEpoch, Participation


class Released(NamedTuple):
    """What a server does with a round.

    Args:
        mean: the (noisy) average update, one tensor per trained variable; None when the round is given up.
        clip: L2 norm the updates were clipped to; None without clipping.
        noise_multiplier: of the round, its releases composed; None without noise.
        refused: updates that were not finite and were counted as zero.
        state: for the next round.
    """

    mean: list[Any] | None
    clip: float | None
    noise_multiplier: float | None
    refused: int
    state: Any


@dataclass(frozen=True)
class Aggregation:
    """An aggregator for one model.

    Args:
        aggregator: how.
        shapes: of the trained variables.
        expected: clients in a round on average, over the whole roster: what noisy sums are divided by.
        participation: how clients are sampled; trees start anew with its epochs.
        seed: of the noise.
    """

    aggregator: Aggregator
    shapes: tuple[tuple[int, ...], ...]
    expected: float
    participation: Participation
    seed: int

    def __post_init__(self) -> None:
        if self.expected <= 0:
            raise InputError(f"expected clients in a round must be above 0, got {self.expected!r}.")
        if isinstance(self.aggregator, Tree):
            query = _tree(self.aggregator, self.shapes, self.participation, derive_seed(self.seed, "tree noise"))
            programs = query, _accumulated(query, self.shapes), None
        else:
            programs = _programs(self.aggregator, self.shapes, self.expected)
        for name, value in zip(("_query", "_accumulate", "_finish"), programs, strict=True):
            object.__setattr__(self, name, value)

    def start(self) -> Any:
        """State of the first round."""
        return None if self._query is None else self._query.initial_global_state()  # type: ignore[attr-defined]

    def clip(self, state: Any) -> float | None:
        """What updates will be clipped to; clients are told it in advance."""
        aggregator = self.aggregator
        if isinstance(aggregator, AdaptiveClip):
            return float(state.sum_state.l2_norm_clip)
        return None if isinstance(aggregator, PlainMean) else aggregator.clip

    def __call__(
        self, state: Any, updates: list[Any], weights: FloatArray, clients: Sequence[int], *, round_number: int
    ) -> Released:
        """One round.

        Args:
            state: of `start` or of the round before.
            updates: tensors (clients, ...), perhaps of no client.
            weights: records of each client, shape (clients,); only `PlainMean` looks at them.
            clients: their numbers, which fix the noise of those who add it themselves.
            round_number: counted from 0; with the seed it fixes the noise.

        Raises:
            AuditFailed: an update is not finite and there is no clipping that could contain it.
        """
        finite = tf.math.is_finite(_norms(updates))
        refused = int(tf.reduce_sum(tf.cast(~finite, tf.int32)))
        if refused and isinstance(self.aggregator, PlainMean):
            raise AuditFailed(f"the update of client {clients[int(np.argmin(finite))]} is not finite; a lower rate?")
        # A bound on what one client can do must hold for NaN too, so a broken update counts as none at all.
        if refused:
            updates = [tf.where(_column(finite, u), u, tf.zeros_like(u)) for u in updates]
        clip = self.clip(state)
        match self.aggregator:
            case PlainMean(weighting):
                return Released(_weighted(updates, weights, uniform=weighting == "uniform"), None, None, 0, state)
            case LocalNoise(norm, noise):
                keys = Stream.start(self.seed, list(clients), f"own noise {round_number}").keys
                given = tf.constant(norm, tf.float32), tf.constant(norm * noise, tf.float32)
                total = self._accumulate(updates, keys, *given)  # type: ignore[attr-defined]
                return Released(self._divided(total), clip, noise or None, refused, state)
            case Distributed():
                return self._distributed(self.aggregator, updates, refused, state, round_number)
        query = self._query  # type: ignore[attr-defined]
        params = query.derive_sample_params(state)
        if len(clients):
            sample = self._accumulate(params, updates)  # type: ignore[attr-defined]
        else:
            sample = query.initial_sample_state([tf.zeros(shape) for shape in self.shapes])
        # A query would draw from TensorFlow's global generator. Setting that for every round empties the caches of
        # compiled functions, ten times the cost of the round; the engine's own noise needs no state.
        keys = Stream.start(self.seed, [round_number], "server noise").keys
        match self.aggregator:
            case FixedClip(norm, noise):
                deviations = [tf.constant(norm * noise, tf.float32)] * len(sample)
                total = add_noise(sample, keys, deviations) if noise else sample
                return Released(self._divided(total), clip, noise or None, refused, state)
            case AdaptiveClip() as adaptive:
                total, state = self._finish(sample, state, keys)  # type: ignore[attr-defined]
                return Released(self._divided(total), clip, adaptive.noise_multiplier or None, refused, state)
        total, state, _ = query.get_noised_result(sample, state)
        # A tree's event says nothing; this is the noise of one node.
        return Released(self._divided(total), clip, self.aggregator.noise_multiplier or None, refused, state)

    def _divided(self, total: list[Any]) -> list[Any]:
        return [value / tf.constant(self.expected, tf.float32) for value in total]

    def _distributed(
        self, aggregator: Distributed, updates: list[Any], refused: int, state: Any, round_number: int
    ) -> Released:
        flat = np.concatenate([np.reshape(u, (len(u), -1)) for u in updates], axis=1).astype(np.float64)
        least = aggregator.least(self.expected)
        if len(flat) < least:
            return Released(None, aggregator.clip, None, refused, state)
        bound = aggregator.bound(flat.shape[1])
        rng = np.random.default_rng((derive_seed(self.seed, "shares"), round_number))
        norms = np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), aggregator.clip)
        scaled = flat * (aggregator.scale * aggregator.clip / norms)
        query = self._query  # type: ignore[attr-defined]
        params = query.derive_sample_params(state)
        sample = query.initial_sample_state(tf.zeros(flat.shape[1], tf.int32))
        share = aggregator.share(self.expected, flat.shape[1])
        for row in scaled:
            sample = query.accumulate_record(params, sample, tf.constant(_rounded(row, bound, rng), tf.int32))
            # TensorFlow Privacy's own sampler is one traced function: its seed is that of the first trace, and setting
            # the seed again makes it repeat itself, so that two rounds would share their noise.
            sample += tf.constant(discrete_gaussian(share, row.size, rng), tf.int32)
        modulus = 2**aggregator.bits
        total = np.asarray(sample, np.int64)
        centred = (total + modulus // 2) % modulus - modulus // 2
        sums = np.split(centred / aggregator.scale, np.cumsum([int(np.prod(s)) for s in self.shapes])[:-1])
        mean = [
            tf.constant(part.reshape(shape) / self.expected, tf.float32)
            for part, shape in zip(sums, self.shapes, strict=True)
        ]
        realised = share * len(flat) ** 0.5 / bound
        return Released(mean, aggregator.clip, realised or None, refused, state)


def discrete_gaussian(scale: float, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Whole numbers k with probability proportional to exp(-k² / (2 scale²)), by the inverse distribution function.

    >>> discrete_gaussian(0.0, 3, np.random.default_rng(0))
    array([0, 0, 0])
    """
    if scale == 0:
        return np.zeros(size, np.int64)
    last = int(12 * scale) + 1
    weights = np.exp(-0.5 * (np.arange(-last, last + 1) / scale) ** 2)
    heights = np.cumsum(weights)
    return np.asarray(np.searchsorted(heights, rng.random(size) * heights[-1], side="right") - last, np.int64)


@lru_cache(maxsize=32)
def _programs(aggregator: Aggregator, shapes: tuple[tuple[int, ...], ...], expected: float) -> tuple[Any, Any, Any]:
    """Query, compiled sum and compiled end of a round, None where an aggregator needs none.

    Federations of other seeds share them.
    """
    if isinstance(aggregator, LocalNoise):
        return None, _noised_by_clients(shapes, bool(aggregator.noise_multiplier)), None
    query = _query(aggregator, shapes, expected)
    if query is None:
        return None, None, None
    if isinstance(aggregator, FixedClip):
        return query, _clipped_sum(shapes), None
    finish = _finished(query, aggregator, expected) if isinstance(aggregator, AdaptiveClip) else None
    return query, _accumulated(query, shapes), finish


@lru_cache(maxsize=32)
def _clipped_sum(shapes: tuple[tuple[int, ...], ...]) -> Any:
    """The compiled sum of any fixed clip, which is a parameter of a round."""
    return _accumulated(_query(FixedClip(1.0, 0.0), shapes, 1.0), shapes)


def _query(aggregator: Aggregator, shapes: tuple[tuple[int, ...], ...], expected: float) -> Any:
    modules = "privacy.dp_query."
    match aggregator:
        case FixedClip(clip, noise):
            module = tensorflow_privacy_module(modules + "gaussian_query")
            return module.GaussianSumQuery(clip, clip * noise)
        case AdaptiveClip():
            module = tensorflow_privacy_module(modules + "quantile_adaptive_clip_sum_query")
            return module.QuantileAdaptiveClipSumQuery(
                initial_l2_norm_clip=aggregator.clip,
                noise_multiplier=0.0,  # the noise is the engine's: `_finished`
                target_unclipped_quantile=aggregator.quantile,
                learning_rate=aggregator.rate,
                clipped_count_stddev=0.0,
                expected_num_records=expected,
                geometric_update=True,
            )
        case Distributed():
            module = tensorflow_privacy_module(modules + "distributed_discrete_gaussian_query")
            coordinates = sum(int(np.prod(shape)) for shape in shapes)
            # The bound is kept exactly, in float64; the query checks again in float32 and needs room for that.
            slightly_more = aggregator.bound(coordinates) * (1 + 1e-5)
            aggregator.share(expected, coordinates)
            return module.DistributedDiscreteGaussianSumQuery(slightly_more, 0.0)
    return None


def _tree(aggregator: Tree, shapes: tuple[tuple[int, ...], ...], participation: Participation, seed: int) -> Any:
    """The query of a tree, which draws its own noise and so belongs to one federation."""
    if not isinstance(participation, OncePerEpoch):
        raise InputError("tree aggregation needs sampling of kind 'once-per-epoch'.")
    tree = tensorflow_privacy_module("privacy.dp_query.tree_aggregation_query")
    restart = tensorflow_privacy_module("privacy.dp_query.restart_query")
    inner = tree.TreeResidualSumQuery.build_l2_gaussian_query(
        aggregator.clip,
        aggregator.noise_multiplier,
        [tf.TensorSpec(shape) for shape in shapes],
        noise_seed=seed,
        use_efficient=True,
    )
    return restart.RestartQuery(inner, restart.PeriodicRoundRestartIndicator(participation.rounds))


def _accumulated(query: Any, shapes: tuple[tuple[int, ...], ...]) -> Any:
    """All clients of a round through the query at once: it preprocesses one record at a time and adds them up."""

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def accumulated(params: Any, updates: Any) -> Any:
        start = query.initial_sample_state([tf.zeros(shape) for shape in shapes])
        each = tf.vectorized_map(lambda record: query.preprocess_record(params, list(record)), tuple(updates))
        return tf.nest.map_structure(lambda zero, parts: zero + tf.reduce_sum(parts, axis=0), start, each)

    return accumulated


def _finished(query: Any, aggregator: AdaptiveClip, expected: float) -> Any:
    """The end of a round with an adaptive clip: noise on the sum and on the count, and the query's next clip."""
    multiplier, count_deviation = aggregator.sum_multiplier(expected), aggregator.count_stddev(expected)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def finished(sample: Any, state: Any, keys: Any) -> tuple[list[Any], Any]:
        deviations = [multiplier * state.sum_state.l2_norm_clip] * len(sample.sum_state) + [
            tf.constant(count_deviation)
        ]
        *vectors, count = add_noise([*sample.sum_state, sample.quantile_estimator_state], keys, deviations)
        total, state, _ = query.get_noised_result(type(sample)(vectors, count), state)
        return total, state

    return finished


@tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
def add_noise(values: list[Any], keys: Any, deviations: list[Any]) -> list[Any]:
    """Values with Gaussian noise of these standard deviations, one stream of random numbers per key."""
    drawn = normals(Stream(keys, tf.constant(0)), [int(np.prod(value.shape)) for value in values])
    return [
        value + deviation * tf.reshape(noise, value.shape)
        for value, deviation, noise in zip(values, deviations, drawn, strict=True)
    ]


def _norms(updates: list[Any]) -> Any:
    return tf.sqrt(tf.add_n([tf.reduce_sum(u * u, axis=list(range(1, u.shape.rank))) for u in updates]))


def _column(values: Any, like: Any) -> Any:
    return tf.reshape(values, [-1] + [1] * (like.shape.rank - 1))


def _weighted(updates: list[Any], weights: FloatArray, *, uniform: bool) -> list[Any] | None:
    if not len(weights):
        return None
    shares = np.full(len(weights), 1 / len(weights)) if uniform else weights / weights.sum()
    return [tf.tensordot(tf.constant(shares, tf.float32), update, axes=1) for update in updates]


@lru_cache(maxsize=32)
def _noised_by_clients(shapes: tuple[tuple[int, ...], ...], is_noisy: bool) -> Any:
    """Updates clipped and noised one by one, and added up; one program for all clips and noises."""

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def summed(updates: list[Any], keys: Any, clip: Any, deviation: Any) -> list[Any]:
        factor = clip / tf.maximum(_norms(updates), clip)
        sent = [update * _column(factor, update) for update in updates]
        if is_noisy:
            drawn = normals(Stream(keys, tf.constant(0)), [int(np.prod(shape)) for shape in shapes])
            sent = [one + deviation * tf.reshape(noise, tf.shape(one)) for one, noise in zip(sent, drawn, strict=True)]
        return [tf.reduce_sum(one, axis=0) for one in sent]

    return summed


def _rounded(row: FloatArray, bound: float, rng: np.random.Generator) -> FloatArray:
    """Each coordinate up or down at random with the right mean, drawn again until the norm keeps its bound.

    One draw keeps it with probability at least 1 - e^(-1/2), so a hundred failures do not happen.
    """
    low = np.floor(row)
    for _ in range(100):
        drawn = low + (rng.random(row.size) < row - low)
        if np.linalg.norm(drawn) <= bound:
            return np.asarray(drawn)
    raise AuditFailed(f"random rounding of a client's update did not meet its norm bound {bound:g}.")
