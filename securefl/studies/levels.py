"""The written forms of an axis, and how tables name the values on it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Keys = dict[str, Any]  # scenario keys, such as "training.lr", with their values as TOML gives them


def label_of(value: object) -> str:
    """Returns the name of a value in tables.

    Words and numbers stay as they are, a table becomes its name with its parameters, a list JSON.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        # Twelve digits name 0.1 + 0.2 "0.3", and keep apart what anybody would type.
        return f"{value:.12g}"
    if isinstance(value, dict):
        naming = [str(value[key]) for key in ("name", "kind") if key in value]
        parameters = [
            f"{key}={label_of(inner)}"
            for key, inner in value.items()
            if key not in ("name", "kind")
        ]
        return " ".join([*naming, *parameters])
    if isinstance(value, bool | int | list):
        return json.dumps(value, separators=(",", ":"), default=str)
    raise ValueError(f"no scenario key takes {value!r}")


def label_in_words(key: str, label: str) -> str:
    """Returns a label, with the last word of its key in front where it says nothing alone."""
    is_number = label.replace(".", "").replace("-", "").isdigit()
    if is_number or label in ("true", "false", "inf"):
        return f"{key.rpartition('.')[2]} {label}"
    return label


def read_axis(name: str, written: object) -> list[Mapping[str, object]]:
    """Reads an axis as a list of levels, each with its `label` and the `keys` that it sets.

    Args:
        name: the axis.
        written: a list of values of the key that the axis is named after, or a table of labels,
            each with the keys that it sets.

    Raises:
        ValueError: it is neither, or empty.
    """
    if isinstance(written, list):
        levels = [_level(label_of(value), {name: value}) for value in written]
    elif isinstance(written, dict):
        for label, keys in written.items():
            if not isinstance(keys, dict):
                raise ValueError(
                    f"axes.{name}.{label}: a level is a table of scenario keys, got {keys!r}"
                )
        levels = [_level(label, keys) for label, keys in written.items()]
    else:
        raise ValueError(
            f"axes.{name}: takes a list of values or a table of named levels, got {written!r}"
        )
    if not levels:
        raise ValueError(f"axes.{name}: the axis is empty")
    return levels


def _level(label: str, keys: Keys) -> Mapping[str, object]:
    return {"label": label, "keys": keys}


def zip_name(number: int, table: object) -> str:
    """Returns the name of a zip's axis. Raises ValueError where table is no table of keys."""
    if not isinstance(table, dict) or not table:
        raise ValueError(
            f"zip.{number}: takes a table of keys, each with a list of values, got {table!r}"
        )
    return " & ".join(table)


def read_zip(table: Keys) -> list[Mapping[str, object]]:
    """Reads keys that move together as levels: the first values of all, the second of all, ...

    Raises:
        ValueError: a value is no list, or the lists differ in length.
    """
    for key, values in table.items():
        if not isinstance(values, list):
            raise ValueError(f"zip: {key} takes a list of values, got {values!r}")
        if not values:
            raise ValueError(f"zip: {key} is empty")
    lengths = {key: len(values) for key, values in table.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise ValueError(f"zip: the lists must be of one length; {listed}")
    levels = []
    for values in zip(*table.values(), strict=True):
        keys = dict(zip(table, values, strict=True))
        words = [label_in_words(key, label_of(value)) for key, value in keys.items()]
        levels.append(_level(" & ".join(words), keys))
    return levels


def check_distinct(place: str, values: Sequence[object]) -> None:
    """Raises ValueError where a value occurs twice."""
    for value, count in Counter(values).most_common(1):
        if count > 1:
            raise ValueError(f"{place}: {value!r} is there twice")
