"""The table [data] of a scenario."""

from typing import Annotated, Any, Literal

from pydantic import Field

from securefl.scenario.harmonise_table import USUAL_SCORE, FittedStep, HarmoniseStep, ZScore
from securefl.scenario.tables import Count, Index, Section, Seed

# The keys that only somebody's own records take.
OWN_KEYS = (
    "path",
    "schema",
    "labels",
    "crosswalk",
    "num_classes",
    "sites",
    "class_names",
    "channels",
    "ranges",
    "loss",
    "test_share",
    "per_record",
    "public",
    "arguments",
)


class Data(Section):
    """The records that train, and the clients that they belong to.

    `only` keeps one site, the local-only baseline. `held_out` takes one site out of the federation
    and tests on all its records and on no others: external validation. Both number the sites as the
    data set does.

    most is the largest number of training records that a client keeps, picked at random; nobody
    uses the others. It does not go with a finite epsilon: one record removed would let another in.
    share keeps each training record with this probability, by a coin that follows from the record's
    content, and goes with every claim.

    alpha (dirichlet, quantity), classes (pathological) and minimum shape the partitions that deal
    records to clients.

    size (pixels of a side) is for MedMNIST. test_on says which records judge; validation is for
    choosing learning rates. MedMNIST publishes a validation set. heart and digits hold back a
    quarter of the training records, the quarter that fold names (0 to 3; 0 unless it is given): no
    test record is read, nor any record of a site that is held_out.

    label_noise is the share of training records that get another label, drawn for each from its
    content; for audits, to have records that can only be learned by heart.

    harmonise lists steps that make records of unlike sites more alike (docs/harmonise.md), in
    order. window, zscore and nyul map each image by itself, by constants that stand here, and cost
    no privacy.

    standardise (columns; all by default) and combat (features, covariates) are fitted to the
    training records of all sites before the first round, by sums over the channel. Both name
    columns by number, from 0. One of them can be named, as the last step. Under a claim they need
    noise_multiplier, and bound where the columns do not lie in [-1, 1].

    Your own records (docs/own-data.md) take further keys. path and schema say where they are; a
    schema may also be a table, as it is between sites (docs/deploy.md), where path has no place.
    labels is the CSV file with the labels of DICOM files (docs/dicom.md).
    crosswalk is a file, or a table, that leads from the words of each site to common ones
    (docs/labels.md).
    num_classes, sites, class_names, channels, ranges and loss declare what a DP claim must not read
    from records. test_share is the share that judges where there are no test records. per_record
    declares that the preprocessing of a Python function uses public constants only. arguments are
    those of the function; keys that are none of ours are added to them. Two keys are filled in.
    digest is one of the records, under a secret key of this user, or without a key where they are
    public. grouped says that records have groups, such as patients: epsilon is for one record.
    """

    name: str = "heart"
    partition: str | None = None
    clients: Count | None = None
    split_seed: Seed = 0
    only: Index | None = None
    held_out: Index | None = None
    alpha: Annotated[float, Field(ge=1e-3, le=1e6, strict=True)] | None = None
    classes: Count | None = None
    minimum: Count | None = None
    most: Count | None = None
    share: Annotated[float, Field(gt=0, lt=1, strict=True)] | None = None
    size: Count | None = None
    label_noise: Annotated[float, Field(gt=0, lt=1, strict=True)] | None = None
    test_on: Literal["test", "validation"] | None = None
    fold: Annotated[int, Field(ge=0, le=3, strict=True)] | None = None
    harmonise: Annotated[tuple[HarmoniseStep, ...], Field(min_length=1)] | None = None
    path: str | None = None
    schema_: str | dict[str, Any] | None = Field(default=None, alias="schema")
    labels: str | None = None
    crosswalk: str | dict[str, Any] | None = None
    num_classes: Annotated[int, Field(ge=2, le=10_000, strict=True)] | None = None
    sites: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    class_names: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    channels: Annotated[int, Field(ge=1, le=1024, strict=True)] | None = None
    ranges: Annotated[tuple[tuple[float, float], ...], Field(min_length=1)] | None = None
    loss: Literal["mse", "huber"] | None = None
    test_share: Annotated[float, Field(gt=0, lt=1, strict=True)] | None = None
    per_record: Annotated[bool, Field(strict=True)] | None = None
    public: Annotated[bool, Field(strict=True)] | None = None
    arguments: dict[str, Any] | None = None
    digest: str | None = None
    grouped: Annotated[bool, Field(strict=True)] | None = None

    @property
    def image_bounds(self) -> tuple[float, float]:
        """The range of a model's image inputs, as far as the steps of `harmonise` say."""
        for step in self.harmonise or ():
            if isinstance(step, ZScore):
                return -(step.clip or USUAL_SCORE), step.clip or USUAL_SCORE
        return -1.0, 1.0

    def given(self, key: str) -> Any:
        """Returns the value of a key, as TOML calls it; None where it is not set."""
        return self.schema_ if key == "schema" else getattr(self, key)

    @property
    def fit(self) -> FittedStep | None:
        """The step of `harmonise` that is fitted to the records of all sites; None without."""
        steps = [step for step in self.harmonise or () if isinstance(step, FittedStep)]
        return steps[0] if steps else None


# As TOML calls them.
KEYS = tuple(field.alias or name for name, field in Data.model_fields.items())
