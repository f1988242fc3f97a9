"""Whether the model fits the records, and the server's step its hyper-parameters."""

import torch

from securefl.errors import ScenarioError
from securefl.scenario.checks.parameters import check_parameters, tried
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.making.rule import make_step


def check_model(declared: Declaration, facts: Facts) -> None:
    """Checks that the model takes these records, and learns in parameters only.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    chosen = declared.model
    check_parameters("model", facts.architecture)
    tried("model", lambda: facts.model)
    # The mean of running statistics is not what one model over all records would have.
    for name, _ in facts.model.named_buffers():
        raise ScenarioError(
            f"model: {chosen.name} keeps {name!r}, a buffer, which no update carries: "
            "use a model without running statistics, with group norm in place of batch norm"
        )


def check_step(facts: Facts) -> None:
    """Checks that the server's step takes its hyper-parameters. Raises ScenarioError."""
    check_parameters("server", facts.step)
    step = make_step(facts.step)
    tried("server", lambda: step(torch.zeros(1), torch.zeros(1), {}))
