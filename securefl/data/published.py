"""Published figures of MedMNIST: all of them without DP, trained on pooled records.

Source: Yang et al., "MedMNIST v2", Scientific Data 2023 (the sets, and seven or eight methods on
each); Doerrich et al., MedMNIST+, 2024 (six architectures, means over the 2-D sets). The two CSV
files next to this module hold the numbers as printed there.
"""

import csv
import io
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

PREFIX = "medmnist:"  # of a set's name in a scenario
CONDITIONS = "published, without DP, pooled, BatchNorm"
# Systems that choose a model by themselves: nothing is known about its layers.
AUTOML = ("auto-sklearn", "AutoKeras", "Google AutoML Vision")
CONDITIONS_OF_AUTOML = "published, without DP, pooled, AutoML"
# Not all six architectures have BatchNorm.
CONDITIONS_OF_MEANS = "published, without DP, pooled, means over the twelve 2-D sets"
# Source: Yang et al. 2023, table of the data sets.
MODALITIES = {
    "pathmnist": "colon pathology",
    "chestmnist": "chest X-ray",
    "dermamnist": "dermatoscope",
    "octmnist": "retinal OCT",
    "pneumoniamnist": "chest X-ray",
    "retinamnist": "fundus camera",
    "breastmnist": "breast ultrasound",
    "bloodmnist": "blood cell microscope",
    "tissuemnist": "kidney cortex microscope",
    "organamnist": "abdominal CT",
    "organcmnist": "abdominal CT",
    "organsmnist": "abdominal CT",
    "organmnist3d": "abdominal CT",
    "nodulemnist3d": "chest CT",
    "adrenalmnist3d": "shape from abdominal CT",
    "fracturemnist3d": "chest CT",
    "vesselmnist3d": "shape from brain MRA",
    "synapsemnist3d": "electron microscope",
}


class Figure(NamedTuple):
    """What was published about one method on one set.

    Attributes:
        dataset: name of the set as printed, such as "BreastMNIST".
        method: name of the method as printed; a number in brackets is the side in pixels.
        auc: area under the ROC curve of the test records, the mean over classes.
        accuracy: on the test records.
        source: authors and year.
    """

    dataset: str
    method: str
    auc: float
    accuracy: float
    source: str

    @property
    def conditions(self) -> str:
        """How the figure came about, in one phrase."""
        return CONDITIONS_OF_AUTOML if self.method in AUTOML else CONDITIONS


class Mean(NamedTuple):
    """The AUC and accuracy of an architecture at one size: means over the twelve 2-D sets."""

    architecture: str
    pixels: int
    auc: float
    accuracy: float
    source: str


def figures_of(name: str) -> tuple[Figure, ...]:
    """Returns what was published about a data set, or nothing.

    Args:
        name: of the data set in a scenario, such as "medmnist:breastmnist".
    """
    return tuple(figure for figure in _figures() if name == f"{PREFIX}{figure.dataset.lower()}")


def means() -> tuple[Mean, ...]:
    """Returns the means of every architecture at every size, in the order of the paper."""
    return tuple(
        Mean(
            row["architecture"],
            int(row["pixels"]),
            float(row["auc"]),
            float(row["accuracy"]),
            row["source"],
        )
        for row in _rows("medmnist_architectures.csv")
    )


@lru_cache(maxsize=1)
def _figures() -> tuple[Figure, ...]:
    return tuple(
        Figure(
            row["dataset"], row["method"], float(row["auc"]), float(row["accuracy"]), row["source"]
        )
        for row in _rows("medmnist_published.csv")
    )


def _rows(file: str) -> list[dict[str, str]]:
    """Returns the rows of a file that comes with the package."""
    text = resources.files("securefl.data").joinpath(file).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))
