"""A small federation whose updates are attacked: its records, its model, and how clients train."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from securefl import vector
from securefl.audit.exposure.labels import last_layer_gradients
from securefl.data.task import Examples, Task, concatenate
from securefl.learning.models import images, linear
from securefl.learning.sgd import SgdTrainer
from securefl.rng import seeded_keystream
from securefl.scenario import catalog

_LEAST_PROBABILITY = 1e-12  # so that no loss is infinite


class Setting(NamedTuple):
    """A data set, its model, and how the model is trained beforehand.

    It is trained on records of neither the attacker nor a client.
    """

    data: str
    model: str
    trained_on: int  # records
    epochs: int
    lr: float


class Sgd(NamedTuple):
    """How a client trains."""

    batch: int
    epochs: int
    lr: float


class Federation(NamedTuple):
    """A model, its task, the global weights, and the records on both sides."""

    model: nn.Sequential
    task: Task
    weights: Tensor  # (d,)
    known: Examples  # of the attacker; under source inference, the records that are attacked
    clients: Examples
    accuracy: float


class Gradients(NamedTuple):
    """Gradients of the last layer, and the model's probabilities."""

    rows: Tensor  # (n, outputs * (h + 1)), each row of the weight before its bias
    probabilities: Tensor  # (n, classes)


def federation_of(setting: Setting, *, known: int, trained: bool, seed: int) -> Federation:
    """Deals records at random: to the model's training, to the attacker and to the clients."""
    options = {} if setting.data == "digits" else {"size": 28, "test_on": "test"}
    data = catalog.DATA[setting.data].load(partition="pooled", split_seed=0, **options)
    pool = concatenate([data.sites[0].train, data.test])
    generator = seeded_keystream(seed, "initial weights").torch_generator()
    # One permutation deals all records, so that no record is on two sides.
    order = torch.from_numpy(seeded_keystream(seed, "deal").permutation(len(pool)))
    places = order.tensor_split([setting.trained_on, setting.trained_on + known])
    first, attacker, clients = (part(pool, chosen) for chosen in places)
    if setting.model == "cnn":
        model = images.cnn(data.task, channels=(8, 16), generator=generator)
    else:
        model = nn.Sequential(*linear.mlp(data.task, generator=generator).children())
    weights = vector.to_vector(model)
    if trained:
        how = Sgd(32, setting.epochs, setting.lr)
        weights = weights + update_of(model, data.task, first, weights, how, seed, 0)
    accuracy = accuracy_of(model, data.task, clients, weights)
    return Federation(model, data.task, weights, attacker, clients, accuracy)


def update_of(
    model: nn.Module,
    task: Task,
    records: Examples,
    weights: Tensor,
    how: Sgd,
    seed: int,
    client: int,
    round: int = 0,
) -> Tensor:
    """Returns the update (d,) of one client's SGD."""
    trainer = SgdTrainer(
        model,
        task,
        records,
        client=client,
        batch=how.batch,
        epochs=how.epochs,
        lr=how.lr,
        stream_for=partial(seeded_keystream, seed),
    )
    return trainer.fit(weights, round=round).delta


def gradients_of(model: nn.Sequential, task: Task, records: Examples, weights: Tensor) -> Gradients:
    """Returns each record's gradient of the last layer, at weights."""
    flat = last_layer_gradients(model, task, records, weights)
    by_weight = flat[:, : -task.outputs].view(len(flat), task.outputs, -1)
    # Label counts read the bias as one more input of every row.
    by_bias = flat[:, -task.outputs :, None]
    rows = torch.cat([by_weight, by_bias], dim=2)
    return Gradients(rows.flatten(1), probabilities_of(model, task, records))


def last_layer(model: nn.Sequential, update: Tensor) -> Tensor:
    """Returns the last layer's part (outputs * (h + 1),) of an update, rows as in Gradients."""
    weight, bias = (parameter.shape for parameter in model[-1].parameters())
    size = weight.numel()
    layer = update[-(size + bias.numel()) :].double()
    return torch.cat([layer[:size].view(weight), layer[size:, None]], dim=1).flatten()


def losses_of(federation: Federation, weights: Tensor) -> Tensor:
    """Returns the cross-entropy (n,) of the known records at weights."""
    vector.load_vector(federation.model, weights)
    probabilities = probabilities_of(federation.model, federation.task, federation.known)
    own = probabilities.gather(1, federation.known.labels[:, None])[:, 0]
    return -own.clamp_min(_LEAST_PROBABILITY).log()


def accuracy_of(model: nn.Module, task: Task, records: Examples, weights: Tensor) -> float:
    """Returns the share of records that the model classifies correctly at weights."""
    vector.load_vector(model, weights)
    classes = probabilities_of(model, task, records).argmax(dim=1)
    return float((classes == records.labels).double().mean())


def probabilities_of(model: nn.Module, task: Task, records: Examples) -> Tensor:
    """Returns the probabilities (n, classes) at the model's current weights."""
    with torch.no_grad():
        return task.probabilities(model(task.inputs(records.features)))


def with_labels(pool: Examples, labels: Tensor, generator: torch.Generator) -> Examples:
    """Draws records with these labels, without replacement where the pool has enough."""
    places = torch.empty_like(labels)
    for label in range(int(labels.max()) + 1):
        of_class = (pool.labels == label).nonzero()[:, 0]
        positions = labels == label
        # Repeated, so that a class with too few records is drawn from again.
        order = torch.randperm(len(of_class), generator=generator).repeat(len(labels))
        places[positions] = of_class[order[: int(positions.sum())]]
    return part(pool, places)


def part(examples: Examples, places: Tensor) -> Examples:
    """Returns the records at these places."""
    return Examples(examples.features[places], examples.labels[places])


def shuffled(values: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the values in random order, for a control."""
    return values[torch.randperm(len(values), generator=generator)]


def signed(values: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the values with random signs, for a control that also hides their sum."""
    return values * (2 * torch.randint(2, values.shape, generator=generator) - 1)


def mean_of(values: Sequence[Tensor]) -> Tensor:
    """Returns the mean of tensors of one shape."""
    return torch.stack(list(values)).mean(dim=0)
