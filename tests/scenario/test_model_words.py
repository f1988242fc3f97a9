"""What a summary says of a model's size, and of images that it enlarges."""

import pytest
import torch
from torch import nn

from securefl.scenario.model_words import bytes_a_record, in_words, size_words
from securefl.scenario.scenario import parse_scenario
from securefl.scenario.summary import summary

PRIVATE = "privacy = { records = [273, 273] }"


def words(*lines: str, model: str) -> list[str]:
    """The lines of a summary about the model."""
    data = 'data = { name = "medmnist:breastmnist", partition = "iid", clients = 2 }'
    text = "\n".join([data, f"model = {model}", *lines])
    start = model.split('"')[1] + ":"
    return [line for line in summary(parse_scenario(text)).splitlines() if line.startswith(start)]


def test_a_summary_says_what_the_gradients_of_single_records_need() -> None:
    # By hand: 134,271,937 parameters of 4 bytes, for 32 records.
    enlarged, sized = words(PRIVATE, model='{ name = "vgg16" }')
    assert enlarged == (
        "vgg16: images are enlarged 3 times, from 28 x 28 to 84 x 84 pixels, since its first "
        "layers are too coarse for them"
    )
    assert sized == (
        "vgg16: 134,271,937 parameters, whose gradients take 537.1 MB a record, or 17.2 GB for 32 "
        "records at once where every one is written down; a smaller training.physical_batch "
        "needs less"
    )


@pytest.mark.parametrize(("physical", "speaks"), [(25, True), (24, False)])
def test_it_says_so_from_a_gigabyte_on(physical: int, speaks: bool) -> None:
    # ResNet-18 has 11,168,193 parameters here: 24 records are just below 2^30 bytes.
    training = f"training = {{ batch = 64, physical_batch = {physical} }}"
    lines = words(PRIVATE, training, model='{ name = "resnet18" }')
    assert bool(lines) is speaks
    if speaks:
        assert "1.1 GB for 25 records at once" in lines[0]


def test_one_record_at_once_cannot_be_fewer() -> None:
    training = "training = { batch = 64, physical_batch = 1 }"
    wide = '{ name = "vgg16", width = 96, enlarge = 4 }'
    enlarged, sized = words(PRIVATE, training, model=wide)
    assert "enlarged 4 times, from 28 x 28 to 112 x 112 pixels" in enlarged
    assert sized.endswith("GB for one record where every one is written down")


def test_training_without_noise_needs_no_gradients_of_single_records() -> None:
    plain = 'training = { kind = "sgd" }'
    assert len(words(plain, model='{ name = "vgg16" }')) == 1
    assert words(plain, model='{ name = "resnet18" }') == []


def test_frozen_parameters_have_no_gradients() -> None:
    model = nn.Sequential(nn.Linear(9, 100), nn.Linear(100, 1), nn.BatchNorm1d(1))
    model[0].requires_grad_(False)
    assert bytes_a_record(model) == 4 * (101 + 2)
    assert size_words(model) == "103 parameters, whose gradients take 0.0 MB a record"


def test_a_size_needs_no_memory() -> None:
    with torch.device("meta"):
        assert bytes_a_record(nn.Linear(10**6, 10**6, bias=False)) == 4 * 10**12


@pytest.mark.parametrize(
    ("size", "expected"),
    [(999_949_999, "999.9 MB"), (1_000_000_000, "1.0 GB"), (44_672_772, "44.7 MB")],
)
def test_sizes_are_in_powers_of_ten(size: int, expected: str) -> None:
    assert in_words(size) == expected
