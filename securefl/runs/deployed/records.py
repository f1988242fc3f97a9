"""What the processes of a rehearsal read: copies of shipped records, or the paths of own files."""

import io
from pathlib import Path

import numpy as np
import torch

from securefl.data.task import Examples
from securefl.errors import DataError
from securefl.files import write_atomic
from securefl.runs.deployed.own_records import write_own_path
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.site_data import files_of_sites, read_site_data
from securefl.scenario.scenario import Scenario

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


class SiteRecords:
    """What each site's process gets its records from: a copy, or the path of its own file.

    Args:
        scenario: with the paths of all sites.

    Raises:
        DataError: the records are missing or damaged.
        NotReady: a site's own file is.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._copies: list[Examples] = []
        self._files: tuple[Path, ...] = ()
        if scenario.facts.data_set.published:
            self._copies = [site.train for site in load_data(scenario).sites]
            return
        self._files = files_of_sites(scenario)
        for site, path in enumerate(self._files):
            read_site_data(scenario, site, [path])

    def give(self, folder: Path, site: int) -> None:
        """Writes into a site's folder what its process reads."""
        if self._files:
            write_own_path(folder, self._files[site])
        else:
            write_records(folder, self._copies[site])
