"""Values set by key path, as --set and the axes of a study do."""

from typing import Any

from securefl.errors import ScenarioError
from securefl.files import MAX_KEY_PARTS, parse_toml


def override(values: dict[str, Any], given: str) -> None:
    """Writes one `key.path=value` into values.

    The value is TOML, or a plain word. With nothing after the equals sign the key is removed, so
    that its default is in force.

    Raises:
        ScenarioError: given is no such pair, or its path leads nowhere.
    """
    path, equals, text = given.partition("=")
    path, text = path.strip(), text.strip()
    if not equals or not all(path.split(".")):
        raise ScenarioError(f"--set takes key.path=value, got {given!r}")
    if path.count(".") >= MAX_KEY_PARTS:
        raise ScenarioError(f"--set takes a path of {MAX_KEY_PARTS} names at most, got {given!r}")
    if not text:
        _remove(values, path)
        return
    value: object
    # Quotes around a word are lost in most shells: what is no TOML is taken as the word itself.
    try:
        value = parse_toml(f"value = {text}", "the value")["value"]
    except ScenarioError:
        value = text
    place(values, path, value, what=f"--set {path}")


def _remove(values: dict[str, Any], path: str) -> None:
    """Removes the key at a path. Raises ScenarioError where it is not set."""
    *tables, last = path.split(".")
    table: Any = values
    for name in tables:
        table = table.get(name) if isinstance(table, dict) else None
    if not isinstance(table, dict) or last not in table:
        raise ScenarioError(f"--set {path}=: it is not set, so there is nothing to take away")
    del table[last]


def place(values: dict[str, Any], path: str, value: object, *, what: str) -> None:
    """Writes a value at key.path into values.

    A bare name on the way becomes the table that it abbreviates: `"krum"` is `{ name = "krum" }`.

    Raises:
        ScenarioError: path is empty somewhere, or leads through something that is no table; `what`
            begins the message.
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
