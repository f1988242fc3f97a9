"""Whether the code of others is the code that a run began with."""

from collections.abc import Mapping

from securefl.errors import ScenarioError
from securefl.scenario.facts import Facts
from securefl.scenario.tables import Code


def check_code(noted: Mapping[str, Code], facts: Facts) -> None:
    """Compares the code that a run noted with the code that is found.

    Raises:
        ScenarioError: a file or a package is another one now.
    """
    found = facts.code
    for origin in sorted({*noted, *found}):
        before, now = noted.get(origin), found.get(origin)
        if before != now:
            raise ScenarioError(
                f"{origin} is not the code that this run began with: {_difference(before, now)}; "
                "put it back, or run the scenario again under another --out"
            )


def _difference(before: Code | None, now: Code | None) -> str:
    """Returns in words how two versions of code differ."""
    if before is None or now is None:
        return "it is new" if before is None else "it is not used any more"
    if before.sha256 != now.sha256:
        return "a file was changed"
    if before.version != now.version:
        return f"version {before.version} before, {now.version} now"
    changed = {*before.packages.items()} ^ {*now.packages.items()}
    names = sorted({name for name, _ in changed})
    return f"it imports other versions of {', '.join(names)}"
