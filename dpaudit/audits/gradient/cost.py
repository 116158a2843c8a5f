"""What ``[gradient]`` would take: one cell of each attack is timed with few iterations, the others are counted."""

import math

from dpaudit.audits.gradient.settings import GradientAttackSettings, GradientSettings, Scenario, under_defence
from dpaudit.audits.gradient.stage import Invert, Price
from dpaudit.audits.gradient.stage_inputs import StageInputs
from dpaudit.audits.gradient.texts import PriceInText, ReadTexts
from dpaudit.audits.table_cost import TableCost, Untrained
from dpaudit.runtime.took import Took
from dpaudit.training.reference_models.speed import measured_once, measured_twice

ITERATIONS = 25  # of an attack that are timed
SHORT, LONG = 1, 6  # steps of a training under a defence that are timed


def cost(settings: GradientSettings, untrained: Untrained) -> TableCost:
    """Of all cells: tracing once for each attack and shape of what is sent, and iterations."""
    texts = untrained.audit.dataset.task == "next-token"
    sent = [under_defence(scenario, chosen) for scenario in settings.scenario for chosen in settings.defence]
    shapes = {(one.batch, one.epochs, one.local_batch): one for one in sent}
    took = Took()
    for attack in settings.attacks:
        few, share = _few(settings, attack)
        cell = (ReadTexts if texts else Invert)(_given(few, untrained), few.scenario[0], few.defence[0], attack.name)
        opened, again = measured_twice(cell, "cell", few.model_dump_json(), untrained.audit.dataset.features.shape)
        traced = sum(_unrolled(one) for one in shapes.values()) / _unrolled(sent[0])
        iterated = sum(_work(one) for one in sent) / _work(sent[0])
        took += opened.less(again) * traced + again * (iterated / share)
    if settings.utility_steps:
        short, long = (_price(settings, steps, untrained, texts=texts) for steps in (SHORT, LONG))
        step = long.less(short) * (1 / (LONG - SHORT))
        for chosen in settings.defence:
            took += short.less(step) + step * (settings.utility_steps * max(chosen.epochs or 1, 1))
    return TableCost(0, took)


def _price(settings: GradientSettings, steps: int, untrained: Untrained, *, texts: bool) -> Took:
    """Of a training of so many steps under the first defence; each traces a program of its own."""
    few = settings.model_copy(update={"utility_steps": steps, "attacks": settings.attacks[:1]})
    price = (PriceInText if texts else Price)(_given(few, untrained), few.defence[0])
    return measured_once(price, "price", few.model_dump_json(), untrained.audit.dataset.features.shape)


def _given(few: GradientSettings, untrained: Untrained) -> StageInputs:
    audit = untrained.audit
    return StageInputs(few, audit.records(), audit.seed, audit.delta, audit.confidence)


def _few(settings: GradientSettings, attack: GradientAttackSettings) -> tuple[GradientSettings, float]:
    """The plan with one attack that has few iterations, or else one victim, and which share of the work that is."""
    iterations = getattr(attack.build(model=None, seed=0), "iterations", None)
    own, scenario = {"attacks": [attack]}, {"scenario": settings.scenario[:1], "defence": settings.defence[:1]}
    if iterations is None:
        return settings.model_copy(update={**own, **scenario, "victims": 1}), 1 / settings.victims
    short = min(iterations, ITERATIONS)
    own = {"attacks": [type(attack).model_validate({**attack.model_dump(), "iterations": short})]}
    return settings.model_copy(update={**own, **scenario}), short / iterations


def _unrolled(sent: Scenario) -> float:
    """What tracing an iteration grows with: a part is there once, the other for each local epoch."""
    return (1 + max(sent.epochs, 1)) / 2


def _work(sent: Scenario) -> float:
    """What an iteration grows with: of small networks starting its operations takes as long as what they compute.

    Measured on the network of ``examples/gradient_leakage.toml``: 1.8 times as long for a batch of 4, 3 for 5 epochs.
    """
    return _unrolled(sent) * math.sqrt(sent.batch)
