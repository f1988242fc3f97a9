"""One site's records in a file of its own, which no other process reads."""

import io
from pathlib import Path

import numpy as np
import torch

from securefl.data.task import Examples
from securefl.errors import DataError
from securefl.files import write_atomic

RECORDS = "records.npz"


def write_records(folder: Path, examples: Examples) -> None:
    """Writes a site's training records, for its owner's eyes only."""
    file = io.BytesIO()
    np.savez(file, features=examples.features.numpy(), labels=examples.labels.numpy())
    write_atomic(folder / RECORDS, file.getvalue(), secret=True)


def read_records(folder: Path) -> Examples:
    """Returns a site's training records. Raises DataError: the file is missing or damaged."""
    try:
        with np.load(folder / RECORDS, allow_pickle=False) as arrays:
            return Examples(
                torch.from_numpy(arrays["features"]), torch.from_numpy(arrays["labels"])
            )
    except (OSError, ValueError, KeyError):
        raise DataError(f"{folder / RECORDS} is missing or damaged") from None
