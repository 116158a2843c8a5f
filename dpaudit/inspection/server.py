"""Federated aggregation: beside the checks of any mechanism, client weights and a clip that adapts; and canary clients.

One client is one example: its update is clipped to C, the server adds noise z·C and divides by the clients per round.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from dpaudit.accounting.claim import Claim
from dpaudit.accounting.composed import EpsilonOf, epsilon_under
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.array_adapters import Aggregate, aggregator
from dpaudit.inspection.ask import clock_of
from dpaudit.inspection.check_count import check_count_noise, check_next_clip
from dpaudit.inspection.clock import Clock
from dpaudit.inspection.inspect import LEVEL, Inspection, inspect_with
from dpaudit.inspection.mechanism import SHAPES, Array, Mechanism, Stated
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.samples import noise_scale
from dpaudit.inspection.server_rounds import Rounds, check_later_rounds, total_multiplier
from dpaudit.inspection.sight import Sight
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.progress import Progress

ROUNDS = 12
HEAVY = 10.0
WEIGHT_CALLS = 64
WEIGHTS = "client weights"
FIRST_ROUND = 0.6  # of the time of an inspection
FOR_ROUNDS = 0.2  # for questions in later rounds


@dataclass(frozen=True)
class Server:
    """A federated server under test.

    Args:
        start: returns a new aggregation, (model, updates, weights) -> new model; one that adapts its clip keeps it.
        adaptive: whether it adapts its clip from round to round.
        clients: clients in a round.
        shapes: shapes of the model's arrays.
        weight: number of examples an ordinary client reports.
        reset: makes the next starts repeat those from the first one on, noise included, so that two rounds can be
            compared without their noise. Without it the same questions are answered by repetition.
        count_noise: standard deviation of the noise on the number of updates below a clip that adapts, as accounted.
            Where it is stated, the noise multiplier is that of a round as a whole, and the sum's own is larger (Andrew
            et al. 2021, theorem 1).
    """

    start: Callable[[], Aggregate]
    adaptive: bool = False
    clients: int = 32
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    weight: float = 1.0
    reset: Callable[[], None] | None = None
    count_noise: float | None = None

    def __post_init__(self) -> None:
        if self.count_noise is not None:
            check.positive("count_noise", self.count_noise)

    def sum_multiplier(self, noise_multiplier: float) -> float:
        """Noise multiplier of the sum in a round of this noise multiplier.

        Raises:
            InputError: the noise on the count alone costs more than the whole round may.
        """
        if self.count_noise is None or noise_multiplier == 0:
            return noise_multiplier
        if noise_multiplier >= 2 * self.count_noise:
            raise InputError(
                f"noise multiplier {noise_multiplier:g} needs count_noise above {noise_multiplier / 2:g}, got "
                f"{self.count_noise:g}."
            )
        return float((noise_multiplier**-2 - (2 * self.count_noise) ** -2) ** -0.5)

    def first_round(self) -> Aggregate:
        """An aggregation that answers as in its first round: started at each call if it adapts or can be reset."""
        if not self.adaptive and self.reset is None:
            return self.start()
        return lambda model, updates, weights: self.start()(model, updates, weights)

    def mechanism(self) -> Mechanism:
        """Its first round as a mechanism."""

        def build() -> Mechanism:
            fixed = aggregator(self.first_round(), shapes=self.shapes, clients=self.clients, weight=self.weight)
            return replace(fixed, reset=self.reset, name="server")

        return replace(build(), fresh=build)

    @property
    def canaries(self) -> int:
        """Canary clients for one round: few, for among many that weigh as much as they do weights would not show."""
        return max(1, self.clients // 8)

    def canary_rounds(self, clip: float) -> Mechanism:
        """Its rounds, one after another, as a mechanism whose examples are canary clients: for `StepCanaries`.

        Everything that may make one client count for more than it should is provoked at once. Canaries report ten times
        the examples of others, and about half of the planned clients answer. The others come in pairs whose updates
        cancel; some are long and some short, so that a clip that adapts has both kinds to follow. A round is released
        in units of its own spread, for a threshold on the canaries' answers must outlast a change of the clip.

        Args:
            clip: the clip norm it states, the first one when it adapts.
        """
        aggregate = self.start()
        coordinates = sum(math.prod(shape) for shape in self.shapes)
        pairs = max(1, self.clients // 10)
        lengths = np.repeat([HEAVY * clip, clip / HEAVY], [pairs, pairs + self.clients // 32])
        row = np.full(coordinates, 1 / math.sqrt(coordinates))
        others = split_rows(np.outer(np.concatenate([lengths, -lengths]), row), self.shapes)

        def release(updates: Sequence[Array]) -> list[FloatArray]:
            answering = [np.concatenate(both).astype(np.float32) for both in zip(updates, others, strict=True)]
            canary = np.zeros(len(answering[0]), bool)
            canary[: len(updates[0])] = np.any([np.reshape(u, (len(u), -1)).any(axis=1) for u in updates], axis=0)
            weights = np.where(canary, HEAVY, 1.0).astype(np.float32) * np.float32(self.weight)
            moved = [np.asarray(new, np.float64) for new in aggregate(_origin(self), answering, weights)]
            spread = math.sqrt(float(np.square(_flat(moved)).mean()))
            return [array / spread if spread else array for array in moved]

        return Mechanism(release, shapes=self.shapes, batch_size=4, name="server")


def inspect_server(
    server: Server,
    stated: Stated,
    *,
    seed: int,
    claim: Claim | None = None,
    level: float = LEVEL,
    effort: float = 1.0,
    budget: float | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Ask a federated server whether it clips, adds noise, weighs and adapts as it says.

    Args:
        server: how to start it.
        stated: clip norm (the first one when it adapts), noise multiplier, and clients per round as the denominator.
        seed: seed of the canaries' directions.
        claim: where it is given with its composition, findings carry the ε there really is.
        level: chance that a right server gets a violation.
        effort: as in `inspect_mechanism`, and so are ``budget`` and ``progress``.
    """
    begin = time.perf_counter()
    stated = replace(stated, noise_multiplier=server.sum_multiplier(stated.noise_multiplier))

    def total(multiplier: float) -> float:
        return total_multiplier(multiplier, server.count_noise)

    known = epsilon_under(claim)

    def epsilon_of(multiplier: float) -> float | None:
        return known(total(multiplier))

    check.positive("effort", effort)
    if budget is not None:
        check.positive("budget", budget)
    clock = clock_of(effort, budget)
    found = inspect_with(
        server.mechanism(),
        stated,
        seed=seed,
        epsilon_of=epsilon_of,
        level=level / 2,
        effort=effort,
        clock=Clock(FIRST_ROUND * clock.seconds, FIRST_ROUND * clock.planned),
        progress=progress,
    )
    probe = Probe(server.mechanism(), stated, level / 8, seed, clock)
    more = check_weights(probe, server, epsilon_of)
    if server.adaptive:
        more += check_adaptive_clip(probe, server, epsilon_of)
    sights: list[Sight] = []
    if not (found.violations or more):  # what is wrong in the first round is wrong in later ones too
        rounds = Rounds(server.start, server.clients, server.weight, server.count_noise)
        seconds = FOR_ROUNDS * clock.planned
        more, sights = check_later_rounds(probe, rounds, epsilon_of, effort=effort, seconds=seconds)
        if server.adaptive:
            moved, seen = check_next_clip(probe, rounds)
            unnoised, counted = ([], []) if moved else check_count_noise(probe, rounds, epsilon_of)
            more, sights = [*more, *moved, *unnoised], [*sights, *seen, *counted]
    else:
        sights.append(Sight("later rounds", "the first rounds are not as stated", asked=False))
    warnings = [finding for finding in found.findings if finding.severity == "warning"]
    return replace(
        found,
        findings=(*found.violations, *more, *warnings),
        level=level,
        sights=(*found.sights, *sights, *clock.sights()),
        noise_multiplier=None if found.noise_multiplier is None else total(found.noise_multiplier),
        interval=None if found.interval is None else (total(found.interval[0]), total(found.interval[1])),
        seconds=time.perf_counter() - begin,
    )


