"""How to repeat the runs of a folder: the command, and what it was made with."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from securefl.runs.folder import Request
from securefl.ui.report.looks import Group
from securefl.ui.report.sharing import shareable

OVERRIDE = "# --set "  # begins the lines of a kept text that note overrides


class Repeat(NamedTuple):
    """How to repeat the runs.

    Attributes:
        command: in this folder; "" where no single command does.
        remarks: what to know before.
        made_with: title -> version, of the program and its libraries.
    """

    command: str
    remarks: Sequence[str]
    made_with: Mapping[str, str]


def repeat(
    request: Request, groups: Sequence[Group], environment: Mapping[str, Any], *, demo: bool
) -> Repeat:
    """Returns how to repeat the runs.

    Args:
        request: of the folder.
        groups: its rows.
        environment: in which the runs were made, as env.json holds it.
        demo: whether the folder has the remarks of `securefl demo`.
    """
    remarks = []
    command = _command(request, demo=demo)
    if not command:
        remarks.append(
            "The runs were made together by Python code: no single command repeats them. The "
            "values in force of each row are below."
        )
    noises = {
        (look.scenario.get("privacy") or {}).get("noise")
        for group in groups
        for look in group.looks
    }
    if "system" in noises:
        remarks.append(
            "Noise from the system is drawn again by a repetition, so that its figures differ "
            "within chance. All else repeats."
        )
    return Repeat(command, remarks, dict(_made_with(environment)))


def _command(request: Request, *, demo: bool) -> str:
    if request.study is not None:
        verb = "bench"
    elif demo:
        return "securefl demo --out repeated"
    elif len(request.cells) == 1:
        verb = "run"
    else:
        return ""
    overrides = [
        line.removeprefix(OVERRIDE)
        for line in request.text.splitlines()
        if line.startswith(OVERRIDE)
    ]
    words = ["securefl", verb, request.file]
    for override in overrides:
        words += ["--set", shareable(override)]
    return shlex.join([*words, "--out", "repeated"])


def _made_with(environment: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """The versions, in the order of the file; keys of a later version are left out."""
    titles = {
        "securefl": "securefl",
        "code": "code hash",
        "python": "Python",
        "system": "system",
    }
    known = [
        (title, shareable(str(environment[key])))
        for key, title in titles.items()
        if key in environment
    ]
    libraries = environment.get("libraries")
    if isinstance(libraries, dict):
        known += [(str(name), shareable(str(version))) for name, version in libraries.items()]
    return known
