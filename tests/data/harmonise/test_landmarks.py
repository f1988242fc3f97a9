"""Landmarks are drafted from public images."""

import pytest
import torch

from securefl.data.harmonise import landmarks
from securefl.data.harmonise.images import nyul
from securefl.data.harmonise.landmarks import DECILES, draft_landmarks


def test_landmarks_are_the_mean_percentiles_of_the_images() -> None:
    # Medians 10 and 30, maxima 20 and 90, minima 0 and 5.
    images = torch.tensor([[0, 10, 20], [90, 30, 5]], dtype=torch.uint8).reshape(2, 1, 1, 3)
    assert draft_landmarks(images, (0.0, 50.0, 100.0)) == (2.5, 20.0, 55.0)


def test_landmarks_rise_though_the_images_agree() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    assert draft_landmarks(images, (0.0, 50.0, 100.0)) == (0.0, 0.1, 0.2)


def test_images_are_looked_at_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.arange(5 * 16).reshape(5, 1, 4, 4).to(torch.uint8)
    whole = draft_landmarks(images)
    monkeypatch.setattr(landmarks, "BLOCK_VALUES", 33)
    assert draft_landmarks(images) == whole
    assert len(whole) == len(DECILES)


def test_images_that_are_alike_keep_their_values_under_their_own_landmarks() -> None:
    images = (torch.arange(64).reshape(1, 1, 8, 8) * 3 + 20).to(torch.uint8)
    drafted = draft_landmarks(images)
    made = nyul(images, landmarks=drafted, percentiles=DECILES)
    assert (made.int() - images.int()).abs().max() <= 1
