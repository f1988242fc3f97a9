"""Whether a name is known; what the design has for later says so."""

from typing import Any

from securefl.errors import ScenarioError
from securefl.scenario import catalog

PLANNED = {
    "channel.kind": ("bfv",),
    "privacy.unit": ("client",),
    "privacy.place": ("distributed", "central"),
    "training.kind": ("clipped_gradient",),
}


def known(key: str, name: str, table: Any) -> None:
    """The name is in the table, or told to be one of later versions. Raises ScenarioError."""
    if name in table:
        return
    if name in PLANNED.get(key, ()):
        raise ScenarioError(f"{key} = {name!r} is not available yet; use {' or '.join(map(repr, table))}")
    raise ScenarioError(f"{key}: there is no {name!r}; known: {', '.join(table)}")


def refuse_planned_channel(values: object) -> None:
    """Say that a channel is still to come, before its keys are found unknown. Raises ScenarioError."""
    table = values.get("channel") if isinstance(values, dict) else None
    if isinstance(table, dict) and table.get("kind") in PLANNED["channel.kind"]:
        known("channel.kind", table["kind"], catalog.CHANNELS)
