"""The written forms of an axis, and how tables call the values on it."""

import json
from collections import Counter
from typing import Any


def label_of(value: object) -> str:
    """How a table calls a value: words and numbers as they are, a name with its parameters, a list as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, dict):
        rest = [
            f"{key}={label_of(inner)}"
            for key, inner in value.items()
            if key not in ("name", "kind")
        ]
        first = [str(value[key]) for key in ("name", "kind") if key in value]
        return " ".join([*first, *rest])
    if isinstance(value, bool | int | list):
        return json.dumps(value, separators=(",", ":"), default=str)
    raise ValueError(f"no scenario key takes {value!r}")


def told_value(key: str, label: str) -> str:
    """A label, with the last word of its key before a mere number or switch."""
    bare = label in ("true", "false", "inf") or label.replace(".", "").replace("-", "").isdigit()
    return f"{key.rpartition('.')[2]} {label}" if bare else label


def read_axis(name: str, written: object) -> list[dict[str, Any]]:
    """A list of values of the key that the axis is named after, or a table of labels with the keys each sets."""
    if isinstance(written, list):
        found = [{"label": label_of(value), "keys": {name: value}} for value in written]
    elif isinstance(written, dict):
        for label, keys in written.items():
            if not isinstance(keys, dict):
                raise ValueError(
                    f"axes.{name}.{label}: a level is a table of scenario keys, got {keys!r}"
                )
        found = [{"label": label, "keys": keys} for label, keys in written.items()]
    else:
        raise ValueError(
            f"axes.{name}: takes a list of values or a table of named levels, got {written!r}"
        )
    if not found:
        raise ValueError(f"axes.{name}: the axis is empty")
    return found


def zip_name(number: int, table: object) -> str:
    """What the axis of a zip is called. Raises ValueError for what is no table of keys."""
    if not isinstance(table, dict) or not table:
        raise ValueError(
            f"zip.{number}: takes a table of keys, each with a list of values, got {table!r}"
        )
    return " & ".join(table)


def read_zip(table: dict[str, Any]) -> list[dict[str, Any]]:
    """Keys that move together: the first values of all, the second values of all, ..."""
    for key, values in table.items():
        if not isinstance(values, list):
            raise ValueError(f"zip: {key} takes a list of values, got {values!r}")
        if not values:
            raise ValueError(f"zip: {key} is empty")
    sizes = {key: len(values) for key, values in table.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{key} has {size}" for key, size in sizes.items())
        raise ValueError(f"zip: the lists must be of one length; {told}")
    return [
        {
            "label": " & ".join(
                told_value(key, label_of(value)) for key, value in zip(table, values, strict=True)
            ),
            "keys": dict(zip(table, values, strict=True)),
        }
        for values in zip(*table.values(), strict=True)
    ]


def distinct(place: str, values: list[Any]) -> None:
    """Raise ValueError where a value is there twice."""
    value, count = Counter(values).most_common(1)[0] if values else (None, 0)
    if count > 1:
        raise ValueError(f"{place}: {value!r} is there twice")
