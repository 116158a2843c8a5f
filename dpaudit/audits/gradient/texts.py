"""Gradient leakage of language models: what victims with texts send, and the tokens and texts drawn from it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dpaudit.accounting.claim import FULL_BATCH, GaussianSteps
from dpaudit.accounting.mechanism import epsilon, trade_off
from dpaudit.attacks.gradient.found_texts import FoundTexts
from dpaudit.attacks.gradient.view import BatchGradient, ClientUpdate
from dpaudit.audits.gradient.settings import DefenceSettings, Scenario, TextAttack, under_defence
from dpaudit.audits.gradient.stage_inputs import StageInputs, victim_rows
from dpaudit.audits.gradient.training import train_under
from dpaudit.bounds.reconstruction import judge_reconstruction
from dpaudit.data.dataset import Dataset
from dpaudit.results.gradient import DefenceCost
from dpaudit.results.text_gradient import TextCell
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import AuditFailed, InputError

Text = tuple[int, ...]
COST_RATE, COST_BATCH, COST_TEXTS = 0.5, 32, 256  # of the training that prices a defence; texts it is tested on


@dataclass(frozen=True)
class TextsRead:
    """What one cell found, and whether each victim's first text is among it, (victims,)."""

    cell: TextCell
    first: BoolArray


@dataclass(frozen=True, eq=False)
class ReadTexts:
    """A task: what victims of a scenario send under a defence, read by one attack."""

    given: StageInputs
    scenario: Scenario
    chosen: DefenceSettings
    name: str

    def __call__(self) -> TextsRead:
        """The cell."""
        stage, sent = text_stage_of(self.given), under_defence(self.scenario, self.chosen)
        return stage.read(sent, self.chosen, self.name, _views(self.given, sent, self.chosen))


@dataclass(frozen=True)
class PaidInText:
    """What a defence costs a language model."""

    cost: DefenceCost


@dataclass(frozen=True, eq=False)
class PriceInText:
    """A task: what a defence costs a language model."""

    given: StageInputs
    chosen: DefenceSettings

    def __call__(self) -> PaidInText:
        """Accuracy of the next token after a training under it."""
        return PaidInText(text_stage_of(self.given).cost(self.chosen))


@lru_cache(maxsize=1)
def text_stage_of(given: StageInputs) -> "TextStage":
    """Kept for the next task, so that its programs are traced once."""
    return TextStage(given)


@lru_cache(maxsize=1)
def _views(given: StageInputs, sent: Scenario, chosen: DefenceSettings) -> list[BatchGradient | ClientUpdate]:
    """Kept for the next attack on the same."""
    return text_stage_of(given).views(sent, chosen)


def text_of(dataset: Dataset, row: int) -> Text:
    """The tokens of a record behind its first, up to the last that its loss is on.

    >>> from dpaudit.data.text import NamedTexts, TextRoles, as_records
    >>> text_of(as_records(NamedTexts("one", ["ab"]), TextRoles(context=8)), 0)
    (97, 98, 256)
    """
    last = 1 + int(np.flatnonzero(dataset.labels[row])[-1])
    return tuple(int(token) for token in dataset.features[row, 1 : 1 + last])


