"""Values from Python -> TOML text, so that a dict and a file are read by the same code."""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from securefl.errors import ScenarioError

_DELETE = "\x7f"  # the one character that JSON leaves as it is and TOML does not


def to_toml(values: Mapping[str, Any]) -> str:
    """Returns TOML text, one line a key of the outermost table; keys that are None are left out.

    Args:
        values: tables, lists, texts, paths, numbers and truth values.

    Raises:
        ScenarioError: TOML cannot hold a value; the sentence names its key.
    """
    lines = [
        f"{_key(key)} = {_value(value, str(key))}\n"
        for key, value in values.items()
        if value is not None
    ]
    return "".join(lines)


def _value(value: Any, path: str) -> str:
    """Returns one value as it stands behind an equals sign; path is where it lies."""
    if isinstance(value, Mapping):
        pairs = [
            f"{_key(key)} = {_value(inner, f'{path}.{key}')}"
            for key, inner in value.items()
            if inner is not None
        ]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if isinstance(value, list | tuple | range):
        return "[" + ", ".join(_value(inner, path) for inner in value) + "]"
    if isinstance(value, str | os.PathLike):
        return _text(os.fspath(value))
    if isinstance(value, bool):
        return str(value).lower()
    # An enumeration or a number of NumPy's is written as something else.
    if type(value) in (int, float):
        return repr(value)
    raise ScenarioError(
        f"{path} is a {type(value).__name__}, which no scenario can hold: name code as "
        '"python:FILE.py:function"; run() takes objects as data=, model=, rule= and attack='
    )


def _key(key: object) -> str:
    text = str(key)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _text(text)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace(_DELETE, "\\u007f")
