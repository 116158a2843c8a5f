"""The noise on the number of clients below a clip that adapts: how differently the clip moves from start to start.

The logarithm of the clip moves by -rate · (noisy number / clients - quantile), so over rounds held at a known number
the squares of its moves have a χ² law. In a round of very many clients the clip can be read off the release nearly
without noise.
"""

import math

import numpy as np
from scipy import stats

from dpaudit.accounting.composed import EpsilonOf
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.mechanism import Array
from dpaudit.inspection.probe import RAISED, Probe
from dpaudit.inspection.server_rounds import FACTOR, Rounds, total_multiplier
from dpaudit.inspection.sight import Sight, least_ratio
from dpaudit.runtime.check import FloatArray

CROWD = 64  # times the planned clients, where memory allows
NUMBERS = 4e6  # in the updates of a crowd
COUNTS = 48  # starts for the noise of the count
INCREMENTS = 4  # rounds over which the clip is followed
STARTS = 24  # for what one client does to the next clip
READ = 0.02  # of the clip's logarithm that may pass for nothing
STATE_IT = "Server(count_noise=...) states it"


def check_count_noise(probe: Probe, rounds: Rounds, epsilon_of: EpsilonOf) -> tuple[list[Finding], list[Sight]]:
    """Noise on the number of clients below the clip, in each round and over all of them."""
    kind = "noise on the count that moves the clip"
    crowd = _crowd(probe, rounds)
    sigma = probe.stated.noise_multiplier
    stated = rounds.count_noise if rounds.count_noise is not None else sigma / 2
    if stated == 0:
        return [], [Sight(kind, "nothing is claimed that it could cost", asked=False)]
    if not probe.clock.allows(kind):
        return [], []
    some = max(1, rounds.clients // 2)  # below a limit of the share, on either side
    try:
        long, mixed = (_increments(probe, rounds, crowd, short) for short in (0, some))
    except RAISED as error:
        return [], [Sight(kind, f"a round of {crowd:,} clients is needed, and it raised {error}", asked=False)]
    starts = min(len(long), len(mixed))
    if starts < 3:
        probe.clock.miss(kind)
        return [], []
    gaps = (long.mean(axis=0) - mixed.mean(axis=0)) / some  # of the clip's logarithm, for one client
    errors = np.sqrt((long.var(axis=0, ddof=1) + mixed.var(axis=0, ddof=1)) / starts) / some
    level = probe.level / (3 * INCREMENTS)
    per_client = np.abs(gaps) - stats.t.isf(level, starts - 1) * errors
    read = math.sqrt(2) * sigma / crowd  # the deviation of an increment that reading the clip leaves
    clear = per_client * stated > 2 * read
    if not clear.any():
        why = f"a round of {crowd:,} clients shows the clip to {read:.2g} of its size, and one client moves it less"
        return [], [Sight(kind, why, asked=False)]
    least = np.where(clear, per_client * stated, 1.0)
    # The larger of two numbers: a limit of the clip, or of the share, hides the noise on one side.
    squares = [found.var(axis=0, ddof=1) * (len(found) - 1) / least**2 for found in (long, mixed)]
    free = starts - 1
    p_values = np.max([stats.chi2.cdf(each, free) for each in squares], axis=0)
    # Reading the clip adds to the squares, which makes a small sum of them less likely still (Anderson 1955).
    together = max(float(stats.chi2.cdf(each[clear].sum(), free * clear.sum())) for each in squares)
    spread = np.sqrt(np.maximum(np.maximum(long.var(axis=0, ddof=1), mixed.var(axis=0, ddof=1)) - read**2, 0.0))
    measured = spread / np.maximum(np.abs(gaps), 1e-300)
    worst = int(np.argmin(np.where(clear, p_values, 1.0)))
    mean = math.sqrt(float(np.square(measured[clear]).mean()))
    smallest = least_ratio(probe.level / 3, free * int(clear.sum())) * float((per_client / np.abs(gaps))[clear].min())
    figure = (
        f"{smallest:.2g} times the noise; {mean:.3g} clients are measured, in {int(clear.sum())} rounds of {crowd:,} "
        "clients"
    )
    sights = [Sight(kind, figure if rounds.count_noise is not None else f"{figure}; {STATE_IT}")]
    if p_values[worst] >= level and together >= probe.level / 3:
        return [], sights
    one = p_values[worst] < level
    raw = max(float(found[:, worst].var(ddof=1)) for found in (long, mixed))
    none = one and stats.chi2.sf(raw / read**2 * free, free) > 1e-3  # what reading the clip leaves explains it
    one = none or (one and together >= probe.level / 3)  # all rounds together measure it better
    least_seen = float(measured[worst]) if one else mean
    return [
        _finding(
            rounds,
            fed=f"{starts} starts, {INCREMENTS + 1} rounds each of {crowd:,} clients with long updates",
            where=f"after round {worst + 1}" if one else "after every round",
            seen="without noise" if none else f"as with noise of {least_seen:.2g}",
            stated=stated,
            true_epsilon=math.inf if none else epsilon_of(total_multiplier(sigma, least_seen)),
        )
    ], sights


def _crowd(probe: Probe, rounds: Rounds) -> int:
    return int(min(CROWD * rounds.clients, max(rounds.clients, NUMBERS // probe.coordinates)))


def _finding(rounds: Rounds, *, fed: str, where: str, seen: str, stated: float, true_epsilon: float | None) -> Finding:
    says = (
        f"{rounds.count_noise:.3g}, as stated"
        if rounds.count_noise is not None
        else f"{stated:.3g} or more, for else the count alone costs more than the updates; {STATE_IT}"
    )
    return Finding(
        check="count noise",
        severity="violation",
        fed=fed,
        observed=f"{where} the clip moves {seen} on the number of updates below it, which it tells",
        expected=f"noise of standard deviation {says}",
        remedy="add noise to the count in every round before the clip moves, and account for it",
        rung=1,
        true_epsilon=true_epsilon,
    )


def check_next_clip(probe: Probe, rounds: Rounds) -> tuple[list[Finding], list[Sight]]:
    """What one client of a round does to the clip of the next: no more than a count with its noise hides."""
    kind = "a client that moves the next clip"
    sigma = probe.stated.noise_multiplier
    stated = rounds.count_noise if rounds.count_noise is not None else sigma / 2
    if stated == 0 or not probe.clock.allows(kind):
        return [], []
    clip, unit = probe.stated.clip, probe.direction(None)
    crowd = max(rounds.clients, _crowd(probe, rounds) // 4)
    reading = probe.arrays(probe.alike(crowd, FACTOR * clip, unit))
    half = max(1, rounds.clients // 2)
    low, high = clip / FACTOR, FACTOR * clip
    histories = {
        f"{2 * half - 1} clients with short updates": np.full(2 * half - 1, low),
        f"{2 * half - 1} clients with long updates": np.full(2 * half - 1, high),
        f"{half} clients with short and {half - 1} with long updates": np.repeat([low, high], [half, half - 1]),
    }
    level = probe.level / (3 * 2 * len(histories))
    margin = float(stats.t.isf(level, STARTS - 1))
    for words, norms in histories.items():
        for alone, other in ((high, low), (low, high)):
            if not probe.clock.allows(kind):
                return [], []
            read = []
            for norm in (alone, other):
                batch = np.append(norms, norm).astype(np.float32)[:, None] * unit.astype(np.float32)
                try:
                    read.append(_after(probe, rounds, probe.arrays(batch), reading, unit))
                except RAISED as raised:
                    why = f"a round of {crowd:,} clients is needed, and it raised {raised}"
                    return [], [Sight(kind, why, asked=False)]
            gap = float(read[0].mean() - read[1].mean())
            spread = math.sqrt(float(read[0].var(ddof=1) + read[1].var(ddof=1)) / 2)
            error = margin * spread * math.sqrt(2 / STARTS)
            # A count moves by one when a client goes from below the clip to above it.
            if abs(gap) - error <= max(READ, (1 + margin / math.sqrt(2 * STARTS)) * spread / stated):
                continue
            return [
                Finding(
                    check="next clip",
                    severity="violation",
                    fed=f"{words}, and one with a long update or with a short one",
                    observed=f"the clip of the next round is {math.exp(abs(gap)):.3g} times as large for one of them, "
                    f"and varies by {spread:.2g} of itself from start to start: it tells that client",
                    expected=f"a clip that one client moves by at most 1/{stated:.3g} of the deviation of its noise",
                    remedy="let the clip follow a noisy count of the updates below it, never a norm or a quantile",
                    rung=1,
                    true_epsilon=None,
                )
            ], []
    return [], [Sight(kind, f"a next clip that one client moves by {READ:.0%} and more than its noise hides")]


def _after(probe: Probe, rounds: Rounds, batch: list[Array], reading: list[Array], unit: FloatArray) -> FloatArray:
    """Logarithm of the clip after a round of this batch, for each start."""
    found = np.empty(STARTS)
    for start in range(STARTS):
        aggregate = rounds.start()
        rounds.play(probe, aggregate, batch)
        found[start] = math.log(max(float(rounds.play(probe, aggregate, reading) @ unit), 1e-300))
    return found


def _increments(probe: Probe, rounds: Rounds, crowd: int, short: int) -> FloatArray:
    """By how much the clip's logarithm grew after each round, (starts, rounds)."""
    unit = probe.direction(None)
    long = probe.alike(crowd, FACTOR * probe.stated.clip, unit)
    # So short that the sum is that of the long ones.
    updates = probe.arrays(np.concatenate([long, probe.alike(short, probe.stated.clip / FACTOR**2, unit)]))
    found: list[list[float]] = []
    while len(found) < COUNTS and (len(found) < 2 or probe.clock.left > 0):
        aggregate = rounds.start()
        moved = [float(rounds.play(probe, aggregate, updates) @ unit) for _ in range(INCREMENTS + 1)]
        found.append([math.log(max(along, 1e-300)) for along in moved])
    increments: FloatArray = np.diff(np.array(found), axis=1)
    return increments
