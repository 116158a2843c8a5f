"""The table of a plan, and its place in a whole plan."""

from pathlib import Path
from typing import Any

import pytest

from dpaudit.audits.plan import load_plan, plan_from
from dpaudit.audits.unlearning.settings import UnlearningSettings
from dpaudit.runtime.errors import InputError
from tests.audits.unlearning.methods import written

MODEL = {"name": "m", "trainer": "sgd", "architecture": {"kind": "mlp"}}


def plan(**table: Any) -> Any:
    own = {"method": "retrain", "forget": 10, **table.pop("unlearning", {})}
    return plan_from(
        {"name": "p", "seed": 1, "data": {"source": "digits"}, "model": [MODEL], "unlearning": own, **table}
    )


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (
            {"unlearning": {"method": "amnesiac"}},
            "must be 'retrain' or 'finetune', or a function as 'package.module:name'",
        ),
        ({"unlearning": {"method": ":f"}}, "or a function as"),
        ({"unlearning": {"forget": 1}}, "unlearning.forget"),
        (
            {"unlearning": {"forget": 0}},
            "forget.* must be a number of records, at least 2, or a file of row numbers, got 0",
        ),
        ({"unlearning": {"forget": 2.5}}, "or a file of row numbers, got 2.5"),
        ({"unlearning": {"references": 7}}, "must be an even number"),
        ({"unlearning": {"epochs": 3}}, "epochs belong to the method 'finetune'"),
        ({"unlearning": {"epsilon": -1.0}}, "unlearning.epsilon"),
        ({"unlearning": {"metod": "x"}}, "metod"),
        ({"model": []}, "there is no ..model.."),
        ({"audit": {"unit": "user"}}, "forgets single records, and audit.unit is user"),
    ],
)
def test_what_is_refused(table: dict[str, Any], match: str) -> None:
    """Each names the key and says what would be right."""
    with pytest.raises(InputError, match=match):
        plan(**table)


def test_the_error_level_is_shared_with_other_bounds() -> None:
    """Before, after and trained again: three bounds a model, two where training again is the method."""
    assert plan().bounds() == 2
    assert plan(unlearning={"method": "finetune"}).bounds() == 3
    assert plan(unlearning={"method": "a:b"}, membership={"attacks": ["loss"]}).bounds() == 4
    assert plan(unlearning={"method": "a:b"}).code() == {"models are made to forget": "a:b"}
    assert UnlearningSettings(method="finetune", forget=2).build().epochs == 5


def test_a_file_of_records_lies_beside_the_plan(tmp_path: Path) -> None:
    """As data does: a relative path is from the folder of the plan."""
    written(tmp_path / "clouds.csv")
    text = '[data]\nsource = "clouds.csv"\n[[model]]\nname = "m"\ntrainer = "sgd"\n[architecture]\nkind = "mlp"\n'
    (tmp_path / "plan.toml").write_text(
        f'name = "p"\nseed = 1\n{text}[unlearning]\nmethod = "retrain"\nforget = "ids.txt"\n'
    )
    loaded = load_plan(tmp_path / "plan.toml")
    assert loaded.unlearning is not None
    assert loaded.unlearning.forget == str(tmp_path / "ids.txt")
