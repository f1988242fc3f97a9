"""What `securefl validate` says about a scenario."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from securefl.learning.device import device_called
from securefl.privacy.chain import seeded_mark
from securefl.privacy.lint.case import Case
from securefl.privacy.lint.lint import lint
from securefl.privacy.past import NO_PAST
from securefl.runs.origin import origin_of
from securefl.scenario.budget import require_lasting
from securefl.scenario.scenario import load_scenario
from securefl.scenario.summary import summary


class Facts(NamedTuple):
    """The facts about a valid scenario, for programs.

    Attributes:
        valid: True; a scenario that is not raises.
        scenario: resolved.
        lint: the named mistakes and remarks, one a line.
        seeded_before: earlier runs of the chain whose noise came from a seed.
    """

    valid: bool
    scenario: Mapping[str, Any]
    lint: list[str]
    seeded_before: list[str]


class Explanation(NamedTuple):
    """A description for people, and the same facts for programs."""

    text: str
    facts: Facts


def explain(path: Path, overrides: tuple[str, ...]) -> Explanation:
    """Describes a scenario and lists the named mistakes in it.

    Raises:
        ScenarioError: the scenario is wrong, or the run that it continues is not there.
        SecureflError: this machine does not have the device that the scenario names.
        BudgetExceeded: the budget cannot last for all rounds.
    """
    scenario = load_scenario(path, overrides=overrides)
    device_called(scenario.device)
    origin = origin_of(scenario)
    outlook = require_lasting(scenario, None if origin is None else origin.spent)
    resolved = scenario.resolved()
    seeded = () if origin is None else origin.seeded
    findings = lint(Case(resolved, seeded_before=seeded))
    pasts = [NO_PAST] if origin is None else origin.pasts(scenario.clients)
    lines = [summary(scenario, seeded, pasts), *outlook.lines()]
    lines += [f"lint: {finding.weight} {finding.name}: {finding.message}" for finding in findings]
    if origin is not None and origin.spent and scenario.privacy is not None:
        # A budget covers all runs of a chain, so the reader has to see what is gone already.
        spent = origin.epsilon(scenario.privacy.delta)
        lines.append(
            f"goes on from {scenario.init_from}, which spent epsilon {spent:.4g} of the "
            f"{scenario.privacy.epsilon:g}{seeded_mark('system', seeded)}"
        )
    facts = Facts(
        valid=True,
        scenario=resolved,
        lint=[f"{finding.name}: {finding.message}" for finding in findings],
        seeded_before=list(seeded),
    )
    return Explanation("\n".join(lines), facts)
