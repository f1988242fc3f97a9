"""What every test has: a cache of its own session, and no trace in the account that runs it."""

import os
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_session() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("SECUREFL_CACHE")
        os.environ["SECUREFL_CACHE"] = folder
        yield
        if before is None:
            del os.environ["SECUREFL_CACHE"]
        else:
            os.environ["SECUREFL_CACHE"] = before
