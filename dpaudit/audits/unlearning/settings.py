"""What the table ``[unlearning]`` of a plan may say."""

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dpaudit.training.unlearning_method import BUILT_IN, UnlearningMethod

FINETUNE_EPOCHS = 5


class UnlearningSettings(BaseModel):
    """``[unlearning]``: records that models are trained with and then made to forget.

    Each of ``references`` + ``models`` models like the one under audit is trained on the training records that stay,
    and on each record to be forgotten with probability 1/2, which ``method`` then makes it forget. An attacker who
    knows the choices for the references has to say, for each of the other ``models``, which records it once held. What
    is measured is the ε between a record that was forgotten and one that was never there.

    Args:
        method: ``retrain`` (a new training on the rest), ``finetune`` (further epochs on the rest), or a function as
            ``"package.module:name"``, called as ``method(model, forget, retain, *, seed)`` (needs ``--trust``).
        forget: the records to be forgotten: how many of the training records, drawn at random, or a file with the row
            number of one record on each line, from 0 on.
        models: that are judged.
        references: that the attack learns from.
        epochs: of ``finetune``; 5 if left out.
        epsilon: the claim: the largest ε that the method leaves, at the audit's δ; without it nothing is judged.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: str
    forget: int | str
    models: int = Field(default=64, ge=1)
    references: int = Field(default=64, ge=4)
    epochs: int | None = Field(default=None, ge=1)
    epsilon: float | None = Field(default=None, ge=0)

    @field_validator("forget", mode="before")
    @classmethod
    def _some(cls, forget: object) -> object:
        if isinstance(forget, bool) or not isinstance(forget, int | str) or (isinstance(forget, int) and forget < 2):
            raise ValueError(f"must be a number of records, at least 2, or a file of row numbers, got {forget!r}")
        return forget

    @field_validator("references")
    @classmethod
    def _pairs(cls, references: int) -> int:
        if references % 2:
            raise ValueError("must be an even number: references are trained in pairs")
        return references

    @model_validator(mode="after")
    def _method_is_named(self) -> "UnlearningSettings":
        module, colon, name = self.method.partition(":")
        if self.method not in BUILT_IN and not (module and colon and name):
            raise ValueError(
                f"method must be {' or '.join(map(repr, BUILT_IN))}, or a function as 'package.module:name', got "
                f"{self.method!r}"
            )
        if self.epochs is not None and self.method != "finetune":
            raise ValueError(f"epochs belong to the method 'finetune', got them with {self.method!r}")
        return self

    def build(self) -> UnlearningMethod:
        """The method."""
        epochs = self.epochs or FINETUNE_EPOCHS
        return UnlearningMethod(self.method, epochs if self.method == "finetune" else None)

    @property
    def outside_code(self) -> str | None:
        """The function that a run would import and call; None of a built-in method."""
        return self.build().outside_code

    def bounds(self) -> int:
        """Lower bounds computed per model: before, after, and beside them retrained where that is not the method."""
        return 2 if self.method == "retrain" else 3
