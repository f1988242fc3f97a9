"""Whether the hyper-parameters that a scenario gives fit what it names."""

import inspect
import math
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, NamedTuple, TypeVar, get_args

from securefl.errors import PluginError, ScenarioError
from securefl.scenario.chosen import Chosen
from securefl.scenario.entries import Entry

Value = TypeVar("Value")

_MAX_HYPER_PARAMETER = 1e6  # beyond it something else was meant, such as a rate in percent


def check_parameters(place: str, chosen: Chosen[Entry]) -> None:
    """Checks that all parameters of an entry are given, and no others.

    Args:
        place: the key that names the entry, for the message.
        chosen: the entry with its hyper-parameters in the scenario.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    name, given, parameters = chosen.name, chosen.parameters, chosen.entry.parameters
    for key, value in given.items():
        if key not in parameters:
            takes = f"takes {', '.join(parameters)}" if parameters else "takes no parameters"
            raise ScenarioError(f"{place}: {name} {takes}, got {key!r}")
        _check_value(place, name, parameters[key], value)
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in given:
            raise ScenarioError(f"{place}: {name} needs {key}")


def _check_value(place: str, name: str, parameter: inspect.Parameter, value: object) -> None:
    """Checks that a value is of the kind that the parameter's annotation says."""
    key = parameter.name
    if parameter.annotation is inspect.Parameter.empty:
        raise ScenarioError(
            f"{place}: the parameter {key} of {name} has no annotation; its author has to add one"
        )
    kind = _without_none(parameter.annotation)
    of_one = _KINDS.get(kind)
    of_items = None if of_one is not None else _KINDS.get(next(iter(get_args(kind)), None))
    if of_one is not None:
        fits, wanted = of_one.fits(value), of_one.wanted
    elif of_items is not None:
        fits = isinstance(value, list | tuple) and all(map(of_items.fits, value))
        wanted = f"a list of {of_items.plural}"
    else:
        raise ScenarioError(
            f"{place}: the parameter {key} of {name} cannot be set, since no TOML value is "
            f"a {getattr(kind, '__name__', kind)}"
        )
    if not fits:
        raise ScenarioError(f"{place}: {key} of {name} must be {wanted}, got {value!r}")
    values: Any = value if isinstance(value, list | tuple) else [value]
    if any(_is_number(number) and abs(number) > _MAX_HYPER_PARAMETER for number in values):
        raise ScenarioError(
            f"{place}: {key} of {name} must be at most {_MAX_HYPER_PARAMETER:g} in size"
        )


def _without_none(annotation: Any) -> Any:
    """Returns T for `T | None`, and any other annotation as it is."""
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return kinds[0] if NoneType in get_args(annotation) else annotation


def _is_integer(value: object) -> bool:
    # TOML's true and false are no numbers, although Python's are.
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


class _Kind(NamedTuple):
    """What a value of a TOML file may be.

    Attributes:
        fits: whether a value is of the kind.
        wanted: the kind in words.
        plural: several of them in words.
    """

    fits: Callable[[object], bool]
    wanted: str
    plural: str


# By the annotation of a parameter, or of the items of a list.
_KINDS: Mapping[Any, _Kind] = {
    float: _Kind(_is_number, "a finite number", "finite numbers"),
    int: _Kind(_is_integer, "an integer", "integers"),
    bool: _Kind(lambda value: isinstance(value, bool), "true or false", "true and false"),
    str: _Kind(lambda value: isinstance(value, str), "a word", "words"),
}


def tried(place: str, call: Callable[[], Value]) -> Value:
    """Returns what a callable gives on zeros, or lets it refuse. Raises ScenarioError."""
    try:
        return call()
    except PluginError as reason:  # it names the key itself
        raise ScenarioError(str(reason)) from None
    except ValueError as reason:
        raise ScenarioError(f"{place}: {reason}") from None
