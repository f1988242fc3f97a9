"""The schema of DICOM records: TOML -> what files, labels and pixels mean.

    by = "series"
    label = { column = "diagnosis", classes = { well = ["0"], ill = ["1"] } }
    sites = ["bern", "chur"]
    modality = "CT"
    size = [64, 64]
    spacing = [1.5, 1.5]
    window = [-160, 240]

A privacy claim rests on the constants here: sites, classes, size, spacing and window must be
public, never read from the records.
"""

import math
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from securefl.data.crosswalk.model import Crosswalk
from securefl.data.own.columns import SPLITS, Label, Range, Section, Splits
from securefl.data.own.unlike import check_words, coarse_of, codes_of, label_groups
from securefl.data.task import Task
from securefl.errors import ScenarioError

MAX_SIDE = 4096
MAX_VALUES_PER_RECORD = 2**24
COLOUR_CHANNELS = {"grey": 1, "rgb": 3}
PLANE_AXES = 2
VOLUME_AXES = 3

Side = Annotated[int, Field(ge=1, le=MAX_SIDE, strict=True)]
Millimetres = Annotated[float, Field(gt=0, le=1000, strict=True, allow_inf_nan=False)]


def _modality(name: str) -> str:
    """Returns a code string of DICOM (PS3.5, 6.2). Raises ValueError."""
    if re.fullmatch(r"[A-Z0-9_ ]{1,16}", name) is None:
        raise ValueError("a modality is written in capitals, as in 'CT'")
    return name


Modality = Annotated[str, AfterValidator(_modality)]


