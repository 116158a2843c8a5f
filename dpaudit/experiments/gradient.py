"""Gradient leakage: victims send a gradient or an update, with and without defences, and attacks invert it."""

from typing import Any

import numpy as np

from dpaudit._check import FloatArray, IntArray
from dpaudit.accounting import epsilon, trade_off
from dpaudit.attacks.gradient.floors import decoy_test, floors
from dpaudit.attacks.gradient.labels import LabelCounts, SingleLabel
from dpaudit.attacks.gradient.linear import DenseInversion, dense_layers
from dpaudit.attacks.gradient.metrics import Fidelity, fidelity, label_accuracy, label_chance
from dpaudit.attacks.gradient.spear import Spear
from dpaudit.attacks.gradient.view import BatchGradient, ClientUpdate, Reconstruction
from dpaudit.bounds.reconstruction import Successes, judge
from dpaudit.claim import FULL_BATCH, GaussianSteps
from dpaudit.errors import AuditFailed, InputError
from dpaudit.experiments.architecture import architecture
from dpaudit.experiments.audit import Audit
from dpaudit.experiments.gradient_outcome import Cell, Cost, Outcome, Picture
from dpaudit.experiments.gradient_settings import DefenceSettings, Scenario, Settings, under

View = BatchGradient | ClientUpdate


def run(settings: Settings, audit: Audit) -> Outcome:
    """Victims are the audited records, decoys and auxiliary records the population."""
    from dpaudit.attacks.gradient.victims import Victims

    stage = _Stage(settings, audit, Victims.of(_model(settings, audit)))
    cells, gallery = [], []
    total = len(settings.scenario) * len(settings.defence) * len(settings.attacks)
    with audit.progress.task("inverting gradients", total) as advance:
        for scenario in settings.scenario:
            gallery += _pictures(scenario.name, "original", stage.records(scenario)[0][0, :1])
            for chosen in settings.defence:
                sent = under(scenario, chosen)
                truth, labels = stage.records(sent)
                views = stage.views(sent, chosen, truth, labels)
                for name in settings.attacks:
                    cell, found = stage.cell(sent, chosen, name, views, truth, labels)
                    cells.append(cell)
                    if name == settings.attacks[0] and found is not None:
                        gallery += _pictures(scenario.name, chosen.name, found)
                    advance(1)
    costs = [stage.cost(chosen) for chosen in settings.defence] if settings.utility_steps else []
    return Outcome(cells=cells, gallery=gallery if settings.show_records else [], costs=costs, delta=audit.delta)


def _model(settings: Settings, audit: Audit) -> Any:
    from dpaudit._tensorflow import keras

    keras.utils.set_random_seed(audit.seed_for("gradient", "model"))
    return architecture(settings.architecture, where="gradient.architecture")(
        audit.dataset.features.shape[1:], audit.dataset.outputs
    )


