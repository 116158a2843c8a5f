"""Plant canaries in data: half of them at random go to the training, and nobody but the experiment knows which."""

import secrets
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.audits.experiment.sealed import Experiment, refuse_full, sealed
from dpaudit.audits.experiment.split import inclusion_table, label_of, numbered, refuse_one_sided, tag_of, with_ids
from dpaudit.data.formats.canary_records import SampledTexts, canary_records
from dpaudit.data.formats.image_folder import ImageFolder
from dpaudit.data.formats.opening import fingerprint_of, open_records
from dpaudit.data.formats.record_file import RecordFile, refuse_repeated, words_of
from dpaudit.data.inclusion import included_by_name
from dpaudit.results.result import VERSIONS_OF
from dpaudit.runtime import check
from dpaudit.runtime.files import write_text
from dpaudit.runtime.machine import versions_of
from dpaudit.runtime.seeds import derive_seed

SHARE = 0.5
TOKENS = "new_tokens.txt"


def plant_canaries(
    data: str | Path,
    out: str | Path,
    *,
    kind: str | SampledTexts,
    count: int = 1000,
    seed: int | None = None,
    label: str | None = None,
    identifier: str | None = None,
    text: str = "text",
) -> Experiment:
    """Make canaries, include each independently with probability 1/2, and seal which were.

    All records of the data are trained on; only canaries are audited. They stand at random places among the records.

    Args:
        data: as for `split_data`.
        out: folder of the experiment. ``train`` holds the data and the canaries that were included, ``heldout`` those
            that were not.
        kind: ``mislabelled``: records of the data that get another label, and leave it; ``out-of-distribution``:
            values at random within their ranges, noise, or words at random; ``sparse``: of arrays and images a tenth
            of the values at their largest, the others at their smallest; ``blank``: zeros, or the most common word;
            ``clipbkd``: directions in which the records vary least, for numbers; ``new-token``: the beginning of a
            text with a token that no text has, and the loss on that token alone. ``SampledTexts(file)``: texts that a
            public model generated at a high temperature.
        count: how many canaries.
        seed: of the canaries and inclusions; None draws one.
        label: column of the labels; None is ``label`` (NPZ: ``labels``) where there is one.
        identifier: column of ids, as for `split_data`.
        text: column of the texts, for ``new-token``, samples and formats of texts.

    Raises:
        InputError: data that cannot be read, a kind that they cannot have, a folder that is there already.
    """
    source, folder = Path(data), Path(out)
    refuse_full(folder)
    records = open_records(source)
    fingerprint = fingerprint_of(source)
    drawn = secrets.randbits(48) if seed is None else check.integer("seed", seed, at_least=0)
    tag = tag_of(fingerprint, drawn)
    label = label_of(records, label)
    name, records = with_ids(records, identifier, tag)
    made = canary_records(
        records,
        kind,
        count,
        label=label,
        identifier=name,
        text=text,
        tag=tag,
        seed=derive_seed(drawn, "canaries"),
    )
    others = made.others.with_values(name, words_of(made.others, name, "the id"))
    planted = _named(made.canaries, name, tag)
    ids = words_of(planted, name, "the id")
    refuse_repeated(np.concatenate([words_of(others, name, "the id"), ids]), f"{records.where}: column {name!r}")
    included = included_by_name(ids.tolist(), SHARE, seed=drawn)
    refuse_one_sided(included, "canaries")
    train = others.followed_by(planted.take(np.flatnonzero(included)))
    order = np.random.default_rng(derive_seed(drawn, "places")).permutation(len(train))
    said: dict[str, Any] = {
        "audited": "canaries",
        "kind": kind if isinstance(kind, str) else kind.kind,
        "classes": made.classes,
        "unit": "record",
        "share": SHARE,
        "seed": drawn,
        "units": count,
        "id": name,
        "label": label,
        "user": None,
        "source": source.name,
        "source_sha256": fingerprint,
        "versions": versions_of(VERSIONS_OF),
    }

    def write_tokens(into: Path) -> None:
        if made.tokens:
            write_text(into / TOKENS, "\n".join(made.tokens) + "\n")

    return sealed(
        folder,
        train.take(order),
        planted.take(np.flatnonzero(~included)),
        inclusion_table(planted, ids, None, included, label),
        said,
        write_tokens,
    )


def _named(planted: RecordFile, name: str, tag: str) -> RecordFile:
    """Canaries with ids of their own; images keep their class and the end of their name."""
    ids = numbered(f"canary-{tag}", len(planted))
    if isinstance(planted, ImageFolder):
        ids = np.array(
            [
                f"{path.partition('/')[0]}/{each}{Path(path).suffix}"
                for path, each in zip(planted.paths, ids, strict=True)
            ]
        )
    return planted.with_values(name, ids)
