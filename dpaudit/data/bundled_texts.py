"""Texts that ship with the package."""

import csv
import hashlib
import io
import lzma
from importlib import resources

import numpy as np

from dpaudit.data.text import NamedTexts
from dpaudit.runtime.errors import InputError

SHAKESPEARE = "1cdd44f0815333013c3dd5bc96e3b537152242eb6d2a70b0f9b84e6dfac5652d"  # SHA-256 of the table


def shakespeare() -> NamedTexts:
    """Shakespeare's plays: 21,267 speeches by the 364 speakers with 20 or more; users are speakers of a play.

    From the Project Gutenberg editions in the package shakespeare 0.6. A block of lines after a line with a name is a
    speech; stage directions, speeches under 20 characters and repetitions are left out.

    >>> plays = shakespeare()
    >>> len(plays.texts), plays.users[0]
    (21267, 'alls_well_that_ends_well/COUNTESS')
    """
    content = lzma.decompress(resources.files("dpaudit.data").joinpath("texts/shakespeare.csv.xz").read_bytes())
    if hashlib.sha256(content).hexdigest() != SHAKESPEARE:
        raise InputError("the file with Shakespeare's speeches is damaged; install dpaudit again.")
    _, *rows = csv.reader(io.StringIO(content.decode()))
    speakers, texts = zip(*rows, strict=True)
    return NamedTexts("shakespeare", list(texts), np.array(speakers), "public domain (Project Gutenberg)")
