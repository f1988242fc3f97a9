"""Findings that the tests of this folder make documents of."""

from dataclasses import replace
from pathlib import Path

from securefl.audit.exposure.result import Exposure
from securefl.audit.findings import Findings
from securefl.audit.lines import Line, Point, Share, Verdict
from securefl.audit.repertoire import CANARIES, IMPRINT, INSIDE, LOSS_THRESHOLD, SOURCE
from securefl.audit.scope import Budget, Onlooker, Scope

# Every kind of sign that a name can hold and a format can stumble over.
HOSTILE = (
    "<script>alert(1)</script> | `x` *b* [l](http://a.b) &amp; $x$ \u202egnp.\U0001f600 {{ 1 }}"
)
POINTS = (Point(0.01, Share(0.02, 0.005, 0.05), 0.0625), Point(0.001, None, 0.01))
CHANCE = Line(LOSS_THRESHOLD, Verdict.UNDECIDED, "no violation found", 0.51, 0.02, POINTS, 0.0)
UNRUN = Line(CANARIES, Verdict.UNDECIDED, "the model is too small")
REFUTED = Line(f"640 {CANARIES}", Verdict.VIOLATED, "too many are right", 0.9, 0.01, POINTS, 5.0)
UNSEEN = Line(INSIDE, Verdict.UNDECIDED, "no update is seen by itself")
OPEN = Line(LOSS_THRESHOLD, Verdict.UNCLAIMED, "measured", 0.75, 0.02, (Point(0.01, None, None),))
LABELS_SHOWN = Exposure(SOURCE, "of ten", "share", 0.5, 0.1, error=0.05)
UNTRIED = Exposure(IMPRINT, "the clients hold the model")
SCOPE = Scope(
    code="0123456789abcdef",
    scenario=("2 rounds of 3 of 3 clients", "channel masked: the server sees the sum"),
    cell="fedcba9876543210",
    of_run=False,
    topology="server",
    channel="masked",
    adversary="server",
    who="the server, honest but curious",
    coalition=(),
    target=0,
    sees=("global model", "sum of updates", "final model"),
    deviates=False,
    shadows=0,
    exposure=True,
    budget=Budget(3.0, 1e-5, 2.5),
    onlookers=(
        Onlooker("server", "the server, honest but curious", ""),
        Onlooker("clients", "clients that share what they see", ""),
        Onlooker("network", "anybody who reads all messages", "it sees distances"),
    ),
)


def findings_of(
    folder: Path,
    *lines: Line,
    exposures: tuple[Exposure, ...] = (),
    verdict: Verdict = Verdict.UNDECIDED,
    scope: Scope | None = SCOPE,
    name: str = "audit-server-shadows-0-seed-0",
    command: str = "securefl audit digits.toml --adversary server",
) -> Findings:
    """Findings of these lines and exposures, which nothing has written yet."""
    claim = "epsilon 3 at delta 1e-05: one training example of client 0"
    notes = ("a note",) if scope is None else (scope.is_seen, "a note")
    file = folder / f"{name}.json"
    return Findings(file, command, claim, verdict, lines, exposures, notes, scope)


def by(adversary: str, scope: Scope = SCOPE) -> Scope:
    """The same scope, looked at by another adversary."""
    return replace(scope, adversary=adversary)
