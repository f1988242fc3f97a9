"""Fixed features: their norm, their independence, and what they are averages of."""

import math

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from securefl.learning.models.scattering.features import FixedFeatures, Recipe
from securefl.learning.models.scattering.reference import usual_units
from securefl.learning.models.scattering.transform import scattered

USUAL = Recipe(scales=2, angles=8, pooling=7)


def images(*shape: int, seed: int = 1) -> Tensor:
    """Returns pixels from -1 to 1."""
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1


@pytest.mark.parametrize(
    ("shape", "pooling", "width"),
    [
        ((1, 28, 28), 7, 3969),
        ((3, 28, 28), 3, 2187),
        ((1, 8, 8), 1, 81),
        ((1, 64, 48), 7, 3969),
        ((2, 5, 28, 28), 3, 1458),
    ],
    ids=str,
)
def test_rows_have_unit_norm_whatever_the_shape_of_images(
    shape: tuple[int, ...], pooling: int, width: int
) -> None:
    recipe = Recipe(2, 8, pooling)
    rows = recipe.rows(images(3, *shape))
    assert rows.shape == (3, width)
    assert width == recipe.width(shape[0])
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def test_a_row_is_the_pooled_maps_in_usual_units_normalised_together() -> None:
    image = images(1, 2, 28, 28).double()
    mean, deviation = map(torch.from_numpy, usual_units(scales=2, angles=8))
    usual = []
    for colour in image[0]:
        maps = scattered((colour[None] + 1) / 2, scales=2, angles=8)[0]
        usual.append((maps - mean) / deviation)
    values = torch.cat(usual)
    values = values - values.mean()
    normal = values / math.sqrt(float(values.square().mean()) + 1e-5)
    # 7 places into 3: 0-2, 2-4 and 4-6, as adaptive pooling says.
    down = torch.stack([normal[:, at : at + 3].mean(dim=1) for at in (0, 2, 4)], dim=1)
    both = torch.stack([down[:, :, at : at + 3].mean(dim=2) for at in (0, 2, 4)], dim=2)
    row = both.flatten()
    torch.testing.assert_close(Recipe(2, 8, 3).rows(image)[0], row / row.norm())


def test_a_record_has_the_same_features_among_any_others() -> None:
    batch = images(21, 1, 28, 28)
    together = USUAL.rows(batch)
    for place in (0, 15, 16, 20):
        assert torch.equal(USUAL.rows(batch[place : place + 1])[0], together[place])
    changed = batch.clone()
    changed[1:] = -1
    assert torch.equal(USUAL.rows(changed)[0], together[0])


def test_colours_are_normalised_together() -> None:
    colours = images(1, 3, 28, 28)
    same = colours[:, :1].expand(-1, 3, -1, -1)
    parts = USUAL.rows(same)[0].view(3, -1)
    torch.testing.assert_close(parts[0], parts[1])
    torch.testing.assert_close(parts[0] * math.sqrt(3), USUAL.rows(colours[:, :1])[0])
    # A colour that is darker than the others stays so.
    darker = torch.cat([same[:, :2], (same[:, 2:] - 1) / 2], dim=1)
    averages = USUAL.rows(darker)[0].view(3, 81, 49)[:, 0].mean(dim=1)
    assert float(averages[2]) < float(averages[0])


def test_a_volume_has_the_features_of_the_average_maps_of_its_slices() -> None:
    volume = images(1, 2, 4, 28, 28)
    torch.testing.assert_close(USUAL.rows(volume), USUAL.rows(volume.flip(2)))
    same = volume[:, :, :1].expand(-1, -1, 4, -1, -1)
    torch.testing.assert_close(USUAL.rows(same), USUAL.rows(volume[:, :, 0]))
    # Order 0 is linear: its part of a volume is that of the average slice, up to the norms.
    flat = Recipe(1, 1, 7).rows(volume)[0].view(2, 2, 49)[:, 0]
    mean = Recipe(1, 1, 7).rows(volume.mean(dim=2))[0].view(2, 2, 49)[:, 0]
    centred, expected = flat - flat.mean(), mean - mean.mean()
    torch.testing.assert_close(centred / centred.norm(), expected / expected.norm())


def test_volumes_are_the_same_in_any_parts() -> None:
    volumes = images(18, 1, 2, 8, 8)
    recipe = Recipe(2, 8, 1)
    together = recipe.rows(volumes)
    assert torch.equal(recipe.rows(volumes[16:]), together[16:])


def test_an_image_of_one_grey_keeps_finite_features() -> None:
    row = USUAL.rows(torch.full((1, 1, 28, 28), 0.3))
    assert bool(torch.isfinite(row).all())
    assert float(row.norm()) <= 1.001


def test_no_records_have_no_rows() -> None:
    assert USUAL.rows(torch.zeros(0, 3, 28, 28)).shape == (0, 3 * 3969)


def test_rows_that_were_computed_pass_as_they_are() -> None:
    features = FixedFeatures(USUAL)
    rows = torch.randn(2, 3969, generator=torch.Generator().manual_seed(1))
    assert features(rows) is rows
    assert not list(features.state_dict())
    assert "pooling=7" in repr(features)


def test_gradients_of_single_records_pass_through_the_features() -> None:
    recipe = Recipe(1, 2, 1)
    batch = images(3, 1, 8, 8)

    def first(image: Tensor) -> Tensor:
        return recipe.rows(image[None])[0, 0]

    usual_units.cache_clear()
    together = vmap(grad(first))(batch)
    alone = torch.stack([grad(first)(image) for image in batch])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert float(alone.abs().max()) > 0
    # What was made on the way is of use outside, too.
    assert recipe.rows(batch).shape == (3, 3)
