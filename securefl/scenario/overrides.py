"""Values set by key path, as --set and the axes of a study do."""

import tomllib
from typing import Any

from securefl.errors import ScenarioError


def override(values: dict[str, Any], overrides: tuple[str, ...]) -> None:
    """Write each `key.path=value` into values; a value is TOML, or a plain word. Raises ScenarioError."""
    for given in overrides:
        path, equals, text = given.partition("=")
        path = path.strip()
        if not equals or not all(path.split(".")):
            raise ScenarioError(f"--set takes key.path=value, got {given!r}")
        try:
            value = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        place(values, path, value, what=f"--set {path}")


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
