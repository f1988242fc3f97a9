"""What the tables of a study compare, and how they are laid out."""

from pydantic import Field, model_validator

from securefl.scenario.tables import Section


class Compare(Section):
    """Pairs to compare on equal seeds: the levels that name the reference; the other axes stay as they are.

    question names axes: comparisons on the same levels of them answer one question, and are corrected together. By
    default a section of the tables is a question.
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
    """How tables are laid out: an axis with a section a level, and one whose levels stand side by side (one metric).

    heat_map: a figure of the columns, beside the table that is published.
    """

    sections: str | None = None
    columns: str | None = None
    heat_map: bool = False

    @model_validator(mode="after")
    def _has_columns(self) -> "Layout":
        if self.heat_map and self.columns is None:
            raise ValueError("heat_map needs columns")
        return self