def check_weights(probe: Probe, server: Server, epsilon_of: EpsilonOf) -> list[Finding]:
    """A client that reports ten times the examples must not move the model further."""
    if not probe.clock.allows(WEIGHTS):
        return []
    unit = probe.direction(None)
    aggregate = server.first_round()
    first_half = np.arange(server.clients) < server.clients // 2
    # Half of the clients push one way, half the other, so that any preference shows.
    updates = probe.arrays(10 * probe.stated.clip * np.where(first_half, 1.0, -1.0)[:, None] * unit)
    pushes = []
    for factor in (1.0, HEAVY):
        weights = np.where(first_half, factor, 1.0).astype(np.float32) * np.float32(server.weight)
        rounds = [aggregate(_origin(server), updates, weights) for _ in range(WEIGHT_CALLS)]
        pushes.append(np.array([_flat(new) @ unit for new in rounds]))
    gap = abs(float(pushes[1].mean() - pushes[0].mean()))
    error = math.sqrt(float(sum(push.var(ddof=1) for push in pushes)) / WEIGHT_CALLS)
    threshold = stats.t.isf(probe.level / 2, WEIGHT_CALLS - 1) * error
    if gap <= threshold + 1e-3 * probe.stated.sensitivity(server.clients):
        return []
    # Among n clients one of weight w has the share w / (w + n - 1), where the noise is made for 1 / n.
    worst = HEAVY * server.clients / (HEAVY + server.clients - 1)
    return [
        Finding(
            check="client weights",
            severity="violation",
            fed=f"half of the clients report {HEAVY:g} times as many examples",
            observed=f"their updates count more: one such client among {server.clients} moves the model up to "
            f"{worst:.3g} times as far as the noise is made for",
            expected="every clipped update counts once",
            remedy="average clipped updates with equal weights, or scale the noise to the largest weight",
            rung=1,
            true_epsilon=epsilon_of(probe.stated.noise_multiplier / worst),
        )
    ]


