"""Shadows of these tests are trained by forked workers: starting a process is not tested here."""

from collections.abc import Iterator

import pytest

from tests.workers import forked_workers


@pytest.fixture(autouse=True, scope="package")
def workers_without_imports() -> Iterator[None]:
    with forked_workers():
        yield
