"""Audits of correct and of broken code: known answers, LiRA, canaries, checks from inside.

Run by `make bench-audit`. Prints a page as Markdown and, with --write, docs/results/audit.md; the
figures of every run are in audit.csv and audit_inside.csv.
"""

import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from attacks import Errors, clopper_pearson_epsilon, one_run
from benchmarks.experiments.lira import lira_line
from benchmarks.experiments.planted import FAULTS, SHARED, planted
from benchmarks.experiments.table import Count, Page, Setup, csv_text, main, markdown
from securefl.audit.bounds import bounds
from securefl.audit.inquiry import Inquiry
from securefl.audit.inside import inside_lines, play_probes
from securefl.audit.lines import Verdict
from securefl.audit.measure import play_canaries
from securefl.audit.repertoire import MECHANISM
from securefl.audit.replay import Replay
from securefl.audit.verdicts import Scored, canary_line, overall
from securefl.runs.cache import user_cache
from securefl.scenario.assemble.trainers import plan_for
from securefl.scenario.scenario import Scenario, parse_scenario

WHITE_BOX = """
rounds = 20
weights = "equal"
data = { name = "digits", partition = "iid", clients = 4, only = 0 }
model = { name = "mlp", hidden = [150] }
training = { kind = "dp_sgd", batch = 32, lr = 0.5 }
privacy = { epsilon = 4.0, noise = "seeded", records = [320] }
"""


class KnownBound(NamedTuple):
    """A published lower bound on epsilon at 95 %, from the guesses of one run."""

    canaries: int
    guesses: int
    correct: int
    delta: float
    epsilon: float


class Outside(NamedTuple):
    """The canaries of one run, seen from outside: bounds at 95 %, the verdict at 99.9 %."""

    case: str
    seed: int
    claimed: float
    steinke: float
    f_dp: float
    clopper_pearson: float
    gaussian: float
    ceiling: float
    canaries: str
    seconds: float

    @classmethod
    def of(cls, row: Mapping[str, str]) -> "Outside":
        """Returns a row of audit.csv."""
        return cls(
            case=row["case"],
            seed=int(row["seed"]),
            claimed=float(row["claimed"]),
            steinke=float(row["steinke"]),
            f_dp=float(row["f_dp"]),
            clopper_pearson=float(row["clopper_pearson"]),
            gaussian=float(row["gaussian"]),
            ceiling=float(row["ceiling"]),
            canaries=row["canaries"],
            seconds=float(row["seconds"]),
        )


class Inside(NamedTuple):
    """The verdicts on the mechanism of one run that was watched from inside."""

    case: str
    seed: int
    stands: tuple[str, ...]  # one per line of MECHANISM
    verdict: str
    seconds: float

    @classmethod
    def of(cls, row: Mapping[str, str]) -> "Inside":
        """Returns a row of audit_inside.csv."""
        stands = tuple(row[name] for name in MECHANISM)
        return cls(row["case"], int(row["seed"]), stands, row["verdict"], float(row["seconds"]))

    def cells(self) -> tuple[object, ...]:
        """Returns the row under INSIDE_HEAD."""
        return (self.case, self.seed, *self.stands, self.verdict, self.seconds)


KNOWN_BOUNDS = (
    KnownBound(1000, 600, 600, 1e-5, 5.27040),
    KnownBound(1000, 100, 90, 0.0, 1.63082),
    KnownBound(20000, 2000, 1500, 1e-6, 1.01245),
)
TWICE = "twice the steps"  # that were booked; a restarted accountant has the same effect
CORRECT = "correct"
BESIDE = "correct, noise of all four clients compared"
CASES = (CORRECT, "noise halved", "noise x .1", "clip skipped", TWICE, "noise 7 % too small")
FROM_INSIDE = (CORRECT, BESIDE, TWICE, *FAULTS)
HEAD = Outside._fields
INSIDE_HEAD = ("case", "seed", *MECHANISM, "verdict", "seconds")
COUNTS = {
    "runs": Count(20, "of each case, from outside"),
    "planted": Count(4, "of each fault, from inside"),
    "right": Count(40, "of right code, from inside"),
}
_FIRST_SEED = 500  # of each case


