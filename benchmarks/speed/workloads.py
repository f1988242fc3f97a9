"""What the engine and its peers train: models, records, sizes. Imports torch and nothing of ours.

Peers run in environments of their own, without this package's dependencies.

    A    10 clients x 500 images, CNN of 207k parameters with group norm, batches of 32
    B    100 clients x 50 images, CNN of 9k parameters, batches of 10
    Bm   B with an MLP of 79.5k parameters
    C    A with DP-SGD, clip 1, noise 1
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

LR = 0.1
SIDE = 28  # pixels
CLASSES = 10
TEST_RECORDS = 100
NOISE_MULTIPLIER = 1.0
CLIP = 1.0


class Workload(NamedTuple):
    """What is trained, and by whom."""

    clients: int
    records: int
    batch: int
    network: str
    private: bool = False


class Records(NamedTuple):
    """Images and their labels."""

    images: Tensor  # (n, 1, 28, 28)
    labels: Tensor  # (n,)


WORKLOADS = {
    "A": Workload(10, 500, 32, "cnn"),
    "B": Workload(100, 50, 10, "small cnn"),
    "Bm": Workload(100, 50, 10, "mlp"),
    "C": Workload(10, 500, 32, "cnn", private=True),
}


def pictures(number: int) -> Records:
    """Returns images in bytes that nobody owns, and their labels."""
    generator = torch.Generator().manual_seed(number)
    images = torch.randint(256, (number, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    return Records(images, torch.randint(CLASSES, (number,), generator=generator))


def scaled(records: Records) -> Records:
    """Returns the same images as numbers from 0 to 1."""
    return Records(records.images / 255, records.labels)


def sites(work: Workload) -> list[Records]:
    """Returns the records of each client, scaled."""
    everything = scaled(pictures(work.clients * work.records))
    parts = (torch.split(part, work.records) for part in everything)
    return [Records(*site) for site in zip(*parts, strict=True)]


def server_records() -> Records:
    """Returns the server's records, scaled."""
    return scaled(pictures(TEST_RECORDS))


def cnn(channels: Sequence[int], hidden: Sequence[int]) -> nn.Sequential:
    """Returns blocks of convolution, group norm, tanh and pooling, then linear layers."""
    layers: list[nn.Module] = []
    inputs = 1
    for width in channels:
        norm = nn.GroupNorm(8, width)
        layers += [nn.Conv2d(inputs, width, 3, padding=1), norm, nn.Tanh(), nn.MaxPool2d(2)]
        inputs = width
    side = SIDE // 2 ** len(channels)
    return nn.Sequential(*layers, *linear(inputs * side**2, hidden))


def linear(inputs: int, hidden: Sequence[int]) -> list[nn.Module]:
    """Returns linear layers with tanh between them."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.Tanh()]
        inputs = width
    return [*layers, nn.Linear(inputs, CLASSES)]


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {
    "cnn": lambda: cnn((16, 32), (128,)),
    "small cnn": lambda: cnn((8, 16), ()),
    "mlp": lambda: nn.Sequential(*linear(SIDE * SIDE, (100,))),
}
