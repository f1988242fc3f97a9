"""The folders whose code this user lets scenarios run.

A scenario can come from anybody, together with Python files that it names. Reading such a scenario
must not run them: only a folder that the user has named by `--trust` may bring code.
"""

import os
from pathlib import Path

from securefl.errors import RunFolderError, ScenarioError
from securefl.files import read_json, write_json


def trust(folder: Path | str) -> None:
    """Remembers, for this user, that scenarios may run the code in a folder and below it.

    Raises:
        ScenarioError: there is no such folder, or the list cannot be written.
    """
    real = Path(folder).expanduser().resolve()
    if not real.is_dir():
        raise ScenarioError(f"--trust: there is no folder {folder}")
    folders = trusted_folders()
    if real in folders:
        return
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"folders": [str(path) for path in (*folders, real)]})
    except OSError as reason:
        raise ScenarioError(f"--trust: cannot write {file}: {reason.strerror}") from None


def is_trusted(file: Path) -> bool:
    """Whether a file lies in a trusted folder, once every symbolic link is followed."""
    real = file.resolve()
    return any(real.is_relative_to(folder) for folder in trusted_folders())


def trusted_folders() -> tuple[Path, ...]:
    """Returns the folders that were trusted, in their order; none where the list is damaged."""
    try:
        folders = read_json(_file())["folders"]
    except (RunFolderError, KeyError):
        return ()
    if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
        return ()
    return tuple(Path(folder) for folder in folders)


def _file() -> Path:
    """The list: in SECUREFL_CONFIG, or securefl in XDG_CONFIG_HOME or ~/.config."""
    folder = os.environ.get("SECUREFL_CONFIG")
    if folder:
        return Path(folder) / "trusted.json"
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(base) / "securefl" / "trusted.json"
