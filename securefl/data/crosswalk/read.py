"""Reads a crosswalk.

crosswalk = read_crosswalk(Path("map.toml"))
words = crosswalk.terms("diagnosis", "basel", ["krank", "gesund"])
[word.value for word in words]  # ["ill", "healthy"]
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from securefl.data.crosswalk.model import Crosswalk
from securefl.errors import ScenarioError
from securefl.files import parse_toml, read_text
from securefl.messages import sentences


def read_crosswalk(given: Path | Mapping[str, Any]) -> Crosswalk:
    """Returns a crosswalk.

    Args:
        given: a TOML file, or the values that such a file holds.

    Raises:
        ScenarioError: the file cannot be read, or has mistakes; one sentence for each.
    """
    if isinstance(given, Path):
        name = str(given)
        given = parse_toml(read_text(given), f"the crosswalk {given}")
    else:
        name = "data.crosswalk"
    try:
        return Crosswalk.model_validate(dict(given))
    except ValidationError as reason:
        mistakes = sentences(reason, Crosswalk, "the crosswalk").splitlines()
        raise ScenarioError("\n".join(f"{name}: {mistake}" for mistake in mistakes)) from None
