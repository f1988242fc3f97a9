"""Names that installed packages registered as entry points; no package is imported."""

from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple


class Registered(NamedTuple):
    """A name that an installed package brings.

    Attributes:
        name: as scenarios use it.
        package: the distribution, as pip lists it.
        version: of the package.
        point: loads what the name stands for.
    """

    name: str
    package: str
    version: str
    point: metadata.EntryPoint


def registered(group: str) -> tuple[Registered, ...]:
    """Returns what installed packages registered in a group, by name and package.

    Args:
        group: "data", "models", "rules", "prefilters", "attacks" or "steps".
    """
    return tuple(sorted(_registered(group), key=lambda entry: entry[:3]))


def _registered(group: str) -> Iterator[Registered]:
    for point in metadata.entry_points(group=f"securefl.{group}"):
        if point.dist is not None:
            yield Registered(point.name, point.dist.name, point.dist.version, point)
