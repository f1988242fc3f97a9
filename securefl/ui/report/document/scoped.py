"""The parts of a document on its scope, its adversary and how to repeat it."""

from collections.abc import Iterator

from securefl.audit.findings import Findings
from securefl.audit.scope import Scope
from securefl.ui.report.document.blocks import Block, Code, Facts, Items, Section, Words
from securefl.ui.report.document.paths import without_paths

UNKNOWN = (
    "An older version of securefl wrote this audit and kept no scope: the command and the notes "
    "say what was looked at."
)
REHEARSED = (
    "A scenario was rehearsed. Fair coins decided which records the client trained on, so that "
    "nothing but a leak explains why an attack can tell them from others."
)
REPLAYED = (
    "A run that had ended was replayed. Its own split decided which records the client trained on, "
    "so that a difference between training and test records can look like a leak."
)
ASSUMPTIONS = (
    "The adversary has the record in question with its label, and knows how the federation trains.",
    "It sees everything that is listed above, and nothing else.",
)
SHADOWS = "It trained {} rehearsals of its own to compare with."
NO_PATHS = "Folders of the machine that made the audit are left out: put your own in their place."
AGAIN = (
    "This command makes the same audit. With seeded noise, or none, it gives the same numbers; "
    "with noise from the system it gives those of another draw."
)


def scope_section(findings: Findings) -> Section:
    """Returns what was audited."""
    scope = findings.scope
    if scope is None:
        return Section("Scope", [Words(UNKNOWN)])
    facts = (
        ("Client", (f"client {scope.target} was attacked",)),
        ("How", (REPLAYED if scope.of_run else REHEARSED,)),
        ("Scenario", scope.scenario),
        ("Code", (f"the hash of the code that made the audit is {scope.code}",)),
    )
    return Section("Scope", [Facts(facts)])


def adversary_section(findings: Findings) -> Section:
    """Returns who looked, everything that this party observed, and what was assumed."""
    scope = findings.scope
    blocks: list[Block] = []
    if scope is not None:
        facts = [
            ("Adversary", (f"{scope.adversary}: {scope.who}",)),
            ("It observed", scope.sees or ("nothing but what is published about every run",)),
        ]
        if scope.coalition:
            clients = ", ".join(f"client {client}" for client in scope.coalition)
            facts.insert(1, ("On its side", (clients,)))
        blocks.append(Facts(facts))
    blocks += [Words("Assumptions and notes:"), Items(list(_assumptions(findings, scope)))]
    return Section("The adversary and what it observed", blocks)


def repeat_section(findings: Findings) -> Section:
    """Returns the command that repeats the audit."""
    command = without_paths(findings.command)
    blocks: list[Block] = [Words(AGAIN), Code(command)]
    if command != findings.command:
        blocks.append(Words(NO_PATHS))
    return Section("How to repeat it", blocks)


def _assumptions(findings: Findings, scope: Scope | None) -> Iterator[str]:
    if scope is not None:
        yield from ASSUMPTIONS
        if scope.shadows:
            yield SHADOWS.format(scope.shadows)
    for note in findings.notes:
        # The line of the console that names adversary and sight is the facts above.
        if scope is None or note != scope.is_seen:
            yield f"{note[:1].upper()}{note[1:]}."
