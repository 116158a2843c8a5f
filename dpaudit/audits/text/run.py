"""Is it possible to tell which texts a language model was trained on?"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from dpaudit.accounting.claim import Protection
from dpaudit.audits.membership.judgement import Named, Terms, judge_attack
from dpaudit.audits.record_scores import with_record_scores
from dpaudit.audits.score import AboutModel, one_score_each, result_of_scores
from dpaudit.audits.statement import StatementKeywords, refuse_unknown, stated
from dpaudit.data.as_data import AsData
from dpaudit.data.blind_baseline import blind_baseline
from dpaudit.data.member_choice import NotRandom
from dpaudit.data.token_files import read_token_logprobs
from dpaudit.data.token_logprobs import TokenLogprobs, join_tables, refuse_unlike
from dpaudit.results.facts import with_verdicts
from dpaudit.results.membership import SkippedAttack
from dpaudit.results.result import Result
from dpaudit.results.text import TellingText, TextResult
from dpaudit.runtime import check
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.text_scores import TEXT_SCORES, sequence_signals

# Attacks with reference models on the log-perplexity of records, and their forms for references trained without them.
WITH_REFERENCES = {"lira": "lira-offline", "rmia": "rmia-offline", "base": "base-offline"}
EVERY = (*TEXT_SCORES, *WITH_REFERENCES)
ALL = "all"
TELLING = 10  # members with the highest scores that a result names

Texts = TokenLogprobs | str | Path


def audit_text(
    members: Texts,
    others: Texts,
    *,
    population: Texts | None = None,
    attacks: Sequence[str] = (),
    decides: str | None = None,
    show_records: bool = False,
    **keywords: Unpack[StatementKeywords],
) -> Result:
    """Audit a language model from the log-probabilities of the tokens of texts, of any framework.

    Each score gets its ROC. One of them, fixed before any score is seen, gets the lower bound on ε: ``decides``, or
    without it ``reference`` where the tables have reference models and ``perplexity`` where they have none, or the
    first of ``attacks`` where these leave that one out. With ``all`` every score gets a bound and they share the error
    level.

    Args:
        members: texts the model was trained on, a table or a file of one (docs/language_model.md).
        others: texts from the same source it was not trained on.
        population: further texts that neither the model nor a reference was trained on, for ``rmia``.
        attacks: names of scores; all that can run when empty.
        decides: the score that decides, or ``all``.
        show_records: put the members with the highest scores into the result as texts.
        keywords: what is stated: ``epsilon``, ``delta``, ``confidence``, ``chosen_by``, ``probability``, ``users``,
            ``adjacency``, ``name`` and ``seed``, as `StatementKeywords` explains them. ``users`` is the column that
            says whose text it is, of files that call it other than ``user``: where there is one, the audit is about
            users.

    Raises:
        InputError: tables that are wrong or unlike, a text, an id or a user on both sides, a score asked for by name
            that lacks what it needs.

    >>> from dpaudit.data.token_columns import token_logprobs
    >>> rng = np.random.default_rng(1)
    >>> def table(name, shift):
    ...     ids = [f"{name}{row}" for row in range(300)]
    ...     return token_logprobs({"id": ids, "logprobs": list(rng.uniform(-6, -3, (300, 5)) + shift)})
    >>> result = audit_text(table("in", 3.0), table("out", 0.0), chosen_by="split")
    >>> result.membership.text.decides, result.membership.attacks[1].auc > 0.9
    ('perplexity', True)
    """
    begin = time.monotonic()
    refuse_unknown(keywords, StatementKeywords.__optional_keys__ - {"design", "unit"}, "audit_text")
    user = keywords.get("users") or "user"
    if not isinstance(user, str):
        raise InputError(f"users must be the name of a column of the tables, got {type(user).__name__}.")
    given = {"members": members, "others": others, **({} if population is None else {"population": population})}
    tables = {side: _table(one, side, user) for side, one in given.items()}
    refuse_unlike(tables)
    if population is not None:
        refuse_unlike({"others": tables["others"], "population": tables["population"]})
    both = join_tables(tables["members"], tables["others"])
    member = np.arange(len(both)) < len(tables["members"])
    statement = stated({**keywords, "users": both.users}, member, name="text")
    owner, name = statement.users, statement.name
    rule = decides or ("reference" if both.references else "perplexity")
    wanted = list(attacks) or list(EVERY)
    if decides is None and rule not in wanted:
        rule = wanted[0]
    check.one_of("decides", rule, [*wanted, ALL])
    found = _scored(both, tables.get("population"), wanted, asked=bool(attacks))
    if rule != ALL and rule not in found.scores:
        raise InputError(f"the score that decides, {rule!r}, could not run: {found.why(rule)}")
    joined = {key: (found.attacks[key], one_score_each(scores, member, owner)) for key, scores in found.scores.items()}
    known = AboutModel(
        trained_by="given log-probabilities",
        references=len(both.references),
        data=_as_data(both, member, owner, seed=derive_seed(statement.seed, "as data")),
        caveats=[*both.notes, *_caveats(both)],
    )
    result = result_of_scores(
        {key: pair for key, pair in joined.items() if rule in (key, ALL)}, member, statement, known
    )
    assert result.membership is not None
    bounded = {attack.attack: attack for attack in result.membership.attacks}
    about = Protection(statement.unit, statement.adjacency, statement.measured_delta)
    shown = Terms("one-run", about, result.level.per_bound, NotRandom())
    outcomes = [
        bounded.get(key) or judge_attack(name, key, attack, scores, terms=shown, seed=0)
        for key, (attack, scores) in joined.items()
    ]
    first = rule if rule != ALL else next(iter(found.scores))
    update: dict[str, Any] = {
        "attacks": outcomes,
        "skipped": found.skipped,
        "text": TextResult(
            decides=rule,
            stated=decides is not None,
            tokens=both.logprobs.size,
            tokenizer=both.tokenizer,
            perplexity=(_perplexity(tables["members"]), _perplexity(tables["others"])),
            floored=int(np.isneginf(both.logprobs).sum()),
            formulas={key: found.formulas[key] for key in found.scores},
            telling=_telling(tables["members"], found.scores[first], show_records=show_records),
        ),
    }
    timing = {"total": round(time.monotonic() - begin, 3)}
    judged = with_verdicts(
        result.model_copy(update={"membership": result.membership.model_copy(update=update), "timing": timing})
    )
    everybody = np.ones(len(both), bool)
    return with_record_scores(judged, {key: (found.scores[key], everybody) for key in joined}, member, owner)


@dataclass(frozen=True)
class _Scored:
    """Scores by name, each shape (records,), with the attacks and the formulas behind them, and what could not run."""

    scores: dict[str, FloatArray]
    attacks: dict[str, Named]
    formulas: dict[str, str]
    skipped: list[SkippedAttack]

    def why(self, name: str) -> str:
        return next(each.reason for each in self.skipped if each.attack == name)


def _scored(table: TokenLogprobs, population: TokenLogprobs | None, wanted: Sequence[str], *, asked: bool) -> _Scored:
    found = _Scored({}, {}, {}, [])
    signals = None
    for name in wanted:
        check.one_of("attack", name, EVERY)
        try:
            if name in TEXT_SCORES:
                attack: Any = TEXT_SCORES[name]
                scores = attack(table)
            else:
                if not table.references:
                    raise InputError("it needs reference models: columns 'reference.NAME' of log-probabilities.")
                signals = signals or sequence_signals(table, population)
                offline = not signals.included.any()
                attack = registry.build("membership", WITH_REFERENCES[name] if offline else name, {}, where=name)
                scores = attack(signals)
        except InputError as error:
            if asked:
                raise InputError(f"{name}: {error}") from error
            found.skipped.append(SkippedAttack(attack=name, reason=str(error)))
            continue
        found.scores[name], found.attacks[name], found.formulas[name] = scores, attack, attack.formula
    return found


def _table(given: Texts, side: str, user: str) -> TokenLogprobs:
    if isinstance(given, TokenLogprobs):
        return given
    if not isinstance(given, str | Path):
        raise InputError(f"{side} must be a table of log-probabilities or a file of one, got {type(given).__name__}.")
    return read_token_logprobs(given, user=user)


def _as_data(table: TokenLogprobs, member: BoolArray, owner: Any, *, seed: int) -> AsData:
    """The texts, or the tokens, with how many they are; where there are neither, their sizes."""
    sizes = [table.lengths, *(size for size in (table.bytes, table.zlib) if size is not None)]
    numbers = np.stack(sizes, axis=1).astype(np.float64)
    if table.content is not None:
        return AsData.of(list(table.content), numbers, member, users=owner, seed=seed)
    return AsData(blind_baseline(numbers, None, member, seed=derive_seed(seed, "blind baseline"), groups=owner), None)


def _caveats(table: TokenLogprobs) -> list[str]:
    said = []
    if table.content is None:
        said.append(
            "The files hold neither texts nor token numbers: members and others were compared without the model by "
            "their lengths only, which shows little of what may make them differ."
        )
    if not table.tokenizer:
        said.append("Nothing says that members and others were tokenised alike (a column 'tokenizer' would).")
    if missing := int(np.isneginf(table.logprobs).sum()):
        said.append(
            f"{missing:,} of {table.logprobs.size:,} tokens were not among the {table.top_k} likeliest; scores take "
            "the smallest log-probability of any other token for theirs, so that they see less."
        )
    return said


def _perplexity(table: TokenLogprobs) -> float:
    finite = table.logprobs[np.isfinite(table.logprobs)]
    return float(np.exp(min(700.0, -finite.mean())))


def _telling(members: TokenLogprobs, scores: FloatArray, *, show_records: bool) -> list[TellingText]:
    rows = np.argsort(-scores[: len(members)], kind="stable")[:TELLING].tolist()
    texts = members.texts if show_records else None
    if show_records and texts is None:
        raise InputError("the file of members has no column 'text', so there is no record to show.")
    return [TellingText(row=row, score=float(scores[row]), text=None if texts is None else texts[row]) for row in rows]
