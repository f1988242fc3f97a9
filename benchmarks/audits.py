"""What audits find: known answers, LiRA, white-box canaries on correct and on broken code. Run by `make bench-audit`.

Prints one table as Markdown and, with --write, docs/results/audit.md; the figures of every run are in audit.csv.
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

from attacks.audit import Errors, clopper_pearson_epsilon, one_run
from attacks.membership import lira_online
from attacks.scores import at_false_positive_rate, auc
from benchmarks.planted import FAULTS, planted
from securefl.assemble import plan_for
from securefl.audit.bounds import bounds
from securefl.audit.knowledge import Watcher
from securefl.audit.leakage import Inquiry, rehearsed, sing, unit_of
from securefl.audit.membership import Question
from securefl.audit.replay import replay
from securefl.audit.verdicts import Stand, canary_line, noise_line
from securefl.cache import user_cache
from securefl.records import drawn, load_data, pool_of
from securefl.scenario import parse_scenario
from securefl.threat_models import THREATS

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
KNOWN = ((1000, 600, 600, 1e-5, 5.27040), (1000, 100, 90, 0.0, 1.63082), (20000, 2000, 1500, 1e-6, 1.01245))
TWICE = "twice the steps"  # that were booked; what a restarted accountant leaves, too
CASES = ("correct", "noise halved", "noise x .1", "clip skipped", TWICE, "noise 7 % too small")
METHODS = ("steinke", "f_dp", "clopper_pearson", "gaussian", "ceiling")
HEAD = ("case", "seed", "claimed", *METHODS, "canaries", "noise", "seconds")
_RUNS, _FIRST = 20, 500  # and the seed of the first of each case
_SHADOWS = 32


def white_box(case: str, seed: int) -> dict[str, Any]:
    """One audit of one run at epsilon 4: bounds at 95 %, the verdict at 99.9 %."""
    torch.set_num_threads(1)
    begun, remember = time.process_time(), user_cache().remember
    scenario = parse_scenario(WHITE_BOX, overrides=(f"seed={seed}",))
    if case == TWICE:
        noise = plan_for(scenario, 0, remember).noise_multiplier
        more = ("rounds=40", "privacy.epsilon=100.0", f"privacy.noise_multiplier={noise}")
        scenario = parse_scenario(WHITE_BOX, overrides=(f"seed={seed}", *more))
    inquiry = Inquiry(scenario, "server", seed=seed)
    with planted(case if case in FAULTS else ""):
        scores, canaries, run = sing(inquiry, on_round=lambda label, record: None, remember=remember)
    if case == TWICE:
        run = replace(run, spent={event: count // 2 for event, count in run.spent.items()})
    claim = inquiry.claim(run)
    if scores is None or claim is None:
        raise RuntimeError("the server under plain sees the canaries, and a claim is made")
    thresholds, inside = partial(inquiry.stream, "thresholds"), canaries.inside
    found = bounds(scores, inside, thresholds(), delta=claim.delta, confidence=0.95)
    line = canary_line(case, scores, inside, claim, thresholds, seen="every update by itself")
    variance = noise_line(scores, inside, claim, unit=unit_of(inquiry, remember))
    measured = [getattr(found, method) for method in METHODS]
    values = (case, seed, claim.epsilon, *measured, line.stand.value, variance.stand.value, time.process_time() - begun)
    return dict(zip(HEAD, values, strict=True))


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
        played = replay(rehearsed(scenario, 0, seed, apart=seed), [watcher], on_round=lambda record: None)
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
    return auc(torch.cat(members), all_others), rate, auc(all_others[coins], all_others[~coins]), seconds


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The runs of each case as one line."""
    yield "| planted | runs | Steinke | Gaussian DP | f-DP (of epsilon) | violated | by variance | holds | s of CPU |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for case in CASES:
        runs = [row for row in rows if row["case"] == case]
        shares = [
            f"{statistics.median(float(row[name]) / float(row['claimed']) for row in runs):.0%}"
            for name in ("steinke", "gaussian", "f_dp")
        ]
        found = [sum(row[line] == Stand.VIOLATED.value for row in runs) for line in ("canaries", "noise")]
        holds = sum(row["noise"] == Stand.HOLDS.value and row["canaries"] == Stand.UNTOLD.value for row in runs)
        seconds = statistics.median(float(row["seconds"]) for row in runs)
        yield f"| {case} | {len(runs)} | {' | '.join(shares)} | {found[0]} | {found[1]} | {holds} | {seconds:.1f} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the audits and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=_RUNS, help="of each case")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", type=Path, help="folder for audit.md and audit.csv")
    chosen = parser.parse_args(arguments)
    told = ["| m | guesses | right | delta | known | here |", "|---|---|---|---|---|---|"]
    for m, guesses, right, delta, known in KNOWN:
        here = one_run(m, guesses, right, delta=delta, confidence=0.95)
        told.append(f"| {m} | {guesses} | {right} | {delta:g} | {known:.5f} | {here:.5f} |")
    proven = clopper_pearson_epsilon(Errors(500, 500, 100, 50), delta=1e-5, confidence=0.95)
    told.append(f"| 500 + 500 | 100 missed, 50 alarms | | 1e-05 | 1.77091 | {proven:.5f} |")
    area, hits, alone, seconds = lira()
    told += [
        "",
        f"LiRA, digits with 20 % label noise, {_SHADOWS} shadows: AUC {area:.3f}, TPR at .1 % FPR {hits:.3%}, ",
    ]
    told[-1] += f"non-members alone AUC {alone:.3f}; {seconds:.0f} s of CPU with training."
    asked = [(case, _FIRST + run) for run in range(chosen.runs) for case in CASES]
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as workers:
        rows = list(workers.map(white_box, *zip(*asked, strict=True)))
    told += ["", *table(rows)]
    text = "\n".join(told) + "\n"
    sys.stdout.write(text)
    if chosen.write is not None:
        page = f"# What audits find\n\nMade by `make bench-audit`; every run: [audit.csv](audit.csv).\n\n{text}"
        (chosen.write / "audit.md").write_text(page, encoding="utf-8")
        with (chosen.write / "audit.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, HEAD, lineterminator="\n")
            writer.writeheader()
            for row in rows:
                writer.writerow({key: f"{one:.5g}" if isinstance(one, float) else one for key, one in row.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