def _site_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns names that folders can have. Raises ValueError."""
    if len(set(names)) < len(names):
        raise ValueError("a site is there twice")
    for name in names:
        if (
            not name
            or name.startswith(".")
            or "/" in name
            or "\\" in name
            or not name.isprintable()
        ):
            raise ValueError(f"{name!r} cannot be the name of a site's folder")
    return names


def _window(value: object) -> object:
    """Returns a window, or raises one ValueError where pydantic would have two."""
    if value is None or value == "file":
        return value
    match value:
        case [int() | float() as low, int() | float() as high]:
            if low < high:
                return value
            raise ValueError("low must be below high")
    raise ValueError('a window is [low, high] in the units of the modality, or "file"')


class DicomSchema(Section):
    """What DICOM files, their labels and their pixels mean.

    by says what a line of the labels is about: a series, a study or a patient. key is the column
    that holds its SeriesInstanceUID, StudyInstanceUID or PatientID; by default it is called like
    `by`. site is the column with the site of a line; without it a line holds at every site. split
    is a column that says "train", "validation" or "test", and splits are the words that it uses.

    series = "one" allows one series for each line of the labels; "all" makes a record of each.
    slices, for records with two sides, makes a record of each image of a series, or of the one in
    the "middle". others = "skip" leaves out files of another modality, and series without a line.

    size is [height, width], or [depth, height, width] for volumes. spacing in millimetres is that
    of the result, which is then cropped or padded around its centre; without it the image is
    scaled to the size. window is the range of values, in the units of the modality, that becomes 0
    to 255; "file" takes the window of each file.

    crosswalk leads from the words of each site to the values of the classes; data.crosswalk of a
    scenario gives it, too.
    """

    by: Literal["series", "study", "patient"]
    key: str | None = None
    label: Label
    site: str | None = None
    sites: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_site_names)]
    split: str | None = None
    splits: Splits = SPLITS
    modality: Modality
    series: Literal["one", "all"] = "one"
    slices: Literal["each", "middle"] | None = None
    others: Literal["refuse", "skip"] = "refuse"
    colour: Literal["grey", "rgb"] = "grey"
    size: Annotated[tuple[Side, ...], Field(min_length=PLANE_AXES, max_length=VOLUME_AXES)]
    spacing: tuple[Millimetres, ...] | None = None
    window: Annotated[Range | Literal["file"] | None, BeforeValidator(_window)] = None
    crosswalk: Crosswalk | None = None

    @model_validator(mode="after")
    def _keys_fit(self) -> "DicomSchema":
        if self.colour == "grey" and self.window is None:
            raise ValueError(
                'grey images need window = [low, high] in the units of the modality, or "file"'
            )
        if self.colour == "rgb" and self.window is not None:
            raise ValueError("window has no effect on rgb images; remove it")
        if self.spacing is not None and len(self.spacing) != len(self.size):
            raise ValueError("spacing needs one number for each number of size")
        if self.is_volume and self.slices is not None:
            raise ValueError("slices has no effect on volumes; remove it")
        return self

    @model_validator(mode="after")
    def _columns_differ(self) -> "DicomSchema":
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("a column of the labels has two parts in the schema; it has one")
        if "train" not in self.splits:
            raise ValueError('splits need "train"')
        if self.split is None and self.splits != SPLITS:
            raise ValueError("splits have no effect without a split column; remove them")
        return self

    @model_validator(mode="after")
    def _crosswalk_fits(self) -> "DicomSchema":
        if self.crosswalk is None:
            return self
        column = self.label.column
        if set(self.crosswalk.columns) != {column} or self.crosswalk.not_observed:
            raise ValueError(f"a crosswalk of DICOM labels has words of {column!r} and of no other")
        check_words(column, self.crosswalk.columns[column], frozenset(self.label.codes))
        named = self.crosswalk.sites
        if named and self.site is None:
            raise ValueError(
                "words of single sites need site = the column with the site of a line of the labels"
            )
        for site in sorted(named - set(self.sites)):
            raise ValueError(f"the crosswalk names {site!r}, which is no declared site")
        self._coarse()
        return self

    def _coarse(self) -> dict[str, tuple[int, ...]]:
        words = None if self.crosswalk is None else self.crosswalk.columns[self.label.column]
        return coarse_of(self.label, words)

    @property
    def label_codes(self) -> dict[str, int]:
        """The label of each word: its class, or the number of classes plus that of its group."""
        return codes_of(self.label, self._coarse())

    def require_single_records(self) -> None:
        """Refuses a schema under which one record could change what becomes of another.

        Raises:
            ScenarioError: images of a series, or series of a study, would be looked at together.
        """
        if not self.is_volume and self.slices != "middle":
            raise ScenarioError(
                "data.schema: under a DP claim a record is a whole series, whose images are "
                'checked together: declare slices = "middle", or a volume'
            )
        if self.by != "series" and self.series == "one":
            raise ScenarioError(
                f"data.schema: under a DP claim a second series of one {self.by} must not take "
                'the first one out: declare series = "all"'
            )

    @property
    def drops_unmapped(self) -> bool:
        """Whether a label that the crosswalk does not know leaves its series out."""
        return self.crosswalk is not None and self.crosswalk.unmapped == "drop"

    @model_validator(mode="after")
    def _record_is_small(self) -> "DicomSchema":
        if self.task.features > MAX_VALUES_PER_RECORD:
            raise ValueError(
                f"a record has {self.task.features} values, more than {MAX_VALUES_PER_RECORD}"
            )
        return self

    @property
    def is_volume(self) -> bool:
        """Whether a record is the volume of a series."""
        return len(self.size) == VOLUME_AXES

    @property
    def key_column(self) -> str:
        """The column of the labels with the identifiers."""
        return self.key or self.by

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the labels must have."""
        others = [name for name in (self.site, self.split) if name is not None]
        return (self.key_column, self.label.column, *others)

    @property
    def task(self) -> Task:
        """The task, which follows from declared constants alone."""
        image = (COLOUR_CHANNELS[self.colour], *self.size)
        groups = label_groups(self._coarse())
        return Task(math.prod(image), len(self.label.classes), image=image, groups=groups)
