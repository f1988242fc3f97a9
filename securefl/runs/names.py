"""What a cell of a run folder is called."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def cell_hash(scenario: Mapping[str, Any], *, code: str = "") -> str:
    """Names a cell by what it runs: SHA-256 over the resolved scenario and the code's version, 16 hex digits.

    A single run leaves code empty: it goes on under a mended version, and env.json notes both. Keys without a value do
    not count, so that a scenario keeps its name when a later version knows more keys; nor does `practice`, which only
    says what the code does.
    """
    asked = {key: value for key, value in scenario.items() if key != "practice"}
    return hashlib.sha256(json.dumps([code, _given(asked)], sort_keys=True).encode()).hexdigest()[
        :16
    ]


def _given(value: Any) -> Any:
    """A resolved scenario without the keys that are None."""
    if isinstance(value, Mapping):
        return {key: _given(inner) for key, inner in value.items() if inner is not None}
    return value
