"""A result as a run of MLflow: its numbers as metrics, verdicts as tags, and the page as an artifact."""

import math
import re
from collections.abc import Iterator

from dpaudit.reports import verdict_words, words
from dpaudit.reports.html import page
from dpaudit.reports.numbers import ReportedNumber, as_csv, numbers
from dpaudit.results.result import Result
from dpaudit.runtime.errors import InputError, MissingDependency

LONGEST_NAME, LONGEST_TAG = 250, 5000  # characters that MLflow takes


def log_to_mlflow(result: Result, uri: str) -> str:
    """Log a result to an experiment of MLflow called ``dpaudit``, as one run.

    Args:
        result: of an audit.
        uri: of the tracking store, as MLflow takes it: ``file:./mlruns``, ``sqlite:///runs.db``, ``http://HOST:5000``.

    Returns:
        The id of the run.

    Raises:
        MissingDependency: MLflow is not installed, or not the part of it that such a store needs.
        InputError: the store cannot be written.
    """
    try:
        from mlflow.entities import Metric, RunTag
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise MissingDependency(f"--mlflow needs MLflow: pip install 'dpaudit[mlflow]' ({error})") from error
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name("dpaudit")
        experiment = client.create_experiment("dpaudit") if known is None else known.experiment_id
        run = client.create_run(experiment, run_name=words.short(result.title, LONGEST_NAME)).info
        logged = [Metric(name, value, run.start_time, 0) for name, value in metric_names(result)]
        tags = [RunTag(key, value[:LONGEST_TAG]) for key, value in tags_of(result)]
        for start in range(0, len(logged), 1000):  # a store takes no more at once
            client.log_batch(run.run_id, metrics=logged[start : start + 1000])
        for start in range(0, len(tags), 100):
            client.log_batch(run.run_id, tags=tags[start : start + 100])
        client.log_text(run.run_id, page(result), "report.html")
        client.log_text(run.run_id, result.json(), "result.json")
        client.log_text(run.run_id, as_csv(result), "numbers.csv")
        client.set_terminated(run.run_id)
    except ImportError as error:  # of what a store on this machine needs beside the client
        raise MissingDependency(f"{uri} needs the whole of MLflow: pip install mlflow ({error})") from error
    except (MlflowException, OSError) as error:
        raise InputError(f"cannot log to MLflow at {uri}: {' '.join(str(error).split())[:700]}") from error
    return str(run.run_id)


def metric_names(result: Result) -> Iterator[tuple[str, float]]:
    """Each finite number with a name that dashboards take: letters, digits, dots, dashes and slashes.

    An infinite number, such as the ε of a training without noise, is no metric; the page and ``numbers.csv`` hold it.
    Two names that come out alike are told apart by a number.
    """
    seen: dict[str, int] = {}
    for each in numbers(result):
        if not math.isfinite(each.value):
            continue
        name = _name(each)
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name[: LONGEST_NAME - 5]} {seen[name]}"), each.value


def tags_of(result: Result) -> Iterator[tuple[str, str]]:
    """What is no number: verdicts, data, seed and version."""
    for subject in verdict_words.ordered_subjects(result):
        yield _plain(f"verdict {subject}"), verdict_words.verdict(result, subject)
    yield "headline", verdict_words.headline(result)
    yield "dpaudit", result.provenance.versions.get("dpaudit", "")
    yield "data", result.data.name
    if result.data.fingerprint is not None:
        yield "data fingerprint", result.data.fingerprint
    if result.provenance.seed is not None:
        yield "seed", str(result.provenance.seed)


def _name(each: ReportedNumber) -> str:
    return "/".join(_plain(part) for part in (each.subject[:80], each.source[:60], each.quantity[:100]))


def _plain(text: str) -> str:
    """Characters that MLflow takes in a name; a slash would open a folder.

    >>> _plain("tpr at fpr=0.01")
    'tpr at fpr_0.01'
    """
    return re.sub(r"[^\w. -]", "_", text, flags=re.ASCII).strip(". ")[:LONGEST_NAME] or "_"
