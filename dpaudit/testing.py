"""Privacy claims as tests: a pytest plugin, and assertions for tests of one's own.

Every claim of every ``*.claims.toml`` file that pytest comes across is a test item. The plugin is loaded in every
project that has dpaudit installed, so nothing of dpaudit beyond this file is imported before a claim is judged.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from dpaudit.bounds.verdict import Comparison
    from dpaudit.gate.claims_file import Claims
    from dpaudit.gate.judge_claim import Judgement
    from dpaudit.results.result import Result

__all__ = ["PrivacyViolation", "assert_epsilon", "assert_leakage", "assert_private"]

WhenWeak = Literal["fail", "pass"]
NEGATIVE = "negative_control"


class PrivacyViolation(AssertionError):
    """A claim is contradicted by what was measured."""


def assert_epsilon(
    result: "Result",
    *,
    at_most: float,
    delta: float | None = None,
    model: str | None = None,
    when_weak: WhenWeak = "fail",
) -> None:
    """Fail when a lower bound on ε lies above ``at_most``.

    Args:
        result: what was measured.
        at_most: the claimed ε.
        delta: its δ; default the one the result was measured at.
        model: which model; may be left out when the result holds one.
        when_weak: ``fail``: an audit that could not have seen more than the claim fails too.

    Raises:
        PrivacyViolation: the claim is contradicted.
        AssertionError: the audit was too weak, or says nothing about such a claim.
        InputError: the result cannot judge such a claim.
    """
    _hold(
        result,
        {
            "id": "assert_epsilon",
            "kind": "epsilon",
            "epsilon": float(at_most),
            "delta": result.delta if delta is None else float(delta),
            "unit": result.unit,
            "adjacency": result.adjacency,
        },
        model,
        when_weak,
    )


def assert_leakage(
    result: "Result",
    metric: str,
    *,
    at_most: float,
    attack: str | None = None,
    model: str | None = None,
    release: str | None = None,
    when_weak: WhenWeak = "fail",
) -> None:
    """Fail when the whole interval of a metric lies above ``at_most``.

    Args:
        result: what was measured.
        metric: ``auc``, ``advantage``, ``reconstruction`` or for example ``tpr@fpr=0.01``.
        at_most: the ceiling.
        attack: which attack; default the strongest of all.
        model: which model; may be left out when the result holds one.
        release: of which releases, for ``reconstruction``; a pattern of their names, default all of them.
        when_weak: ``fail``: an interval that straddles the ceiling fails too.
    """
    given = {"attack": attack, "release": release}
    named = {key: value for key, value in given.items() if value is not None}
    claim = {"id": "assert_leakage", "kind": "ceiling", "metric": metric, "max": float(at_most), **named}
    _hold(result, claim, model, when_weak)


def assert_private(
    result: "Result", claims: "Claims | str | Path | None" = None, *, when_weak: WhenWeak = "fail"
) -> None:
    """Fail when a claim of a claims file does not hold, or, without one, a claim the result itself records."""
    from dpaudit.gate.claims_file import Claims, claims_from, load_claims
    from dpaudit.gate.verify import verify

    releases: list[Comparison] = []
    if claims is None:
        models = {model.name for model in result.models}
        # A release that records were reconstructed from is no model; its verdict stands as it is recorded.
        releases = [each for each in result.comparisons if each.subject not in models]
        recorded = [_claimed(result, each.subject) for each in result.comparisons if each.subject in models]
        claims = claims_from({"claim": recorded}) if recorded or not releases else None
    elif not isinstance(claims, Claims):
        claims = load_claims(Path(claims))
    _raise([*(verify(result, claims).judgements if claims is not None else ()), *releases], when_weak)


def _claimed(result: "Result", model: str) -> dict[str, object]:
    found = result.comparison(model)
    assert found is not None
    claim = found.claim
    return {
        "id": f"claim of {model}"[:200],
        "kind": "epsilon",
        "model": model,
        "epsilon": claim.epsilon,
        "delta": claim.delta,
        "unit": claim.unit,
        "adjacency": claim.adjacency,
    }


def _hold(result: "Result", claim: dict[str, object], model: str | None, when_weak: WhenWeak) -> None:
    from dpaudit.gate.claims_file import claims_from
    from dpaudit.gate.verify import verify

    named = {} if model is None else {"model": model}
    _raise(verify(result, claims_from({"claim": [{**claim, **named}]})).judgements, when_weak)


def _raise(verdicts: "Sequence[Judgement | Comparison]", when_weak: WhenWeak) -> None:
    from dpaudit.gate.judge_claim import Judgement
    from dpaudit.runtime import check

    check.one_of("when_weak", when_weak, ("fail", "pass"))

    def said(verdict: str) -> list[str]:
        return [
            f"{each.model if isinstance(each, Judgement) else each.subject}: {each.sentence}"
            for each in verdicts
            if each.verdict == verdict
        ]

    if broken := said("contradicted"):
        raise PrivacyViolation("\n".join(broken))
    if void := said("no verdict"):
        raise AssertionError("no verdict: " + "\n".join(void))
    weak = said("too weak")
    if weak and when_weak == "fail":
        raise AssertionError("too weak: " + "\n".join(weak))


# The plugin.


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option and one setting of the same meaning."""
    group = parser.getgroup("dpaudit", "privacy claims")
    group.addoption(
        "--dpaudit-require-power",
        action="store_true",
        help="a claim that its audit was too weak to judge fails; otherwise it is skipped, never passed",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The marker of tests that an audit must fail."""
    config.addinivalue_line(
        "markers",
        f"{NEGATIVE}: the audit must catch this model (noise off, say); the test passes when an assertion of "
        "dpaudit.testing is violated, and fails when none is",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Every ``*.claims.toml`` is a file of tests."""
    if file_path.name.endswith(".claims.toml"):
        return ClaimsFile.from_parent(parent, path=file_path)
    return None


class ClaimsFile(pytest.File):
    """A claims file; its claims are judged together, under one error level, when the first of them runs."""

    _judged: "dict[str, list[Judgement]] | None" = None
    claims: "Claims"

    def collect(self) -> Iterable[pytest.Item]:
        """One item for each claim."""
        from dpaudit.gate.claims_file import load_claims
        from dpaudit.runtime.errors import InputError

        try:
            self.claims = load_claims(self.path)
            if self.claims.result is None:
                raise InputError(f"{self.path} must say which result it judges: result = 'runs/NAME/result.json'.")
        except InputError as error:
            raise self.CollectError(str(error)) from error
        for claim in self.claims.claim:
            yield ClaimItem.from_parent(self, name=claim.id)

    def judged(self) -> "dict[str, list[Judgement]]":
        """Judgements by claim."""
        if self._judged is None:
            from dpaudit.gate.verify import verify
            from dpaudit.results.result import load_result

            claims = self.claims
            assert claims.result is not None
            before = None if claims.baseline is None else load_result(Path(claims.baseline))
            gate = verify(load_result(Path(claims.result)), claims, baseline=before)
            judged: dict[str, list[Judgement]] = {}
            for each in gate.judgements:
                judged.setdefault(each.claim, []).append(each)
            self._judged = judged
        return self._judged


class ClaimItem(pytest.Item):
    """One claim."""

    parent: ClaimsFile

    def runtest(self) -> None:
        """Judge it."""
        judgements = self.parent.judged()[self.name]
        for each in judgements:
            for key in ("verdict", "claimed", "measured"):
                self.user_properties.append((f"dpaudit.{key}", getattr(each, key)))
        broken = [each.sentence for each in judgements if each.verdict == "contradicted"]
        if broken:
            raise PrivacyViolation("\n".join(broken))
        void = [each.sentence for each in judgements if each.verdict == "no verdict"]
        if void:
            raise AssertionError("no verdict: " + "\n".join(void))
        weak = [each.sentence for each in judgements if each.verdict == "too weak"]
        if weak and self.config.getoption("dpaudit_require_power"):
            raise PrivacyViolation("too weak: " + "\n".join(weak))
        if weak:
            pytest.skip("too weak: " + "\n".join(weak))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The sentence alone; a traceback would only show this file."""
        from dpaudit.runtime.errors import InputError

        if isinstance(excinfo.value, AssertionError | InputError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the claim stands."""
        return self.path, None, f"claim {self.name}"


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Turn a negative control round: being caught is what it is for."""
    if pyfuncitem.get_closest_marker(NEGATIVE) is None:
        return (yield)
    try:
        yield
    except PrivacyViolation:
        return True
    pytest.fail("negative control: nothing was caught, so this audit cannot see such a mechanism", pytrace=False)


@pytest.fixture(scope="session")
def privacy_audit(request: pytest.FixtureRequest) -> "Callable[..., Result]":
    """Run a plan and give its result: ``privacy_audit("plan.toml", "model.dp.noise_multiplier=0.5")``.

    Results are kept under pytest's cache, and a plan is not run again while it, its data and the packages are as they
    were; ``pytest --cache-clear`` forgets them. Relative paths are relative to
    pytest's root. A plan that names functions by module needs ``trust=True``, as `dpaudit.run` does, and is run every
    time: what its functions call may have changed.
    """
    from dpaudit.audits.plan import load_plan
    from dpaudit.audits.run import run
    from dpaudit.runtime.errors import InputError

    cache = request.config.cache
    if cache is None:
        raise InputError("privacy_audit keeps its runs in pytest's cache; do not switch the cacheprovider plugin off.")
    kept = cache.mkdir("dpaudit")

    def audit(plan: str | Path, *overrides: str, trust: bool = False) -> "Result":
        loaded = load_plan(request.config.rootpath / plan, overrides)
        return run(loaded, folder=kept / loaded.fingerprint[:32], trust=trust)

    return audit
