"""Through the rule: what an ordinary client reconstructs from two global models, one after the other.

Ten clients with one image of PneumoniaMNIST each take one step; one of them looks at how the global model moved, takes
that for the update of one other client, and inverts it. Krum passes on one client's update as it is, means and medians
mix.
"""

import statistics
import sys
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from attacks.inference.labels import label_of_one
from attacks.reconstruction.inversion import inverting_gradients
from attacks.reconstruction.pictures import best_match, guesses
from benchmarks.experiments.reconstructions import BOUNDS, GOOD, Row
from securefl import vector
from securefl.audit.exposure.look import look_at
from securefl.audit.inquiry import Inquiry
from securefl.rng import seeded_keystream
from securefl.runs.table import mean_and_error
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


def rows() -> Iterator[Row]:
    """What was reconstructed under each rule; measured without a goal."""
    for name, rule in RULES.items():
        trials = [nearest(rule, seed) for seed in SEEDS]
        found, guessing = (list(column) for column in zip(*trials, strict=True))
        mean, error = mean_and_error(found)
        many = sum(one >= GOOD for one in found)
        measured = (
            f"{mean:.1f} ± {error:.1f} dB to the nearest of the other nine images, {many} of {len(SEEDS)} at {GOOD:g} "
            f"dB or more; guessing {statistics.mean(guessing):.1f} dB"
        )
        yield f"one client inverts a step, ten of one image each, {name}", "none", measured, True


def nearest(rule: str, seed: int) -> tuple[float, float]:
    """PSNR of the image found and of the better guess, each to the nearest of the other clients' images."""
    scenario = parse_scenario(
        FEDERATION, overrides=(rule, f"seed={seed}", f"data.split_seed={seed}")
    )
    inquiry = Inquiry(scenario, "clients")
    look = look_at(inquiry, on_round=lambda label, record: None)
    if look.update is None:
        raise ValueError("a client sees every step")
    others = [
        site.train.features
        for at, site in enumerate(look.data.sites)
        if at not in inquiry.coalition
    ]
    truth = look.task.inputs(torch.cat(others))
    vector.load_vector(look.model, look.update.model)
    found = inverting_gradients(
        look.model,
        look.task.loss,
        look.update.moved,
        torch.tensor([label_of_one(-look.update.moved[-1:])]),
        shape=look.task.image,
        bounds=BOUNDS,
        generator=seeded_keystream(seed, "steps").torch_generator(),
    )
    return _best(found.records, truth), _best(guesses(look.task.inputs(look.known.features)), truth)


def _best(found: Tensor, truth: Tensor) -> float:
    return float(best_match(found, truth, bounds=BOUNDS).psnr.max())


if __name__ == "__main__":
    torch.set_num_threads(1)
    for row in rows():
        print(" | ".join(row[:3]), flush=True)
    sys.exit(0)
