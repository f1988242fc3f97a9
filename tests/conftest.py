"""What every test has: a cache and settings of its session, and no trace in the account."""

import os
import tempfile
from collections.abc import Iterator

import pytest

FOLDERS = ("SECUREFL_CACHE", "SECUREFL_CONFIG")
LONGEST_ID = 60  # characters of a parameter; keys and digests in hexadecimal are longer


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Two processes collect the same tests, also where a parameter is a key that each draws."""
    return argname if isinstance(val, str | bytes) and len(val) > LONGEST_ID else None


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
