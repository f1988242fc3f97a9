"""Where studies are: a file, or one that comes with the package."""

from pathlib import Path

from securefl.errors import ScenarioError


def find_study(name: str) -> Path:
    """Returns the file of that name, or of the shipped study. Raises ScenarioError."""
    path = Path(name)
    if path.suffix == ".toml" or path.exists():
        return path
    shipped = shipped_studies()
    if name not in shipped:
        raise ScenarioError(
            f"there is no study {name!r}: give a .toml file, or one of {', '.join(shipped)}"
        )
    return shipped[name]


def shipped_studies() -> dict[str, Path]:
    """Returns name -> file of the studies that come with the package."""
    folder = Path(__file__).parent / "shipped"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}
