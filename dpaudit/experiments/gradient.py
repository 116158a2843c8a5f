"""Gradient leakage: victims send a gradient or an update, with and without defences, and attacks invert it."""

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dpaudit import registry
from dpaudit._check import FloatArray, IntArray
from dpaudit.accounting import epsilon, trade_off
from dpaudit.attacks.gradient.defences import Defence
from dpaudit.attacks.gradient.floors import decoy_test, floors
from dpaudit.attacks.gradient.labels import LabelCounts, SingleLabel
from dpaudit.attacks.gradient.linear import DenseInversion, dense_layers
from dpaudit.attacks.gradient.metrics import fidelity, label_accuracy, label_chance
from dpaudit.attacks.gradient.spear import Spear
from dpaudit.attacks.gradient.view import BatchGradient, ClientUpdate, Reconstruction
from dpaudit.bounds.reconstruction import ReconstructionVerdict, Successes, judge
from dpaudit.claim import FULL_BATCH, Claim, GaussianSteps
from dpaudit.compare import Comparison
from dpaudit.errors import AuditFailed, InputError
from dpaudit.evidence import LowerBound
from dpaudit.experiments.audit import Audit
from dpaudit.experiments.prior import against_reconstruction

AttackName = Literal["matching", "inverting", "dense", "spear"]
View = BatchGradient | ClientUpdate


class Scenario(BaseModel):
    """``[[gradient.scenario]]``: what a victim sends.

    Args:
        name: for the report.
        batch: records per victim.
        epochs: local epochs of a FedAvg client; 0 sends a plain gradient.
        local_batch: records per local step.
        learning_rate: of the client.
        knows_labels: whether the attacker knows the labels; otherwise it restores them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    batch: int = Field(ge=1)
    epochs: int = Field(default=0, ge=0)
    local_batch: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    knows_labels: bool = False


class DefenceSettings(BaseModel):
    """``[[gradient.defence]]``: what a victim does before sending; see `Defence`. Give ``epsilon`` or a multiplier."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    clip: float | None = Field(default=None, gt=0)
    noise_multiplier: float | None = Field(default=None, ge=0)
    epsilon: float | None = Field(default=None, gt=0)
    keep: float = Field(default=1.0, gt=0, le=1)
    bits: int = Field(default=64, ge=1, le=64)

    def build(self, delta: float) -> Defence:
        """The defence; an ε becomes the noise multiplier of one Gaussian release at ``delta``."""
        if self.epsilon is not None and self.noise_multiplier is not None:
            raise InputError(f"defence {self.name!r}: give epsilon or noise_multiplier, not both.")
        noise = self.noise_multiplier or 0.0
        if self.epsilon is not None:
            noise = noise_for(self.epsilon, delta)
        return Defence(np.inf if self.clip is None else self.clip, noise, self.keep, self.bits)


class Settings(BaseModel):
    """``[gradient]``: scenarios × defences × attacks.

    Args:
        architecture: of the victims' model, by kind, with its parameters beside it; untrained.
        scenario: what is sent.
        defence: what is done about it; the first is the one without defence in the gallery.
        attacks: ``matching`` (DLG, iDLG), ``inverting`` (cosine), ``dense``, ``spear``.
        victims: independent victims per scenario.
        decoys: records a victim's first record is hidden among.
        restarts: of the optimising attacks.
        iterations: of ``matching``.
        utility_steps: steps of training with the same defence, to see what it costs; 0 leaves it out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    architecture: dict[str, Any]
    scenario: list[Scenario] = Field(min_length=1)
    defence: list[DefenceSettings] = Field(min_length=1)
    attacks: list[AttackName] = Field(min_length=1)
    victims: int = Field(default=8, ge=1)
    decoys: int = Field(default=19, ge=1)
    restarts: int = Field(default=2, ge=1)
    iterations: int = Field(default=300, ge=1)
    utility_steps: int = Field(default=60, ge=0)

    def bounds(self) -> int:
        """Verdicts computed: one per cell whose defence has an ε."""
        private = sum(d.epsilon is not None or bool(d.noise_multiplier) for d in self.defence)
        return len(self.scenario) * private * len(self.attacks)

    def check(self, delta: float) -> None:
        """Refuse an architecture or a defence that cannot be built, before anything is measured."""
        _architecture(self)
        for chosen in self.defence:
            chosen.build(delta)


class Cell(BaseModel):
    """One scenario, defence and attack.

    Args:
        scenario: name.
        defence: name.
        attack: name.
        epsilon: of one release at the audit's δ; None without noise.
        refused: why the attack returned nothing; None when it did.
        psnr: of every record, dB.
        ssim: of every record; empty when the records are no images.
        floor: best PSNR of an honest guess without the gradient, per record.
        nearest: PSNR of the nearest auxiliary record, chosen with the truth.
        label_accuracy: of the restored labels, corrected for chance; None when they were known or one-class guesses
            are all right already.
        identified: victims whose first record was the nearest among its decoys.
        victims: victims tried.
        decoys: decoys per victim.
        p_value: of as many identified by chance.
        verdict: against the reconstruction bound; None without an ε.
    """

    scenario: str
    defence: str
    attack: str
    epsilon: float | None
    refused: str | None
    psnr: list[float]
    ssim: list[float]
    floor: list[float]
    nearest: list[float]
    label_accuracy: float | None
    identified: int
    victims: int
    decoys: int = Field(ge=1)
    p_value: float
    verdict: ReconstructionVerdict | None

    @property
    def name(self) -> str:
        """What was released, and who attacked it."""
        return f"{self.scenario}, {self.defence}, {self.attack}"


class Picture(BaseModel):
    """A small image for the gallery: rows of grey values in [0, 1]."""

    scenario: str
    title: str
    pixels: list[list[float]]


class Cost(BaseModel):
    """What a defence costs: accuracy after the same short training with it."""

    defence: str
    accuracy: float


class Outcome(BaseModel):
    """What was leaked.

    A low PSNR is no evidence for a small ε: without a prior, pixels are safe far above any ε anyone claims, so only
    identification among decoys is compared with the bound.
    """

    cells: list[Cell]
    gallery: list[Picture]
    costs: list[Cost]
    delta: float

    def comparisons(self) -> list[Comparison]:
        """The verdict on every release that has an ε, against the reconstruction bound."""
        return [
            against_reconstruction(
                cell.name,
                Claim(cell.epsilon, self.delta, unit="record", adjacency="add-remove", source="accounted"),
                cell.verdict,
                None,
            )
            for cell in self.cells
            if cell.verdict is not None and cell.epsilon is not None
        ]

    def reconstructions(self) -> list[tuple[str, Successes]]:
        """Victims whose record was picked out, by release; an attack that refused a release measured nothing on it."""
        return [
            (cell.name, Successes(cell.identified, cell.victims, 1 / (cell.decoys + 1)))
            for cell in self.cells
            if cell.refused is None
        ]

    def bounds(self, model: str) -> list[LowerBound]:
        """None: the victims' model is no model of the plan."""
        return []


