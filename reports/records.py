"""Raw records for a report: only when asked, and only those that the result lists as exposed."""

import base64
import io
from dataclasses import dataclass

import numpy as np

from dpaudit.audits.plan import plan_from
from dpaudit.data.dataset import Dataset
from dpaudit.data.source import rebuild_records
from dpaudit.data.tokens import TextTokenizer, tokenizer_named
from dpaudit.results.result import Result
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import parse_toml

SHOWN = 200  # records per model, as many as the page lists
WHERE = "the plan in the result"
WIDEST = 50  # features of a row


@dataclass(frozen=True)
class ShownRecords:
    """What a page shows of records, by their row number in the source.

    Args:
        labels: of each.
        pictures: PNG files in base64, where the records are images.
        values: of each feature, where they are not.
        columns: heading of each value.
    """

    labels: dict[int, str]
    pictures: dict[int, str]
    values: dict[int, list[str]]
    columns: list[str]


def read_exposed_records(result: Result) -> ShownRecords:
    """The records that a result lists as exposed, read again from the data its plan names.

    Raises:
        InputError: the result lists none or has no plan, the data cannot be read or are not what was audited.
    """
    listed = [one.exposed.records[:SHOWN] for one in (result.membership.exposed if result.membership else [])]
    wanted = sorted({row for rows in listed for row in rows})
    if not wanted:
        raise InputError("this result lists no exposed records, so there are none to show.")
    if result.provenance.plan is None or result.data.fingerprint is None:
        raise InputError("this result was not made from a plan, so its records cannot be found again.")
    source = plan_from(
        parse_toml(result.provenance.plan, "the plan in the result"), where="the plan in the result"
    ).source()
    audited, _ = rebuild_records(source, result.data.fingerprint)
    return show_records(audited, wanted, None if source.text is None else tokenizer_named(source.text.tokenizer))


def show_records(dataset: Dataset, wanted: list[int], tokenizer: TextTokenizer | None = None) -> ShownRecords:
    """Records of a data set by row number: as pictures where they have two dimensions, else as rows of numbers.

    With a ``tokenizer`` the records are texts.
    """
    place = {int(row): index for index, row in enumerate(dataset.source_rows)}
    at = {row: place[row] for row in wanted if row in place}
    if tokenizer is not None:
        counted = {row: f"{dataset.labels[index].sum():.0f} tokens" for row, index in at.items()}
        words = {row: [tokenizer.decode(dataset.features[index].astype(int).tolist())] for row, index in at.items()}
        return ShownRecords(counted, {}, words, ["text"])
    labels = {row: " ".join(f"{value:g}" for value in np.ravel(dataset.labels[index])) for row, index in at.items()}
    shape = dataset.features.shape[1:]
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4)):
        box = (float(dataset.features.min()), float(dataset.features.max()))
        return ShownRecords(labels, {row: _png(dataset.features[index], box) for row, index in at.items()}, {}, [])
    flat = dataset.features.reshape(len(dataset), -1)
    values = {row: [f"{value:g}" for value in flat[index, :WIDEST]] for row, index in at.items()}
    return ShownRecords(labels, {}, values, [f"feature {number}" for number in range(min(flat.shape[1], WIDEST))])


def _png(pixels: FloatArray, box: tuple[float, float]) -> str:
    from matplotlib.image import imsave

    low, high = box
    scaled = np.squeeze((np.asarray(pixels, np.float64) - low) / (high - low or 1.0))
    stream = io.BytesIO()
    imsave(stream, scaled, format="png", cmap="gray", vmin=0, vmax=1)
    return base64.b64encode(stream.getvalue()).decode()
