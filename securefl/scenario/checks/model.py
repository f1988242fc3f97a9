"""The model takes its parameters, and records of this kind."""

import torch

from securefl.scenario import catalog
from securefl.scenario.checks.parameters import parameters, tried
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts


def check_model(declared: Declaration, facts: Facts) -> None:
    """The model takes its parameters, and records of this kind; it is built without memory for its weights."""
    builder, given = catalog.MODELS[declared.model.name], declared.model.parameters
    parameters("model", declared.model.name, given, builder)

    def build() -> None:
        with torch.device("meta"):
            builder(facts.task, generator=None, **given)

    tried("model", build)
