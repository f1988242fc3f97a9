"""Everything that an audit did not test: attacks, adversaries, and what no audit can show."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from securefl.audit.exposure.result import Exposure
from securefl.audit.findings import Findings
from securefl.audit.lines import Line, Verdict
from securefl.audit.repertoire import (
    REPERTOIRE,
    TRAINING,
    UPDATES,
    Known,
)
from securefl.ui.report.document.explained import is_measured

LIMITS = (
    "That an attack found nothing shows nothing about better attacks: no audit proves a claim from "
    "outside.",
    "A proven epsilon is a lower bound. The true loss lies between it and the promised one.",
    "One client was attacked. Other clients, with other records, can be exposed more or less.",
    "A promised delta that is wrong by itself is not noticed.",
    "Not looked at: metrics and timings that are published, logs, backups, the network below the "
    "protocol, the machines themselves and the people who use them.",
    "Other runs on the same records add to what is learned, and are no part of this audit.",
)
HONEST = (
    "The adversary was measured as if it kept to the protocol. One that sends wrong messages can "
    "learn more."
)
NO_CLAIM = "there is no claim to check"
DECLINED = "the audit was asked not to look (--no-exposure)"


class Untested(NamedTuple):
    """An attack or a party that an audit left out.

    Attributes:
        name: of the attack or the party.
        what: it does, or who it is.
        why: it was left out.
    """

    name: str
    what: str
    why: str


def untested_attacks(findings: Findings) -> list[Untested]:
    """Returns the attacks and checks of this toolkit that came to no result, and why."""
    return [
        Untested(attack.names[0], attack.does, _why_not(attack, findings))
        for attack in REPERTOIRE
        if not _was_run(attack, findings)
    ]


def unasked_adversaries(findings: Findings, audits: Sequence[Findings]) -> list[Untested]:
    """Returns the adversaries of the scenario that no audit in the folder is of.

    Args:
        findings: of one audit.
        audits: all in its folder. Those of another scenario or target do not count.
    """
    scope = findings.scope
    if scope is None:
        return []
    asked = {
        other.scope.adversary
        for other in audits
        if other.scope is not None
        and (other.scope.cell, other.scope.target) == (scope.cell, scope.target)
    }
    return [
        Untested(one.name, one.who, one.why_not or "no audit of this party lies in this folder")
        for one in scope.onlookers
        if one.name not in asked
    ]


def limits(findings: Findings) -> list[str]:
    """Returns what the audit cannot show, in sentences."""
    return [HONEST, *LIMITS]


def _was_run(attack: Known, findings: Findings) -> bool:
    lines = (line for line in findings.lines if attack.is_in(line.attack))
    exposures = (one for one in findings.exposures if attack.is_in(one.attack))
    by_line = any(is_measured(line) for line in lines)
    return by_line or any(one.measured is not None for one in exposures)


def _why_not(attack: Known, findings: Findings) -> str:
    """The reason that the audit itself gave, or what the attack would have needed."""
    for reason in _reasons(attack, findings):
        return reason
    return f"it needs {attack.needs}"


def _reasons(attack: Known, findings: Findings) -> Iterator[str]:
    parts: list[Line | Exposure] = [*findings.lines, *findings.exposures]
    yield from (part.why for part in parts if attack.is_in(part.attack))
    if attack.about == TRAINING and findings.verdict is Verdict.UNCLAIMED:
        yield NO_CLAIM
    if attack.about == UPDATES and not findings.exposures:
        yield DECLINED
    yield from (part.why for part in parts if part.attack in attack.instead)