class TextStage:
    """The victims' language model and the attacks on it."""

    def __init__(self, given: StageInputs) -> None:
        from dpaudit.attacks.gradient.observed_gradient import text_victims
        from dpaudit.runtime.tensorflow import keras

        self.given, self.settings = given, given.settings
        self.dataset, population = given.records()
        assert population is not None
        self.population = population
        keras.utils.set_random_seed(given.seed_for("model"))
        build = self.settings.architecture.without_start("gradient.architecture")
        self.victims = text_victims(build(*self.dataset.network_shape))
        self.attacks: dict[str, TextAttack] = {
            item.name: item.build(model=self.victims.model, seed=given.seed_for("attack", item.name))
            for item in self.settings.attacks
        }
        _, counts = np.unique(self.dataset.features, axis=0, return_counts=True)
        # The victim's first text is drawn from all of them; whoever knows them all names the most frequent one.
        self.kappa = min(int(counts.max()) / len(self.dataset), 0.5)

    def rows(self, scenario: Scenario) -> IntArray:
        """Rows of a scenario's victims' texts, (victims, batch)."""
        return victim_rows(self.dataset, scenario, self.settings.victims, seed=self.given.seed_for(scenario.name))

    def views(self, scenario: Scenario, chosen: DefenceSettings) -> list[BatchGradient | ClientUpdate]:
        """What each victim sends."""
        from dpaudit.attacks.gradient.observed_gradient import LocalSteps, text_gradient, text_update

        defence = chosen.build(self.given.delta)
        found: list[BatchGradient | ClientUpdate] = []
        for victim, rows in enumerate(self.rows(scenario)):
            tokens, counted = _of(self.dataset, rows)
            seed = self.given.seed_for(scenario.name, chosen.name, victim)
            if scenario.epochs == 0:
                found.append(text_gradient(self.victims, tokens, counted, defence=defence, seed=seed))
                continue
            batch = min(scenario.local_batch or scenario.batch, scenario.batch)
            local = LocalSteps(scenario.learning_rate, scenario.epochs, batch)
            found.append(text_update(self.victims, tokens, counted, local, defence=defence, seed=seed))
        return found

    def read(
        self, scenario: Scenario, chosen: DefenceSettings, name: str, views: list[BatchGradient | ClientUpdate]
    ) -> TextsRead:
        """Attack the views, then join the truth. A victim on which the attack refuses is one that it did not read."""
        attack, reasons = self.attacks[name], []
        found: list[FoundTexts] = []
        for view in views:
            try:
                found.append(attack.read(view))
            except AuditFailed as error:  # an exact attack says when its answer would not be exact
                reasons.append(str(error))
                found.append(FoundTexts((), () if attack.whole_texts else None))
        truth = [[text_of(self.dataset, row) for row in rows] for rows in self.rows(scenario).tolist()]
        mark = {self.dataset.network_shape[1] - 1}
        there = [set(FoundTexts.of(texts).tokens) - mark for texts in truth]
        named = [set(each.tokens) - mark for each in found]
        given = [set(each.texts or ()) for each in found]
        mechanism = chosen.build(self.given.delta).mechanism
        cell = TextCell(
            scenario=scenario.name,
            defence=chosen.name,
            attack=name,
            epsilon=None if mechanism is None else epsilon(mechanism, delta=self.given.delta).epsilon,
            refused=list(dict.fromkeys(reasons)),
            tokens=[len(tokens) for tokens in there],
            named=[len(tokens) for tokens in named],
            right=[len(tokens & others) for tokens, others in zip(named, there, strict=True)],
            texts=[len(set(texts)) for texts in truth],
            recovered=[len(g & set(t)) for g, t in zip(given, truth, strict=True)] if attack.whole_texts else None,
            invented=[len(g - set(t)) for g, t in zip(given, truth, strict=True)] if attack.whole_texts else None,
            kappa=self.kappa,
            verdict=None,
        )
        if mechanism is not None and cell.successes is not None:
            claimed = trade_off(GaussianSteps(mechanism.noise_multiplier, 1, FULL_BATCH), adjacency="add-remove")
            verdict = judge_reconstruction(cell.successes, claimed, confidence=self.given.confidence)
            cell = cell.model_copy(update={"verdict": verdict})
        return TextsRead(cell, np.array([texts[0] in g for g, texts in zip(given, truth, strict=True)]))

    def cost(self, chosen: DefenceSettings) -> DefenceCost:
        """Accuracy of the next token on texts of the population after a short training under the defence."""
        from dpaudit.attacks.gradient.observed_gradient import next_tokens

        rng, texts = np.random.default_rng(self.given.seed_for("cost")), len(self.dataset)
        size = min(max(COST_BATCH, chosen.batch or 0), texts)

        def draw() -> tuple[FloatArray, FloatArray]:
            return next_tokens(self.victims, *_of(self.dataset, rng.choice(texts, size, replace=False)))

        parameters = train_under(
            self.victims,
            chosen,
            self.given.delta,
            draw,
            rng,
            start=self.victims.weights,
            rate=COST_RATE,
            steps=self.settings.utility_steps,
        )
        tokens, counted = _of(self.population, np.arange(min(COST_TEXTS, len(self.population))))
        logits = self.victims.logits(parameters, tokens[None, :, :-1]).numpy()[0]
        right = (logits.argmax(2) == tokens[:, 1:])[counted > 0].mean()
        return DefenceCost(defence=chosen.name, accuracy=round(float(right), 6))


def _of(dataset: Dataset, rows: IntArray) -> tuple[FloatArray, FloatArray]:
    """Tokens and which of them count, in double precision."""
    return dataset.features[rows].astype(np.float64), dataset.labels[rows].astype(np.float64)


def refuse_short(dataset: Dataset) -> None:
    """Refuse texts of one token: behind it nothing depends on anything."""
    mark = dataset.network_shape[1] - 1
    tokens = ((dataset.features[:, 1:] != mark) & (dataset.labels == 1)).sum(1)
    if (short := np.flatnonzero(tokens < 2)).size:
        raise InputError(
            f"record {dataset.source_rows[short[0]]} of {dataset.name} has {tokens[short[0]]} token; gradients of "
            "texts need two or more, so leave it out."
        )