def run(settings: Settings, audit: Audit) -> Outcome:
    """Victims are the audited records, decoys and auxiliary records the population."""
    from dpaudit.attacks.gradient.victims import Victims

    stage = _Stage(settings, audit, Victims.of(_model(settings, audit)))
    cells, gallery = [], []
    total = len(settings.scenario) * len(settings.defence) * len(settings.attacks)
    with audit.progress.task("inverting gradients", total) as advance:
        for scenario in settings.scenario:
            truth, labels = stage.records(scenario)
            gallery += _pictures(scenario.name, "original", truth[0, :1])
            for chosen in settings.defence:
                views = stage.views(scenario, chosen, truth, labels)
                for name in settings.attacks:
                    cell, found = stage.cell(scenario, chosen, name, views, truth, labels)
                    cells.append(cell)
                    if name == settings.attacks[0] and found is not None:
                        gallery += _pictures(scenario.name, chosen.name, found)
                    advance(1)
    costs = [stage.cost(chosen) for chosen in settings.defence] if settings.utility_steps else []
    return Outcome(cells=cells, gallery=gallery, costs=costs, delta=audit.delta)


def noise_for(target: float, delta: float) -> float:
    """Noise multiplier of one Gaussian release with that ε at δ.

    >>> round(noise_for(8.0, 1e-5), 3)
    0.6
    """
    from dpaudit.accounting import gaussian_mu

    return 1 / gaussian_mu(target, delta)


def _model(settings: Settings, audit: Audit) -> Any:
    from dpaudit._tensorflow import keras

    keras.utils.set_random_seed(audit.seed_for("gradient", "model"))
    return _architecture(settings)(audit.dataset.features.shape[1:], audit.dataset.outputs)


def _architecture(settings: Settings) -> Any:
    parameters = dict(settings.architecture)
    if "kind" not in parameters:
        raise InputError("gradient.architecture: the key 'kind' is missing.")
    return registry.build("architectures", parameters.pop("kind"), parameters, where="gradient.architecture")


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
        """Records (victims, batch, ...) and labels of a scenario's victims, no record twice."""
        dataset, number = self.audit.dataset, self.settings.victims * scenario.batch
        if number > len(dataset):
            raise InputError(f"scenario {scenario.name!r} needs {number} records, {dataset.name} has {len(dataset)}.")
        order = np.random.default_rng(self.audit.seed_for("gradient", scenario.name)).permutation(len(dataset))
        rows = order[:number].reshape(self.settings.victims, scenario.batch)
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
                        local_batch=scenario.local_batch or scenario.batch,
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
        test = decoy_test(firsts, truth[:, 0], decoys)
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
        """Accuracy on the population after a short training whose every gradient went through the defence."""
        from dpaudit._tensorflow import tf

        rng = np.random.default_rng(self.audit.seed_for("gradient", "cost"))
        defence, data = chosen.build(self.audit.delta), self.audit.dataset
        parameters = self.victims.at(self.victims.weights)
        program = tf.function(self.victims.gradients)
        targets = np.eye(self.victims.classes)
        for _ in range(self.settings.utility_steps):
            rows = rng.choice(len(data), min(batch, len(data)), replace=False)
            x, y = data.features[rows, None].astype(np.float64), targets[data.classes[rows]][:, None]
            each = tuple(g.numpy() for g in program(parameters, tf.constant(x), tf.constant(y)))
            sent, _ = defence.compressed(defence.mean(each, rng))
            parameters = tuple(p - rate * g[None] for p, g in zip(parameters, sent, strict=True))
        logits = self.victims.logits(parameters, self.auxiliary[None]).numpy()[0]
        right = float((logits.argmax(1) == self.auxiliary_labels).mean())
        return Cost(defence=chosen.name, accuracy=round(right, 6))


def _pictures(scenario: str, title: str, images: FloatArray) -> list[Picture]:
    if images.ndim != 4 or images.shape[3] != 1:
        return []
    return [Picture(scenario=scenario, title=title, pixels=np.round(i[:, :, 0], 3).tolist()) for i in images]


def _listed(values: FloatArray) -> list[float]:
    return [round(float(value), 4) for value in values]
