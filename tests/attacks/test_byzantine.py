"""Sign flips and Gaussian noise: hand-worked answers, moments of the noise, and refusals."""

import math

import pytest
import torch

from attacks import gaussian, sign_flip

DTYPES = [torch.float32, torch.float64]
NOT_POSITIVE = [0.0, -1.0, math.inf, math.nan]
FALSE_ALARM = 4.9  # standard errors: a right generator fails once in a million seeds


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def within_false_alarm(statistic: float, *, expected: float, standard_error: float) -> bool:
    return abs(statistic - expected) < FALSE_ALARM * standard_error


def variance_is_right(noise: torch.Tensor, *, std: float) -> bool:
    """Tests the sum of squares over std^2: chi-square, with mean N and variance 2 N."""
    size = noise.numel()
    statistic = float((noise.double() / std).square().sum())
    return within_false_alarm(statistic, expected=size, standard_error=math.sqrt(2 * size))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sign_flip_known_answer(dtype: torch.dtype) -> None:
    # The mean of the rows, reversed, would be (-6, 3) in both rows.
    rows = torch.tensor([[1.0, -2.0], [3.0, 0.0]], dtype=dtype)
    expected = torch.tensor([[-3.0, 6.0], [-9.0, 0.0]], dtype=dtype)
    flipped = sign_flip(rows, scale=3.0)
    assert flipped.dtype is dtype
    assert torch.equal(flipped, expected)


def test_sign_flip_leaves_the_honest_rows_untouched() -> None:
    rows = torch.tensor([[1.0, -2.0]])
    sign_flip(rows, scale=2.0)
    assert rows.tolist() == [[1.0, -2.0]]


@pytest.mark.parametrize("scale", NOT_POSITIVE)
def test_sign_flip_refuses_a_scale_that_is_not_positive(scale: float) -> None:
    with pytest.raises(
        ValueError, match=f"sign_flip needs scale finite and > 0, got scale={scale}"
    ):
        sign_flip(torch.ones(1, 2), scale=scale)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gaussian_rows_have_the_shape_and_dtype_of_the_honest_ones(dtype: torch.dtype) -> None:
    rows = torch.zeros(3, 5, dtype=dtype)
    noise = gaussian(rows, std=1.0, generator=seeded())
    assert noise.shape == (3, 5)
    assert noise.dtype is dtype
    assert not rows.any()


def test_gaussian_ignores_the_values_of_the_rows() -> None:
    honest = torch.tensor([[math.nan, math.inf, 1e30]])
    from_honest = gaussian(honest, std=2.0, generator=seeded())
    assert torch.equal(from_honest, gaussian(torch.zeros(1, 3), std=2.0, generator=seeded()))


def test_gaussian_has_its_variance_and_the_test_would_notice_ten_percent() -> None:
    noise = gaussian(torch.zeros(4, 5000), std=200.0, generator=seeded())
    assert variance_is_right(noise, std=200.0)
    assert not variance_is_right(1.1 * noise, std=200.0)
    assert not variance_is_right(0.9 * noise, std=200.0)


def test_gaussian_has_mean_zero_and_the_fourth_moment_of_a_normal() -> None:
    noise = gaussian(torch.zeros(4, 5000, dtype=torch.float64), std=3.0, generator=seeded()) / 3.0
    size = noise.numel()
    assert within_false_alarm(float(noise.mean()), expected=0.0, standard_error=1 / math.sqrt(size))
    # E x^4 = 3 and Var x^4 = 105 - 9; uniform noise of variance 1 has 1.8.
    assert within_false_alarm(
        float(noise.pow(4).mean()), expected=3.0, standard_error=math.sqrt(96 / size)
    )


def test_gaussian_rows_are_independent_of_each_other() -> None:
    first, second = gaussian(torch.zeros(2, 5000, dtype=torch.float64), std=1.0, generator=seeded())
    correlation = float((first * second).mean())
    assert within_false_alarm(correlation, expected=0.0, standard_error=1 / math.sqrt(5000))


def test_gaussian_is_new_at_every_call_and_repeats_under_the_same_seed() -> None:
    rows, generator = torch.zeros(2, 3), seeded(7)
    first, second = (gaussian(rows, std=1.0, generator=generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, gaussian(rows, std=1.0, generator=seeded(7)))


def test_gaussian_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    gaussian(torch.zeros(2, 3), std=1.0, generator=seeded())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("std", NOT_POSITIVE)
def test_gaussian_refuses_a_std_that_is_not_positive(std: float) -> None:
    with pytest.raises(ValueError, match=f"gaussian needs std finite and > 0, got std={std}"):
        gaussian(torch.ones(1, 2), std=std, generator=seeded())


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3), (0, 3)])
def test_attacks_refuse_tensors_that_are_no_table_of_rows(shape: tuple[int, ...]) -> None:
    message = r"rows must be 2-D, \(f, d\), with f >= 1, got shape \("
    with pytest.raises(ValueError, match=message):
        sign_flip(torch.zeros(shape), scale=1.0)
    with pytest.raises(ValueError, match=message):
        gaussian(torch.zeros(shape), std=1.0, generator=seeded())


def test_attacks_refuse_integers() -> None:
    rows = torch.ones(2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"rows must be float32 or float64, got torch\.int64"):
        sign_flip(rows, scale=1.0)
    with pytest.raises(ValueError, match=r"rows must be float32 or float64, got torch\.int64"):
        gaussian(rows, std=1.0, generator=seeded())
