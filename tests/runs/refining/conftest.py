"""A first version of a model, with and without a claim; tests work on copies of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from securefl.runs import api
from securefl.runs.refining.series import Series
from securefl.scenario.scenario import Scenario, parse_scenario

PLAIN = """
rounds = 2
data = { name = "heart", share = 0.6 }
training = { kind = "sgd", batch = 64 }
"""
# Every record is in every step: the cost then has a closed form, which takes no time.
CLAIM = """
rounds = 2
data = { name = "heart", share = 0.6 }
training = { kind = "dp_sgd", batch = 1024 }
privacy = { epsilon = 3.0 }
"""
Copied = Callable[[str], Series]


def play(scenario: Scenario, folder: Path, text: str) -> object:
    """Runs a scenario, as the command does."""
    return api.run(scenario, folder, text=text)


@pytest.fixture(scope="session")
def first_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    for name, text in (("plain", PLAIN), ("claim", CLAIM)):
        api.run(parse_scenario(text), folder / name, text=text)
    return folder


@pytest.fixture
def copied(first_versions: Path, tmp_path: Path) -> Copied:
    """Returns a copy of the first version "plain" or "claim" as a series."""

    def copy(name: str) -> Series:
        return Series(shutil.copytree(first_versions / name, tmp_path / name))

    return copy
