"""The filters of the scattering transform: where they are in frequency, and what they let pass."""

import math

import numpy as np
import pytest

from securefl.learning.models.scattering.filters import coarser, low_pass, wavelets


@pytest.mark.parametrize(("scale", "peak"), [(0, 24), (1, 12), (2, 6)])
def test_a_wavelet_peaks_at_its_frequency_and_halves_it_from_scale_to_scale(
    scale: int, peak: int
) -> None:
    # 3 pi / 4 is 24 of 64 steps of a turn. The fourth of eight waves runs down, the last across.
    filters = wavelets((64, 64), scale, 8)
    down, right = np.unravel_index(filters[3].argmax(), (64, 64))
    assert right == 0
    # The part that is taken away, of low frequencies, moves the peak up a little.
    assert down == pytest.approx(peak, abs=1)
    down, right = np.unravel_index(filters[1].argmax(), (64, 64))
    assert down == right  # a quarter of a turn before the last, an eighth after the fourth
    assert math.hypot(down, right) == pytest.approx(peak, abs=1)


def test_the_peaks_of_all_angles_lie_on_half_a_circle() -> None:
    peaks = [np.unravel_index(each.argmax(), (64, 64)) for each in wavelets((64, 64), 0, 8)]
    turned = [((down + 32) % 64 - 32, (right + 32) % 64 - 32) for down, right in peaks]
    angles = [math.atan2(right, down) for down, right in turned]
    # From 3/8 of half a turn down to -4/8, in equal steps; a grid of frequencies is no finer.
    assert angles == pytest.approx([(3 - k) * math.pi / 8 for k in range(8)], abs=0.06)


def test_wavelets_do_not_see_brightness_and_the_gaussian_keeps_it() -> None:
    for scale in range(3):
        assert np.abs(wavelets((40, 32), scale, 6)[:, 0, 0]).max() < 1e-12
    # Kymatio's rounded pi leaves a factor of 3.14159 / 3.1415 in the plane, its root along an axis.
    assert low_pass(40, 2)[0] == pytest.approx(math.sqrt(math.pi / 3.1415), abs=1e-12)


@pytest.mark.parametrize(("scales", "highest"), [(1, 1.0001), (2, 1.0001), (3, 1.02)])
def test_together_the_filters_never_amplify_a_frequency(scales: int, highest: float) -> None:
    # Littlewood-Paley: a real image has each frequency and its opposite, and a wavelet sees one.
    side = 48
    gaussian = low_pass(side, scales)
    total = np.outer(gaussian, gaussian) ** 2
    for scale in range(scales):
        power = (wavelets((side, side), scale, 8) ** 2).sum(axis=0)
        opposite = np.roll(np.flip(power, (0, 1)), 1, (0, 1))
        total += (power + opposite) / 2
    assert total.max() < highest
    # What passes least is in the corners, at the highest frequencies of both axes.
    assert total[: side // 4, : side // 4].min() > 0.5


def test_a_filter_of_a_larger_torus_is_the_gaussian_of_the_formula() -> None:
    # The transform of exp(-x^2 / (2 s^2)) is s sqrt(2 pi) exp(-(s w)^2 / 2), with s = 1.6.
    frequency = 2 * math.pi * np.fft.fftfreq(64)
    expected = np.exp(-((1.6 * frequency) ** 2) / 2) * math.sqrt(math.pi / 3.1415)
    np.testing.assert_allclose(low_pass(64, 2), expected, atol=1e-5)


def test_a_coarser_filter_has_the_same_values_at_low_frequencies() -> None:
    spectrum = np.arange(8.0)
    # Frequencies 0, 1, -2, -1 of 0, 1, 2, 3, +-4, -3, -2, -1.
    np.testing.assert_array_equal(coarser(spectrum, 2, axes=1), [0, 1, 6, 7])
    np.testing.assert_array_equal(coarser(spectrum, 1, axes=1), spectrum)
    # An odd number of them has no highest frequency alone: 0, 1, -1.
    np.testing.assert_array_equal(coarser(np.arange(6.0), 2, axes=1), [0, 1, 5])
    plane = coarser(np.add.outer(10 * spectrum, spectrum)[None], 4, axes=2)
    np.testing.assert_array_equal(plane, [[[0, 7], [70, 77]]])
