"""The noisy sum behind a release: steps after the noise that can be taken back are."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dpaudit.inspection.after import Opaque
from dpaudit.inspection.mechanism import Array, Mechanism
from dpaudit.runtime.check import FloatArray


def undone(mechanism: Mechanism) -> Mechanism:
    """The mechanism with the steps after its noise taken back, the last one first. Its memory must start at zero.

    >>> from dpaudit.inspection.after import Momentum
    >>> half = Mechanism(lambda g: [0.5 * x.sum(axis=0) for x in g], shapes=((2,),), after=(Momentum(0.0, 0.5),))
    >>> undone(half).release([np.ones((3, 2))])[0].tolist()
    [3.0, 3.0]
    """
    steps = [step for step in mechanism.after if not isinstance(step, Opaque)]
    if not steps:
        return mechanism
    start = [[np.zeros(shape) for shape in mechanism.shapes] for _ in steps]
    memory = [list(each) for each in start]

    def release(gradients: Sequence[Array]) -> list[FloatArray]:
        now = [np.asarray(array, np.float64) for array in mechanism.release(gradients)]
        for index in reversed(range(len(steps))):
            before, memory[index] = memory[index], now
            now = steps[index].undo(now, before)
        return now

    def reset() -> None:
        assert mechanism.reset is not None
        mechanism.reset()
        memory[:] = [list(each) for each in start]

    def fresh() -> Mechanism:
        assert mechanism.fresh is not None
        return undone(mechanism.fresh())

    return replace(
        mechanism,
        release=release,
        reset=None if mechanism.reset is None else reset,
        fresh=None if mechanism.fresh is None else fresh,
    )
