"""Whether a scenario can set the hyper-parameters of a plug-in's functions.

A run passes rows and the like by position, and hyper-parameters by name.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from securefl.errors import ScenarioError
from securefl.scenario.entries import (
    AttackEntry,
    ModelEntry,
    PrefilterEntry,
    RuleEntry,
    StepEntry,
)

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# Parts of names that mean the rows of others; annotations that make them ordinary values.
_OTHERS = ("honest", "known", "benign", "others")
_VALUES = (int, float, bool, str, "int", "float", "bool", "str")


class _Form(NamedTuple):
    """How a function of an entry is written.

    Attributes:
        what: whose function it is.
        inputs: parameters that a run passes by position.
        example: the first line of such a function.
    """

    what: str
    inputs: int
    example: str


_RULE = _Form("a rule", 1, "def rule(rows, *, f: int)")
# Kind of entry -> the field of each function -> its form.
_FORMS: Mapping[type[Any], Mapping[str, _Form]] = {
    RuleEntry: {
        "function": _RULE,
        "weigh": _RULE,
        "choose": _Form("a choice of a rule", 1, "def choose(squared, *, f: int)"),
    },
    PrefilterEntry: {
        "function": _Form("a pre-filter", 1, "def prefilter(rows, *, f: int)"),
    },
    StepEntry: {
        "function": _Form(
            "a step of the server", 3, "def step(weights, estimate, state, *, lr: float)"
        ),
    },
    ModelEntry: {"function": _Form("a model", 1, "def model(task, *, width: int)")},
    AttackEntry: {
        "rows": _Form("an attack", 1, "def attack(rows, *, scale: float)"),
        "records": _Form("an attack", 2, "def attack(features, labels, *, share: float)"),
        "gradients": _Form("an attack", 2, "def attack(gradient, offset, *, scale: float)"),
        "goal": _Form("an attack", 2, "def goal(features, labels, *, target: int)"),
    },
}


def check_hyper_parameters(label: str, entry: Any) -> None:
    """Checks that a scenario can set the hyper-parameters of an entry, or leave them out.

    Args:
        label: names the plug-in in messages.
        entry: as its author exports it, or as it is made for a function of his.

    Raises:
        ScenarioError: one sentence that shows how they are written.
    """
    provided = _provided(entry)
    for kind, forms in _FORMS.items():
        if not isinstance(entry, kind):
            continue
        for field, form in forms.items():
            function = getattr(entry, field)
            if function is not None:
                _check(label, function, form, provided)


def _provided(entry: Any) -> tuple[str, ...]:
    """Returns the parameters that a run provides by name."""
    if isinstance(entry, AttackEntry):
        return entry.needs
    weights = ("weights",) if getattr(entry, "weighted", False) else ()
    return (*entry.provided, *weights)


def _check(
    label: str, function: Callable[..., Any], form: _Form, provided: tuple[str, ...]
) -> None:
    parameters = inspect.signature(function).parameters.values()
    positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    named = [item for item in parameters if item.kind is inspect.Parameter.KEYWORD_ONLY]
    extra = [item for item in positional[form.inputs :] if item.name not in provided]
    named = [item for item in named if item.name not in provided]
    if form.what == "an attack":
        _refuse_rows_of_others(label, [*extra, *named])
    # One with a default can be left out.
    bare = [item for item in named if item.annotation is item.default is inspect.Parameter.empty]
    wrong = [item.name for item in (*extra, *bare)]
    if wrong:
        raise ScenarioError(
            f"{label}: hyper-parameters of {form.what} are keyword-only and annotated, such as "
            f"`{form.example}`; got {', '.join(wrong)}"
        )


def _refuse_rows_of_others(label: str, parameters: list[inspect.Parameter]) -> None:
    """Refuses an attack that asks by a parameter for what its entry has to ask for."""
    for parameter in parameters:
        asks = any(part in parameter.name for part in _OTHERS)
        if asks and parameter.annotation not in _VALUES:
            raise ScenarioError(
                f"{label}: no run passes {parameter.name}; an attack gets rows in its first "
                "argument, those of honest clients too with the entry "
                "AttackEntry(attack, sees=Sees.KNOWN), see docs/plugins.md"
            )
