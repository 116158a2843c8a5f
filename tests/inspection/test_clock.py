"""An inspection keeps its time: by a clock that each call of the mechanism moves on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dpaudit.inspection.ask import handy
from dpaudit.inspection.clock import Clock
from dpaudit.inspection.inspect import Inspection, inspect_mechanism
from dpaudit.inspection.mechanism import Array, Mechanism
from dpaudit.self_test.faults.dp_sgd import BreakableDpSgd, no_clip

CALLS_OF_ONE_PIECE = 12  # six for each of two neighbouring batches


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, inspection_clock: SimpleNamespace) -> Callable[..., tuple[Inspection, float]]:
    """Inspects DP-SGD whose calls take a second each, and says how many seconds it took."""
    now = [0.0]
    monkeypatch.setattr(inspection_clock, "monotonic", lambda: now[0])

    def inspected(budget: float, *, resets: bool, **parts: Any) -> tuple[Inspection, float]:
        private = BreakableDpSgd(seed=3, **parts)

        def release(gradients: Sequence[Array]) -> list[Any]:
            now[0] += 1.0
            return private(gradients)

        subject = Mechanism(release, reset=private.__post_init__ if resets else None)
        begin = now[0]
        return inspect_mechanism(subject, private.stated, seed=5, budget=budget), now[0] - begin

    return inspected


@pytest.mark.parametrize("resets", [True, False])
@pytest.mark.parametrize("budget", [60.0, 240.0])
def test_an_inspection_ends_with_its_budget(
    slow: Callable[..., tuple[Inspection, float]], budget: float, resets: bool
) -> None:
    """Calls of 1 s: over by no more than the calls of one question, what was left out is listed, and all is quiet."""
    found, seconds = slow(budget, resets=resets)
    assert seconds <= budget + CALLS_OF_ONE_PIECE
    assert found.findings == ()
    left_out = [sight for sight in found.sights if not sight.asked and "no time was left" in sight.smallest]
    assert left_out
    assert all("--budget" in sight.smallest for sight in left_out)


def test_a_fault_is_seen_in_a_minute_of_slow_calls(slow: Callable[..., tuple[Inspection, float]]) -> None:
    """Sixty calls suffice for a clip that is missing."""
    found, _ = slow(60.0, resets=True, clip=no_clip)
    assert "sensitivity" in [finding.check for finding in found.violations]


def test_large_batches_are_made_smaller() -> None:
    """A million coordinates are asked in batches of 8, a thousand in those that are planned; a fixed size is kept."""
    large = Mechanism(lambda gradients: list(gradients), shapes=((1000, 1000),))
    assert handy(large).batch_size == 8
    assert handy(replace(large, shapes=((1000,),))).batch_size == 32
    assert handy(replace(large, partial=False)).batch_size == 32


def test_a_clock_says_what_it_refused() -> None:
    """A question that is refused is listed once; without an end nothing is."""
    clock = Clock(0.0)
    assert not clock.allows("the clip")
    assert not clock.allows("the clip")
    assert [sight.kind for sight in clock.sights()] == ["the clip"]
    assert Clock().allows("the clip")
    assert np.isinf(Clock().planned)
