"""A site's own records as the scenario that all sites share cuts them: nobody else's are read.

data = read_site_data(scenario, 2, [Path("/srv/hospital/visits.csv")])
parts = site_parts(public, 2, data.train, ledger=...)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from securefl.data.harmonise.entries import harmonised
from securefl.data.own.agreed import AgreedSchema
from securefl.data.own.at_site import at_the_site, check_site_records, read_site_records
from securefl.data.own.records import Records, Split
from securefl.data.own.site_files import site_files
from securefl.data.own.split import federated
from securefl.data.task import Examples
from securefl.errors import NotReady, ScenarioError
from securefl.scenario.assemble.data import local_steps, reduced
from securefl.scenario.scenario import Scenario
from securefl.scenario.shared import schema_of

# A declared number that is so many times the real one, or so many times less, is far from it.
FAR = 2


class SiteData(NamedTuple):
    """One site's records.

    Attributes:
        train: train the model.
        validation: judge rounds; None where there are none.
        test: judge the last model; None where the scenario judges on validation records, so that
            no test record is used.
    """

    train: Examples
    validation: Examples | None
    test: Examples | None


def read_site_data(scenario: Scenario, site: int, paths: Sequence[Path]) -> SiteData:
    """Returns the records of one site, bit for bit those that it has in a simulation.

    Where DP is claimed, nothing is refused for what is in a record, nor for how many there are: a
    missing answer would tell others.

    Args:
        scenario: of the sites' own data.
        site: its number.
        paths: its file.

    Raises:
        NotReady: the file is missing or damaged, or differs from what is declared. The sentence is
            for the site's own people.
        ScenarioError: the scenario needs no own records, or there is not one file.
    """
    path, schema = _file(scenario, paths), _schema(scenario)
    records = read_site_records(path, schema, site=site, claim=scenario.claims_dp)
    data = _cut(scenario, records, site)
    if not scenario.claims_dp:
        _check_count(scenario, site, path, data)
    return data


def check_site_data(scenario: Scenario, site: int, paths: Sequence[Path]) -> None:
    """Refuses all that differs from what is declared, also where DP is claimed.

    This is for a person at the site, before any round: an agent reads by `read_site_data`.

    Raises:
        NotReady: as for `read_site_data`; a value is missing, unknown or outside its range; or the
            number of training records is far from the declared one.
        ScenarioError: see `read_site_data`.
    """
    path = _file(scenario, paths)
    check_site_records(path, _schema(scenario))
    _check_count(scenario, site, path, read_site_data(scenario, site, paths))


def files_of_sites(scenario: Scenario) -> tuple[Path, ...]:
    """Returns the file of each site, for a rehearsal on one machine.

    Raises:
        NotReady: a file is missing.
        ScenarioError: `data.path` does not name one file a site.
    """
    if scenario.data.path is None:
        raise ScenarioError(
            "data.path: a rehearsal gives each site its file, so it needs their pattern, as in "
            "--set data.path='sites/*.csv'"
        )
    with at_the_site():
        return site_files(scenario.home / scenario.data.path, _schema(scenario).sites)


def _file(scenario: Scenario, paths: Sequence[Path]) -> Path:
    if len(paths) != 1:
        raise ScenarioError(f"data of {scenario.data.name} are one file a site, got {len(paths)}")
    return paths[0]


def _schema(scenario: Scenario) -> AgreedSchema:
    schema = schema_of(scenario)
    if schema is None:
        raise ScenarioError(f"data.name = {scenario.data.name!r} has no schema for sites")
    return schema


def _cut(scenario: Scenario, records: Records, site: int) -> SiteData:
    """Returns the records of a site that train and those that judge, as a simulation cuts them."""
    with at_the_site():
        # The other sites are there without a record, so that this one keeps its place.
        data = federated(
            records,
            partition=scenario.partition,
            split_seed=scenario.data.split_seed,
            claim=scenario.claims_dp,
            needs_judges=False,
            **scenario.facts.data_options,
        )
    try:
        data = reduced(scenario, data, sites=(site,))
    except ScenarioError as reason:
        # Of these records, and of nothing that the sites share.
        raise NotReady(str(reason)) from None
    steps = local_steps(scenario)

    def ready(examples: Examples | None) -> Examples | None:
        return None if examples is None else harmonised(examples, steps)

    train, judging = harmonised(data.sites[site].train, steps), ready(data.sites[site].test)
    if scenario.data.test_on == "validation":
        return SiteData(train, judging, None)
    return SiteData(train, ready(_examples(records.validation)), judging)


def _examples(split: Split | None) -> Examples | None:
    return None if split is None else split.examples


def is_far(declared: int, records: int) -> bool:
    """Whether a declared number of records says little about the real one."""
    return declared >= FAR * records or records >= FAR * declared


def _check_count(scenario: Scenario, site: int, path: Path, data: SiteData) -> None:
    """Refuses a number of training records that is not the declared one. Raises NotReady.

    Where DP is claimed the declared number must not come from the records, so that it need only be
    near the real one.
    """
    records = len(data.train)
    declared = scenario.facts.public_records
    if declared is None:
        if not records:
            raise NotReady(f"{path} gives no training record")
        return
    differs = is_far if scenario.claims_dp else int.__ne__
    if differs(declared[site], records):
        raise NotReady(
            f"{path} gives {records} training records, and privacy.records declares "
            f"{declared[site]} for site {site}"
        )
