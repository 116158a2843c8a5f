"""What gradient attacks brought to light, as the result keeps it."""

from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, model_validator

from dpaudit.bounds.lower_bound import Finding, LowerBound, Unchecked
from dpaudit.bounds.reconstruction import ReconstructionVerdict, Successes
from dpaudit.results.text_gradient import ShownText, TextCell
from dpaudit.scores.intervals import interval, median_interval

RECOVERED = 40.0  # dB: an error of 1 % of the range, which nobody sees
SHOWN = 0.95  # confidence of the intervals beside a similarity; no claim is judged by them


class Typical(NamedTuple):
    """The median over victims, each by its own median record, with an exact interval; infinite for few victims."""

    median: float
    low: float
    high: float


class GradientCell(BaseModel):
    """One scenario, defence and attack.

    Args:
        scenario: name.
        defence: name.
        attack: name.
        epsilon: of all that a victim sends, at the audit's δ: one release, or one for each query of a server that asks
            again; None without noise.
        refused: why the attack returned nothing; None when it did.
        psnr: of every record, dB.
        ssim: of every record; empty when the records are no images.
        floor: best PSNR of an honest guess without the gradient, per record.
        nearest: PSNR of the nearest auxiliary record, chosen with the truth.
        label_accuracy: of the restored labels, corrected for chance; None when they were known or one-class guesses
            are all right already.
        labels_right: victims whose labels were restored without a mistake; None when they were known.
        identified: victims whose first record was the nearest among its decoys.
        victims: victims tried.
        decoys: decoys per victim.
        p_value: of as many identified by chance.
        verdict: against the reconstruction bound; None without an ε.
        columns_right: share of a table's values that came back, numbers to 0.319 standard deviations; None for others.
        columns_floor: the same of medians and most frequent categories.
    """

    scenario: str
    defence: str
    attack: str
    epsilon: float | None
    refused: str | None
    psnr: list[FiniteFloat]
    ssim: list[FiniteFloat]
    floor: list[FiniteFloat]
    nearest: list[float]
    label_accuracy: float | None
    labels_right: int | None = Field(default=None, ge=0)
    identified: int = Field(ge=0)
    victims: int = Field(ge=1)
    decoys: int = Field(ge=1)
    p_value: float
    verdict: ReconstructionVerdict | None
    columns_right: float | None = Field(default=None, ge=0, le=1)
    columns_floor: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _as_many_for_each_victim(self) -> "GradientCell":
        if self.identified > self.victims:
            raise ValueError("no more victims can be identified than there are")
        if self.labels_right is not None and self.labels_right > self.victims:
            raise ValueError("labels cannot be right of more victims than there are")
        if self.refused is None:
            for name, values in (("psnr", self.psnr), ("ssim", self.ssim), ("floor", self.floor)):
                if len(values) % self.victims or (name != "ssim" and not values):
                    raise ValueError(f"{name} needs as many values for each of the {self.victims} victims")
        return self

    def typical(self, values: list[float]) -> Typical:
        """Of ``psnr``, ``ssim`` or another similarity of every record; the records of a victim are no trials apart."""
        each = np.median(np.asarray(values, np.float64).reshape(self.victims, -1), axis=1)
        return Typical(float(np.median(each)), *median_interval(each, SHOWN))

    @property
    def recovered(self) -> int:
        """Records that came back with a PSNR of 40 dB or more."""
        return sum(value >= RECOVERED for value in self.psnr)

    @property
    def identified_share(self) -> tuple[float, float]:
        """Exact limits of the share of victims that are identified."""
        return _share(self.identified, self.victims)

    @property
    def labels_share(self) -> tuple[float, float] | None:
        """Exact limits of the share of victims whose labels are all restored; None when nothing had to be.

        The labels of one victim are restored together and are no trials apart, so victims are counted, not labels.
        """
        return None if self.labels_right is None else _share(self.labels_right, self.victims)

    @property
    def name(self) -> str:
        """What was released, and who attacked it."""
        return f"{self.scenario}, {self.defence}, {self.attack}"


def _share(hits: int, trials: int) -> tuple[float, float]:
    low, high = interval(hits, trials, SHOWN)
    return float(low), float(high)


class Picture(BaseModel):
    """A small image for the gallery: rows of grey values in [0, 1]."""

    scenario: str
    title: str
    pixels: list[list[float]]


class DefenceCost(BaseModel):
    """What a defence costs: accuracy after the same short training with it."""

    defence: str
    accuracy: float


class FacedServer(BaseModel):
    """The server that the clients faced, and what their scanner said of the weights that it sent.

    Args:
        name: in the registry.
        findings: structure made to leak; empty where the scanner saw none.
        not_seen: what the scanner cannot see.
        queries: gradients that it asks of each client, at most.
    """

    name: str
    findings: list[Finding]
    not_seen: list[Unchecked]
    queries: int = Field(default=1, ge=1)


class GradientResult(BaseModel):
    """What was leaked.

    A low PSNR is no evidence for a small ε: without a prior, pixels are safe far above any ε anyone claims, so only
    identification among decoys is compared with the bound; of texts, what is recovered word for word.
    """

    cells: list[GradientCell]
    gallery: list[Picture]
    costs: list[DefenceCost]
    delta: float
    texts: list[TextCell] = []
    shown: list[ShownText] = []
    server: FacedServer | None = None

    @model_validator(mode="after")
    def _something_was_attacked(self) -> "GradientResult":
        if not self.cells and not self.texts:
            raise ValueError("cells or texts must say what was attacked")
        return self

    @model_validator(mode="after")
    def _costs_are_of_these_defences(self) -> "GradientResult":
        attacked: list[GradientCell | TextCell] = [*self.cells, *self.texts]
        unknown = {cell.defence for cell in attacked} - {cost.defence for cost in self.costs}
        if self.costs and unknown:
            raise ValueError(f"costs must cover every defence, and there is none of {min(unknown)!r}")
        return self

    def reconstructions(self) -> list[tuple[str, Successes]]:
        """Victims whose record was picked out or whose texts were recovered, by release.

        An attack that refused a release of records measured nothing on it. One on texts read nothing.
        """
        return [
            (cell.name, Successes(cell.identified, cell.victims, 1 / (cell.decoys + 1)))
            for cell in self.cells
            if cell.refused is None
        ] + [(cell.name, cell.successes) for cell in self.texts if cell.successes is not None]

    def bounds(self, model: str) -> list[LowerBound]:
        """None: the victims' model is no model of the plan."""
        return []
