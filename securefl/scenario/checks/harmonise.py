"""Whether the steps of data.harmonise, and simulated scanners, fit the records."""

from securefl.errors import ScenarioError
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.harmonise_table import Step

# A step -> steps that have no place after it, and why.
_MEANINGLESS = {
    "zscore": {
        "window": "window cannot follow zscore: put window before it, or leave window out",
        "nyul": "nyul maps percentiles, which zscore before it does not change: leave one out",
    },
}


def check_harmonise(declared: Declaration, facts: Facts) -> None:
    """Checks that the steps of data.harmonise have a meaning, in their order.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    steps = declared.data.harmonise or ()
    for index, step in enumerate(steps):
        _check_order(steps[:index], step)
        if not step.fitted and not facts.task.image:
            raise ScenarioError(
                f"data.harmonise: {step.name} is for images, and {declared.data.name} has rows of "
                "numbers; remove it"
            )


def check_scanners(declared: Declaration, facts: Facts) -> None:
    """Checks that simulated scanners belong to sites with images, one each.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    scanners = declared.simulate.scanners
    if scanners is None:
        return
    if not facts.task.image:
        raise ScenarioError(
            f"simulate.scanners needs images, and {declared.data.name} has rows of numbers; "
            "remove it"
        )
    if facts.partition == "pooled" or declared.data.held_out is not None:
        situation = "data.held_out" if facts.partition != "pooled" else "data.partition = 'pooled'"
        raise ScenarioError(
            f"simulate.scanners needs sites that all take part, which {situation} does not leave; "
            "remove one of them"
        )
    clients = [scanner.client for scanner in scanners]
    for client in clients:
        # Numbered as the sites are before data.only keeps one.
        if client >= facts.site_count:
            raise ScenarioError(
                f"simulate.scanners: there is no client {client} among {facts.site_count}"
            )
        if clients.count(client) > 1:
            raise ScenarioError(
                f"simulate.scanners: client {client} has more than one scanner; leave one"
            )


def _check_order(before: tuple[Step, ...], step: Step) -> None:
    """Checks a step against those before it. Raises ScenarioError."""
    for earlier in before:
        if earlier.name == step.name:
            raise ScenarioError(f"data.harmonise: {step.name} stands twice; leave one")
        if earlier.fitted and not step.fitted:
            raise ScenarioError(
                f"data.harmonise: {step.name} maps each record by itself, and {earlier.name} is "
                f"fitted to what such steps leave; put {step.name} first"
            )
        why = _MEANINGLESS.get(earlier.name, {}).get(step.name)
        if why is not None:
            raise ScenarioError(f"data.harmonise: {why}")
