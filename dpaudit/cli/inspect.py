"""``dpaudit inspect``: a mechanism, or the trace of a federation."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dpaudit.cli.options import Json, Quiet, Seed

OF_A_MECHANISM = (
    "clip",
    "noise_multiplier",
    "denominator",
    "adjacency",
    "delta",
    "rate",
    "steps",
    "canary_steps",
    "law",
    "fixed_batches",
    "effort",
    "budget",
    "out",
    "seed",
)


def inspect(
    context: typer.Context,
    subject: Annotated[
        str,
        typer.Argument(
            help="module:name or file.py:name of a function that builds the optimizer or mechanism, "
            "or the folder of a federation's trace."
        ),
    ],
    clip: Annotated[float | None, typer.Option(help="Clip norm it states.")] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="Noise multiplier it states.")] = None,
    denominator: Annotated[
        str, typer.Option(help="What it divides the noisy sum by: a number, or 'batch' for the batch at hand.")
    ] = "batch",
    adjacency: Annotated[str, typer.Option(help="add-remove, replace-one or zero-out.")] = "add-remove",
    delta: Annotated[float, typer.Option(help="δ at which ε is given.")] = 1e-5,
    rate: Annotated[float, typer.Option(help="Sampling rate of the training, for ε.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Steps of the training, for ε.")] = 1,
    canary_steps: Annotated[
        int, typer.Option(min=0, help="Steps, or a server's rounds, with canaries behind coins; 0 for none.")
    ] = 0,
    law: Annotated[
        str,
        typer.Option(
            help="Noise it states: gaussian, laplace (then the clip is of the L1 norm), discrete-gaussian:SPACING, "
            "banded:C0,C1,...:STEPS or tree:STEPS."
        ),
    ] = "gaussian",
    fixed_batches: Annotated[
        bool, typer.Option("--fixed-batches", help="It takes batches of one size only, as with microbatches.")
    ] = False,
    effort: Annotated[
        float, typer.Option(help="Factor on the questions: 10 sees rarer faults, in 10 times as long.")
    ] = 1,
    budget: Annotated[
        str | None, typer.Option(help="Time after which only necessary questions are asked (30s, 2m); 10 s per effort.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for inspection.html and inspection.json.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask whether a DP mechanism, or a recorded federation, does what it says: exit 1 when it does not.

    A mechanism is asked chosen questions: does it clip, add noise and divide as stated? With --canary-steps, canary
    gradients (for a federated server canary clients) behind coins also say how much noise there really is, as ε. The
    trace of a federation (a folder with manifest.json) is held against its own claim.
    """
    from dpaudit.errors import InputError

    place = Path(subject)
    if place.is_dir() or place.name == "manifest.json":
        given = [name for name in OF_A_MECHANISM if _given(context, name)]
        if given:
            option = "--" + given[0].replace("_", "-")
            raise InputError(f"{option} is for a mechanism; the trace {subject} states what it claims in its manifest.")
        _inspect_trace(place if place.is_dir() else place.parent, json=json, quiet=quiet)
        return
    if clip is None or noise_multiplier is None:
        missing = "--clip" if clip is None else "--noise-multiplier"
        raise InputError(f"{missing} is needed for a mechanism (only a trace's folder states its own), got {subject}.")
    _inspect_mechanism(
        subject,
        clip=clip,
        noise_multiplier=noise_multiplier,
        denominator=_denominator(denominator),
        adjacency=adjacency,
        delta=delta,
        rate=rate,
        steps=steps,
        canary_steps=canary_steps,
        law=law,
        fixed_batches=fixed_batches,
        effort=effort,
        budget=budget,
        out=out,
        seed=seed,
        json=json,
        quiet=quiet,
    )


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _inspect_trace(folder: Path, *, json: bool, quiet: bool) -> None:
    from dpaudit.forensics.show import findings_table
    from dpaudit.terminal import console, plain, print_json
    from dpaudit.trace import inspect_rounds, read_trace

    trace = read_trace(folder)
    findings = inspect_rounds(trace)
    claim = trace.manifest.dp_claim
    if json:
        document: dict[str, Any] = {
            "schema": 1,
            "framework": trace.manifest.framework,
            "rounds": len(trace.rounds),
            "claim": None if claim is None else asdict(claim),
            "findings": [asdict(finding) for finding in findings],
        }
        print_json(document)
    elif not quiet:
        out = console()
        out.print(findings_table(findings, title=f"Inspection of {folder.resolve().name}"))
        promised = "no ε" if claim is None or claim.epsilon is None else f"ε = {claim.epsilon:.3g} per {claim.unit}"
        out.print(
            plain(
                f"{len(trace.rounds)} rounds of {trace.manifest.framework}, {promised} claimed; "
                "nothing was attacked yet"
            ),
            soft_wrap=True,
        )
    if any(finding.severity == "violation" for finding in findings):
        raise typer.Exit(1)


