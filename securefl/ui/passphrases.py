"""Asks for the passphrase of new keys, which no command line holds."""

import getpass
import os
import sys

from securefl.errors import ScenarioError
from securefl.runs.deployed.keys import PASSPHRASE


def new_passphrase(wanted: bool) -> bytes | None:
    """Returns the passphrase for new keys; None where none is wanted. Raises ScenarioError."""
    if not wanted:
        return None
    given = os.environ.get(PASSPHRASE)
    if given is None:
        given = _asked_twice()
    if not given:
        raise ScenarioError("the passphrase is empty")
    return given.encode()


def _asked_twice() -> str:
    if not sys.stdin.isatty():
        raise ScenarioError(f"--passphrase needs a terminal, or the variable {PASSPHRASE}")
    given = getpass.getpass("passphrase of the new keys: ")
    if getpass.getpass("again: ") != given:
        raise ScenarioError("the two passphrases differ")
    return given
