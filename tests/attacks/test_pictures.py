"""PSNR and SSIM against hand-worked answers and filters; best matches; guesses."""

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from attacks.reconstruction.pictures import best_match, guesses, psnr, ssim


def images(n: int, seed: int = 0, side: int = 16, channels: int = 1) -> Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed))


def test_psnr_known_answer() -> None:
    # Errors of .1 everywhere: 20 dB at range 1, 26.02 dB at range 2, where the error counts half.
    truth = torch.full((2, 1, 2, 2), 0.5)
    pictures = truth + torch.tensor([0.1, -0.2])[:, None, None, None]
    assert psnr(pictures, truth, bounds=(0, 1)).tolist() == pytest.approx(
        [20.0, 20 - 20 * math.log10(2)], abs=1e-5
    )
    assert psnr(pictures, truth, bounds=(-1, 1)).tolist() == pytest.approx(
        [20 + 20 * math.log10(2), 20.0], abs=1e-5
    )
    # One pixel of four off by .4: mean square .04.
    picture = torch.tensor([[[[0.9, 0.5], [0.5, 0.5]]]])
    assert float(psnr(picture, truth[:1], bounds=(0, 1))) == pytest.approx(
        10 * math.log10(1 / 0.04), abs=1e-5
    )


def test_psnr_clamps_pixels_and_ends_at_120() -> None:
    truth = torch.tensor([[[[0.0, 1.0]]]])
    assert psnr(torch.tensor([[[[-7.0, 9.0]]]]), truth, bounds=(0, 1)).tolist() == [120.0]
    assert psnr(torch.tensor([[[[9.0, -7.0]]]]), truth, bounds=(0, 1)).tolist() == pytest.approx(
        [0.0]
    )


def ssim_by_filters(x: Tensor, y: Tensor, span: float) -> float:
    """One channel by scipy's Gaussian filter, cut to the windows that lie inside."""

    def mean(values: Tensor) -> Tensor:
        # truncate: a radius of int(3.5 * 1.5 + .5) = 5 pixels, the window of 11
        return torch.from_numpy(gaussian_filter(values.double().numpy(), sigma=1.5, truncate=3.5))[
            5:-5, 5:-5
        ]

    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    x, y = x.double(), y.double()
    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    return float(
        (((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean()
    )


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0)])
def test_ssim_equals_that_of_scipy_filters(bounds: tuple[float, float]) -> None:
    truth = images(3, side=20, channels=2)
    pictures = (
        truth + 0.2 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    ).clamp(*bounds)
    span = bounds[1] - bounds[0]
    expected = [
        (ssim_by_filters(a[0], b[0], span) + ssim_by_filters(a[1], b[1], span)) / 2
        for a, b in zip(pictures, truth, strict=True)
    ]
    assert ssim(pictures, truth, bounds=bounds).tolist() == pytest.approx(expected, abs=1e-9)


def test_ssim_of_an_image_with_itself_is_one_and_of_its_negative_below_zero() -> None:
    truth = images(2)
    assert ssim(truth, truth, bounds=(0, 1)).tolist() == pytest.approx([1.0, 1.0])
    assert bool((ssim(1 - truth, truth, bounds=(0, 1)) < 0).all())


def test_ssim_clamps_pixels() -> None:
    truth, off = images(1), 3 * images(1, seed=1) - 1
    assert torch.equal(ssim(off, truth, bounds=(0, 1)), ssim(off.clamp(0, 1), truth, bounds=(0, 1)))


def test_ssim_needs_images_as_large_as_its_window() -> None:
    with pytest.raises(ValueError, match=r"of sides >= 11, got \(1, 1, 10, 16\)"):
        ssim(torch.zeros(1, 1, 10, 16), torch.zeros(1, 1, 10, 16), bounds=(0, 1))
    assert float(ssim(torch.zeros(1, 1, 11, 11), torch.zeros(1, 1, 11, 11), bounds=(0, 1))) == 1.0


def test_every_record_gets_the_closest_reconstruction() -> None:
    truth = torch.tensor([[0.0], [1.0], [0.9]])
    pictures = torch.tensor([[0.5], [0.8], [3.0]])  # the last is shown as 1
    match = best_match(pictures, truth, bounds=(0, 1))
    assert match.which.tolist() == [0, 2, 1]
    assert match.psnr.tolist() == pytest.approx([10 * math.log10(4), 120.0, 20.0], abs=1e-5)
    assert best_match(pictures[:1], truth, bounds=(0, 1)).which.tolist() == [0, 0, 0]


def test_matches_of_many_equal_matches_of_each() -> None:
    truth, pictures = images(70, seed=1, side=4), images(130, seed=2, side=4)
    match = best_match(pictures, truth, bounds=(0, 1))
    for at in (0, 31, 32, 69):
        every = psnr(pictures, truth[at].expand_as(pictures), bounds=(0, 1))
        assert float(match.psnr[at]) == pytest.approx(float(every.max()))
        assert int(match.which[at]) == int(every.argmax())


def test_no_reconstruction_is_the_worst() -> None:
    match = best_match(torch.zeros(0, 1, 2, 2), images(3, side=2), bounds=(0, 1))
    assert match.psnr.tolist() == [0, 0, 0]
    assert match.which.tolist() == [-1, -1, -1]


def test_guesses_are_the_mean_and_its_grey() -> None:
    own = torch.tensor([[[[0.0, 0.2]]], [[[1.0, 0.4]]]])
    mean, grey = guesses(own)
    assert mean.flatten().tolist() == pytest.approx([0.5, 0.3])
    assert grey.flatten().tolist() == pytest.approx([0.4, 0.4])


@pytest.mark.parametrize("score", [psnr, ssim, best_match])
def test_pictures_that_cannot_be_compared_are_refused(score: object) -> None:
    assert callable(score)
    good = images(2)
    with pytest.raises(ValueError, match=r"reconstructions must have shape"):
        score(images(2, side=12), good, bounds=(0, 1))
    with pytest.raises(ValueError, match=r"bounds must be in order, got \(1, 0\)"):
        score(good, good, bounds=(1, 0))
    with pytest.raises(ValueError, match="truth must be finite, got 512 that are not finite"):
        score(good, good * math.nan, bounds=(0, 1))
    with pytest.raises(
        ValueError, match="reconstructions must be finite, got 512 that are not finite"
    ):
        score(good * math.inf, good, bounds=(0, 1))