def _inspect_mechanism(
    factory: str,
    *,
    clip: float,
    noise_multiplier: float,
    denominator: float | Literal["batch"],
    adjacency: str,
    delta: float,
    rate: float,
    steps: int,
    canary_steps: int,
    law: str,
    fixed_batches: bool,
    effort: float,
    budget: str | None,
    out: Path | None,
    seed: int,
    json: bool,
    quiet: bool,
) -> None:
    from dataclasses import replace
    from typing import cast

    from dpaudit.accounting.laws import law_epsilon
    from dpaudit.claim import Adjacency, Claim, GaussianSteps, Poisson, Shuffled, Unit
    from dpaudit.errors import InputError
    from dpaudit.forensics.factory import build
    from dpaudit.forensics.federated import Server, inspect_server
    from dpaudit.forensics.inspection import LEVEL, inspect_mechanism
    from dpaudit.forensics.mechanism import Stated
    from dpaudit.forensics.show import sights_table, summary, table
    from dpaudit.forensics.step_canaries import StepCanaries, contradiction
    from dpaudit.laws import Gaussian, Tree, law_from
    from dpaudit.progress import on_standard_error
    from dpaudit.terminal import console, print_json

    noise = law_from(law)
    stated = Stated(clip, noise_multiplier, denominator, cast(Adjacency, adjacency), noise)
    mechanism = GaussianSteps(noise_multiplier, steps, Poisson(rate))
    subject = build(factory, seed=seed, partial=not fixed_batches)
    unit: Unit = "user" if isinstance(subject, Server) else "record"
    accounted = mechanism
    if isinstance(noise, Tree):  # which takes part in no sampling
        accounted = replace(mechanism, sampling=Shuffled(max(1, round(1 / mechanism.sampling.rate))))
    promised = law_epsilon(accounted, noise, delta=delta, adjacency=stated.adjacency).epsilon
    gaussian = isinstance(noise, Gaussian)
    if canary_steps and not gaussian:
        raise InputError(f"--canary-steps measures Gaussian noise only, got --law {law}.")
    claim = Claim(
        promised, delta, unit, stated.adjacency, "the mechanism's own parameters", mechanism if gaussian else None
    )
    level = LEVEL / 2 if canary_steps else LEVEL
    asked: dict[str, Any] = {
        "effort": effort,
        "budget": None if budget is None else _seconds(budget),
        "progress": on_standard_error(quiet=quiet),
    }
    if isinstance(subject, Server):
        found = inspect_server(subject, stated, seed=seed, claim=claim, level=level, **asked)
    else:
        found = inspect_mechanism(subject, stated, seed=seed, claim=claim, level=level, **asked)
    measured = None
    if canary_steps:
        if isinstance(subject, Server):
            fed, most = subject.canary_rounds(clip), subject.canaries
        else:
            fed, most = subject, sum(math.prod(shape) for shape in subject.shapes)
        measured = StepCanaries(canary_steps, min(StepCanaries.canaries, most))(
            fed, stated, claim, confidence=0.95, seed=seed
        )
        more = contradiction(measured, stated, claim, level=level)
        found = replace(found, findings=(*more, *found.findings), level=LEVEL)
    document = {"schema": 1, "promised_epsilon": promised, **asdict(found)}
    if measured is not None:
        document["step_canaries"] = asdict(measured)
    sentence = summary(found, stated, promised=promised, delta=delta, steps=steps, rate=rate)
    if out is not None:
        from dpaudit.files import write_text
        from dpaudit.reports.inspection import write_inspection
        from dpaudit.terminal import as_json

        write_inspection(found, stated, sentence, out)
        write_text(out / "inspection.json", as_json(document))
    if json:
        print_json(document)
    elif not quiet:
        screen = console()
        screen.print(table(found))
        screen.print(sights_table(found))
        screen.print(sentence, soft_wrap=True)
        if measured is not None:
            screen.print(
                f"canaries: {measured.correct} of {measured.trials} coins guessed in {measured.steps} steps; noise "
                f"multiplier {measured.noise_multiplier:.3g}, at most {measured.noise_multiplier_at_most:.3g}, so "
                f"ε ≥ {measured.bound.epsilon:.3g} with 95 % confidence",
                soft_wrap=True,
            )
    if found.violations:
        raise typer.Exit(1)


def _seconds(text: str) -> float:
    from dpaudit.errors import InputError
    from dpaudit.experiments.rungs import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise InputError(f"--budget {error}, got {text!r}.") from error


def _denominator(text: str) -> float | Literal["batch"]:
    from dpaudit import _check

    if text == "batch":
        return "batch"
    try:
        return _check.positive("denominator", float(text))
    except ValueError as error:
        from dpaudit.errors import InputError

        raise InputError(f"denominator must be a number above 0 or 'batch', got {text!r}.") from error
