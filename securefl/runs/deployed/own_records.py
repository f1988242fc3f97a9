"""One site's own records: `site.toml` names its file, the shared part of the scenario its schema.

    [data]
    path = "/srv/hospital/visits.csv"  # or relative to the folder of site.toml

The records, the path and every sentence about them stay at the site. To the coordinator the site
says that it is not ready, and nothing more.
"""

from pathlib import Path

from securefl.errors import NotReady, ScenarioError
from securefl.runs.deployed.envelope import Kind, Part
from securefl.runs.deployed.settings import load_settings
from securefl.scenario.written import to_toml

SITE = "site.toml"


def own_paths(folder: Path) -> tuple[Path, ...]:
    """Returns the files of a site's own records, as its site.toml says.

    Raises:
        NotReady: site.toml cannot be read, or names no file.
    """
    path = folder / SITE
    try:
        settings = load_settings(path)
    except ScenarioError as reason:
        raise NotReady(str(reason)) from None
    own = settings.path_of(settings.data.path, folder)
    if own is None:
        raise NotReady(
            f"{path} names no file of records: take the # from path under [data] there; a relative "
            f"path starts at {folder}"
        )
    return (own,)


def write_own_path(folder: Path, path: Path) -> None:
    """Writes the site.toml of a rehearsal."""
    text = to_toml({"data": {"path": path.absolute()}})
    (folder / SITE).write_text(text, encoding="utf-8")


class NotReadySpeaker:
    """Speaks for a site without its records: it is not ready, whatever is asked.

    Args:
        reason: what is wrong; it stays here.
    """

    def __init__(self, reason: NotReady) -> None:
        self._reason = reason

    def take(self, part: Part) -> bytes | None:
        """Takes one part. Raises NotReady for every request."""
        if part.kind in (Kind.SET_UP, Kind.REQUEST):
            raise self._reason
        return None
