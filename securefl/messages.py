"""Pydantic's errors in a table, each as one sentence that names the key."""

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

# Pydantic speaks of Python's types, the author of a file of TOML's.
_WORDS = {
    "valid tuple": "list",
    "valid list": "list",
    "valid dictionary": "table",
    "Tuple": "List",
    " or object to extract fields from": "",
    " after validation, not 0": "",
}
# The class of a table is nothing that a TOML file can hold.
_OR_INSTANCE = re.compile(r" or instance of \w+")
# Other tools' words for our keys.
_USUAL_WORDS = {
    "learning_rate": "lr",
    "batch_size": "batch",
    "local_epochs": "epochs",
    "num_rounds": "rounds",
    "max_grad_norm": "clip",
    "num_clients": "clients",
}
_MAX_MISTAKES = 100
_MAX_SIGNS = 500  # of a value in a sentence
_UNKNOWN, _MISSING = "extra_forbidden", "missing"


def sentences(reason: ValidationError, model: type[BaseModel], whole: str) -> str:
    """Returns a sentence for each mistake, one a line; misspelt keys come first.

    Args:
        reason: raised by pydantic.
        model: the class that was to be made.
        whole: names the file where a mistake belongs to no key, such as "the scenario".
    """
    errors = sorted(reason.errors(), key=lambda error: error["type"] != _UNKNOWN)
    # Somebody else's file may have as many mistakes as it has bytes.
    first = errors[:_MAX_MISTAKES]
    lines = [_sentence(error, model, whole) for error in first if not _follows(error, first)]
    if len(errors) > len(first):
        lines.append(f"{whole} has {len(errors) - len(first)} more mistakes")
    return "\n".join(dict.fromkeys(lines))


def _follows(error: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    """Whether another error of the same table explains this one.

    A key that is missing next to a misspelt one is most likely the one that was meant, and a list
    is too short only because its entries were refused.
    """
    place = error["loc"]
    if error["type"] == _MISSING:
        return any(
            other["type"] == _UNKNOWN and other["loc"][:-1] == place[:-1] for other in errors
        )
    return any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in errors
    )


def _sentence(error: ErrorDetails, model: type[BaseModel], whole: str) -> str:
    place = ".".join(map(str, error["loc"]))[:_MAX_SIGNS]
    if error["type"] == _UNKNOWN:
        return f"unknown key {place!r}{_did_you_mean(error['loc'], model)}"
    value = error["input"]
    # A whole table would be longer than the sentence, and says nothing that the file does not. A
    # whole file may be another one than was meant, such as a key.
    got = "" if not place or isinstance(value, dict) else f", got {_in_toml(value)}"
    return f"{place or whole}: {_message(error)}{got}"


def _in_toml(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _MAX_SIGNS else f"{text[:_MAX_SIGNS]}..."


def _message(error: ErrorDetails) -> str:
    if error["type"] == "union_tag_not_found":
        return "a table with a name is needed"
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        return f"there is no {context['tag']!r}"[:_MAX_SIGNS] + f"; use {context['expected_tags']}"
    message = error["msg"].removeprefix("Value error, ")
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    message = _OR_INSTANCE.sub("", message)
    # The key comes first in the sentence, so that no capital letter follows.
    return f"{message[:1].lower()}{message[1:]}"


def _did_you_mean(place: tuple[int | str, ...], whole: type[BaseModel]) -> str:
    """Returns the end of a sentence on an unknown key: the nearest one, or all."""
    keys = _keys_at(place[:-1], whole)
    usual = _USUAL_WORDS.get(str(place[-1]))
    if usual in keys:
        return f"; here it is {usual!r}"
    close = difflib.get_close_matches(str(place[-1]), keys, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known keys here: {', '.join(keys)}" if keys else ""


def _keys_at(place: tuple[int | str, ...], whole: type[BaseModel]) -> list[str]:
    """Returns the keys of the table at a place; none where there is no such table."""
    tables: list[Any] = [whole]
    names_a_table = False
    for part in place:
        # An entry of a list, or of a table of tables, is of the type of all entries.
        if isinstance(part, int) or names_a_table:
            names_a_table = False
            continue
        named = [table for table in tables if part in _tags(table)]
        if named:  # pydantic puts the name of a table into the place where there are several kinds
            tables = named
            continue
        fields = [table.model_fields[part] for table in tables if part in table.model_fields]
        names_a_table = any(_holds_named_tables(field.annotation) for field in fields)
        tables = [table for field in fields for table in _tables(field.annotation)]
    fields = tables[0].model_fields if tables else {}
    return [field.alias or name for name, field in fields.items()]


def _tags(table: Any) -> tuple[Any, ...]:
    """Returns the names that one of several kinds of tables has; none where it is the only kind."""
    name = table.model_fields.get("name")
    return getattr(name.annotation, "__args__", ()) if name is not None else ()


def _holds_named_tables(annotation: Any) -> bool:
    """Whether a key takes a table whose entries are tables under names of the author's choice."""
    if get_origin(annotation) is dict:
        return any(_tables(annotation))
    return any(map(_holds_named_tables, get_args(annotation)))


def _tables(annotation: Any) -> Iterator[Any]:
    """Yields the classes of tables that a key takes."""
    if hasattr(annotation, "model_fields"):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _tables(inner)
