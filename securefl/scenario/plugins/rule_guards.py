"""Guards around rules and pre-filters of others: they get admissible rows, and are checked."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Size, Tensor

from securefl.errors import PluginError
from securefl.scenario import catalog
from securefl.scenario.plugins.guard import Function, called, check, kind, own


def guarded_rule(
    label: str, function: Function, minimum_rows: Callable[[int], int] | None = None
) -> Function:
    """Returns a rule that gets admissible rows only, and whose estimate is checked.

    Rows that the engine would mark are set aside first, and count against f: an author who forgets
    NaN would otherwise let a single client stop every round.

    Args:
        label: names the rule in messages.
        function: the rule.
        minimum_rows: f -> rows it needs; None where one row is always enough.
    """
    usual_f = _usual_f(function)

    @wraps(function)
    def rule(rows: Any, **parameters: Any) -> Tensor:
        tensor, admitted = _admitted(rows)
        remaining = tensor[admitted]
        if "weights" in parameters:
            parameters["weights"] = parameters["weights"][admitted]
        f = _remaining_f(parameters.get("f", usual_f), len(tensor) - len(remaining))
        if f is not None:
            parameters["f"] = f
        needed = 1 if minimum_rows is None else minimum_rows(f or 0)
        # A ValueError abandons the round, as it does with rules of ours; a fault ends the run.
        if len(remaining) < needed:
            raise ValueError(f"{label} needs {needed} rows, got {len(remaining)}")
        estimate = called(label, function, remaining, **parameters)
        check(label, estimate, remaining[0].shape, "one number a coordinate", [remaining])
        return own(label, estimate, remaining.dtype)

    return rule  # type: ignore[return-value]


def guarded_weigh(label: str, function: Function) -> Function:
    """Returns a rule's own weights of rows: 0 for rows that are set aside, and checked."""

    @wraps(function)
    def weigh(rows: Any, **parameters: Any) -> Tensor:
        tensor, admitted = _admitted(rows)
        remaining = tensor[admitted]
        given = called(label, function, remaining, **parameters)
        check(label, given, remaining.shape[:1], "a weight for each row", [remaining])
        weights: Tensor = given.new_zeros(len(tensor))
        weights[admitted] = own(label, given, given.dtype)
        return weights

    return weigh  # type: ignore[return-value]


def guarded_choose(label: str, function: Function) -> Function:
    """Returns a rule's choice by squared distances, whose weights are checked.

    A masked channel opens the sum of the chosen clients, which all count the same in it.
    """

    @wraps(function)
    def choose(squared: NDArray[np.float64], **parameters: Any) -> NDArray[np.float64]:
        # Nothing counts the changes of an array in place: the rule gets a copy.
        given = called(label, function, squared.copy(), **parameters)
        if not isinstance(given, np.ndarray) or given.shape != squared.shape[:1]:
            raise PluginError(
                f"{label}: its choose has to return a numpy array with a weight for each row, "
                f"got {kind(given)}"
            )
        weights = given.astype(np.float64)
        positive = weights[weights != 0]
        # NaN fails every comparison.
        is_choice = len(positive) > 0 and positive.min() > 0 and positive.max() < np.inf
        if not is_choice or not np.allclose(positive, positive[0], rtol=1e-9, atol=0):
            raise PluginError(
                f"{label}: its choose has to give one positive weight to all rows that it takes, "
                "and 0 to the others"
            )
        return weights

    return choose  # type: ignore[return-value]


def guarded_minimum(label: str, function: Function) -> Function:
    """Returns the rows that a rule needs by its f, which have to be a whole number."""

    @wraps(function)
    def minimum(f: int) -> int:
        needed = called(label, function, f)
        if not isinstance(needed, int) or needed < 1:
            raise PluginError(
                f"{label}: its minimum_rows has to return a whole number, at least 1, "
                f"got {needed!r} for f = {f}"
            )
        return needed

    return minimum  # type: ignore[return-value]


def _usual_f(function: Callable[..., Any]) -> int | None:
    """Returns the default of the parameter f; None without such a parameter or default."""
    parameter = inspect.signature(function).parameters.get("f")
    return parameter.default if parameter and isinstance(parameter.default, int) else None


def _remaining_f(f: int | None, set_aside: int) -> int | None:
    """Returns how many corrupt rows may be left once some are set aside; None without an f."""
    if f is None:
        return None
    if set_aside > f:
        raise ValueError(f"{set_aside} rows are set aside, more than f = {f}")
    return f - set_aside


def guarded_prefilter(label: str, function: Function) -> Function:
    """Returns a pre-filter that gets admissible rows only, and whose rows are checked."""

    @wraps(function)
    def prefilter(rows: Any, **parameters: Any) -> Tensor:
        tensor, admitted = _admitted(rows)
        remaining = tensor[admitted]
        mixed = called(label, function, remaining, **parameters)
        if isinstance(mixed, Tensor) and mixed.ndim == 2 and len(mixed) > 0:
            shape = Size([len(mixed), remaining.shape[1]])
        else:
            shape = remaining.shape
        check(label, mixed, shape, "rows", [])
        return own(label, mixed, remaining.dtype)

    return prefilter  # type: ignore[return-value]


def _admitted(rows: Any) -> tuple[Tensor, Tensor]:
    """Returns rows (n, d), and which of them a rule may use (n,). Raises ValueError without any."""
    # Behind a pre-filter of ours rows are weighted sums that nobody has written out yet.
    tensor: Tensor = rows if isinstance(rows, Tensor) else rows.tensor()
    admitted = ~catalog.SCREEN(tensor)
    if not bool(admitted.any()):
        raise ValueError("no row is finite and of moderate size")
    return tensor, admitted
