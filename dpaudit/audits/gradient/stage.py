"""One cell of the gradient experiment: victims send what a scenario and a defence say, and an attack inverts it."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from dpaudit.accounting.mechanism import epsilon, trade_off
from dpaudit.attacks.gradient.baselines import decoy_test, floors, prior_rows
from dpaudit.attacks.gradient.label_recovery import LabelCounts, SingleLabel
from dpaudit.attacks.gradient.metrics import Fidelity, column_accuracy, fidelity, label_accuracy, label_chance, overlap
from dpaudit.attacks.gradient.table_columns import EncodedColumns
from dpaudit.attacks.gradient.view import Reconstruction
from dpaudit.audits.gradient.questions import AsksAgain, View, attacked, questioned
from dpaudit.audits.gradient.settings import (
    DefenceSettings,
    ForSomeModels,
    GradientAttack,
    GradientAttackSettings,
    Scenario,
    under_defence,
)
from dpaudit.audits.gradient.stage_inputs import StageInputs, draw_victims
from dpaudit.audits.gradient.training import train_under
from dpaudit.bounds.reconstruction import Successes, judge_reconstruction
from dpaudit.results.gradient import DefenceCost, GradientCell
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import AuditFailed, InputError

TOLERATED = 0.319  # standard deviations within which a number counts as right, as Vero et al. (2023) count


@dataclass(frozen=True)
class Inverted:
    """What one cell found, and the first record as reconstructed, (1, ...), where it is asked for."""

    cell: GradientCell
    first: FloatArray | None


@dataclass(frozen=True, eq=False)
class Invert:
    """A task: what victims of a scenario send under a defence, inverted by one attack."""

    given: StageInputs
    scenario: Scenario
    chosen: DefenceSettings
    name: str

    def __call__(self) -> Inverted:
        """The cell."""
        stage, sent = stage_of(self.given), under_defence(self.scenario, self.chosen)
        views, (truth, labels) = _views(self.given, sent, self.chosen), stage.records(sent)
        found, first = stage.cell(sent, self.chosen, self.name, views, truth, labels)
        return Inverted(found, first if self.given.settings.show_records else None)


@dataclass(frozen=True)
class Paid:
    """What a defence costs."""

    cost: DefenceCost


@dataclass(frozen=True, eq=False)
class Price:
    """A task: what a defence costs."""

    given: StageInputs
    chosen: DefenceSettings

    def __call__(self) -> Paid:
        """Accuracy of a training under it."""
        return Paid(stage_of(self.given).cost(self.chosen))


@lru_cache(maxsize=1)
def stage_of(given: StageInputs) -> "Stage":
    """Kept for the next task, so that its programs are traced once."""
    return Stage(given)


@lru_cache(maxsize=1)
def _views(given: StageInputs, sent: Scenario, chosen: DefenceSettings) -> "list[list[View]]":
    """Kept for the next attack on the same."""
    stage = stage_of(given)
    return stage.views(sent, chosen, *stage.records(sent))


class Stage:
    """The victims' model with the attacks on it, built once so that their programs are traced once."""

    def __init__(self, given: StageInputs) -> None:
        from dpaudit.attacks.gradient.victims import Victims
        from dpaudit.runtime.tensorflow import keras

        self.given, self.settings = given, given.settings
        self.dataset, population = given.records()
        assert population is not None
        keras.utils.set_random_seed(given.seed_for("model"))
        build = self.settings.architecture.without_start("gradient.architecture")
        self.victims = Victims.of(build(self.dataset.features.shape[1:], self.dataset.outputs))
        features = self.dataset.features.astype(np.float64)
        self.box = (min(0.0, float(features.min())), max(1.0, float(features.max())))
        self.auxiliary = population.features.astype(np.float64)
        self.auxiliary_labels = population.classes
        self.columns = EncodedColumns.of(self.dataset.columns, self.auxiliary) if self.dataset.columns else None
        self.initial = self.victims.weights
        self.server = self.settings.server.build(seed=given.seed_for("server"))
        self.asks = self.server.queries if isinstance(self.server, AsksAgain) else 1
        self.victims.model.set_weights(self.server(self.victims.model, self.auxiliary))
        self.attacks = {item.name: self._attack(item) for item in self.settings.attacks}

    def _attack(self, item: GradientAttackSettings) -> GradientAttack:
        attack: GradientAttack = item.build(self.victims.model, self.given.seed_for("attack", item.name), self.columns)
        if isinstance(attack, ForSomeModels):
            attack.require(self.victims.weights)
        return attack

    def records(self, scenario: Scenario) -> tuple[FloatArray, IntArray]:
        """Records and labels of a scenario's victims."""
        return draw_victims(self.dataset, scenario, self.settings.victims, seed=self.given.seed_for(scenario.name))

    def views(
        self, scenario: Scenario, chosen: DefenceSettings, truth: FloatArray, labels: IntArray
    ) -> list[list[View]]:
        """What each victim sends: one gradient or update, or what a server that asks again gets apart."""
        from dpaudit.attacks.gradient.observed_gradient import batch_gradient, fedavg_update

        defence = chosen.build(self.given.delta)
        knows: Any = ("labels",) if scenario.knows_labels else ()
        found: list[list[View]] = []
        for v in range(len(truth)):
            seed = self.given.seed_for(scenario.name, chosen.name, v)
            of_one = (self.victims, truth[v], labels[v])
            if isinstance(self.server, AsksAgain):
                rng = np.random.default_rng(seed)
                found.append(questioned(self.server, *of_one, box=self.box, defence=defence, rng=rng))
            elif scenario.epochs == 0:
                found.append([batch_gradient(*of_one, box=self.box, defence=defence, knows=knows, seed=seed)])
            else:
                update = fedavg_update(
                    *of_one,
                    learning_rate=scenario.learning_rate,
                    epochs=scenario.epochs,
                    local_batch=min(scenario.local_batch or scenario.batch, scenario.batch),
                    box=self.box,
                    defence=defence,
                    knows=knows,
                    seed=seed,
                )
                found.append([update])
        return found

    def cell(
        self,
        scenario: Scenario,
        chosen: DefenceSettings,
        name: str,
        views: list[list[View]],
        truth: FloatArray,
        labels: IntArray,
    ) -> tuple[GradientCell, FloatArray | None]:
        """Attack the views, then join the truth; also the first victim's first record as reconstructed."""
        prior = self.auxiliary.mean(0)
        refused = None
        try:
            found = attacked(self.attacks[name].together, views, truth.shape[2:])
        except AuditFailed as error:  # an exact attack says when its answer would not be exact
            refused, found = str(error), [Reconstruction(np.empty((0, *truth.shape[2:])))] * len(views)
        measured = [fidelity(f, t, prior=prior, box=self.box) for f, t in zip(found, truth, strict=True)]
        flat_truth, flat_labels = truth.reshape(-1, *truth.shape[2:]), labels.ravel()
        floor = floors(
            flat_truth, self.auxiliary, labels=flat_labels, auxiliary_labels=self.auxiliary_labels, box=self.box
        )
        firsts = np.stack([m.matched[0] for m in measured])
        decoys = self._decoys(scenario, len(truth))
        test = decoy_test(_guesses(found, measured, self.box), truth[:, 0], decoys)
        release, verdict = chosen.build(self.given.delta).mechanism, None
        mechanism = None if release is None else replace(release, steps=self.asks)
        if mechanism is not None:
            claimed = trade_off(mechanism, adjacency="add-remove")
            result = Successes(test.identified, test.records, test.kappa)
            verdict = judge_reconstruction(result, claimed, confidence=self.given.confidence)
        given = scenario.knows_labels or self.asks > 1  # such a server aims at a class
        restored = None if given else self._labels_restored([each for (each,) in views], labels)
        cell = GradientCell(
            scenario=scenario.name,
            defence=chosen.name,
            attack=name,
            epsilon=None if mechanism is None else epsilon(mechanism, delta=self.given.delta).epsilon,
            refused=refused,
            psnr=_listed(np.concatenate([m.psnr for m in measured])),
            ssim=_listed(np.concatenate([m.ssim for m in measured if m.ssim is not None] or [np.empty(0)])),
            floor=_listed(floor.best_honest),
            nearest=_listed(floor.nearest),
            label_accuracy=None if restored is None else restored[0],
            labels_right=None if restored is None else restored[1],
            identified=test.identified,
            victims=test.records,
            decoys=test.decoys,
            p_value=test.p_value,
            columns_right=self._columns_right(np.stack([m.matched for m in measured]), truth),
            columns_floor=self._columns_right(None, truth),
            verdict=verdict,
        )
        return cell, firsts[:1] if refused is None else None

    def _labels_restored(self, views: list[View], labels: IntArray) -> tuple[float, int]:
        """Mean accuracy above chance, and of how many victims every label is right."""
        classes = self.victims.classes
        frequencies = np.bincount(self.auxiliary_labels, minlength=classes) / len(self.auxiliary_labels)
        batch = labels.shape[1]
        chance = label_chance(frequencies, batch, seed=0)
        restore = SingleLabel() if batch == 1 else LabelCounts()
        found = [restore(view) for view in views]
        above = [label_accuracy(guess, y, chance=chance) for guess, y in zip(found, labels, strict=True)]
        right = sum(overlap(guess, y) == 1 for guess, y in zip(found, labels, strict=True))
        return round(float(np.mean(above)), 6), right

    def _columns_right(self, rows: FloatArray | None, truth: FloatArray) -> float | None:
        """Share of a table's values that are right, of reconstructions (victims, batch, width) or the prior alone."""
        if self.columns is None:
            return None
        tolerance = TOLERATED * self.auxiliary[:, self.columns.numbers].std(0)
        flat = truth.reshape(-1, self.columns.width)
        guess = prior_rows(self.auxiliary, self.columns, len(flat)) if rows is None else rows.reshape(flat.shape)
        return round(float(column_accuracy(guess, flat, self.columns, tolerance=tolerance).mean()), 6)

    def _decoys(self, scenario: Scenario, victims: int) -> FloatArray:
        rng = np.random.default_rng(self.given.seed_for("decoys", scenario.name))
        if self.settings.decoys > len(self.auxiliary):
            raise InputError(f"{self.settings.decoys} decoys, but the population has {len(self.auxiliary)} records.")
        rows = [rng.choice(len(self.auxiliary), self.settings.decoys, replace=False) for _ in range(victims)]
        return np.asarray(self.auxiliary[np.stack(rows)])

    def cost(self, chosen: DefenceSettings, *, batch: int = 32, rate: float = 0.5) -> DefenceCost:
        """Accuracy on the population after a short training whose every gradient or update went through the defence.

        A defence that asks for a larger batch or for local epochs gets them.
        """
        rng, data = np.random.default_rng(self.given.seed_for("cost")), self.dataset
        size, targets = min(max(batch, chosen.batch or 0), len(data)), np.eye(self.victims.classes)

        def draw() -> tuple[FloatArray, FloatArray]:
            rows = rng.choice(len(data), size, replace=False)
            return data.features[rows].astype(np.float64), targets[data.classes[rows]]

        parameters = train_under(
            self.victims,
            chosen,
            self.given.delta,
            draw,
            rng,
            start=self.initial,
            rate=rate,
            steps=self.settings.utility_steps,
        )
        logits = self.victims.logits(parameters, self.auxiliary[None]).numpy()[0]
        right = float((logits.argmax(1) == self.auxiliary_labels).mean())
        return DefenceCost(defence=chosen.name, accuracy=round(right, 6))


def _guesses(found: list[Reconstruction], measured: list[Fidelity], box: tuple[float, float]) -> FloatArray:
    """All that the attack gave of each victim, and the prior where it gave too little, (victims, guesses, ...).

    The true records match themselves with the best of many guesses; a decoy may do so too, so none is left out. A
    victim with fewer guesses than another has some of them twice.
    """
    each = [
        np.concatenate([m.matched, np.clip(f.records.reshape(-1, *m.matched.shape[1:]), *box)])
        for f, m in zip(found, measured, strict=True)
    ]
    most = max(map(len, each))
    return np.stack([guesses[np.arange(most) % len(guesses)] for guesses in each])


def _listed(values: FloatArray) -> list[float]:
    return [round(float(value), 4) for value in values]
