"""Whether what a name stands for takes the parameters that are given."""

import inspect
import math
from collections.abc import Callable
from typing import Any

from securefl.errors import ScenarioError
from securefl.scenario.entries import parameters_of

_LARGEST = 1e6  # of a hyper-parameter; beyond it something is meant differently


def parameters(
    place: str, name: str, given: dict[str, Any], *functions: Callable[..., Any]
) -> None:
    """What is given is what the functions take: no more, no less, and of the right kind."""
    known = parameters_of(*functions)
    for key, value in given.items():
        if key not in known:
            takes = f"takes {', '.join(known)}" if known else "takes no parameters"
            raise ScenarioError(f"{place}: {name} {takes}, got {key!r}")
        if known[key].annotation is inspect.Parameter.empty:
            raise ScenarioError(
                f"{place}: the parameter {key} of {name} has no annotation; its author has to add one"
            )
        wanted = {int | None: int, float | None: float}.get(
            known[key].annotation, known[key].annotation
        )
        fits = {int: (int,), float: (int, float)}.get(wanted, (list, tuple))
        whole = value if isinstance(value, list | tuple) else [value]
        scalar = int | float if wanted is float else int
        scalars = all(
            isinstance(part, scalar) and not isinstance(part, bool) and abs(part) < math.inf
            for part in whole
        )
        if not isinstance(value, fits) or not scalars:
            kind = {int: "an integer", float: "a finite number"}.get(wanted, "a list of integers")
            raise ScenarioError(f"{place}: {key} of {name} must be {kind}, got {value!r}")
        if any(abs(part) > _LARGEST for part in whole):
            raise ScenarioError(f"{place}: {key} of {name} must be at most {_LARGEST:g} in size")
    for key, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and key not in given:
            raise ScenarioError(f"{place}: {name} needs {key}")


def tried(place: str, call: Callable[[], object]) -> None:
    """Let the callable itself refuse its parameters, on zeros."""
    try:
        call()
    except ValueError as reason:
        raise ScenarioError(f"{place}: {reason}") from None
