"""Functions of the catalog with the keys of a table set."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any


def with_keys(function: Callable[..., Any], given: Mapping[str, Any]) -> Callable[..., Any]:
    """Returns a function with its keyword-only parameters set, where they differ from defaults."""
    keys = {
        name: given[name]
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        and given.get(name, parameter.default) != parameter.default
    }
    return partial(function, **keys) if keys else function
