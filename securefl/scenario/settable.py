"""The hyper-parameters of functions that a scenario may set."""

import inspect
from collections.abc import Callable
from typing import Any


def settable(
    *functions: Callable[..., Any], provided: tuple[str, ...] = ()
) -> dict[str, inspect.Parameter]:
    """Returns the hyper-parameters of functions that a scenario may set.

    Args:
        functions: of one entry.
        provided: keyword parameters that the run provides, or that no TOML can hold.
    """
    # Positional parameters are tensors throughout, hyper-parameters are keyword-only.
    return {
        name: parameter
        for function in functions
        for name, parameter in _signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in provided
    }


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Returns the signature; annotations that are text are looked up where that is possible."""
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, SyntaxError, TypeError):
        return inspect.signature(function)
