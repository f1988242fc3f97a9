"""The sites of a scenario, from what is public: how many, which train, and with how many records."""

from typing import TYPE_CHECKING, Any

from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.scenario import catalog

if TYPE_CHECKING:
    from securefl.scenario.scenario import Scenario


def data_options(scenario: "Scenario") -> dict[str, Any]:
    """The keys in force that only some data sets take, defaults filled in."""
    defaults = catalog.DATA[scenario.data.name].options
    given = {key: getattr(scenario.data, key) for key in defaults}
    return {key: defaults[key] if value is None else value for key, value in given.items()}


def task_of(scenario: "Scenario") -> Task:
    """What the records are and what is predicted, before any is read."""
    size = data_options(scenario).get("size")
    task = catalog.DATA[scenario.data.name].task
    return task() if size is None else task(size)


def partition_of(scenario: "Scenario") -> str:
    """The partition in force; the data set's usual one by default."""
    return scenario.data.partition or catalog.DATA[scenario.data.name].usual


def client_count(scenario: "Scenario") -> int:
    """Number of clients."""
    held_out = scenario.data.held_out is not None and partition_of(scenario) != "pooled"
    return 1 if scenario.data.only is not None else site_count(scenario) - held_out


def place(scenario: "Scenario", site: int) -> int:
    """Where a site, numbered as the data set does, stands among those that are not held out."""
    held_out = scenario.data.held_out
    return site - (held_out is not None and held_out < site)


def site_records(scenario: "Scenario") -> tuple[int, ...]:
    """Public number of training records of each client. Raises ScenarioError where there is none."""
    if scenario.privacy is not None and scenario.privacy.records is not None:
        return scenario.privacy.records
    if (sizes := published(scenario)) is None:
        raise ScenarioError(
            f"partition {partition_of(scenario)!r} has no published sizes: declare privacy.records, "
            "or, without a DP claim, set weights = 'equal' or 'reported'"
        )
    return sizes


def published(scenario: "Scenario") -> tuple[int, ...] | None:
    """Training sizes of the published split, after `held_out`, `only` and `most`; None where drawn.

    After `share` they are what is expected, which is public: the share, rounded, at least 1.
    """
    sizes, most, share = _dealt_sizes(scenario), scenario.data.most, scenario.data.share
    if sizes is not None and share is not None:
        sizes = tuple(max(1, round(share * size)) for size in sizes)
    return sizes if sizes is None or most is None else tuple(min(size, most) for size in sizes)


def training_records(scenario: "Scenario") -> int:
    """Training records of all sites; fewer where some of them judge."""
    training = catalog.DATA[scenario.data.name].training(scenario.data.test_on)
    return sum(next(iter(training.values())))


def _dealt_sizes(scenario: "Scenario") -> tuple[int, ...] | None:
    entry, how, held_out = catalog.DATA[scenario.data.name], partition_of(scenario), scenario.data.held_out
    training, records = entry.training(scenario.data.test_on), training_records(scenario)
    if how == "pooled":
        return (records - (0 if held_out is None else training[entry.usual][held_out]),)
    if how in training:
        sizes = training[how]
    elif (known := catalog.DEALS[how].sizes) is not None:
        sizes = known(records, site_count(scenario))
    else:
        return None
    if scenario.data.only is not None:
        return (sizes[scenario.data.only],)
    return tuple(size for site, size in enumerate(sizes) if site != held_out)


def site_count(scenario: "Scenario") -> int:
    """Number of sites before `only` keeps one."""
    own, how = catalog.DATA[scenario.data.name].partitions, partition_of(scenario)
    if how == "pooled":
        return 1
    return len(own[how]) if how in own else scenario.data.clients or catalog.DEFAULT_CLIENTS