def scenario_of(case: str, seed: int) -> Scenario:
    """Returns the audited scenario: one of four clients, or all where their noise is compared."""
    text = WHITE_BOX
    if case in (BESIDE, SHARED):
        text = text.replace(", only = 0", "").replace("[320]", "[320, 320, 320, 320]")
    scenario = parse_scenario(text, overrides=(f"seed={seed}",))
    if case != TWICE:
        return scenario
    # Twice the rounds at the noise of half as many; the books are halved afterwards.
    noise = plan_for(scenario, 0, user_cache().remember).noise_multiplier
    longer = ("rounds=40", "privacy.epsilon=100.0", f"privacy.noise_multiplier={noise}")
    return parse_scenario(text, overrides=(f"seed={seed}", *longer))


def white_box(case: str, seed: int) -> Outside:
    """Returns the bounds that canaries give in one run at epsilon 4, and their verdict."""
    start = time.process_time()
    inquiry = Inquiry(scenario_of(case, seed), "server", seed=seed)
    with planted(_fault(case)):
        run = play_canaries(
            [inquiry], on_round=lambda label, record: None, remember=user_cache().remember
        )
    scores = run.scores()
    # Twice the steps that the books say is the fault: the claim is made from half of them.
    claim = inquiry.claim(_half_booked(run.played) if case == TWICE else run.played)
    if scores is None or claim is None:
        raise RuntimeError("the server under plain sees the canaries, and a claim is made")
    thresholds = partial(inquiry.stream, "thresholds")
    inside = run.canaries.inside
    limits = bounds(scores, inside, thresholds(), delta=claim.delta, confidence=0.95)
    scored = Scored(case, scores, inside)
    line = canary_line(scored, claim, thresholds, sight="every update by itself")
    return Outside(
        case,
        seed,
        claim.epsilon,
        limits.steinke,
        limits.f_dp,
        limits.clopper_pearson,
        limits.gaussian,
        limits.ceiling,
        line.verdict.value,
        time.process_time() - start,
    )


def from_inside(case: str, seed: int) -> Inside:
    """Returns the verdicts on the mechanism of one run at epsilon 4, watched from inside."""
    start = time.process_time()
    inquiry = Inquiry(scenario_of(case, seed), "server", seed=seed)
    with planted(_fault(case)):
        watched = play_probes(
            [inquiry], on_round=lambda label, record: None, remember=user_cache().remember
        )
    if case == TWICE:
        watched = watched._replace(played=_half_booked(watched.played))
    lines = inside_lines(inquiry, watched, watched.played.knowledge[0])
    # Other attacks may add lines; only those of the mechanism have a column.
    stands = {line.attack: line.verdict.value for line in lines}
    by_line = tuple(stands[name] for name in MECHANISM)
    verdict = overall(lines).value
    return Inside(case, seed, by_line, verdict, time.process_time() - start)


def _fault(case: str) -> str:
    """Returns the fault to plant; empty where the scenario itself is the case."""
    return case if case in FAULTS else ""


