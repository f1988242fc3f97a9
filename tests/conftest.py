"""What every test has: a cache and settings of its session, and no trace in the account."""

import os
import tempfile
from collections.abc import Iterator

import pytest

FOLDERS = ("SECUREFL_CACHE", "SECUREFL_CONFIG")


@pytest.fixture(autouse=True, scope="session")
def folders_of_the_session() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in FOLDERS}
    with tempfile.TemporaryDirectory() as folder:
        for name in FOLDERS:
            os.environ[name] = os.path.join(folder, name.lower())
        yield
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
