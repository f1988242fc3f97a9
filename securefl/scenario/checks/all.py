"""Every check of a scenario, in the order in which mistakes are told."""

from securefl.scenario import catalog
from securefl.scenario.checks.attack import check_attack
from securefl.scenario.checks.channel import check_channel
from securefl.scenario.checks.data import check_data, check_rehearsal
from securefl.scenario.checks.defense import check_defense, check_server
from securefl.scenario.checks.model import check_model
from securefl.scenario.checks.names import known
from securefl.scenario.checks.practice import check_practice
from securefl.scenario.checks.privacy import check_privacy, check_weights
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts

_IN_ORDER = (
    check_data,
    check_model,
    check_privacy,
    check_practice,
    check_weights,
    check_channel,
    check_defense,
    check_attack,
    check_server,
    check_rehearsal,
)


def check_names(declared: Declaration) -> None:
    """Every name exists; what the design has for later says so."""
    known("data.name", declared.data.name, catalog.DATA)
    known("model.name", declared.model.name, catalog.MODELS)
    known("training.kind", declared.training.kind, ("sgd", "dp_sgd"))
    known("channel.kind", declared.channel.kind, catalog.CHANNELS)
    known("defense.rule", declared.defense.rule.name, catalog.RULES)
    known("server.step", declared.server.step, catalog.STEPS)
    if declared.privacy is not None:
        known("privacy.unit", declared.privacy.unit, ("example",))
        known("privacy.place", declared.privacy.place, ("local",))
    if declared.attack is not None:
        known("attack.name", declared.attack.name, catalog.ATTACKS)
    for prefilter in declared.defense.prefilters:
        known("defense.prefilters", prefilter.name, catalog.PREFILTERS)


def check_parts(declared: Declaration, facts: Facts) -> None:
    """Refuse a scenario whose parts do not fit together.

    Args:
        declared: its names are in the catalog (`check_names`).
        facts: what follows from it.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    for check in _IN_ORDER:
        check(declared, facts)
