"""Features that are remembered by the content of records: when, for what, and how many."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from securefl.data.task import Task
from securefl.learning.models.scattering import remembered
from securefl.learning.models.scattering.features import Recipe
from securefl.learning.models.scattering.head import scattering
from securefl.learning.models.scattering.remembered import RowsByContent, prepared

TASK = Task(features=64, classes=2, image=(1, 8, 8))
RECIPE = Recipe(1, 2, 1)
ROW_BYTES = 4 * RECIPE.width(1)


class Counting(Recipe):
    """A recipe that counts the images that it computes."""

    computed: ClassVar[list[int]] = []

    def rows(self, images: Tensor) -> Tensor:
        self.computed.append(len(images))
        return super().rows(images)


@pytest.fixture
def recipe() -> Counting:
    Counting.computed.clear()
    return Counting(1, 2, 1)


def pixels(n: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)


def test_records_are_computed_once_in_whatever_order_they_come(recipe: Counting) -> None:
    rows, records = RowsByContent(10**6), pixels(5)
    first = rows.of(recipe, TASK, records)
    again = rows.of(recipe, TASK, records[[3, 0]])
    torch.testing.assert_close(first, RECIPE.rows(TASK.inputs(records)), rtol=0, atol=0)
    assert torch.equal(again, first[[3, 0]])
    mixed = rows.of(recipe, TASK, torch.cat([pixels(2, seed=2), records[1:2]]))
    assert torch.equal(mixed[2], first[1])
    assert recipe.computed == [5, 2]


def test_another_recipe_type_or_shape_has_rows_of_its_own(recipe: Counting) -> None:
    rows, records = RowsByContent(10**6), pixels(1)
    rows.of(recipe, TASK, records)
    rows.of(Counting(1, 3, 1), TASK, records)
    rows.of(recipe, TASK, TASK.inputs(records))
    rows.of(recipe, TASK, records.view(1, 1, 4, 16))
    assert len(rows) == 4
    assert recipe.computed == [1, 1, 1, 1]
    # The same bytes mean other pixels in another type.
    bytes_of_zero = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    black = rows.of(recipe, TASK, bytes_of_zero)
    assert not torch.equal(black, rows.of(recipe, TASK, bytes_of_zero.to(torch.int8)))


def test_a_record_that_comes_twice_at_once_is_computed_twice(recipe: Counting) -> None:
    record = pixels(1)
    rows = RowsByContent(10**6).of(recipe, TASK, torch.cat([record, record]))
    assert recipe.computed == [2]
    assert torch.equal(rows[0], rows[1])


def test_the_oldest_rows_are_forgotten_first(recipe: Counting) -> None:
    rows, records = RowsByContent(3 * ROW_BYTES), pixels(4)
    rows.of(recipe, TASK, records)
    assert len(rows) == 3
    rows.of(recipe, TASK, records[1:])
    assert recipe.computed == [4]
    rows.of(recipe, TASK, records[:1])
    assert recipe.computed == [4, 1]
    assert len(rows) == 3
    nothing = RowsByContent(ROW_BYTES - 1)
    assert nothing.of(recipe, TASK, records).shape == (4, RECIPE.width(1))
    assert len(nothing) == 0


def test_a_row_that_is_kept_holds_the_memory_of_no_other() -> None:
    rows = RowsByContent(10**6)
    rows.of(RECIPE, TASK, pixels(50))
    assert {row.untyped_storage().nbytes() for row in rows._rows.values()} == {ROW_BYTES}


def test_whoever_writes_into_rows_changes_none_that_are_remembered() -> None:
    rows, records = RowsByContent(10**6), pixels(2)
    first = rows.of(RECIPE, TASK, records)
    expected = first.clone()
    first.zero_()
    again = rows.of(RECIPE, TASK, records)
    assert torch.equal(again, expected)
    again.zero_()
    assert torch.equal(rows.of(RECIPE, TASK, records), expected)


def test_only_models_that_begin_with_fixed_features_get_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remembered, "_ROWS", RowsByContent(10**6))
    generator, records = torch.Generator().manual_seed(1), pixels(3)
    model = scattering(TASK, scales=1, angles=2, pooling=1, generator=generator)
    rows = prepared(model, TASK, records)
    assert torch.equal(rows, RECIPE.rows(TASK.inputs(records)))
    assert prepared(model, TASK, rows) is rows
    assert prepared(model, TASK, records[:0]).shape == (0, 1, 8, 8)
    for other in (nn.Linear(64, 1), nn.Sequential(nn.Flatten(), model)):
        assert prepared(other, TASK, records) is records
