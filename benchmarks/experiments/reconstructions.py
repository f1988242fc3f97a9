"""Images from gradients, updates and sums of PneumoniaMNIST.

Needs pneumoniamnist.npz (downloaded, or under SECUREFL_DATA). Hyper-parameters were chosen on
validation images. The attack infers labels itself, unless a row says otherwise. Every figure comes
with the better of two guesses, the mean training image and its mean grey.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attacks.inference.labels import label_of_one
from attacks.reconstruction.inversion import dlg, inverting_gradients
from attacks.reconstruction.local_steps import ONE_STEP, LocalSteps, local_update
from attacks.reconstruction.pictures import best_match, guesses
from benchmarks.experiments.table import NO_GOAL, Row, plus_minus, show
from securefl import vector
from securefl.data.medmnist import load_medmnist
from securefl.data.medmnist_info import source
from securefl.data.task import FederatedData, Task
from securefl.learning.models.images import cnn
from securefl.learning.sgd import SgdTrainer
from securefl.rng import seeded_keystream

CHANNELS = (32, 56)
SMALL_CHANNELS = (8, 16)
BOUNDS = (-1.0, 1.0)  # of a pixel, as models read it
GOOD_DECIBELS = 25.0
SEED = 0
UNTRAINED_IMAGES = 20
TRAINED_IMAGES = 6
UPDATES = 10
SHUFFLED_IMAGES = 6
SUMS = 5
CLIENTS_IN_SUM = 10
LOCAL = LocalSteps(lr=0.01, epochs=5)
_TRAINING_EPOCHS = 5
_TRAINING_LR = 0.05
_TRAINING_BATCH = 64


class Subject(NamedTuple):
    """A model, its task, and guesses that need no update."""

    model: nn.Module
    task: Task
    guesses: Tensor


class Trial(NamedTuple):
    """One attack."""

    psnr: Tensor  # of each of its images, in dB
    guessing: Tensor  # of the better guess at each
    seconds: float  # of CPU


Attack = Callable[[Subject, Tensor, Tensor, torch.Generator], Tensor]


def rows() -> Iterator[Row]:
    """Yields all reconstructions, from easy to hopeless."""
    data = load_medmnist(source("pneumoniamnist"), partition="pooled", test_on="test")
    # After training, easy images leave next to no gradient.
    fresh = subject(data, trained=False)
    trained = subject(data, trained=True)
    trials = [singly(fresh, data, place, inverted) for place in range(UNTRAINED_IMAGES)]
    yield Row(
        f"Inverting Gradients, first {UNTRAINED_IMAGES} test images, untrained",
        f"{GOOD_DECIBELS:g} dB on >= 12, median >= 28, <= 5 s each",
        summary(trials),
        _good(trials) >= 12 and _median(trials) >= 28 and _seconds(trials) <= 5,
    )
    trials = [singly(trained, data, place, inverted) for place in range(TRAINED_IMAGES)]
    yield Row(
        f"the same, first {TRAINED_IMAGES}, trained {_TRAINING_EPOCHS} epochs",
        f"{GOOD_DECIBELS:g} dB on >= 4",
        summary(trials),
        _good(trials) >= 4,
    )
    yield from _without_goal(fresh, data)
    yield from _local_steps(fresh, data)
    trials = [
        singly(fresh, data, place, inverted, shuffled=True) for place in range(SHUFFLED_IMAGES)
    ]
    yield Row(
        f"shuffled gradients, first {SHUFFLED_IMAGES}, untrained",
        "no better than guessing",
        summary(trials),
        _ahead(trials) <= 0,
    )
    trials = [summed(fresh, data, place) for place in range(SUMS)]
    yield Row(
        f"sum of {CLIENTS_IN_SUM} clients' gradients of one image, as a batch of {CLIENTS_IN_SUM} "
        f"with its labels given, {SUMS} sums",
        "guessing + 1 dB at most",
        summary(trials),
        _ahead(trials) <= 1,
    )


def _without_goal(fresh: Subject, data: FederatedData) -> Iterator[Row]:
    """Yields a smaller model, batches of two, and DLG."""
    small = subject(data, trained=False, channels=SMALL_CHANNELS)
    parameters = len(vector.to_vector(small.model))
    what = f"the same, first {TRAINED_IMAGES}, untrained, a ConvNet of {parameters:,} parameters"
    trials = [singly(small, data, place, inverted) for place in range(TRAINED_IMAGES)]
    yield Row(what, NO_GOAL, summary(trials), True)
    what = f"the same, untrained, batches of two with their labels given, first {2 * SUMS}"
    trials = [summed(fresh, data, place, clients=2) for place in range(SUMS)]
    yield Row(what, NO_GOAL, summary(trials), True)
    trials = [singly(fresh, data, place, by_dlg) for place in range(TRAINED_IMAGES)]
    yield Row(f"DLG, first {TRAINED_IMAGES}, untrained", NO_GOAL, summary(trials), True)


def _local_steps(fresh: Subject, data: FederatedData) -> Iterator[Row]:
    """Yields updates of several steps, with the steps repeated or taken for one gradient."""
    what = f"update of 5 local steps, lr .01, first {UPDATES}"
    places = range(UPDATES)
    trials = [singly(fresh, data, place, inverted_update, local=LOCAL) for place in places]
    repeated = f"{what}, its 5 local steps played again"
    yield Row(repeated, "median >= 30 dB", summary(trials), _median(trials) >= 30)
    trials = [singly(fresh, data, place, inverted, local=LOCAL) for place in places]
    yield Row(f"{what}, taken for a gradient", NO_GOAL, summary(trials), True)


def subject(data: FederatedData, *, trained: bool, channels: tuple[int, ...] = CHANNELS) -> Subject:
    """Returns a ConvNet with its first weights, or trained for some epochs.

    With the default channels it has 17,577 parameters.
    """
    generator = seeded_keystream(SEED, "model").torch_generator()
    model = cnn(data.task, channels=channels, generator=generator)
    train = data.sites[0].train
    if trained:
        start = vector.to_vector(model)
        streams = lambda purpose, client, round: seeded_keystream(SEED, purpose)  # noqa: E731
        trainer = SgdTrainer(
            model,
            data.task,
            train,
            client=0,
            batch=_TRAINING_BATCH,
            epochs=_TRAINING_EPOCHS,
            lr=_TRAINING_LR,
            stream_for=streams,
        )
        vector.load_vector(model, start + trainer.fit(start, round=0).delta)
    return Subject(model, data.task, guesses(data.task.inputs(train.features)))


def singly(
    attacked: Subject,
    data: FederatedData,
    place: int,
    attack: Attack,
    *,
    local: LocalSteps = ONE_STEP,
    shuffled: bool = False,
) -> Trial:
    """Attacks the update of a client whose only record is one test image.

    Args:
        attacked: the model.
        data: has the test images.
        place: of the image among them.
        attack: infers the image.
        local: how the client trains.
        shuffled: permutes the update's coordinates, for a control.
    """
    image = data.task.inputs(data.test.features[place : place + 1])
    label = data.test.labels[place : place + 1]
    model = attacked.model
    update = local_update(model, attacked.task.loss, image, label, local=local).detach()
    generator = seeded_keystream(SEED, "reconstruction", place).torch_generator()
    # The control keeps all numbers of the update and destroys their places.
    if shuffled:
        update = update[torch.randperm(len(update), generator=generator)]
    start = time.process_time()
    # The last coordinate of the update is the bias of the single logit.
    inferred = torch.tensor([label_of_one(-update[-1:])])
    pictures = attack(attacked, update, inferred, generator)
    return _trial(attacked, pictures, image, time.process_time() - start)


def summed(
    attacked: Subject, data: FederatedData, place: int, *, clients: int = CLIENTS_IN_SUM
) -> Trial:
    """Attacks the sum of the gradients of clients with one test image each."""
    part = slice(clients * place, clients * (place + 1))
    # The attacker knows the labels, and takes the records in their order.
    labels, order = data.test.labels[part].sort()
    images = data.task.inputs(data.test.features[part])[order]
    mean = local_update(attacked.model, attacked.task.loss, images, labels, local=ONE_STEP)
    # One batch of all records gives the mean of the clients' gradients, and masks show their sum.
    update = mean.detach() * clients
    generator = seeded_keystream(SEED, "sum", place).torch_generator()
    start = time.process_time()
    pictures = inverted(attacked, update, labels, generator)
    return _trial(attacked, pictures, images, time.process_time() - start)


def inverted(
    attacked: Subject, update: Tensor, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """Runs Inverting Gradients on a gradient."""
    return _inverted(attacked, update, labels, generator, ONE_STEP)


def inverted_update(
    attacked: Subject, update: Tensor, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """Runs Inverting Gradients on an update, repeating its local steps."""
    return _inverted(attacked, update, labels, generator, LOCAL)


def _inverted(
    attacked: Subject,
    update: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    local: LocalSteps,
) -> Tensor:
    return inverting_gradients(
        attacked.model,
        attacked.task.loss,
        update,
        labels,
        shape=attacked.task.image,
        bounds=BOUNDS,
        generator=generator,
        local=local,
    ).records


def by_dlg(attacked: Subject, update: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Runs DLG with the inferred label."""
    return dlg(
        attacked.model,
        attacked.task.loss,
        update,
        labels,
        shape=attacked.task.image,
        generator=generator,
    ).records


