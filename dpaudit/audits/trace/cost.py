"""What ``[trace]`` would take: reading it, and the first round of what is done to each."""

from dataclasses import replace
from functools import partial

from dpaudit.audits.federated.gradient_canaries import cosines
from dpaudit.audits.table_cost import TableCost
from dpaudit.audits.trace.run import TraceSettings, canary_directions, score_users
from dpaudit.runtime.took import result_of, timed
from dpaudit.trace import inspect_all, read_trace
from dpaudit.training.architecture import Architecture

INSPECTED = 3  # rounds; the checks need a few


def cost(settings: TraceSettings, architecture: Architecture | None) -> TableCost:
    """Of the checks, of canaries and of users."""
    trace, took = result_of(lambda: read_trace(settings.path))
    first = replace(trace, rounds=trace.rounds[:INSPECTED])
    took += timed(partial(inspect_all, first)) * (len(trace.rounds) / len(first.rounds))
    if (canaries := settings.canaries) is not None:
        directions, drawn = result_of(lambda: canary_directions(trace, canaries))
        took += drawn + timed(partial(cosines, directions, first.releases[0])) * (len(trace.rounds) + 1)
    if settings.users is not None:
        assert architecture is not None  # or the plan was refused
        one = partial(score_users, replace(trace, rounds=trace.rounds[:1]), settings.users, architecture, seed=0)
        opened, again = timed(one), timed(one)
        took += opened + again * (len(trace.rounds) - 1)
    return TableCost(0, took)
