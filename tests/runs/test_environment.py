"""The environment that a run folder notes."""

import json
from pathlib import Path

from securefl.runs.environment import environment


def test_the_environment_names_versions_and_nothing_personal() -> None:
    found = json.dumps(environment())
    assert "torch" in found
    assert str(Path.home()) not in found