def _half_booked(run: Replay) -> Replay:
    return replace(run, spent={event: count // 2 for event, count in run.spent.items()})


def table(rows: Sequence[Outside]) -> Iterator[str]:
    """Yields the runs of each case as one line: the canaries, seen from outside."""
    head = ("planted", "runs", "Steinke", "Gaussian DP", "f-DP (of epsilon)", "violated")
    lines = []
    for case in CASES:
        runs = [row for row in rows if row.case == case]
        violated = sum(row.canaries == Verdict.VIOLATED.value for row in runs)
        seconds = statistics.median(row.seconds for row in runs)
        shares = [
            statistics.median(row.steinke / row.claimed for row in runs),
            statistics.median(row.gaussian / row.claimed for row in runs),
            statistics.median(row.f_dp / row.claimed for row in runs),
        ]
        percents = [f"{share:.0%}" for share in shares]
        lines.append([case, len(runs), *percents, violated, f"{seconds:.1f}"])
    yield from markdown((*head, "s of CPU"), lines)


def inside_table(rows: Sequence[Inside]) -> Iterator[str]:
    """Yields the runs of each case as one line: verdicts, and the lines that were violated."""
    verdicts = {
        "found": Verdict.VIOLATED,
        "cannot tell": Verdict.UNDECIDED,
        "missed (holds)": Verdict.HOLDS,
    }
    lines = []
    for case in FROM_INSIDE:
        runs = [row for row in rows if row.case == case]
        ends = [sum(row.verdict == stand.value for row in runs) for stand in verdicts.values()]
        # Transposed: one column per line of the mechanism.
        by_line = [
            column.count(Verdict.VIOLATED.value)
            for column in zip(*(row.stands for row in runs), strict=True)
        ]
        seconds = statistics.median(row.seconds for row in runs)
        lines.append([case, len(runs), *ends, *by_line, f"{seconds:.1f}"])
    yield from markdown(("planted", "runs", *verdicts, *MECHANISM, "s of CPU"), lines)


def known_answers() -> Iterator[str]:
    """Yields the table of published bounds, next to the bounds that are computed here."""
    lines: list[list[object]] = []
    for known in KNOWN_BOUNDS:
        canaries, guesses, correct, delta, epsilon = known
        here = one_run(canaries, guesses, correct, delta=delta, confidence=0.95)
        lines.append([canaries, guesses, correct, f"{delta:g}", f"{epsilon:.5f}", f"{here:.5f}"])
    yield from markdown(("m", "guesses", "right", "delta", "known", "here"), lines)
    errors = Errors(members=500, nonmembers=500, missed=100, alarms=50)
    proven = clopper_pearson_epsilon(errors, delta=1e-5, confidence=0.95)
    yield f"| 500 + 500 | 100 missed, 50 alarms | | 1e-05 | 1.77091 | {proven:.5f} |"


def page(lira: str, outside: Sequence[Outside], inside: Sequence[Inside]) -> str:
    """Returns docs/results/audit.md."""
    lines = [
        "# What audits find",
        "",
        "Made by `make bench-audit`; every run: [audit.csv](audit.csv) (canaries, from",
        "outside) and [audit_inside.csv](audit_inside.csv) (the mechanism, from inside).",
        "",
        *known_answers(),
        "",
        lira,
        "",
        "## Canaries, from outside",
        "",
        *table(outside),
        "",
        "## DP-SGD, from inside",
        "",
        "A fault is missed where the audit says that the claim holds. The last",
        "columns count the runs in which a line was violated.",
        "",
        *inside_table(inside),
    ]
    return "\n".join(lines) + "\n"


def measure(setup: Setup) -> Page:
    """Attacks, audits every case as often as asked, and makes the page."""
    lira = lira_line()
    runs = range(_FIRST_SEED, _FIRST_SEED + setup.counts["runs"])
    outside_jobs = [(case, seed) for seed in runs for case in CASES]
    right = range(_FIRST_SEED, _FIRST_SEED + setup.counts["right"])
    faulty = range(_FIRST_SEED, _FIRST_SEED + setup.counts["planted"])
    others = [case for case in FROM_INSIDE if case != CORRECT]
    inside_jobs = [(CORRECT, seed) for seed in right]
    inside_jobs += [(case, seed) for seed in faulty for case in others]
    outside = list(setup.workers.map(white_box, *zip(*outside_jobs, strict=True)))
    inside = list(setup.workers.map(from_inside, *zip(*inside_jobs, strict=True)))
    text = page(lira, outside, inside)
    files = {
        "audit.md": text,
        "audit.csv": csv_text(HEAD, outside, digits=5),
        "audit_inside.csv": csv_text(INSIDE_HEAD, [row.cells() for row in inside], digits=5),
    }
    return Page(text, files)


if __name__ == "__main__":
    sys.exit(main(measure, about=__doc__, counts=COUNTS))
