"""Values that a shell offers for an argument when the user presses Tab.

A shell runs the program at every Tab, so nothing here may load torch. The names are written down
where reading them would load it; a test holds them to the tables.
"""

from securefl.ui.names import ADVERSARIES, LISTS, PLUGINS


def complete_list(incomplete: str) -> list[str]:
    """Returns the lists that `ls` can print and that begin with `incomplete`."""
    return [name for name in LISTS if name.startswith(incomplete)]


def complete_plugin(incomplete: str) -> list[str]:
    """Returns the kinds of plug-ins that `new` can write and that begin with `incomplete`."""
    return [name for name in PLUGINS if name.startswith(incomplete)]


def complete_adversary(incomplete: str) -> list[str]:
    """Returns the adversaries of `audit` whose names begin with `incomplete`."""
    return [name for name in (*ADVERSARIES, "all") if name.startswith(incomplete)]


def complete_study(incomplete: str) -> list[str]:
    """Returns the shipped studies whose names begin with `incomplete`."""
    from securefl.studies.find import shipped_studies

    return [name for name in shipped_studies() if name.startswith(incomplete)]
