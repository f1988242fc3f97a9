"""Simulated scanners: known answers, and test records that belong to no site."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from securefl.data import scanners
from securefl.data.scanners import Scanner, scanned, with_scanners
from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.errors import ScenarioError
from tests.data.sets import Records

TASK = Task(features=16, classes=2, image=(1, 4, 4))
DARK = Scanner(gain=0.5, gamma=2.0)


def images(records: int, *, first: int = 0) -> Examples:
    """Returns images that all differ."""
    pixels = np.random.default_rng(first).integers(0, 256, size=(records, 1, 4, 4))
    return Examples(torch.from_numpy(pixels.astype(np.uint8)), torch.arange(records) % 2)


def bag(*parts: Examples | None) -> Records:
    found = Records()
    for part in parts:
        assert part is not None
        rows = part.features.flatten(1).tolist()
        found.update((*row, label) for row, label in zip(rows, part.labels.tolist(), strict=True))
    return found


def common(sites: int = 3, tests: int = 60) -> FederatedData:
    made = tuple(Site(f"client-{i}", images(5, first=i), None) for i in range(sites))
    return FederatedData(TASK, made, images(tests, first=99))


def test_gain_and_gamma_known_answer() -> None:
    # 255 * .5 * (x / 255)^2: 127.5 rounds to the even 128, 51 gives 5.1, 102 gives 20.4.
    pixels = torch.tensor([0, 51, 102, 255], dtype=torch.uint8).reshape(1, 1, 2, 2)
    made = scanned(Examples(pixels, torch.tensor([1])), DARK)
    assert made.features.flatten().tolist() == [0, 5, 20, 128]
    assert made.features.dtype == torch.uint8
    assert made.labels.tolist() == [1]
    bright = scanned(Examples(pixels, torch.tensor([1])), Scanner(gain=2.0))
    assert bright.features.flatten().tolist() == [0, 102, 204, 255]


def test_blur_comes_before_gain_and_gamma_and_stays_within_an_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    examples = images(5)
    monkeypatch.setattr(scanners, "BLOCK_VALUES", 33)
    made = scanned(examples, Scanner(gain=0.5, gamma=2.0, blur=1.0)).features
    for image, result in zip(examples.features.double(), made, strict=True):
        blurred = gaussian_filter(image[0].numpy(), 1.0, mode="nearest")
        expected = np.rint(255 * 0.5 * (blurred / 255) ** 2)
        assert result[0].numpy() == pytest.approx(expected)


def test_channels_are_not_blurred_into_each_other_and_volumes_are_blurred_in_depth() -> None:
    colours = torch.zeros(1, 2, 4, 4, dtype=torch.uint8)
    colours[0, 0] = 200
    made = scanned(Examples(colours, torch.zeros(1)), Scanner(blur=1.0)).features
    assert torch.equal(made, colours)
    volume = torch.zeros(1, 1, 5, 5, 5, dtype=torch.uint8)
    volume[0, 0, 2] = 200
    blurred = scanned(Examples(volume, torch.zeros(1)), Scanner(blur=1.0)).features
    assert blurred[0, 0, 1].min() > 0


def test_decimals_have_no_black_and_white() -> None:
    with pytest.raises(ScenarioError, match="needs images whose pixels are bytes"):
        scanned(Examples(torch.zeros(1, 1, 2, 2), torch.zeros(1)), DARK)


def test_common_test_records_are_dealt_to_all_sites_and_scanned_there() -> None:
    data = common()
    made = with_scanners(data, {1: DARK}, seed=0)
    tests = [site.test for site in made.sites]
    assert all(test is not None and len(test) > 5 for test in tests)
    assert torch.equal(made.sites[0].train.features, data.sites[0].train.features)
    assert bag(made.sites[1].train) == bag(scanned(data.sites[1].train, DARK))
    assert bag(made.test) == bag(*tests)
    # Without a scanner the same deal gives the published records back.
    plain = with_scanners(data, {}, seed=0)
    assert bag(plain.test) == bag(data.test)
    before = plain.sites[1].test
    assert before is not None
    assert bag(tests[1]) == bag(scanned(before, DARK))
    assert bag(tests[0]) == bag(plain.sites[0].test)


def test_the_site_of_a_test_record_follows_from_its_content_and_the_seed() -> None:
    data = common()
    shorter = FederatedData(
        data.task, data.sites, Examples(data.test.features[7:], data.test.labels[7:])
    )
    whole, part, other = (
        with_scanners(given, {}, seed=seed) for given, seed in ((data, 0), (shorter, 0), (data, 1))
    )
    for index in range(3):
        assert not bag(part.sites[index].test) - bag(whole.sites[index].test)
    assert [bag(site.test) for site in whole.sites] != [bag(site.test) for site in other.sites]


def test_a_sites_own_test_records_stay_at_the_site() -> None:
    sites = tuple(Site(str(i), images(4, first=i), images(3, first=10 + i)) for i in range(2))
    data = FederatedData(TASK, sites, images(3, first=10))
    made = with_scanners(data, {0: DARK}, seed=0)
    own = sites[0].test
    assert own is not None
    assert bag(made.sites[0].test) == bag(scanned(own, DARK))
    assert bag(made.sites[1].test) == bag(sites[1].test)
    assert len(made.test) == 6
