"""What audits find: known answers, LiRA, white-box canaries on correct and on broken code. Run by `make bench-audit`.

Prints a page as Markdown and, with --write, docs/results/audit.md; the figures of every run are in audit.csv and
audit_inside.csv.
"""

import argparse
import csv
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from attacks import Errors, clopper_pearson_epsilon, one_run
from attacks.inference.membership import lira_online
from attacks.measures.scores import at_false_positive_rate, auc
from benchmarks.experiments.planted import FAULTS, SHARED, planted
from securefl.audit.bounds import bounds
from securefl.audit.inquiry import Inquiry, rehearsed
from securefl.audit.inside import lines_of, watch
from securefl.audit.knowledge import Watcher
from securefl.audit.measure import sing
from securefl.audit.membership import Question
from securefl.audit.replay import Replay, replay
from securefl.audit.threats import THREATS
from securefl.audit.verdicts import MECHANISM, Stand, canary_line, overall
from securefl.data.rehearsal import drawn
from securefl.runs.cache import user_cache
from securefl.scenario.assemble.data import load_data, pool_of
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
LIRA = """
rounds = 10
weights = "equal"
data = { name = "digits", partition = "pooled", label_noise = 0.2 }
model = { name = "mlp", hidden = [100] }
training = { kind = "sgd", batch = 32, epochs = 20, lr = 0.3 }
"""
KNOWN = (
    (1000, 600, 600, 1e-5, 5.27040),
    (1000, 100, 90, 0.0, 1.63082),
    (20000, 2000, 1500, 1e-6, 1.01245),
)
TWICE = "twice the steps"  # that were booked; what a restarted accountant leaves, too
CORRECT, BESIDE = "correct", "correct, noise of all four clients compared"
CASES = (CORRECT, "noise halved", "noise x .1", "clip skipped", TWICE, "noise 7 % too small")
FROM_INSIDE = (CORRECT, BESIDE, TWICE, *FAULTS)
METHODS = ("steinke", "f_dp", "clopper_pearson", "gaussian", "ceiling")
HEAD = ("case", "seed", "claimed", *METHODS, "canaries", "seconds")
INSIDE_HEAD = ("case", "seed", *MECHANISM, "verdict", "seconds")
_RUNS, _FIRST = 20, 500  # and the seed of the first of each case
_RIGHT, _PLANTED = 40, 4  # runs from inside, of right code and of each fault
_SHADOWS = 32


def scenario_of(case: str, seed: int) -> Scenario:
    """Returns what is audited: one of four clients, or all of them where their noise is compared."""
    text = WHITE_BOX
    if case in (BESIDE, SHARED):
        text = text.replace(", only = 0", "").replace("[320]", "[320, 320, 320, 320]")
    scenario = parse_scenario(text, overrides=(f"seed={seed}",))
    if case != TWICE:
        return scenario
    noise = plan_for(scenario, 0, user_cache().remember).noise_multiplier
    more = ("rounds=40", "privacy.epsilon=100.0", f"privacy.noise_multiplier={noise}")
    return parse_scenario(text, overrides=(f"seed={seed}", *more))


def white_box(case: str, seed: int) -> dict[str, Any]:
    """Returns what canaries show from outside in one run at epsilon 4: bounds at 95 %, the verdict at 99.9 %."""
    torch.set_num_threads(1)
    begun, remember = time.process_time(), user_cache().remember
    inquiry = Inquiry(scenario_of(case, seed), "server", seed=seed)
    with planted(case if case in FAULTS else ""):
        scores, canaries, run = sing(
            inquiry, on_round=lambda label, record: None, remember=remember
        )
    claim = inquiry.claim(_half_booked(run) if case == TWICE else run)
    if scores is None or claim is None:
        raise RuntimeError("the server under plain sees the canaries, and a claim is made")
    thresholds, inside = partial(inquiry.stream, "thresholds"), canaries.inside
    found = bounds(scores, inside, thresholds(), delta=claim.delta, confidence=0.95)
    line = canary_line(case, scores, inside, claim, thresholds, seen="every update by itself")
    measured = [getattr(found, method) for method in METHODS]
    values = (case, seed, claim.epsilon, *measured, line.stand.value, time.process_time() - begun)
    return dict(zip(HEAD, values, strict=True))


