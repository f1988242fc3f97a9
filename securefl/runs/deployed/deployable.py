"""Whether a scenario can run between sites."""

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.assemble.evaluation import check_choice
from securefl.scenario.scenario import Scenario
from securefl.scenario.shared import check_algorithm, check_own_data

# The keys of a scenario that name no experiment between sites.
_SIMULATED = ("attack", "rehearsal", "init_from", "refine", "engine", "topology")


def check_deployable(scenario: Scenario) -> None:
    """Refuses what cannot run between sites, or not yet.

    Raises:
        ScenarioError: a part of the scenario is simulated, or a file of its user's.
    """
    kind = scenario.channel.kind
    if kind not in catalog.APART:
        raise ScenarioError(
            f"channel.kind = {kind!r} does not run between sites yet; use "
            f"{' or '.join(map(repr, catalog.APART))}"
        )
    for key in _SIMULATED:
        if getattr(scenario, key) is not None:
            raise ScenarioError(f"the table or key {key} has no place between sites: remove it")
    if scenario.simulate != type(scenario.simulate)():
        raise ScenarioError(
            "simulate plays faults and scanners, which between sites are real: remove it"
        )
    _check_sketch(scenario)
    privacy = scenario.privacy
    if privacy is not None and privacy.place == "central":
        raise ScenarioError(
            "privacy.place = 'central' trusts the server with sums without noise, which no site "
            "can check: between sites, use 'distributed' or 'local'"
        )
    if scenario.data.label_noise is not None:
        raise ScenarioError("data.label_noise changes records, which sites do not: remove it")
    if scenario.data.fit is not None:
        raise ScenarioError(
            f"data.harmonise: {scenario.data.fit.name} is fitted to all sites together, which does "
            "not run between sites yet; use record-local steps"
        )
    check_own_data(scenario)
    check_algorithm(scenario)
    check_choice(scenario)


def _check_sketch(scenario: Scenario) -> None:
    """Refuses sketches, and above all matrices that a client could know before it uploads."""
    if not scenario.facts.selects:
        return
    if scenario.facts.channel_options.get("secrets") == "seeded":
        raise ScenarioError(
            "channel.secrets = 'seeded' makes the matrices of channel.sketch known before the "
            "updates, so that clients can lie unseen, and serves simulations only: remove both, "
            "and use defense.rule = 'mean'"
        )
    raise ScenarioError(
        "channel.sketch does not run between sites yet: remove it, and use defense.rule = 'mean'"
    )
