"""A name that a scenario chose, with its entry and its hyper-parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from securefl.scenario.entries import Entry

E = TypeVar("E", bound=Entry, covariant=True)


@dataclass(frozen=True)
class Chosen(Generic[E]):
    """One choice of a scenario.

    Attributes:
        name: as the scenario writes it.
        entry: what the name stands for.
        parameters: the hyper-parameters that the scenario sets.
    """

    name: str
    entry: E
    parameters: Mapping[str, Any] = field(default_factory=dict)
