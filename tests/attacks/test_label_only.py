"""Membership from labels alone: counts by hand, and the share of Gaussian noise."""

import math

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from attacks import label_only


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def threshold_at_zero(features: Tensor) -> Tensor:
    return (features[:, 0] > 0).long()


def test_label_only_counts_the_record_itself_and_its_copies() -> None:
    # Far on its side, far on the other: all and none. Noise cannot carry either over.
    features = torch.tensor([[100.0], [-100.0], [100.0]])
    labels = torch.tensor([1, 1, 0])
    shares = label_only(
        features,
        labels,
        predict=threshold_at_zero,
        noise=[1.0, 2.0],
        copies=3,
        generator=generator(1),
    )
    assert shares.tolist() == [1.0, 0.0, 0.0]
    queries: list[Tensor] = []

    def once(features_of_query: Tensor) -> Tensor:
        queries.append(features_of_query)
        return torch.full((3,), int(len(queries) == 1))

    shares = label_only(
        features, labels, predict=once, noise=[1.0, 2.0], copies=3, generator=generator(1)
    )
    assert shares.tolist() == [1 / 7, 1 / 7, 6 / 7]
    assert torch.equal(queries[0], features)
    assert len({tuple(features_of_query.flatten().tolist()) for features_of_query in queries}) == 7


def test_label_only_without_noise_says_whether_the_label_is_right() -> None:
    features, labels = torch.tensor([[1.0], [1.0]]), torch.tensor([1, 0])
    shares = label_only(
        features, labels, predict=threshold_at_zero, noise=[], copies=1, generator=generator(1)
    )
    assert shares.tolist() == [1.0, 0.0]


def test_label_only_is_the_share_of_gaussian_noise_that_stays_on_the_side() -> None:
    # At distance 1 from the boundary: Phi(1) for noise 1, Phi(1/4) for noise 4. 40,000 copies and
    # four standard errors: one false alarm in 15,000.
    features = torch.ones(20, 1)
    shares = label_only(
        features,
        torch.ones(20, dtype=torch.int64),
        predict=threshold_at_zero,
        noise=[1.0, 4.0],
        copies=1000,
        generator=generator(2),
    )
    expected = (1 + 1000 * (norm.cdf(1.0) + norm.cdf(0.25))) / 2001
    assert float(shares.mean()) == pytest.approx(expected, abs=4 * 0.43 / math.sqrt(40_000))


@pytest.mark.parametrize(
    ("noise", "copies"), [([0.0], 1), ([-1.0], 1), ([math.nan], 1), ([1.0], 0)]
)
def test_label_only_refuses_noise_that_is_not_positive(noise: list[float], copies: int) -> None:
    with pytest.raises(
        ValueError, match="label_only needs copies >= 1 and noise finite and > 0, got copies="
    ):
        label_only(
            torch.ones(2, 1),
            torch.ones(2, dtype=torch.int64),
            predict=threshold_at_zero,
            noise=noise,
            copies=copies,
            generator=generator(1),
        )


def test_label_only_refuses_scores_for_classes_and_records_that_are_not_finite() -> None:
    def scores(features: Tensor) -> Tensor:
        return features

    labels = torch.ones(2, dtype=torch.int64)
    with pytest.raises(
        ValueError, match=r"predict's classes must be 2 whole numbers, got torch\.float32"
    ):
        label_only(
            torch.ones(2, 1), labels, predict=scores, noise=[], copies=1, generator=generator(1)
        )
    with pytest.raises(ValueError, match="features must be finite"):
        label_only(
            torch.tensor([[math.nan], [1.0]]),
            labels,
            predict=scores,
            noise=[],
            copies=1,
            generator=generator(1),
        )
