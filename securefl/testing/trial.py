"""How contracts try a plug-in: behind the guards of a run, on tensors that nobody owns."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from securefl.errors import SecureflError
from securefl.rng import seeded_keystream
from securefl.scenario.checks.parameters import check_parameters
from securefl.scenario.chosen import Chosen
from securefl.scenario.plugins.find import Group, plugin_of

COORDINATES = 5


@contextmanager
def contract() -> Iterator[None]:
    """Turns what a run would refuse or fail with into an AssertionError."""
    try:
        yield
    except (SecureflError, ValueError) as reason:
        raise AssertionError(str(reason)) from reason


def chosen(
    group: Group, key: str, value: object, f: int | None, parameters: Mapping[str, Any] | None
) -> Chosen[Any]:
    """Returns a plug-in as a scenario would choose it, with checked parameters.

    Args:
        group: the kind of plug-in.
        key: of the scenario that names it.
        value: a function or an entry.
        f: corrupt rows, for a plug-in that has a parameter of that name; None for others.
        parameters: its hyper-parameters.

    Raises:
        AssertionError: it is none, or the parameters do not fit it.
    """
    functions = getattr(value, "functions", None) or (value,)
    name = getattr(functions[0], "__name__", type(value).__name__)
    with contract():
        entry = plugin_of(group, name, value).entry
        given = dict(parameters or {})
        if f is not None and "f" in entry.parameters:
            given["f"] = f
        choice = Chosen(name, entry, given)
        check_parameters(key, choice)
    return choice


def rows_of(count: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns rows (count, 5) that differ in every coordinate."""
    generator = seeded_keystream(seed, "contract").torch_generator()
    return torch.randn((count, COORDINATES), generator=generator, dtype=dtype)


def untouched(name: str, inputs: list[Tensor], call: Callable[[], Any]) -> Any:
    """Returns what a call gives. Raises AssertionError where it changed its inputs."""
    before = [value.clone() for value in inputs]
    result = call()
    if not all(same(value, copy) for value, copy in zip(inputs, before, strict=True)):
        raise AssertionError(f"{name} changed its input; work on a copy of it")
    return result


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal; NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(torch.isclose(one, other, rtol=0, atol=0, equal_nan=True).all())
