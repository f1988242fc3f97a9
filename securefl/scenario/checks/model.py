"""The model takes its parameters, and records of this kind."""

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.checks.parameters import parameters, tried
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts


def check_model(declared: Declaration, facts: Facts) -> None:
    """The model takes its parameters and records of this kind, and all that it learns is in its parameters.

    It is built without memory for its weights. Raises ScenarioError.
    """
    builder, given = catalog.MODELS[declared.model.name], declared.model.parameters
    parameters("model", declared.model.name, given, builder)

    tried("model", lambda: facts.buffers)
    buffers = facts.buffers
    if buffers:
        raise ScenarioError(
            f"model: {declared.model.name} keeps {buffers[0]!r}, a buffer, which no update carries: use a model "
            "without running statistics, with group norm in place of batch norm"
        )
