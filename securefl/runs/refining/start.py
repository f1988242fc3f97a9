"""What a version holds on to: the Fisher information of the version that it starts from."""

from securefl.errors import ScenarioError, SecureflError
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.refining.plan import FISHER
from securefl.runs.refining.series import Series
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.fisher import measure_fisher
from securefl.scenario.scenario import Scenario, make_scenario


def measure_start(series: Series, start: int, scenario: Scenario, version: int) -> None:
    """Measures what mattered for the earlier version, if the next one holds on to it.

    Its cost is in the ledgers already. The earlier records are read here for the last time.

    Raises:
        ScenarioError: they are gone or were changed, or the sites are others.
    """
    if scenario.refine is None or scenario.refine.fisher is None:
        return
    _, resolved, cell = series.cell(start)
    try:
        earlier = make_scenario(dict(resolved))
        data = load_data(earlier)
    except SecureflError as reason:
        raise ScenarioError(
            f"training.algorithm = 'ewc' needs the records of version {start} once more: {reason}"
        ) from None
    names = [[site.name for site in records.sites] for records in (data, load_data(scenario))]
    if names[0] != names[1]:
        raise ScenarioError(
            f"training.algorithm = 'ewc' needs the sites of version {start} in the same order: set "
            "data.sites in both"
        )
    has_own = earlier.refine is not None and earlier.refine.fisher is not None
    measure_fisher(
        scenario,
        data,
        load_checkpoint(cell.checkpoint).state.weights,
        series.folder(version) / FISHER,
        records=dict(enumerate(earlier.site_records)) if earlier.claims_dp else {},
        version=version,
        earlier=series.folder(start) / FISHER if has_own else None,
    )
