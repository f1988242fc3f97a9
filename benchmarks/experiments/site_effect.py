"""Unlike scanners: what a shift of intensities costs, and what record-local steps give back.

    make bench-site-effect
    python -m benchmarks.experiments.site_effect --write docs/results

PneumoniaMNIST. One site of three trains, and the test images are scanned by the two others. Every
model and step is tuned on two seeds of its own, on validation images of the site that trains. The
landmarks come from the validation images, which train nothing and are no test images.
"""

import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import securefl
from benchmarks.experiments.site_effect_page import Effect, Row, page, read_rows
from benchmarks.experiments.table import Page, Setup, csv_text, main
from securefl import vector
from securefl.data.harmonise.entries import harmonised
from securefl.data.harmonise.landmarks import DECILES, draft_landmarks
from securefl.data.scanners import Scanner, scanned
from securefl.data.task import Examples, concatenate
from securefl.learning.evaluate import evaluate
from securefl.learning.site_effect import site_effect
from securefl.runs.checkpoint import load_checkpoint
from securefl.scenario.assemble.data import load_data, local_steps
from securefl.scenario.assemble.parts import parts
from securefl.scenario.scenario import make_scenario

SEEDS = range(5)
TUNING_SEEDS = (100, 101)
DATA = {"name": "medmnist:pneumoniamnist", "clients": 3}
DARK = {"gain": 0.6, "gamma": 1.6}
BRIGHT = {"gain": 1.3, "gamma": 0.6}
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "intensity": [{"client": 1, **DARK}, {"client": 2, **BRIGHT}],
    "blur": [{"client": 1, "blur": 0.6}, {"client": 2, "blur": 1.0}],
}
# Name -> the model and its rounds.
MODELS: dict[str, tuple[Any, int]] = {
    "logistic": ("logistic", 20),
    "cnn": ({"name": "cnn", "channels": [8, 16]}, 8),
}
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # learning rates that are tried
STEPS = ("none", "zscore", "nyul", "nyul, zscore")
_NAME = "site-effect"


class Job(NamedTuple):
    """One run: its model, its steps, its learning rate and seed, and the landmarks."""

    model: str
    steps: str
    lr: float
    seed: int
    landmarks: tuple[float, ...]


def harmonise(steps: str, landmarks: Sequence[float]) -> list[dict[str, Any]] | None:
    """Returns the key data.harmonise for steps by name; None without a step."""
    tables: dict[str, dict[str, Any]] = {
        "zscore": {"name": "zscore"},
        "nyul": {
            "name": "nyul",
            "landmarks": list(landmarks),
            "percentiles": list(DECILES),
        },
    }
    return None if steps == "none" else [tables[name] for name in steps.split(", ")]


def values_of(job: Job, judging: str) -> dict[str, Any]:
    """Returns the scenario of a run: one site of three trains, without a claim."""
    model, rounds = MODELS[job.model]
    data = {**DATA, "only": 0, "split_seed": job.seed, "test_on": judging}
    return {
        "seed": job.seed,
        "rounds": rounds,
        "weights": "equal",
        "model": model,
        "training": {"kind": "sgd", "batch": 64, "epochs": 1, "lr": job.lr},
        "data": {**data, "harmonise": harmonise(job.steps, job.landmarks)},
        "evaluate": {"every": rounds},
    }


def tuned(job: Job) -> float:
    """Returns the AUC of a run on validation images of the site that trains."""
    with tempfile.TemporaryDirectory() as folder:
        return float(securefl.run(values_of(job, "validation"), Path(folder) / "run")["auc"])


def played(job: Job) -> Row:
    """Trains at one site, and judges on test images of its scanner and of the two others."""
    values = values_of(job, "test")
    scenario = make_scenario(values)
    with tempfile.TemporaryDirectory() as folder:
        result = securefl.run(values, Path(folder) / "run")
        (model,) = result.folder.glob("cells/*/model.safetensors")
        made = parts(scenario, run="", ledgers=Path(folder))
        vector.load_vector(made.model, load_checkpoint(model).state.weights)
    steps = local_steps(scenario)
    plain = make_scenario({**values, "data": {**values["data"], "harmonise": None}})
    test = load_data(plain).test

    def auc(examples: Examples) -> float:
        value = evaluate(made.model, made.data.task, harmonised(examples, steps)).auc
        if value is None:
            raise ValueError("the model has no AUC")
        return value

    dark, bright = scanned(test, Scanner(**DARK)), scanned(test, Scanner(**BRIGHT))
    shifted = auc(concatenate([dark, bright]))
    return Row(*job[:4], auc(test), shifted, auc(dark), auc(bright))


def effects(seed: int, landmarks: tuple[float, ...]) -> Iterator[Effect]:
    """Yields the held-out AUC of a site classifier in each setting, after each step."""
    for setting, scanners in SETTINGS.items():
        for steps in STEPS:
            scenario = make_scenario(
                {
                    "training": {"kind": "sgd"},
                    "data": {
                        **DATA,
                        "split_seed": seed,
                        "harmonise": harmonise(steps, landmarks),
                    },
                    "simulate": {"scanners": scanners},
                }
            )
            found = site_effect(load_data(scenario))
            site, label = found.site, found.label
            figures = (site["intensity"], site["sharpness"], label["intensity"])
            yield Effect(setting, steps, seed, *(figure or 0.0 for figure in figures))


def public_landmarks() -> tuple[float, ...]:
    """Returns landmarks from the published validation images."""
    data = {**DATA, "test_on": "validation"}
    scenario = make_scenario({"training": {"kind": "sgd"}, "data": data})
    return draft_landmarks(load_data(scenario).test.features)


def rows_of(setup: Setup, landmarks: tuple[float, ...]) -> list[Row]:
    """Tunes every model with every step, then measures."""
    pairs = [(model, steps) for model in MODELS for steps in STEPS]
    jobs = [
        Job(model, steps, lr, seed, landmarks)
        for model, steps in pairs
        for lr in RATES
        for seed in TUNING_SEEDS
    ]
    scores: dict[tuple[str, str, float], list[float]] = {}
    for job, score in zip(jobs, setup.workers.map(tuned, jobs), strict=True):
        scores.setdefault((job.model, job.steps, job.lr), []).append(score)
    chosen = {
        # Of equal scores the smaller rate.
        pair: -max((statistics.fmean(scores[*pair, lr]), -lr) for lr in RATES)[1]
        for pair in pairs
    }
    measured = [Job(*pair, chosen[pair], seed, landmarks) for pair in pairs for seed in SEEDS]
    return list(setup.workers.map(played, measured))


def measure(setup: Setup) -> Page:
    """Measures everything; the page is made from the CSV files, whose digits it shows."""
    landmarks = public_landmarks()
    rows = csv_text(Row._fields, rows_of(setup, landmarks), digits=6)
    found = [effect for seed in SEEDS for effect in effects(seed, landmarks)]
    sites = csv_text(Effect._fields, found, digits=6)
    text = page(read_rows(rows, Row), read_rows(sites, Effect), landmarks)
    return Page(text, {f"{_NAME}.csv": rows, f"{_NAME}-sites.csv": sites, f"{_NAME}.md": text})


if __name__ == "__main__":
    sys.exit(main(measure, about=__doc__))
