"""The scores of single records beside the result of an audit of one model."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from dpaudit.attacks.membership.user_level import user_scores
from dpaudit.data.users import user_truth
from dpaudit.results.record_scores import RecordScores, ScoresBeside
from dpaudit.results.result import Result
from dpaudit.runtime.check import BoolArray, FloatArray


def with_record_scores(
    result: Result,
    scored: Mapping[str, tuple[FloatArray, BoolArray]],
    member: BoolArray,
    users: npt.NDArray[np.generic] | None,
) -> Result:
    """The result with the scores that its attacks gave, or of each user the mean of the scores of their records.

    Args:
        result: of one model.
        scored: by attack, the scores of the records it is judged on and which they are, shape (records,).
        member: who was trained on, shape (records,).
        users: whose record it is, shape (records,); None where records are the unit.
    """
    assert result.membership is not None
    name, record, truth = result.models[0].name, np.arange(member.size), member
    found = []
    if users is not None:
        record, truth = np.unique(users), user_truth(users, member)
    for attack, (scores, kept) in scored.items():
        if users is None:
            found.append((name, attack, scores, kept))
        else:
            combined = user_scores(scores, users[kept])
            found.append((name, attack, combined.scores, np.isin(record, combined.users)))
    result.membership.keep(ScoresBeside(RecordScores.of(record, truth, found)))
    return result
