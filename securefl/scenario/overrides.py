"""Values set by key path, as --set and the axes of a study do."""

import tomllib
from typing import Any

from securefl.errors import ScenarioError


def override(values: dict[str, Any], overrides: tuple[str, ...]) -> None:
    """Write each `key.path=value` into values; a value is TOML, or a plain word, and nothing takes the key away.

    Raises:
        ScenarioError: an override is no such pair, or its path leads nowhere.
    """
    for given in overrides:
        path, equals, text = given.partition("=")
        path = path.strip()
        if not equals or not all(path.split(".")):
            raise ScenarioError(f"--set takes key.path=value, got {given!r}")
        if not text.strip():
            _take_away(values, path)
            continue
        try:
            value = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        place(values, path, value, what=f"--set {path}")


def _take_away(values: dict[str, Any], path: str) -> None:
    """Remove the key at a path, so that its default holds. Raises ScenarioError where it is not set."""
    *tables, last = path.split(".")
    table: Any = values
    for name in tables:
        table = table.get(name) if isinstance(table, dict) else None
    if not isinstance(table, dict) or last not in table:
        raise ScenarioError(f"--set {path}=: it is not set, so there is nothing to take away")
    del table[last]


def place(values: dict[str, Any], path: str, value: object, *, what: str) -> None:
    """Write value at key.path into values; a bare name on the way becomes the table it abbreviates.

    Raises:
        ScenarioError: path is empty somewhere, or leads through something that is no table; `what` begins the message.
    """
    *tables, last = path.split(".")
    if not all([*tables, last]):
        raise ScenarioError(f"{what}: {path!r} is not a key path such as training.lr")
    for table in tables:
        inner = values.setdefault(table, {})
        if isinstance(inner, str):
            inner = values[table] = {"name": inner}
        if not isinstance(inner, dict):
            raise ScenarioError(f"{what}: {table} is not a table")
        values = inner
    values[last] = value
