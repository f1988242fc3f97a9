"""Records and a model of a user's own code next to the same ones of ours: CPU seconds of a run.

    OMP_NUM_THREADS=1 nice -n 10 python -m benchmarks.speed.python_door

A run counts from the text of its scenario to its metrics, with all that code of others costs: its
hash, the trial of the model, and the check and the digest of the records. Both sides take turns in
one process. Before each run the caches are emptied that would spare the second one these costs.
Medians. Fails unless both give the same metrics, to the last digit.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import securefl
from securefl.runs.threads import one_thread
from securefl.scenario import own_data
from securefl.scenario.making import model
from securefl.scenario.plugins.trust import trust
from securefl.scenario.scenario import parse_scenario

CODE = """
import torch

from securefl.data.digits import load_digits
from securefl.learning.models.linear import mlp


def load():
    return load_digits(partition="pooled", split_seed=0)


def build(task):
    # The draws of ours: torch's own layers would draw from the run's generator, too.
    generator = torch.Generator().manual_seed(torch.initial_seed())
    return mlp(task, hidden=(64,), generator=generator)
"""
TEXT = """
rounds = {rounds}
weights = "equal"
data = {{ name = "{data}", partition = "iid", clients = 10{more} }}
model = {model}
training = {{ kind = "{kind}", batch = 32 }}
{privacy}
"""
RECORDS = [126] * 7 + [125] * 3
PRIVACY = f"""
privacy = {{ epsilon = 100.0, noise_multiplier = 1.0, noise = "seeded", records = {RECORDS} }}
"""
DECLARED = ', per_record = true, num_classes = 10, sites = ["pooled"]'
OURS = ("digits", "", '{ name = "mlp", hidden = [64] }')
THEIRS = ("python:mine.py:load", DECLARED, '"python:mine.py:build"')


class Measured(NamedTuple):
    """One run.

    Attributes:
        seconds: of CPU.
        metrics: as text, so that numbers that are nearly equal differ.
    """

    seconds: float
    metrics: str


def measure(folder: Path, side: tuple[str, str, str], kind: str, rounds: int) -> Measured:
    """Runs a scenario in a new folder."""
    data, more, architecture = side
    text = TEXT.format(
        rounds=rounds,
        data=data,
        more=more,
        model=architecture,
        kind=kind,
        privacy=PRIVACY if kind == "dp_sgd" else "",
    )
    own_data._sources.clear()
    for cached in (model._check, model._sketch):
        cached.cache_clear()
    with tempfile.TemporaryDirectory() as out:
        start = time.process_time()
        metrics = securefl.run(parse_scenario(text, folder=folder), Path(out, "run"))
        seconds = time.process_time() - start
    return Measured(seconds, json.dumps({**metrics, "seconds": None}))


def compare(folder: Path, kind: str, rounds: int, repeats: int) -> str:
    """Returns a line that compares both sides. Raises SystemExit where metrics differ."""
    sides = {"ours": OURS, "theirs": THEIRS}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    metrics = set()
    for repeat in range(repeats + 1):
        for name, side in sides.items():
            measured = measure(folder, side, kind, rounds)
            metrics.add(measured.metrics)
            # The first pair loads libraries.
            if repeat:
                seconds[name].append(measured.seconds)
    if len(metrics) > 1:
        raise SystemExit(f"{kind}: the metrics differ:\n" + "\n".join(sorted(metrics)))
    ours, theirs = (statistics.median(seconds[name]) for name in sides)
    return (
        f"{kind}, {rounds} rounds: ours {ours:.3f} s, theirs {theirs:.3f} s, "
        f"{theirs / ours - 1:+.1%}; the same metrics"
    )


def main() -> None:
    """Prints one line for each way of training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    one_thread()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # This user's own lists and caches stay as they are.
        os.environ |= {"SECUREFL_CONFIG": name, "SECUREFL_CACHE": name}
        (folder / "mine.py").write_text(CODE)
        trust(folder)
        for kind in ("sgd", "dp_sgd"):
            print(compare(folder, kind, options.rounds, options.repeats), flush=True)


if __name__ == "__main__":
    main()
