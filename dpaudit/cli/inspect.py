"""``dpaudit inspect``: a mechanism, the trace of a federation, or the trace of a training's steps."""

import math
from dataclasses import asdict, dataclass
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
    "starts",
    "out",
    "seed",
)
OF_STEPS = ("noise_multiplier", "rate", "steps", "adjacency", "delta")  # what a trace of steps takes of them
CUT = "largest_batch"  # which only a trace of steps takes


def inspect(
    context: typer.Context,
    subject: Annotated[
        str,
        typer.Argument(
            help="A function that builds the optimizer or mechanism, as module:name or file.py:name; "
            "the folder of a federation's trace; or the .npz file of a training's steps."
        ),
    ],
    clip: Annotated[float | None, typer.Option(help="Stated clip norm; read from what was built with Opacus.")] = None,
    noise_multiplier: Annotated[
        float | None, typer.Option(help="Stated noise multiplier; read from what was built with Opacus.")
    ] = None,
    denominator: Annotated[
        str, typer.Option(help="Divisor of the noisy sum: a number, or 'batch' for the size of the current batch.")
    ] = "batch",
    adjacency: Annotated[str, typer.Option(help="Adjacency: add-remove, replace-one or zero-out.")] = "add-remove",
    delta: Annotated[float, typer.Option(help="δ at which ε is computed.")] = 1e-5,
    rate: Annotated[float, typer.Option(help="Sampling rate of the training, to compute ε.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Steps of the training, to compute ε.")] = 1,
    largest_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Of a trace of steps: the size at which Poisson batches are accounted to be cut."),
    ] = None,
    canary_steps: Annotated[
        int, typer.Option(min=0, help="Steps (or rounds of a server) with step canaries; 0 for none.")
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
        str | None,
        typer.Option(
            help="Time that the questions may take (30s, 2m); what it does not suffice for is listed. Without it about "
            "10 s per effort are planned."
        ),
    ] = None,
    starts: Annotated[
        int,
        typer.Option(
            min=0,
            help="New processes in which the factory is built, to compare their noise; 0 for none. 1,000 show a seed "
            "of 16 bits, in about 20 s and 1,000 times what the factory's file takes to load.",
        ),
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for inspection.html and inspection.json.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check whether a DP mechanism, or the trace of a federation, does what it states; exit 1 when it does not.

    A mechanism is called with chosen inputs to check that it clips, adds noise and divides as stated. With
    --canary-steps, canary gradients (for a federated server, canary clients) are included with probability 1/2 in each
    step, and they measure how much noise there really is, as ε. What was built with Opacus states itself: clip, noise,
    divisor, rate and steps are read from it, and the batches of its loader are compared with the accounted ones. The
    trace of a federation (a folder with manifest.json) is compared with its own claim. The trace of a training's steps
    (an .npz file that says who was in which batch) is compared with the accounted sampling: what the file says, or
    --noise-multiplier, --rate, --largest-batch and --steps.
    """
    from dpaudit.inspection.built_training import BuiltTraining
    from dpaudit.inspection.load_factory import build_from_factory
    from dpaudit.runtime.errors import InputError

    place = Path(subject)
    if place.is_dir() or place.name == "manifest.json":
        given = [name for name in (*OF_A_MECHANISM, CUT) if _given(context, name)]
        if given:
            option = "--" + given[0].replace("_", "-")
            whose = "a trace of steps" if given[0] == CUT else "a mechanism"
            raise InputError(f"{option} is for {whose} only; the claim of the trace {subject} is in its manifest.")
        _inspect_trace(place if place.is_dir() else place.parent, json=json, quiet=quiet)
        return
    if place.suffix == ".npz":
        given = [name for name in OF_A_MECHANISM if name not in OF_STEPS and _given(context, name)]
        if given:
            option = "--" + given[0].replace("_", "-")
            raise InputError(f"{option} is for a mechanism only; {subject} says who was in which step.")
        typed = rate if _given(context, "rate") else None
        _inspect_steps(
            place,
            _Accounted(
                noise_multiplier, typed, steps if _given(context, "steps") else None, largest_batch, adjacency, delta
            ),
            json=json,
            quiet=quiet,
        )
        return
    if largest_batch is not None:
        raise InputError(f"--largest-batch is for a trace of steps only; {subject} is a mechanism, which draws none.")
    divisor, limit = _denominator(denominator), _seconds(budget) if budget is not None else None
    built = build_from_factory(subject, seed=seed, partial=not fixed_batches)
    if isinstance(built, BuiltTraining):  # what is typed goes before what is read
        clip = built.stated.clip if clip is None else clip
        noise_multiplier = built.stated.noise_multiplier if noise_multiplier is None else noise_multiplier
        divisor = divisor if _given(context, "denominator") else built.stated.denominator
        rate = rate if _given(context, "rate") else built.accounted.sampling.rate
        steps = steps if _given(context, "steps") else built.accounted.steps
    if clip is None or noise_multiplier is None:
        missing = "--clip" if clip is None else "--noise-multiplier"
        raise InputError(f"{missing} is needed for a mechanism such as {subject}, which does not state its own.")
    wanted = _Wanted(
        clip=clip,
        noise_multiplier=noise_multiplier,
        denominator=divisor,
        adjacency=adjacency,
        delta=delta,
        rate=rate,
        steps=steps,
        canary_steps=canary_steps,
        law=law,
        fixed_batches=fixed_batches,
        effort=effort,
        budget=limit,
        starts=starts,
        seed=seed,
    )
    _inspect_mechanism(subject, built, wanted, out=out, json=json, quiet=quiet)


@dataclass(frozen=True)
class _Wanted:
    """What the mechanism states, and how it is asked: the options of a mechanism."""

    clip: float
    noise_multiplier: float
    denominator: float | Literal["batch"]
    adjacency: str
    delta: float
    rate: float
    steps: int
    canary_steps: int
    law: str
    fixed_batches: bool
    effort: float
    budget: float | None
    starts: int
    seed: int


@dataclass(frozen=True)
class _Accounted:
    """What is typed beside a trace of steps."""

    noise_multiplier: float | None
    rate: float | None
    steps: int | None
    largest_batch: int | None
    adjacency: str
    delta: float


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _inspect_trace(folder: Path, *, json: bool, quiet: bool) -> None:
    from dpaudit.inspection.findings_table import findings_table
    from dpaudit.runtime.terminal import console, plain_text, print_json
    from dpaudit.trace import inspect_all, read_trace

    trace = read_trace(folder)
    found = inspect_all(trace)
    findings = found.findings
    claim = trace.manifest.dp_claim
    if json:
        document: dict[str, Any] = {
            "schema": 1,
            "framework": trace.manifest.framework,
            "rounds": len(trace.rounds),
            "claim": None if claim is None else asdict(claim),
            "findings": [asdict(finding) for finding in findings],
            "not_checked": [asdict(unchecked) for unchecked in found.not_checked],
        }
        print_json(document)
    elif not quiet:
        out = console()
        title = f"Inspection of {folder.resolve().name}"
        out.print(findings_table(findings, title=title, not_checked=[each.check for each in found.not_checked]))
        claimed = "no ε" if claim is None or claim.epsilon is None else f"ε = {claim.epsilon:.3g} per {claim.unit}"
        out.print(
            plain_text(
                f"{len(trace.rounds)} rounds of {trace.manifest.framework}, {claimed} claimed; nothing was attacked yet"
            ),
            soft_wrap=True,
        )
        for unchecked in found.not_checked:
            out.print(plain_text(f"not checked: {unchecked.check}: {unchecked.reason}"), soft_wrap=True)
    if any(finding.severity == "violation" for finding in findings):
        raise typer.Exit(1)


def _inspect_steps(path: Path, typed: _Accounted, *, json: bool, quiet: bool) -> None:
    from typing import cast

    from dpaudit.accounting.claim import Adjacency, Claim
    from dpaudit.inspection.findings_table import findings_table
    from dpaudit.inspection.participation import LEVEL, inspect_participation
    from dpaudit.inspection.step_trace import read_steps, with_cut, with_stated
    from dpaudit.runtime.terminal import console, plain_text, print_json

    batches, held = read_steps(path)
    accounted = with_stated(
        held, noise_multiplier=typed.noise_multiplier, rate=typed.rate, steps=typed.steps, ran=len(batches.batches)
    )
    if typed.largest_batch is not None:
        accounted = with_cut(accounted, typed.largest_batch, batches.records)
    # It says at which δ and adjacency the ε of a record is given that is drawn too often; no ε is judged here.
    claim = Claim(math.inf, typed.delta, "record", cast(Adjacency, typed.adjacency), "the trace of steps", accounted)
    found = inspect_participation(accounted, batches, claim=claim)
    if json:
        facts = {"steps": len(batches.batches), "records": batches.records, "accounted": accounted.in_words}
        print_json({"schema": 1, **facts, **asdict(found), "level": LEVEL})
    elif not quiet:
        out = console()
        names = [each.check for each in found.not_checked]
        out.print(findings_table(found.findings, title=f"Inspection of {path.name}", not_checked=names))
        drew = f"{len(batches.batches)} steps on {batches.records} records"
        told = f"{drew}, accounted as {accounted.in_words}; false alarms at most {LEVEL:g}"
        out.print(plain_text(told), soft_wrap=True)
        for unchecked in found.not_checked:
            out.print(plain_text(f"not checked: {unchecked.check}: {unchecked.reason}"), soft_wrap=True)
    if any(finding.severity == "violation" for finding in found.findings):
        raise typer.Exit(1)


def _inspect_mechanism(factory: str, built: Any, wanted: _Wanted, *, out: Path | None, json: bool, quiet: bool) -> None:
    from dataclasses import replace
    from typing import cast

    from dpaudit.accounting import epsilon
    from dpaudit.accounting.claim import Adjacency, Claim, GaussianSteps, LawSteps, Poisson, Shuffled, Unit
    from dpaudit.accounting.law import GaussianNoise, TreeNoise, correlated, law_from
    from dpaudit.accounting.law_epsilon import claim_of_law
    from dpaudit.inspection.built_training import BuiltTraining
    from dpaudit.inspection.findings_table import sights_table, summary, tabulate_findings
    from dpaudit.inspection.inspect import LEVEL, inspect_mechanism
    from dpaudit.inspection.mechanism import Stated
    from dpaudit.inspection.server import Server, inspect_server
    from dpaudit.inspection.step_canaries import StepCanaries, find_contradiction
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.progress import on_standard_error
    from dpaudit.runtime.terminal import console, plain_text, print_json

    noise = law_from(wanted.law)
    stated = Stated(wanted.clip, wanted.noise_multiplier, wanted.denominator, cast(Adjacency, wanted.adjacency), noise)
    own = built if isinstance(built, BuiltTraining) else None
    subject = built if own is None else own.mechanism
    unit: Unit = "user" if isinstance(subject, Server) else "record"
    sampling = Poisson(wanted.rate)
    if isinstance(noise, GaussianNoise) or wanted.noise_multiplier == 0:
        mechanism = GaussianSteps(wanted.noise_multiplier, wanted.steps, sampling)
        claimed = epsilon(mechanism, delta=wanted.delta, adjacency=stated.adjacency).epsilon
        source = "the mechanism's own parameters"
        claim = Claim(claimed, wanted.delta, unit, stated.adjacency, source, mechanism)
    elif wanted.canary_steps and correlated(noise) is None:
        raise InputError(f"--canary-steps measures Gaussian noise only, got --law {wanted.law}.")
    else:
        # A tree takes part in no sampling.
        drawn = Shuffled(max(1, round(1 / sampling.rate))) if isinstance(noise, TreeNoise) else sampling
        steps = LawSteps(wanted.law, wanted.noise_multiplier, wanted.steps, drawn)
        claim = claim_of_law(steps, delta=wanted.delta, adjacency=stated.adjacency, unit=unit)
    level = LEVEL / (1 + bool(wanted.canary_steps) + bool(wanted.starts) + (own is not None))
    ask = inspect_server if isinstance(subject, Server) else inspect_mechanism
    found = ask(
        subject,  # type: ignore[arg-type]  # each takes its own kind
        stated,
        seed=wanted.seed,
        claim=claim,
        level=level,
        effort=wanted.effort,
        budget=wanted.budget,
        progress=on_standard_error(quiet=quiet),
    )
    more, sights = _started(factory, subject, stated, wanted, level=level)
    found = replace(found, findings=(*more, *found.findings), sights=(*found.sights, *sights), level=LEVEL)
    read = None if own is None else own.reconciled(claim, level=level)
    if read is not None:
        found = replace(found, findings=(*read.findings, *found.findings))
    measured = None
    if wanted.canary_steps:
        if isinstance(subject, Server):
            fed, most = subject.canary_rounds(wanted.clip), subject.canaries
        else:
            fed, most = subject, sum(math.prod(shape) for shape in subject.shapes)
        measured = StepCanaries(wanted.canary_steps, min(StepCanaries.canaries, most))(
            fed, stated, claim, confidence=0.95, seed=wanted.seed
        )
        more = find_contradiction(measured, stated, claim, level=level)
        found = replace(found, findings=(*more, *found.findings))
    document = {"schema": 1, "claimed_epsilon": claim.epsilon, **asdict(found)}
    if read is not None:
        document["not_checked"] = [asdict(unchecked) for unchecked in read.not_checked]
    if measured is not None:
        document["step_canaries"] = asdict(measured)
    sentence = summary(found, stated, claimed=claim.epsilon, delta=wanted.delta, steps=wanted.steps, rate=wanted.rate)
    if out is not None:
        from dpaudit.reports.inspection import write_inspection
        from dpaudit.runtime.files import write_text
        from dpaudit.runtime.terminal import as_json

        says = f"clip norm {wanted.clip:g}, {noise.words} noise, {wanted.adjacency} adjacency"
        write_inspection(asdict(found), stated=says, sentence=sentence, folder=out)
        write_text(out / "inspection.json", as_json(document))
    if json:
        print_json(document)
    elif not quiet:
        screen = console()
        screen.print(tabulate_findings(found))
        screen.print(sights_table(found))
        for unchecked in () if read is None else read.not_checked:
            screen.print(plain_text(f"not checked: {unchecked.check}: {unchecked.reason}"), soft_wrap=True)
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


def _started(factory: str, subject: Any, stated: Any, wanted: _Wanted, *, level: float) -> tuple[list[Any], list[Any]]:
    """What many starts of the factory show, where they are wanted."""
    from dpaudit.inspection.sight import Sight
    from dpaudit.inspection.starts import KIND, check_starts, not_asked

    if wanted.starts:
        return check_starts(factory, stated, starts=wanted.starts, seed=wanted.seed, level=level)
    why = not_asked(subject) or "--starts 1000 starts the factory so often, which shows seeds of 16 bits"
    return [], [Sight(KIND, why, asked=False)]


def _seconds(text: str) -> float:
    from dpaudit.audits.ladder.settings import seconds
    from dpaudit.runtime.errors import InputError

    try:
        return seconds(text)
    except ValueError as error:
        raise InputError(f"--budget {error}, got {text!r}.") from error


def _denominator(text: str) -> float | Literal["batch"]:
    from dpaudit.runtime import check

    if text == "batch":
        return "batch"
    try:
        return check.positive("denominator", float(text))
    except ValueError as error:
        from dpaudit.runtime.errors import InputError

        raise InputError(f"denominator must be a number above 0 or 'batch', got {text!r}.") from error
