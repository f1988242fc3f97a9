"""How well records give away their site."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from securefl.data.scanners import Scanner, scanned
from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.learning import site_effect as module
from securefl.learning.site_effect import (
    held_out_auc,
    intensity_features,
    sharpness_features,
    site_effect,
)

TASK = Task(features=64, classes=2, image=(1, 8, 8))


def images(records: int, seed: int) -> Examples:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, size=(records, 1, 8, 8)).astype(np.uint8)
    return Examples(torch.from_numpy(pixels), torch.arange(records) % 2)


def federation(*parts: Examples, task: Task = TASK) -> FederatedData:
    sites = tuple(Site(str(index), part, None) for index, part in enumerate(parts))
    return FederatedData(task, sites, parts[0])


def columns(records: int, features: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(records, features)))


def test_deciles_of_an_image_known_answer() -> None:
    # Eleven values in disorder: their deciles are the values in order.
    values = torch.tensor([7, 0, 30, 9, 2, 100, 4, 50, 11, 200, 255], dtype=torch.uint8)
    found = intensity_features(values.reshape(1, 1, 1, 11))
    assert found.tolist()[0] == pytest.approx([0, 2, 4, 7, 9, 11, 30, 50, 100, 200, 255])
    assert intensity_features(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2))[0, 3].item() == (
        pytest.approx(0.3)
    )


def test_sharpness_known_answer() -> None:
    # One bright pixel of 4 in a line of 5: differences 0, 4, -4, 0, of mean square 8. The Laplacian
    # is 0, 4, -8, 4, 0: mean 0, variance 96 / 5.
    line = torch.tensor([0, 0, 4, 0, 0], dtype=torch.uint8).reshape(1, 1, 1, 5)
    assert sharpness_features(line).exp().tolist()[0] == pytest.approx([96 / 5, 8.0])


def test_a_blurred_image_is_less_sharp_and_a_constant_one_not_at_all() -> None:
    sharp = images(4, 0)
    blurred = scanned(sharp, Scanner(blur=1.0))
    difference = sharpness_features(sharp.features) - sharpness_features(blurred.features)
    assert bool((difference > 1).all())
    flat = torch.full((1, 1, 8, 8), 9, dtype=torch.uint8)
    assert bool(torch.isfinite(sharpness_features(flat)).all())


def test_alike_sites_are_told_apart_by_chance_and_unlike_ones_always() -> None:
    alike = federation(images(150, 1), images(150, 2))
    assert site_effect(alike).site["intensity"] == pytest.approx(0.5, abs=0.1)
    dark = scanned(images(150, 2), Scanner(gain=0.5))
    unlike = site_effect(federation(images(150, 1), dark))
    assert unlike.site["intensity"] == pytest.approx(1.0, abs=0.001)


def test_a_classifier_judges_only_records_that_it_was_not_fitted_to() -> None:
    # As many features as records: without folds every site would be found.
    values, classes = columns(40, 40, 0), torch.arange(40) % 2
    auc = held_out_auc(values, classes, torch.arange(40) // 8 % 5, 2)
    assert auc is not None
    assert auc < 0.75


def test_the_classifier_is_scikit_learns_logistic_regression() -> None:
    values = columns(200, 3, 1) * torch.tensor([1.0, 50.0, 0.1]) + 7
    noisy = values[:, 0] + columns(200, 1, 2)[:, 0]
    classes = (noisy > 7).long() + (noisy > 8).long()
    folds = torch.arange(200) % 5
    scores = np.zeros((200, 3))
    for fold in range(5):
        inside, held_out = (folds != fold).numpy(), (folds == fold).numpy()
        given = values.numpy()
        scaled = (given - given[inside].mean(axis=0)) / given[inside].std(axis=0)
        # scikit-learn's loss is a sum over records.
        strength = 1 / (module.WEIGHT_DECAY * inside.sum())
        model = LogisticRegression(C=strength, max_iter=1000, tol=1e-9)
        model.fit(scaled[inside], classes.numpy()[inside])
        scores[held_out] = model.predict_proba(scaled[held_out])
    expected = np.mean([roc_auc_score(classes == index, scores[:, index]) for index in range(3)])
    assert held_out_auc(values, classes, folds, 3) == pytest.approx(expected, abs=1e-4)


def test_records_of_one_group_are_in_one_fold() -> None:
    # Ten patients, each with ten copies of noise that says nothing about any other patient: who is
    # at which site can only be known by heart.
    patients = torch.arange(20).repeat_interleave(10)
    rows = columns(20, 12, 3)[patients].float()
    sites = patients % 2
    data = federation(
        *(Examples(rows[sites == index], sites[sites == index]) for index in range(2)),
        task=Task(features=12, classes=2),
    )
    noisy = [
        Examples(site.train.features + 0.01 * columns(100, 12, index).float(), site.train.labels)
        for index, site in enumerate(data.sites)
    ]
    data = federation(*noisy, task=data.task)
    by_record = site_effect(data).site["columns"]
    groups = [[str(int(one)).encode() for one in patients[sites == index]] for index in range(2)]
    by_group = site_effect(data, groups).site["columns"]
    assert by_record is not None
    assert by_group is not None
    assert by_record > 0.95
    assert by_group < 0.8


def test_every_k_th_record_of_a_large_site_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(module, "MAX_RECORDS_PER_SITE", 30)

    def counted(values: Tensor, *rest: object) -> float:
        seen.append(len(values))
        return 0.5

    monkeypatch.setattr(module, "held_out_auc", counted)
    site_effect(federation(images(70, 0), images(30, 1)))
    assert set(seen) == {24 + 30}  # every third of 70, and all of 30


def test_what_cannot_be_measured_is_none_and_one_site_is_refused() -> None:
    several = Task(features=64, classes=2, image=(1, 8, 8), multilabel=True)
    two = [images(20, 0), images(20, 1)]
    labelled = [Examples(part.features, torch.stack([part.labels] * 2, dim=1)) for part in two]
    effect = site_effect(federation(*labelled, task=several))
    assert set(effect.label.values()) == {None}
    assert effect.site["intensity"] is not None
    empty = site_effect(federation(images(20, 0), images(0, 1)))
    assert set(empty.site.values()) == {None}
    with pytest.raises(ValueError, match="two sites or more, got 1"):
        site_effect(federation(images(20, 0)))


def test_decay_is_of_the_weights_and_not_of_the_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WEIGHT_DECAY", 0.3)
    values = columns(90, 3, 4)
    classes = (values[:, 0] > 0.8).long() + (values[:, 1] > 1).long()
    scaled = (values - values.mean(dim=0)) / values.std(dim=0, correction=0)
    model = LogisticRegression(C=1 / (0.3 * 90), max_iter=1000, tol=1e-9)
    model.fit(scaled.numpy(), classes.numpy())
    found = module._fitted(values, classes, 3)(values)
    assert found.numpy() == pytest.approx(model.predict_proba(scaled.numpy()), abs=1e-3)
