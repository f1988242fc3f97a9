"""Remarks that a folder keeps for its page: settings that were refused, and notes on the table."""

from pathlib import Path
from typing import NamedTuple

from securefl.errors import RunFolderError
from securefl.files import read_json

REMARKS = "remarks.json"


class Remarks(NamedTuple):
    """Label -> why the setting was refused; and sentences that belong under the table."""

    refused: dict[str, str]
    notes: list[str]


def remarks_in(path: Path) -> Remarks:
    """Reads the remarks of a folder; most folders have none.

    Raises:
        RunFolderError: the file is damaged.
    """
    file = path / REMARKS
    if not file.is_file():
        return Remarks({}, [])
    content = read_json(file)
    try:
        remarks = Remarks(dict(content["refused"]), list(content["notes"]))
        texts = [*remarks.refused.values(), *remarks.notes]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError
    except (KeyError, TypeError, ValueError):
        raise RunFolderError(f"{file} is damaged: it holds no remarks") from None
    return remarks