def from_inside(case: str, seed: int) -> dict[str, Any]:
    """Returns the verdicts on the mechanism of one run at epsilon 4, watched from inside."""
    torch.set_num_threads(1)
    begun, remember = time.process_time(), user_cache().remember
    inquiry = Inquiry(scenario_of(case, seed), "server", seed=seed)
    with planted(case if case in FAULTS else ""):
        watched = watch(inquiry, on_round=lambda label, record: None, remember=remember)
    if case == TWICE:
        watched = watched._replace(played=_half_booked(watched.played))
    lines = lines_of(inquiry, watched)
    stands = {line.attack: line.stand.value for line in lines}
    verdicts = [*(stands[name] for name in MECHANISM), overall(lines).value]
    return dict(zip(INSIDE_HEAD, (case, seed, *verdicts, time.process_time() - begun), strict=True))


def _half_booked(run: Replay) -> Replay:
    return replace(run, spent={event: count // 2 for event, count in run.spent.items()})


def lira() -> tuple[float, float, float, float]:
    """AUC, true positives at .1 % of false ones, AUC among non-members alone, and seconds of CPU, training included.

    Every model is attacked once, with the others as its shadows.
    """
    torch.set_num_threads(1)
    begun, scenario = time.process_time(), parse_scenario(LIRA)
    data = load_data(scenario)
    pool = pool_of(scenario, data, 0)
    watcher = Watcher(THREATS["outsider"], (), 0, "plain")
    seeds = range(2 * _FIRST, 2 * _FIRST + _SHADOWS + 1)
    confidences = []
    for seed in seeds:
        played = replay(
            rehearsed(scenario, 0, seed, apart=seed), [watcher], on_round=lambda record: None
        )
        question = Question(pool.examples, pool.examples, played.assembled.model, data.task, None)
        confidences.append(question.confidences(played.weights))
    known, inside = torch.stack(confidences), torch.stack([drawn(pool, seed) for seed in seeds])
    members, others = [], []
    for at in range(len(known)):
        rest = torch.arange(len(known)) != at
        scores = lira_online(known[at], known[rest], inside[rest], pooled=None)
        members.append(scores[inside[at]])
        others.append(scores[~inside[at]])
    seconds, all_others = time.process_time() - begun, torch.cat(others)
    found = at_false_positive_rate(torch.cat(members), all_others, at=0.001, confidence=0.95)
    coins = torch.rand(len(all_others), generator=torch.Generator().manual_seed(_FIRST)) < 0.5
    rate = math.nan if found is None else found.true_positive_rate
    return (
        auc(torch.cat(members), all_others),
        rate,
        auc(all_others[coins], all_others[~coins]),
        seconds,
    )


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The runs of each case as one line: what canaries show from outside."""
    yield "| planted | runs | Steinke | Gaussian DP | f-DP (of epsilon) | violated | s of CPU |"
    yield "|---|---|---|---|---|---|---|"
    for case in CASES:
        runs = [row for row in rows if row["case"] == case]
        shares = [
            f"{statistics.median(float(row[name]) / float(row['claimed']) for row in runs):.0%}"
            for name in ("steinke", "gaussian", "f_dp")
        ]
        found = sum(row["canaries"] == Stand.VIOLATED.value for row in runs)
        seconds = statistics.median(float(row["seconds"]) for row in runs)
        yield f"| {case} | {len(runs)} | {' | '.join(shares)} | {found} | {seconds:.1f} |"


def inside_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields the runs of each case as one line: found, cannot tell or missed, and by which lines."""
    yield f"| planted | runs | found | cannot tell | missed (holds) | {' | '.join(MECHANISM)} | s of CPU |"
    yield "|---" * (6 + len(MECHANISM)) + "|"
    for case in FROM_INSIDE:
        runs = [row for row in rows if row["case"] == case]
        ends = [
            sum(row["verdict"] == stand.value for row in runs)
            for stand in (Stand.VIOLATED, Stand.UNTOLD, Stand.HOLDS)
        ]
        by_line = [sum(row[name] == Stand.VIOLATED.value for row in runs) for name in MECHANISM]
        seconds = statistics.median(float(row["seconds"]) for row in runs)
        counts = " | ".join(map(str, [*ends, *by_line]))
        yield f"| {case} | {len(runs)} | {counts} | {seconds:.1f} |"


def known_answers() -> Iterator[str]:
    """Yields the table of bounds that are known, beside those that are computed here."""
    yield "| m | guesses | right | delta | known | here |"
    yield "|---|---|---|---|---|---|"
    for m, guesses, right, delta, known in KNOWN:
        here = one_run(m, guesses, right, delta=delta, confidence=0.95)
        yield f"| {m} | {guesses} | {right} | {delta:g} | {known:.5f} | {here:.5f} |"
    proven = clopper_pearson_epsilon(Errors(500, 500, 100, 50), delta=1e-5, confidence=0.95)
    yield f"| 500 + 500 | 100 missed, 50 alarms | | 1e-05 | 1.77091 | {proven:.5f} |"


def lira_line() -> str:
    """Trains and attacks, and returns what was found in words."""
    area, hits, alone, seconds = lira()
    found = f"AUC {area:.3f}, TPR at .1 % FPR {hits:.3%}, non-members alone AUC {alone:.3f}"
    return f"LiRA, digits with 20 % label noise, {_SHADOWS} shadows: {found}; {seconds:.0f} s of CPU with training."


def page(
    lira: str, outside: Sequence[Mapping[str, Any]], inside: Sequence[Mapping[str, Any]]
) -> str:
    """Returns docs/results/audit.md."""
    head = [
        "# What audits find",
        "",
        "Made by `make bench-audit`; every run: [audit.csv](audit.csv) (canaries, from",
    ]
    head += ["outside) and [audit_inside.csv](audit_inside.csv) (the mechanism, from inside).", ""]
    middle = [*known_answers(), "", lira, "", "## Canaries, from outside", "", *table(outside), ""]
    end = [
        "## DP-SGD, from inside",
        "",
        "A fault is missed where the audit says that the claim holds. The last",
    ]
    end += ["columns count the runs in which a line was violated.", "", *inside_table(inside)]
    return "\n".join([*head, *middle, *end]) + "\n"


def save(path: Path, head: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes one row a run."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, head, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {key: f"{one:.5g}" if isinstance(one, float) else one for key, one in row.items()}
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the audits and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=_RUNS, help="of each case, from outside")
    parser.add_argument("--planted", type=int, default=_PLANTED, help="of each fault, from inside")
    parser.add_argument("--right", type=int, default=_RIGHT, help="of right code, from inside")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", type=Path, help="folder for audit.md and its tables")
    chosen = parser.parse_args(arguments)
    found = lira_line()
    asked = [(case, _FIRST + run) for run in range(chosen.runs) for case in CASES]
    watched = [(CORRECT, _FIRST + run) for run in range(chosen.right)]
    watched += [
        (case, _FIRST + run)
        for run in range(chosen.planted)
        for case in FROM_INSIDE
        if case != CORRECT
    ]
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as workers:
        outside = list(workers.map(white_box, *zip(*asked, strict=True)))
        inside = list(workers.map(from_inside, *zip(*watched, strict=True)))
    text = page(found, outside, inside)
    sys.stdout.write(text)
    if chosen.write is not None:
        (chosen.write / "audit.md").write_text(text, encoding="utf-8")
        save(chosen.write / "audit.csv", HEAD, outside)
        save(chosen.write / "audit_inside.csv", INSIDE_HEAD, inside)
    return 0


if __name__ == "__main__":
    sys.exit(main())
