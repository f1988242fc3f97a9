"""The files of a pattern such as `sites/*.csv`: one for each site, named like it."""

from collections.abc import Sequence
from pathlib import Path

from securefl.errors import DataError


def site_files(pattern: Path, sites: Sequence[str] | None) -> tuple[Path, ...]:
    """Returns the files of a pattern, in the order of the sites.

    Args:
        pattern: a path whose last part has a star.
        sites: declared names of the sites; None takes the files in the order of their names.

    Raises:
        DataError: a file or a site is missing, or two files are of one site.
    """
    paths = sorted(pattern.parent.glob(pattern.name))
    if not paths:
        raise DataError(f"there is no file {pattern}")
    by_site = {path.stem: path for path in paths}
    if len(by_site) < len(paths):
        raise DataError(f"{pattern}: two files have the name of one site")
    if sites is None:
        return tuple(paths)
    for site, path in by_site.items():
        if site not in sites:
            raise DataError(f"{path} is of no declared site")
    for site in sites:
        if site not in by_site:
            raise DataError(f"{pattern}: there is no file of site {site!r}")
    return tuple(by_site[site] for site in sites)
