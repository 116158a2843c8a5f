"""Who answered in which round, against the sampling that was accounted. Fewer may be drop-outs, more cannot be."""

from dataclasses import replace

import numpy as np

from dpaudit.bounds.lower_bound import Finding, Unchecked
from dpaudit.runtime.check import IntArray
from dpaudit.trace.accountant import LEVEL, true_epsilon
from dpaudit.trace.manifest import DpClaim
from dpaudit.trace.reader import Trace

TESTS = 3 * 4  # a third of the level for four tests: all answers, those of a round, equal numbers, those of a client


def check_participation(trace: Trace, claim: DpClaim) -> list[Finding | Unchecked]:
    """The numbers of answers, and where updates are shown the answers of each client."""
    found: list[Finding | Unchecked] = []
    replies = np.array([one.replies for one in trace.rounds if one.replies is not None], np.int64)
    if claim.sampler is None or claim.rate is None:
        return [Unchecked("who takes part", "the claim does not state sampler, clients and of")]
    most = claim.of if claim.sampler in ("all", "shuffled") else None
    if not replies.size:
        found.append(Unchecked("numbers of clients", "no round says how many clients answered"))
    elif claim.sampler == "fixed-size" and claim.clients is not None:
        most = round(claim.clients)
    elif claim.sampler == "poisson" and claim.of is not None:
        found += _coins(trace, claim, replies)
    if most is not None and replies.size and replies.max() > most:
        found.append(_more(trace, claim, int(replies.max()), most))
    return found + _clients(trace, claim)


def _more(trace: Trace, claim: DpClaim, seen: int, most: int) -> Finding:
    """More clients in a round than a sampler of fixed numbers can draw."""
    really = claim if claim.of is None or seen > claim.of else replace(claim, clients=float(seen))
    return Finding(
        "sampling rate",
        "violation",
        f"the answers of {len(trace.rounds)} rounds",
        f"{seen} clients took part in a round",
        f"at most {most}",
        "account for the clients that are really drawn",
        true_epsilon=true_epsilon(trace, claim, really) if really != claim else None,
        rung=0,
    )


def _coins(trace: Trace, claim: DpClaim, replies: IntArray) -> list[Finding | Unchecked]:
    """Numbers of answers that independent coins do not give."""
    from scipy.stats import binom

    of, rate, rounds = claim.of, claim.rate, replies.size
    assert of is not None
    assert rate is not None
    level, total = LEVEL / TESTS, int(replies.sum())
    if rate == 1:
        return []
    fed = f"the answers of {rounds} rounds"
    largest = int(replies.max())
    if binom.sf(total - 1, of * rounds, rate) < level or binom.sf(largest - 1, of, rate) * rounds < level:
        seen = total / (of * rounds)
        really = replace(claim, clients=max(seen, rate) * of)
        observed = f"{seen:.3g} of the clients took part in a round, {largest} of {of} in the largest"
        remedy = "account for the rate at which clients are drawn"
        epsilon = true_epsilon(trace, claim, really) if seen > rate else None
        return [Finding("sampling rate", "violation", fed, observed, f"{rate:.3g}", remedy, 0, epsilon)]
    # With coins the numbers of two rounds are equal with this chance at most.
    same = float(binom.pmf(int((of + 1) * rate), of, rate))
    if rounds > 1 and np.ptp(replies) == 0 and same ** (rounds - 1) < level:
        observed = f"{largest} clients answered in every round"
        remedy = "draw each client by a coin, or account for a fixed number"
        return [Finding("sampler", "violation", fed, observed, "numbers as coins give them", remedy, 0)]
    return []


def _clients(trace: Trace, claim: DpClaim) -> list[Finding | Unchecked]:
    """How often each client took part, by the names of those whose updates are shown."""
    from dpaudit.scores.binomial_tails import too_large

    shown = [list(one.updates) for one in trace.rounds if one.updates is not None]
    if claim.sampler == "all" or claim.rate == 1:
        return []
    if not shown:
        return [Unchecked("how often each client takes part", "the rounds do not say who answered")]
    if claim.sampler == "shuffled":
        return [Unchecked("how often each client takes part", "a shuffled claim is accounted as if all took part")]
    assert claim.rate is not None
    names, counts = np.unique([name for clients in shown for name in clients], return_counts=True)
    found: list[Finding | Unchecked] = []
    if claim.of is not None and names.size > claim.of:
        seen = f"{names.size} clients took part"
        remedy = "state how many clients there are"
        found.append(Finding("more clients than stated", "warning", "the rounds", seen, f"{claim.of}", remedy, 0))
    level = LEVEL / TESTS / max(1, (claim.of or names.size) / max(1, names.size))
    if counts.size and too_large(counts, len(shown), claim.rate, level):
        most = int(counts.argmax())
        often = int(counts[most]) / len(shown)
        really = replace(claim, clients=often * claim.of) if claim.of is not None else claim
        found.append(
            Finding(
                "clients drawn often",
                "violation",
                f"the clients of {len(shown)} rounds",
                f"client {names[most]} took part in {counts[most]} of them",
                f"a rate of {claim.rate:.3g} for every client",
                "account with the largest rate of any client, or draw all of them alike",
                true_epsilon=true_epsilon(trace, claim, really) if really != claim else None,
                rung=0,
            )
        )
    return found