class _Stage:
    """The victims' model with the attacks on it, built once so that their programs are traced once."""

    def __init__(self, settings: Settings, audit: Audit, victims: Any) -> None:
        self.settings, self.audit, self.victims = settings, audit, victims
        features = audit.dataset.features.astype(np.float64)
        self.box = (min(0.0, float(features.min())), max(1.0, float(features.max())))
        self.auxiliary = audit.population.features.astype(np.float64)
        self.auxiliary_labels = audit.population.classes
        self.attacks: dict[str, Any] = {name: self._attack(name) for name in settings.attacks}

    def _attack(self, name: str) -> Any:
        seed = self.audit.seed_for("gradient", "attack", name)
        layers = dense_layers(self.victims.weights)
        if name in ("dense", "spear") and (not layers or layers[0].kernel != 0):
            raise InputError(f"gradient.attacks: {name!r} needs an architecture that starts with a dense layer.")
        if name == "dense":
            return DenseInversion()
        if name == "spear":
            return Spear(seed=seed)
        model = self.victims.model
        if name == "matching":
            from dpaudit.attacks.gradient.matching import GradientMatching

            return GradientMatching(
                model, restarts=self.settings.restarts, iterations=self.settings.iterations, seed=seed
            )
        from dpaudit.attacks.gradient.inverting import InvertingGradients

        return InvertingGradients(model, restarts=self.settings.restarts, seed=seed)

    def records(self, scenario: Scenario) -> tuple[FloatArray, IntArray]:
        """Records (victims, batch, ...) and labels of a scenario's victims, no record twice.

        A victim's first record is the same whatever the batch, so that defences are compared on the same records.
        """
        dataset, number = self.audit.dataset, self.settings.victims * scenario.batch
        if number > len(dataset):
            raise InputError(f"scenario {scenario.name!r} needs {number} records, {dataset.name} has {len(dataset)}.")
        order = np.random.default_rng(self.audit.seed_for("gradient", scenario.name)).permutation(len(dataset))
        firsts, others = order[: self.settings.victims, None], order[self.settings.victims : number]
        rows = np.concatenate([firsts, others.reshape(self.settings.victims, scenario.batch - 1)], axis=1)
        return dataset.features[rows].astype(np.float64), dataset.classes[rows]

    def views(self, scenario: Scenario, chosen: DefenceSettings, truth: FloatArray, labels: IntArray) -> list[View]:
        """What each victim sends."""
        from dpaudit.attacks.gradient.observe import batch_gradient, client_update

        defence = chosen.build(self.audit.delta)
        knows: Any = ("labels",) if scenario.knows_labels else ()
        found: list[View] = []
        for v in range(len(truth)):
            seed = self.audit.seed_for("gradient", scenario.name, chosen.name, v)
            if scenario.epochs == 0:
                found.append(
                    batch_gradient(
                        self.victims, truth[v], labels[v], box=self.box, defence=defence, knows=knows, seed=seed
                    )
                )
            else:
                found.append(
                    client_update(
                        self.victims,
                        truth[v],
                        labels[v],
                        learning_rate=scenario.learning_rate,
                        epochs=scenario.epochs,
                        local_batch=min(scenario.local_batch or scenario.batch, scenario.batch),
                        box=self.box,
                        defence=defence,
                        knows=knows,
                        seed=seed,
                    )
                )
        return found

    def cell(
        self,
        scenario: Scenario,
        chosen: DefenceSettings,
        name: str,
        views: list[View],
        truth: FloatArray,
        labels: IntArray,
    ) -> tuple[Cell, FloatArray | None]:
        """Attack the views, then join the truth; also the first victim's first record as reconstructed."""
        prior = self.auxiliary.mean(0)
        refused = None
        try:
            found = self._attacked(name, views)
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
        mechanism = chosen.build(self.audit.delta).mechanism
        verdict = None
        if mechanism is not None:
            promised = trade_off(GaussianSteps(mechanism.noise_multiplier, 1, FULL_BATCH), adjacency="add-remove")
            result = Successes(test.identified, test.records, test.kappa)
            verdict = judge(result, promised, confidence=self.audit.confidence)
        cell = Cell(
            scenario=scenario.name,
            defence=chosen.name,
            attack=name,
            epsilon=None if mechanism is None else epsilon(mechanism, delta=self.audit.delta).epsilon,
            refused=refused,
            psnr=_listed(np.concatenate([m.psnr for m in measured])),
            ssim=_listed(np.concatenate([m.ssim for m in measured if m.ssim is not None] or [np.empty(0)])),
            floor=_listed(floor.best_honest),
            nearest=_listed(floor.nearest),
            label_accuracy=None if scenario.knows_labels else self._label_accuracy(views, labels),
            identified=test.identified,
            victims=test.records,
            decoys=test.decoys,
            p_value=test.p_value,
            verdict=verdict,
        )
        return cell, firsts[:1] if refused is None else None

    def _attacked(self, name: str, views: list[View]) -> list[Reconstruction]:
        attack = self.attacks[name]
        if name in ("matching", "inverting"):
            return list(attack.together(views))
        return [attack(view) for view in views]

    def _label_accuracy(self, views: list[View], labels: IntArray) -> float | None:
        classes = self.victims.classes
        frequencies = np.bincount(self.auxiliary_labels, minlength=classes) / len(self.auxiliary_labels)
        batch = labels.shape[1]
        chance = label_chance(frequencies, batch, seed=0)
        restore = SingleLabel() if batch == 1 else LabelCounts()
        found = [label_accuracy(restore(view), y, chance=chance) for view, y in zip(views, labels, strict=True)]
        return round(float(np.mean(found)), 6)

    def _decoys(self, scenario: Scenario, victims: int) -> FloatArray:
        rng = np.random.default_rng(self.audit.seed_for("gradient", "decoys", scenario.name))
        if self.settings.decoys > len(self.auxiliary):
            raise InputError(f"{self.settings.decoys} decoys, but the population has {len(self.auxiliary)} records.")
        rows = [rng.choice(len(self.auxiliary), self.settings.decoys, replace=False) for _ in range(victims)]
        return np.asarray(self.auxiliary[np.stack(rows)])

    def cost(self, chosen: DefenceSettings, *, batch: int = 32, rate: float = 0.5) -> Cost:
        """Accuracy on the population after a short training whose every gradient or update went through the defence.

        A defence that asks for a larger batch or for local epochs gets them.
        """
        from dpaudit._tensorflow import tf

        rng = np.random.default_rng(self.audit.seed_for("gradient", "cost"))
        defence, data = chosen.build(self.audit.delta), self.audit.dataset
        size = min(max(batch, chosen.batch or 0), len(data))
        parameters = self.victims.at(self.victims.weights)
        gradients, targets = tf.function(self.victims.gradients), np.eye(self.victims.classes)
        for _ in range(self.settings.utility_steps):
            rows = rng.choice(len(data), size, replace=False)
            x, y = data.features[rows].astype(np.float64), targets[data.classes[rows]]
            if chosen.epochs:
                local = parameters
                for _ in range(chosen.epochs):
                    slopes = gradients(local, tf.constant(x[None]), tf.constant(y[None]))
                    local = tuple(p - rate * g for p, g in zip(local, slopes, strict=True))
                moved = tuple((after - before).numpy() for after, before in zip(local, parameters, strict=True))
                sent, _ = defence.compressed(defence.mean(moved, rng))
                parameters = tuple(p + u[None] for p, u in zip(parameters, sent, strict=True))
                continue
            each = tuple(g.numpy() for g in gradients(parameters, tf.constant(x[:, None]), tf.constant(y[:, None])))
            sent, _ = defence.compressed(defence.mean(each, rng))
            parameters = tuple(p - rate * g[None] for p, g in zip(parameters, sent, strict=True))
        logits = self.victims.logits(parameters, self.auxiliary[None]).numpy()[0]
        right = float((logits.argmax(1) == self.auxiliary_labels).mean())
        return Cost(defence=chosen.name, accuracy=round(right, 6))


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


def _pictures(scenario: str, title: str, images: FloatArray) -> list[Picture]:
    if images.ndim != 4 or images.shape[3] != 1:
        return []
    return [Picture(scenario=scenario, title=title, pixels=np.round(i[:, :, 0], 3).tolist()) for i in images]


def _listed(values: FloatArray) -> list[float]:
    return [round(float(value), 4) for value in values]
