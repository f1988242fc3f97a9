"""Findings for readers elsewhere: without the folders of the machine that made them.

Folders name accounts, machines and sometimes patients.
"""

import re
import shlex
from dataclasses import replace

from securefl.audit.findings import Findings
from securefl.ui.report.sharing import CODE_PATH

# The folders of a path that begins at a root, a home or above the working folder: at the start of a
# word, or where a value, a text or a list begins in it.
_IN_WORDS = re.compile(
    r"""(^|[=\[,"']\s*)(?:~[\w.-]*|[A-Za-z]:|\.\.)?(?:[/\\][^"'\[\],]*)?[/\\](?=[^/\\"'\],])"""
)
# Anywhere in a sentence, where a path ends at a space.
_IN_TEXT = re.compile(
    r"""(?<![\w./\\~-])(?:~[\w.-]*|[A-Za-z]:|\.\.)?(?:[/\\][^\s"'<>()\[\],;/\\]+)+[/\\](?=[^\s/\\])"""
)


def without_paths(command: str) -> str:
    """Returns a command whose absolute paths have lost their folders."""
    try:
        words = shlex.split(command)
    except ValueError:  # a damaged command is shown as one word
        words = [command]
    return shlex.join(_IN_WORDS.sub(r"\1", CODE_PATH.sub("", word)) for word in words)


def without_folders(text: str) -> str:
    """Returns a text whose absolute paths have lost their folders."""
    return _IN_TEXT.sub("", CODE_PATH.sub("", text))


def shared(findings: Findings) -> Findings:
    """Returns findings to be handed on. Their command is left as it is, and cut where it is shown.

    Words in them can quote a scenario, which names files.
    """
    scope = findings.scope
    if scope is not None:
        scope = replace(scope, scenario=tuple(map(without_folders, scope.scenario)))
    return replace(
        findings,
        claim=without_folders(findings.claim),
        lines=tuple(replace(line, why=without_folders(line.why)) for line in findings.lines),
        exposures=tuple(
            replace(exposure, why=without_folders(exposure.why)) for exposure in findings.exposures
        ),
        notes=tuple(map(without_folders, findings.notes)),
        scope=scope,
    )
