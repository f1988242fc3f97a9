"""What the tables of a study show and compare, and how they are laid out."""

from typing import Literal

from pydantic import Field, model_validator

from securefl.scenario.tables import Section

Metric = Literal[
    "accuracy",
    "balanced_accuracy",
    "auc",
    "auc_within_sites",
    "majority",
    "mae",
    "rmse",
    "r2",
    "worst",
    "consensus",
    "attack_success",
    "epsilon",
    "records",
    "rounds",
    "bytes_up",
    "clock",
]


class Compare(Section):
    """Pairs of rows to compare on equal seeds.

    Attributes:
        reference: axis -> the level that others are compared with; the other axes stay as they are.
        baseline: label of the baseline that rows are compared with, instead of a reference.
        question: axes whose levels make a question of their own; p-values are corrected together
            within a question. By default each section of the tables is a question.
    """

    reference: dict[str, str] = Field(default={})
    baseline: str | None = None
    question: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Compare":
        if bool(self.reference) == (self.baseline is not None):
            raise ValueError("takes either reference (levels) or baseline (a label)")
        return self


class Layout(Section):
    """How tables are laid out.

    Attributes:
        sections: the axis whose levels are sections of the page.
        columns: the axis whose levels are columns; the table then shows the first metric only.
        heat_map: whether a figure of the columns is published next to the table.
        published: whether published figures of the data sets follow the rows.
    """

    sections: str | None = None
    columns: str | None = None
    heat_map: bool = False
    published: bool = False

    @model_validator(mode="after")
    def _has_columns(self) -> "Layout":
        if self.heat_map and self.columns is None:
            raise ValueError("heat_map needs columns")
        if self.published and self.columns is not None:
            raise ValueError("published needs one row a line: remove columns")
        return self
