"""Through the rule: one client's image, reconstructed by another client from two global models.

Ten clients with one image of PneumoniaMNIST each take one step. One of them takes the move of the
global model for the update of a single other client, and inverts it. Krum passes on one client's
update as it is; means and medians mix updates.
"""

import statistics
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.inference.labels import label_of_one
from attacks.reconstruction.inversion import inverting_gradients
from attacks.reconstruction.pictures import best_match, guesses
from benchmarks.experiments.reconstructions import BOUNDS, GOOD_DECIBELS
from benchmarks.experiments.table import NO_GOAL, Row, plus_minus, show
from securefl import vector
from securefl.audit.exposure.look import look_at
from securefl.audit.inquiry import Inquiry
from securefl.rng import seeded_keystream
from securefl.scenario.scenario import parse_scenario

FEDERATION = """
rounds = 1
weights = "equal"
data = { name = "medmnist:pneumoniamnist", partition = "iid", clients = 10, most = 1 }
model = { name = "cnn", channels = [32, 56] }
training = { kind = "sgd", batch = 1, lr = 0.1 }
"""
RULES: Mapping[str, str] = {
    "mean": 'defense.rule="mean"',
    "median": 'defense.rule="median"',
    "trimmed mean, f = 2": 'defense.rule={name="trimmed_mean", f=2}',
    "krum, f = 2": 'defense.rule={name="krum", f=2}',
}
SEEDS = tuple(range(700, 706))


class Nearest(NamedTuple):
    """PSNR in dB to the nearest of the other clients' images."""

    attack: float
    guess: float  # the better of two


def rows() -> Iterator[Row]:
    """Yields the reconstructions under each rule; they have no goal."""
    for name, rule in RULES.items():
        trials = [nearest(rule, seed) for seed in SEEDS]
        decibels = [trial.attack for trial in trials]
        good = sum(value >= GOOD_DECIBELS for value in decibels)
        guessing = statistics.mean(trial.guess for trial in trials)
        measured = (
            f"{plus_minus(decibels)} dB to the nearest of the other nine images, "
            f"{good} of {len(SEEDS)} at {GOOD_DECIBELS:g} dB or more; guessing {guessing:.1f} dB"
        )
        what = f"one client inverts a step, ten of one image each, {name}"
        yield Row(what, NO_GOAL, measured, True)


def nearest(rule: str, seed: int) -> Nearest:
    """Returns how close one client's reconstruction comes, and how close guessing comes."""
    overrides = (rule, f"seed={seed}", f"data.split_seed={seed}")
    inquiry = Inquiry(parse_scenario(FEDERATION, overrides=overrides), "clients")
    look = look_at(inquiry, on_round=lambda label, record: None)
    if look.update is None:
        raise ValueError("a client sees every step")
    images = [
        site.train.features
        for client, site in enumerate(look.data.sites)
        if client not in inquiry.coalition
    ]
    truth = look.task.inputs(torch.cat(images))
    # The client saw the global model before the step, and the step itself.
    vector.load_vector(look.model, look.update.model)
    # The last coordinate of the update is the bias of the single logit.
    label = label_of_one(-look.update.moved[-1:])
    inverted = inverting_gradients(
        look.model,
        look.task.loss,
        look.update.moved,
        torch.tensor([label]),
        shape=look.task.image,
        bounds=BOUNDS,
        generator=seeded_keystream(seed, "steps").torch_generator(),
    )
    guessed = guesses(look.task.inputs(look.own_records.features))
    return Nearest(_best(inverted.records, truth), _best(guessed, truth))


def _best(pictures: Tensor, truth: Tensor) -> float:
    return float(best_match(pictures, truth, bounds=BOUNDS).psnr.max())


if __name__ == "__main__":
    show(rows())