def _trial(attacked: Subject, pictures: Tensor, truth: Tensor, seconds: float) -> Trial:
    guessing = best_match(attacked.guesses, truth, bounds=BOUNDS).psnr
    return Trial(best_match(pictures, truth, bounds=BOUNDS).psnr, guessing, seconds)


def summary(trials: Sequence[Trial]) -> str:
    """Returns the figures of a row, over the images of all trials."""
    decibels = torch.cat([trial.psnr for trial in trials]).tolist()
    median = _median(trials)
    return (
        f"median {median:.1f} dB, mean {plus_minus(decibels)}, "
        f"{_good(trials)} of {len(decibels)} at {GOOD_DECIBELS:g} dB or more; "
        f"guessing {median - _ahead(trials):.1f} dB; "
        f"{_seconds(trials):.1f} s of CPU each (median)"
    )


def _good(trials: Sequence[Trial]) -> int:
    return sum(int((trial.psnr >= GOOD_DECIBELS).sum()) for trial in trials)


def _median(trials: Sequence[Trial]) -> float:
    return float(torch.cat([trial.psnr for trial in trials]).quantile(0.5))


def _ahead(trials: Sequence[Trial]) -> float:
    """Returns how far the attack's median lies above the guesses', in dB."""
    guessing = torch.cat([trial.guessing for trial in trials]).quantile(0.5)
    return _median(trials) - float(guessing)


def _seconds(trials: Sequence[Trial]) -> float:
    return statistics.median(trial.seconds for trial in trials)


if __name__ == "__main__":
    show(rows())
