"""What pydantic found wrong with a table, as one sentence that names the key."""

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_WORDS = {
    "valid tuple": "list",
    "valid list": "list",
    "valid dictionary": "table",
    "Tuple": "List",
    " after validation, not 0": "",
    " or instance of Drop": "",
}


def sentence(reason: ValidationError, model: type[BaseModel], whole: str) -> str:
    """The first error in one sentence; a misspelt key first, since what it leaves unset is found missing, too.

    Args:
        reason: what pydantic raised.
        model: the class that was to be made.
        whole: how to call the file where the error belongs to no key, such as "the scenario".
    """
    error = min(reason.errors(), key=lambda error: error["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {place!r}{_did_you_mean(error['loc'], model)}"
    got = "" if isinstance(error["input"], dict) else f", got {error['input']!r}"
    return f"{place or whole}: {_message(error)}{got}"


def _message(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    return f"{message[:1].lower()}{message[1:]}"


def _did_you_mean(place: tuple[int | str, ...], whole: type[BaseModel]) -> str:
    model: Any = whole
    for part in place[:-1]:
        if isinstance(part, int):  # an entry of a list of tables
            continue
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        kinds = (
            [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        )
        model = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    known = list(getattr(model, "model_fields", {}))
    close = difflib.get_close_matches(str(place[-1]), known, n=1)
    return (
        f"; did you mean {close[0]!r}?"
        if close
        else f"; known keys here: {', '.join(known)}"
        if known
        else ""
    )
