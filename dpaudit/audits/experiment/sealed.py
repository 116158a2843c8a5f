"""An experiment on disk: what to train on, what to hold out, and the inclusions, sealed by their fingerprints.

``experiment.json`` says how the inclusions were drawn and holds the SHA-256 of all other files; ``inclusion.csv`` has a
row for each audited record: its id, its user where users were included, whether it was, and its label.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dpaudit.accounting.claim import Unit
from dpaudit.data.formats.opening import fingerprint_of
from dpaudit.data.formats.record_file import RecordFile
from dpaudit.data.inclusion import included_by_name
from dpaudit.data.load import read_table
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_text, replacing, write_text
from dpaudit.runtime.first_error import first_error

if TYPE_CHECKING:
    import pandas as pd

MANIFEST, INCLUSION = "experiment.json", "inclusion.csv"
CanarySort = Literal["mislabelled", "out-of-distribution", "sparse", "blank", "clipbkd", "new-token", "sampled"]


class ExperimentManifest(BaseModel):
    """What ``experiment.json`` says.

    Args:
        schema_version: of this file.
        audited: ``split``: all records of the data. ``canaries``: canaries, among records that are always trained on.
        kind: of the canaries.
        classes: how many classes the canaries' labels were drawn from; None where they have none.
        unit: what was included as one.
        share: probability of inclusion, independent for each unit.
        seed: of the inclusions.
        units: how many there are.
        id: column of the ids; of NPZ files the array, of folders of images the paths.
        label: column of the labels; None where there is none.
        user: column that says whose record it is.
        source: name of the data that were given.
        source_sha256: its fingerprint.
        train: the file or folder to train on.
        train_sha256: its fingerprint.
        heldout: the file or folder that must not be trained on.
        heldout_sha256: its fingerprint.
        inclusion_sha256: fingerprint of ``inclusion.csv``.
        versions: of the packages that wrote it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    schema_version: Literal[1]
    audited: Literal["split", "canaries"]
    kind: CanarySort | None
    classes: int | None
    unit: Unit
    share: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
    units: int
    id: str
    label: str | None
    user: str | None
    source: str
    source_sha256: str
    train: str
    train_sha256: str
    heldout: str
    heldout_sha256: str
    inclusion_sha256: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Experiment:
    """An experiment that was read and checked.

    Args:
        folder: where it lies.
        manifest: how it was made.
        ids: of the audited records, shape (records,).
        included: which of them were trained on, shape (records,).
        users: whose they are, shape (records,); None where records were included one by one.
        labels: as words, shape (records,); None where there are none.
        unchecked: files that no longer lie in the folder, so that nobody knows whether they are unchanged.
    """

    folder: Path
    manifest: ExperimentManifest
    ids: npt.NDArray[np.str_]
    included: BoolArray
    users: npt.NDArray[np.str_] | None
    labels: npt.NDArray[np.str_] | None
    unchecked: tuple[str, ...] = ()

    @property
    def train(self) -> Path:
        """The file or folder to train on."""
        return self.folder / self.manifest.train

    @property
    def heldout(self) -> Path:
        """The file or folder that must not be trained on."""
        return self.folder / self.manifest.heldout

    @property
    def sentence(self) -> str:
        """How the inclusions were drawn."""
        made = self.manifest
        what = {"record": "records", "user": "users"}[made.unit] if made.audited == "split" else f"{made.kind} canaries"
        count = f"{int(self.included.sum())} of {len(self.ids)} records" if made.unit == "user" else ""
        inside = self.units_included
        return (
            f"{inside} of {made.units} {what} were included{f' ({count})' if count else ''}, each independently with "
            f"probability {made.share:g}; sealed as {made.inclusion_sha256[:12]}."
        )

    @property
    def units_included(self) -> int:
        """How many records, or users, were included."""
        if self.users is None:
            return int(self.included.sum())
        return int(np.unique(self.users[self.included]).size)


def sealed(
    out: Path,
    train: RecordFile,
    heldout: RecordFile,
    inclusion: "pd.DataFrame",
    said: dict[str, Any],
    further: Callable[[Path], None] | None = None,
) -> Experiment:
    """Write an experiment, whole or not at all, and read it again.

    Args:
        out: a folder that is not there yet, or is empty.
        train: what to train on.
        heldout: what not to train on.
        inclusion: the columns of ``inclusion.csv``.
        said: the fields of the manifest that are not made here.
        further: writes more files into the folder.

    Raises:
        InputError: the folder holds something, or cannot be written.
    """
    refuse_full(out)
    name = f"train{train.suffix}", f"heldout{train.suffix}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}.") from error
    try:
        train.write(made / name[0])
        heldout.write(made / name[1])
        with replacing(made / INCLUSION) as temporary:
            inclusion.to_csv(temporary, index=False)
        if further is not None:
            further(made)
        manifest = ExperimentManifest(
            schema_version=1,
            train=name[0],
            train_sha256=fingerprint_of(made / name[0]),
            heldout=name[1],
            heldout_sha256=fingerprint_of(made / name[1]),
            inclusion_sha256=fingerprint_of(made / INCLUSION),
            **said,
        )
        write_text(made / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
        made.chmod(0o755)
        made.replace(out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}.") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return open_experiment(out)


def refuse_full(out: Path) -> None:
    """Refuse a folder that holds something: inclusions are drawn once."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} is there already: an experiment needs a folder of its own; name another, or remove it."
        )


def open_experiment(folder: Path) -> Experiment:
    """Read an experiment and check that nothing in it was changed.

    Raises:
        InputError: it is none, or a file is not the one that was sealed.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} holds no {MANIFEST}: make an experiment with dpaudit split or dpaudit canaries.")
    try:
        manifest = ExperimentManifest.model_validate_json(read_text(path))
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error, ExperimentManifest)}") from error
    sealed_file = folder / INCLUSION
    if fingerprint_of(sealed_file) != manifest.inclusion_sha256:
        raise InputError(
            f"{sealed_file} is not the file that was sealed (its SHA-256 is another): it was changed, or it belongs to "
            "another experiment."
        )
    table = read_table(sealed_file, as_written=True)
    columns = {str(name): table[name].to_numpy(str) for name in table.columns}
    wanted = {"id", "included", *(["user"] if manifest.unit == "user" else [])}
    if not wanted <= set(columns) or not set(columns) <= {*wanted, "label"}:
        raise InputError(f"{sealed_file} must have the columns {', '.join(sorted(wanted))} and perhaps label.")
    included = columns["included"] == "1"
    users = columns.get("user")
    units, place = np.unique(columns["id"] if users is None else users, return_inverse=True)
    drawn = included_by_name(units.tolist(), manifest.share, seed=manifest.seed)
    if not (drawn[place] == included).all() or units.size != manifest.units:
        raise InputError(
            f"the inclusions in {sealed_file} are not those that share {manifest.share:g} and seed {manifest.seed} of "
            f"{MANIFEST} give: one of the two files was changed."
        )
    unchecked = []
    for name, known in ((manifest.train, manifest.train_sha256), (manifest.heldout, manifest.heldout_sha256)):
        if not (folder / name).exists():
            unchecked.append(name)
        elif fingerprint_of(folder / name) != known:
            raise InputError(
                f"{folder / name} was changed since the experiment was made (its SHA-256 is another): what was trained "
                "on is no longer known."
            )
    return Experiment(folder, manifest, columns["id"], included, users, columns.get("label"), tuple(unchecked))
