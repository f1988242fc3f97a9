"""The names of a run folder's cells."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from securefl.scenario.tables import OBJECT_PREFIX


def cell_hash(scenario: Mapping[str, Any], *, code: str = "") -> str:
    """Returns 16 hex digits of SHA-256 over a resolved scenario and the code's version.

    Keys without a value do not count, so that a scenario keeps its name when a later version knows
    more keys. Neither does `practice`, which only describes what the code does, nor the folder of
    the scenario, nor the paths of records and of initial weights, whose hashes count. Records that
    Python code gave are numbered in each process: their hash counts, too.

    Args:
        scenario: resolved.
        code: the version; empty for a single run, which is resumed under a mended version, too.
            env.json notes both versions.
    """
    asked = {key: value for key, value in scenario.items() if key not in ("practice", "folder")}
    if asked.get("model", {}).get("weights_sha256") is not None:
        asked["model"] = {**asked["model"], "weights": None}
    if asked.get("data", {}).get("digest") is not None:
        asked["data"] = {**asked["data"], "path": None}
        if asked["data"]["name"].startswith(OBJECT_PREFIX):
            asked["data"]["name"] = OBJECT_PREFIX
    text = json.dumps([code, _without_none(asked)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_none(value: Any) -> Any:
    """A resolved scenario without the keys that are None."""
    if isinstance(value, Mapping):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return value
