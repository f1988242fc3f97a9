"""Tests here need Flower in an environment of its own, and an engine that lets them wait."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def programs() -> Path:
    """The `bin` folder of Flower's environment."""
    folder = os.environ.get("SECUREFL_FLOWER")
    if not folder:
        pytest.skip("SECUREFL_FLOWER names no bin folder of an environment with flwr==1.42.0")
    return Path(folder).absolute()
