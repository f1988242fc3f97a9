"""Whether a name is known; what the design has for later says so."""

from difflib import get_close_matches
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
        raise ScenarioError(
            f"{key} = {name!r} is not available yet; use {' or '.join(map(repr, table))}"
        )
    meant = _nearest(name, list(table))
    asked = f", did you mean {meant!r}?" if meant else ";"
    raise ScenarioError(f"{key}: there is no {name!r}{asked} known: {', '.join(table)}")


def _nearest(name: str, names: list[str]) -> str | None:
    """The name that was most likely meant: in other letters, without its family, or nearly so."""
    wanted = name.casefold().replace("-", "_")
    family = wanted.split(":")[-1]
    tails = {known.casefold().split(":")[-1]: known for known in names}
    near = get_close_matches(family, tails, n=1, cutoff=0.8)  # of 1, where they are equal
    return tails[near[0]] if near else None


def refuse_planned_channel(values: object) -> None:
    """Say that a channel is still to come, before its keys are found unknown. Raises ScenarioError."""
    table = values.get("channel") if isinstance(values, dict) else None
    if isinstance(table, dict) and table.get("kind") in PLANNED["channel.kind"]:
        known("channel.kind", table["kind"], catalog.CHANNELS)
