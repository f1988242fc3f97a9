"""The page of algorithms for unlike hospitals is made from its numbers; which goals are met."""

import statistics

import pytest
import torch

from benchmarks.experiments.heterogeneity import SITES, camera_sites, page, read_rows
from benchmarks.experiments.unlike import CAMERAS, DIGITS, HEART, SETTINGS
from tests.paths import ROOT

RESULTS = ROOT / "docs/results"
TABLE = (RESULTS / "heterogeneity.csv").read_text(encoding="utf-8")
ROWS = read_rows(TABLE)


def accuracies(setting: str, label: str) -> list[float]:
    return [row.accuracy for row in ROWS if (row.setting, row.label) == (setting, label)]


def test_the_page_is_made_from_the_table() -> None:
    assert page(ROWS) == (RESULTS / "heterogeneity.md").read_text(encoding="utf-8")
    for setting in SETTINGS:
        for way in setting.ways:
            assert len(accuracies(setting.name, way.label)) == 5


@pytest.mark.parametrize("label", ["SCAFFOLD", "FedDyn"])
def test_corrected_clients_beat_fedavg_by_more_than_two_standard_errors(label: str) -> None:
    pairs = zip(accuracies(DIGITS.name, label), accuracies(DIGITS.name, "FedAvg"), strict=True)
    gains = [own - other for own, other in pairs]
    assert statistics.fmean(gains) > 2 * statistics.stdev(gains) / 5**0.5


def test_own_norm_layers_are_worth_five_points_where_cameras_differ() -> None:
    own, all_one = (accuracies(CAMERAS.name, label) for label in ("FedBN", "FedAvg"))
    assert statistics.fmean(own) - statistics.fmean(all_one) >= 0.05


def test_a_model_of_its_own_is_no_worse_than_a_hospital_alone() -> None:
    alone = accuracies(HEART.name, "each hospital alone")
    pairs = zip(accuracies(HEART.name, "Ditto"), alone, strict=True)
    gains = [own - other for own, other in pairs]
    assert statistics.fmean(gains) > -2 * statistics.stdev(gains) / 5**0.5


def test_cameras_differ_and_the_records_do_not() -> None:
    sites = camera_sites(0)
    assert len(sites) == SITES
    assert sum(len(labels) for _, labels in sites) == 1257
    counts = torch.stack([labels.bincount(minlength=10) for _, labels in sites])
    assert counts.min() > 5
    grounds = [images[..., 0, 0].mean().item() for images, _ in sites]
    assert grounds == sorted(grounds)
    assert grounds[-1] - grounds[0] > 0.8
