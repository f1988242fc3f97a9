"""Images from gradients, updates and sums of PneumoniaMNIST.

Needs pneumoniamnist.npz (downloaded, or under SECUREFL_DATA). Hyper-parameters were chosen on validation images; labels
are found by the attack, except where that is said. Every figure stands beside the better of two guesses, the mean
training image and its mean grey.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attacks.inference.labels import label_of_one
from attacks.reconstruction.inversion import dlg, inverting_gradients
from attacks.reconstruction.local_steps import ONE_STEP, LocalSteps, local_update
from attacks.reconstruction.pictures import best_match, guesses
from securefl import vector
from securefl.data.medmnist import load_medmnist
from securefl.data.medmnist_info import source
from securefl.data.task import FederatedData, Task
from securefl.learning.models.images import cnn
from securefl.learning.sgd import SgdTrainer
from securefl.rng import seeded_keystream
from securefl.runs.table import mean_and_error

Row = tuple[str, str, str, bool]  # what, the goal, what was measured, whether the goal is met
CHANNELS, SMALL = (32, 56), (8, 16)
BOUNDS = (-1.0, 1.0)
GOOD, SEED = 25.0, 0
UNTRAINED, TRAINED, UPDATES, SHUFFLED, SUMS, TEN = 20, 6, 10, 6, 5, 10
LOCAL = LocalSteps(lr=0.01, epochs=5)
_EPOCHS, _LR, _BATCH = 5, 0.05, 64


class Subject(NamedTuple):
    """A model, its task, and what the attacker guesses without any update."""

    model: nn.Module
    task: Task
    guesses: Tensor


class Trial(NamedTuple):
    """One attack: PSNR of each of its images, that of the better guess, and the CPU seconds it took."""

    psnr: Tensor
    guessing: Tensor
    seconds: float


Attack = Callable[[Subject, Tensor, Tensor, torch.Generator], Tensor]


def rows() -> Iterator[Row]:
    """What was reconstructed, the goal, the measured figures in words, and whether the goal is met."""
    data = load_medmnist(source("pneumoniamnist"), partition="pooled", test_on="test")
    fresh, trained = subject(data, trained=False), subject(data, trained=True)
    yield _row(
        f"Inverting Gradients, first {UNTRAINED} test images, untrained",
        f"{GOOD:g} dB on >= 12, median >= 28, <= 5 s each",
        [singly(fresh, data, at, inverted) for at in range(UNTRAINED)],
        lambda found: _count(found) >= 12 and _median(found) >= 28 and _seconds(found) <= 5,
    )
    yield _row(
        f"the same, first {TRAINED}, trained {_EPOCHS} epochs",
        f"{GOOD:g} dB on >= 4",
        [singly(trained, data, at, inverted) for at in range(TRAINED)],
        lambda found: _count(found) >= 4,
    )
    small = subject(data, trained=False, channels=SMALL)
    yield _row(
        f"the same, first {TRAINED}, untrained, a ConvNet of {len(vector.to_vector(small.model)):,} parameters",
        "none",
        [singly(small, data, at, inverted) for at in range(TRAINED)],
        lambda found: True,
    )
    yield _row(
        f"the same, untrained, batches of two with their labels given, first {2 * SUMS}",
        "none",
        [summed(fresh, data, at, clients=2) for at in range(SUMS)],
        lambda found: True,
    )
    yield _row(
        f"DLG, first {TRAINED}, untrained",
        "none",
        [singly(fresh, data, at, by_dlg) for at in range(TRAINED)],
        lambda found: True,
    )
    for name, attack, goal, met in (
        (
            "its 5 local steps played again",
            inverted_update,
            "median >= 30 dB",
            lambda found: _median(found) >= 30,
        ),
        ("taken for a gradient", inverted, "none", lambda found: True),
    ):
        trials = [singly(fresh, data, at, attack, local=LOCAL) for at in range(UPDATES)]
        yield _row(f"update of 5 local steps, lr .01, first {UPDATES}, {name}", goal, trials, met)
    yield _row(
        f"shuffled gradients, first {SHUFFLED}, untrained",
        "no better than guessing",
        [singly(fresh, data, at, inverted, shuffled=True) for at in range(SHUFFLED)],
        lambda found: _ahead(found) <= 0,
    )
    yield _row(
        f"sum of {TEN} clients' gradients of one image, as a batch of {TEN} with its labels given, {SUMS} sums",
        "guessing + 1 dB at most",
        [summed(fresh, data, at) for at in range(SUMS)],
        lambda found: _ahead(found) <= 1,
    )


def subject(data: FederatedData, *, trained: bool, channels: tuple[int, ...] = CHANNELS) -> Subject:
    """A ConvNet, of 17,577 parameters, with its first weights or after some epochs on the training images."""
    model = cnn(
        data.task, channels=channels, generator=seeded_keystream(SEED, "model").torch_generator()
    )
    train = data.sites[0].train
    if trained:
        start = vector.to_vector(model)
        streams = lambda purpose, client, round: seeded_keystream(SEED, purpose)  # noqa: E731
        trainer = SgdTrainer(
            model,
            data.task,
            train,
            client=0,
            batch=_BATCH,
            epochs=_EPOCHS,
            lr=_LR,
            stream_for=streams,
        )
        vector.load_vector(model, start + trainer.fit(start, round=0).delta)
    return Subject(model, data.task, guesses(data.task.inputs(train.features)))


def singly(
    of: Subject,
    data: FederatedData,
    at: int,
    attack: Attack,
    *,
    local: LocalSteps = ONE_STEP,
    shuffled: bool = False,
) -> Trial:
    """One test image from the update of a client that has nothing else."""
    image, label = data.task.inputs(data.test.features[at : at + 1]), data.test.labels[at : at + 1]
    update = local_update(of.model, of.task.loss, image, label, local=local).detach()
    draws = seeded_keystream(SEED, "reconstruction", at).torch_generator()
    if shuffled:
        update = update[torch.randperm(len(update), generator=draws)]
    started = time.process_time()
    told = torch.tensor([label_of_one(-update[-1:])])
    found = attack(of, update, told, draws)
    return _trial(of, found, image, time.process_time() - started)


def summed(of: Subject, data: FederatedData, at: int, *, clients: int = TEN) -> Trial:
    """Test images from the sum of the gradients that clients have of one each."""
    part = slice(clients * at, clients * (at + 1))
    labels, order = data.test.labels[part].sort()
    images = data.task.inputs(data.test.features[part])[order]
    update = local_update(of.model, of.task.loss, images, labels, local=ONE_STEP).detach() * clients
    started = time.process_time()
    found = inverted(of, update, labels, seeded_keystream(SEED, "sum", at).torch_generator())
    return _trial(of, found, images, time.process_time() - started)


def inverted(of: Subject, update: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
    """Inverting Gradients, for a gradient."""
    return inverting_gradients(
        of.model, of.task.loss, update, labels, shape=of.task.image, bounds=BOUNDS, generator=draws
    ).records


def inverted_update(of: Subject, update: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
    """Inverting Gradients, local steps played again."""
    return inverting_gradients(
        of.model,
        of.task.loss,
        update,
        labels,
        shape=of.task.image,
        bounds=BOUNDS,
        generator=draws,
        local=LOCAL,
    ).records


def by_dlg(of: Subject, update: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
    """DLG with the label found beforehand."""
    return dlg(of.model, of.task.loss, update, labels, shape=of.task.image, generator=draws).records


def _trial(of: Subject, found: Tensor, truth: Tensor, seconds: float) -> Trial:
    guessing = best_match(of.guesses, truth, bounds=BOUNDS).psnr
    return Trial(best_match(found, truth, bounds=BOUNDS).psnr, guessing, seconds)


def _row(
    what: str, goal: str, trials: Sequence[Trial], met: Callable[[Sequence[Trial]], bool]
) -> Row:
    return what, goal, summary(trials), met(trials)


def summary(trials: Sequence[Trial]) -> str:
    """The figures of a row, over the images of all trials."""
    every = torch.cat([trial.psnr for trial in trials])
    mean, error = mean_and_error(every.tolist())
    return (
        f"median {_median(trials):.1f} dB, mean {mean:.1f} ± {error:.1f}, {_count(trials)} of {len(every)} at {GOOD:g} "
        f"dB or more; guessing {_median(trials) - _ahead(trials):.1f} dB; {_seconds(trials):.1f} s of CPU each (median)"
    )


def _count(trials: Sequence[Trial]) -> int:
    return sum(int((trial.psnr >= GOOD).sum()) for trial in trials)


def _median(trials: Sequence[Trial]) -> float:
    return float(torch.cat([trial.psnr for trial in trials]).quantile(0.5))


def _ahead(trials: Sequence[Trial]) -> float:
    """How far the median is above that of the better guesses, in dB."""
    return _median(trials) - float(torch.cat([trial.guessing for trial in trials]).quantile(0.5))


def _seconds(trials: Sequence[Trial]) -> float:
    return statistics.median(trial.seconds for trial in trials)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for row in rows():
        print(" | ".join([*row[:3], "met" if row[3] else "NOT met"]), flush=True)
    sys.exit(0)
