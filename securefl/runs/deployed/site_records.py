"""The records of one site, and the digest that names its data set."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from securefl.data.own.registered import data_digest
from securefl.data.task import Examples
from securefl.runs.deployed.own_records import own_paths
from securefl.runs.deployed.records import RECORDS, read_records
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.evaluation import judging_shares
from securefl.scenario.assemble.site_data import read_site_data
from securefl.scenario.scenario import Scenario


class Registered(NamedTuple):
    """The records of one site, and the name of its data set.

    Attributes:
        train: train the model.
        judging: judge it where the scenario lets figures leave; None where it does not.
        digest: names the data set in the site's folder, and leaves it never.
    """

    train: Examples
    judging: Examples | None
    digest: str


def records_at(folder: Path, scenario: Scenario, site: int) -> Registered:
    """Returns the records of a site.

    Args:
        folder: of the site, whose site.toml names the file of own records. A copy of published
            records in it is used, as in a rehearsal.
        scenario: of all sites.
        site: its number; of published data it gets its share.

    Raises:
        NotReady: a file is missing, or is not what was agreed.
        ScenarioError: site.toml names no file.
    """
    if not scenario.facts.data_set.published:
        paths = own_paths(folder)
        own = read_site_data(scenario, site, paths)
        judging = own.validation if scenario.judging == "validation" else own.test
        if judging is None:  # whether a site has some is nobody's business: it counts nothing
            judging = Examples(own.train.features[:0], own.train.labels[:0])
        judging = None if scenario.leave == "never" else judging
        return Registered(own.train, judging, data_digest(paths))
    judging = None
    if scenario.leave != "never":
        judging = judging_shares(load_data(scenario))[site]
    copy = folder / RECORDS
    if copy.exists():
        return Registered(read_records(folder), judging, data_digest([copy]))
    train = load_data(scenario).sites[site].train
    return Registered(train, judging, _digest_of(train))


def _digest_of(examples: Examples) -> str:
    """Returns the SHA-256 of published records, of which the site has no file."""
    digest = hashlib.sha256(b"securefl published records 1")
    for tensor in (examples.features, examples.labels):
        digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
