"""ByzFL's SignFlipping, InnerProductManipulation and ALittleIsEnough: heavy tails, ties, one row.

Their answers were made by tests/vectors/peers_of_attacks.py. Where signs differ, the test names the
convention.
"""

import json

import pytest
import torch
from torch import Tensor

from attacks import a_little_is_enough, inner_product, sign_flip
from tests.paths import VECTORS

PUBLISHED = json.loads((VECTORS / "peers_of_attacks.json").read_text(encoding="utf-8"))
each_table = pytest.mark.parametrize("table", PUBLISHED["rows"])


def rows_of(table: str) -> Tensor:
    return torch.tensor(PUBLISHED["rows"][table], dtype=torch.float64)


def theirs(table: str, attack: str) -> Tensor:
    return torch.tensor(PUBLISHED["answers"][table][attack], dtype=torch.float64)


@each_table
def test_sign_flip_of_the_mean_equals_theirs(table: str) -> None:
    mean = rows_of(table).mean(dim=0, keepdim=True)  # theirs reverses the mean of the honest rows
    assert torch.allclose(
        sign_flip(mean, scale=1.0)[0], theirs(table, "SignFlipping"), rtol=1e-12, atol=1e-12
    )


@each_table
def test_inner_product_equals_theirs(table: str) -> None:
    ours = inner_product(rows_of(table), 3, scale=0.5)
    for row in ours:
        assert torch.allclose(
            row, theirs(table, "InnerProductManipulation, tau .5"), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("table", ["heavy tails", "ties"])
def test_a_little_is_enough_equals_theirs_with_the_other_sign(table: str) -> None:
    rows = rows_of(table)
    ours = a_little_is_enough(rows, 2, 9, z=1.5)[0]
    mirrored = 2 * rows.mean(dim=0) - ours  # the source subtracts, ByzFL adds
    assert torch.allclose(
        mirrored, theirs(table, "ALittleIsEnough, tau 1.5"), rtol=1e-12, atol=1e-12
    )
