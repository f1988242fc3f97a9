"""Whether what an author exports is a function or an entry that can be used."""

import inspect
from typing import Any

from securefl.errors import ScenarioError
from securefl.scenario.entries import AttackEntry

# The fields of entries that hold functions.
FUNCTIONS = ("function", "minimum_rows", "weigh", "rows", "records", "gradients", "goal")
# Parameters that a run provides to an attack.
PROVIDED_TO_ATTACKS = ("f", "n", "classes", "part", "generator", "rule", "weigh", "krum")


def check_exported(label: str, value: Any, kind: type[Any] | None, *, classes: bool) -> None:
    """Checks a value that its author exports.

    Args:
        label: names it in messages.
        value: the function or the entry.
        kind: of the entry; None where there are functions only.
        classes: whether a class may take the place of a function.

    Raises:
        ScenarioError: one sentence that says what its author has to change.
    """
    if kind is not None and isinstance(value, kind):
        for field in FUNCTIONS:
            function = getattr(value, field, None)
            if function is not None:
                _check_function(label, f"the {field} of its entry", function)
        if isinstance(value, AttackEntry):
            _check_attack(label, value)
        return
    if not callable(value) or (inspect.isclass(value) and not classes):
        wanted = "no function" if kind is None else f"neither a function nor a {kind.__name__}"
        raise ScenarioError(f"{label} is {wanted}, but of the type {type(value).__name__}")
    _check_function(label, "it", value)


def _check_function(label: str, part: str, function: Any) -> None:
    """Checks that something can be called, and that its parameters can be seen."""
    if not callable(function):
        raise ScenarioError(
            f"{label}: {part} is no function, but of the type {type(function).__name__}"
        )
    try:
        inspect.signature(function)
    except (TypeError, ValueError):
        raise ScenarioError(
            f"{label}: {part} does not show its parameters, as functions written in C; "
            "call it in a function of your own"
        ) from None


def _check_attack(label: str, entry: AttackEntry) -> None:
    if not entry.functions:
        raise ScenarioError(f"{label} changes nothing: set rows, records or gradients of its entry")
    for need in entry.needs:
        if need not in PROVIDED_TO_ATTACKS:
            raise ScenarioError(
                f"{label} needs {need!r}, which no run provides; it may need "
                f"{', '.join(PROVIDED_TO_ATTACKS)}"
            )