def check_adaptive_clip(probe: Probe, server: Server, epsilon_of: EpsilonOf) -> list[Finding]:
    """Over rounds of long and of short updates the noise must follow the clip, and the clip the updates."""
    if not probe.clock.allows("noise that follows the clip"):
        return []
    findings: list[Finding] = []
    clips, noises = _rounds(probe, server, 1e3)
    ratio = noises / clips / probe.stated.noise_multiplier
    # The clip is known up to the noise of one coordinate over the clients; the noise up to its χ² interval.
    margin = noise_scale(np.ones(probe.coordinates - 1), level=probe.level / (4 * ROUNDS))
    blur = 1 + stats.norm.isf(probe.level / (4 * ROUNDS)) * probe.stated.noise_multiplier / server.clients
    worst = int(np.argmin(ratio))
    if ratio[worst] * margin.high * blur < 1:
        findings.append(
            Finding(
                check="stale clip",
                severity="violation",
                fed=f"{ROUNDS} rounds of clients with updates of norm 1000 C",
                observed=f"in round {worst + 1} updates were clipped to {clips[worst]:.3g} and the noise was made for "
                f"{noises[worst] / probe.stated.noise_multiplier:.3g}",
                expected="noise of noise_multiplier x the clip of the same round",
                remedy="compute the noise from the clip that was applied",
                rung=1,
                true_epsilon=epsilon_of(float(ratio[worst]) * probe.stated.noise_multiplier),
            )
        )
    if clips[-1] * blur**2 < clips[0]:
        findings.append(_direction("long", "fell", "grow"))
    else:
        _, noises = _rounds(probe, server, 1e-3)
        if noises[-1] * margin.low > noises[0] * margin.high:
            findings.append(_direction("short", "grew", "fall"))
    return findings


def _direction(name: str, did: str, should: str) -> Finding:
    return Finding(
        check="clip direction",
        severity="violation",
        fed=f"{ROUNDS} rounds of clients with {name} updates",
        observed=f"the clip {did}",
        expected=f"it should {should}, towards the quantile",
        remedy="the clip grows when more than the wanted share of updates is clipped: mind the sign",
        rung=1,
    )


def split_rows(matrix: FloatArray, shapes: Sequence[tuple[int, ...]]) -> list[FloatArray]:
    """Rows (clients, coordinates) as one array (clients, \\*shape) for each shape."""
    edges = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = np.split(matrix, edges, axis=1)
    return [part.reshape(len(matrix), *shape) for part, shape in zip(parts, shapes, strict=True)]


def _origin(server: Server) -> list[Array]:
    return [np.zeros(shape, np.float32) for shape in server.shapes]


def _flat(model: Sequence[Array]) -> FloatArray:
    return np.concatenate([np.ravel(array).astype(np.float64) for array in model])


def _rounds(probe: Probe, server: Server, factor: float) -> tuple[FloatArray, FloatArray]:
    """Clip (read off the movement along the updates) and noise deviation (off the rest) of each round."""
    aggregate = server.start()
    unit = probe.direction(None)
    updates = probe.arrays(np.tile(factor * probe.stated.clip * unit, (server.clients, 1)))
    weights = np.full(server.clients, server.weight, np.float32)
    divisor = probe.stated.divisor(server.clients)
    clips, noises = [], []
    for _ in range(ROUNDS):
        release = _flat(aggregate(_origin(server), updates, weights)) * divisor
        along = float(release @ unit)
        clips.append(abs(along) / server.clients)
        noises.append(float(np.linalg.norm(release - along * unit)) / math.sqrt(probe.coordinates - 1))
    return np.array(clips), np.array(noises)
