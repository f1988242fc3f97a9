"""The kernels of rules: every way to compute on rows gives the same answers.

Blocks of any width, networks and sorts, rows in any layout, and plain torch.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from defenses.kernels import table as kernel_table
from defenses.kernels.blocks import HostRows
from defenses.kernels.device import DeviceRows
from defenses.kernels.geometry import squared_distances
from defenses.kernels.protocol import RowStore

KERNELS: dict[str, Callable[[RowStore], Tensor]] = {
    "extremes": lambda c: torch.from_numpy(np.stack(c.extremes()).astype(np.float64)),
    "gram": lambda c: torch.from_numpy(c.gram().copy()),
    "norms": lambda c: torch.from_numpy(c.squared_norms().copy()),
    "distances": lambda c: torch.from_numpy(
        c.distances_to(torch.linspace(-1, 1, c.d, dtype=c.dtype))
    ),
    "apart": lambda c: torch.tensor(c.apart([(0, c.n - 1), (0, 0)])),
    "combine": lambda c: c.combine(np.linspace(-1, 1, c.n)),
    "one row": lambda c: c.combine(np.eye(c.n)[c.n - 1]),
    "combine_widely": lambda c: c.combine_widely(np.linspace(0.1, 1, c.n)),
    "median": lambda c: c.median(),
    "middle_mean": lambda c: c.middle_mean(c.n - 2 * ((c.n - 1) // 3)),
    "nearest_mean": lambda c: c.nearest_mean(c.n - (c.n - 1) // 3),
    "written": lambda c: c.written(),
    "only": lambda c: c.only([c.n - 1, 0]).written(),
    "squared distances": lambda c: torch.from_numpy(squared_distances(c).copy()),
}
SHAPES = [(1, 5), (2, 0), (2, 64), (3, 65), (7, 1000), (20, 129), (40, 70), (41, 70), (60, 300)]


def table(n: int, d: int, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.random.default_rng(n * d).standard_t(1.5, size=(n, d))).to(dtype)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_blocks_and_plain_torch_give_the_same(
    kernel: str,
    shape: tuple[int, int],
    dtype: torch.dtype,
    mixed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel_table, "BLOCK_BYTES", 1)  # 64 columns at a time
    rows = table(*shape, dtype)
    on_host: RowStore = HostRows(rows.numpy())
    on_device: RowStore = DeviceRows(rows)
    if mixed:
        weights = np.random.default_rng(1).dirichlet(np.ones(shape[0]), size=shape[0] + 1)
        on_host = on_host.mixed(weights)
        on_device = on_device.mixed(weights)
    before = rows.clone()
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-9}[dtype]
    host_result = KERNELS[kernel](on_host)
    device_result = KERNELS[kernel](on_device)
    torch.testing.assert_close(host_result, device_result, rtol=tolerance, atol=tolerance)
    # A result is a copy, never a view: writing into it leaves the rows alone.
    host_result.add_(1.0)
    device_result.add_(1.0)
    assert torch.equal(rows, before)


@pytest.mark.parametrize("n", range(1, 50))
def test_order_statistics_are_those_of_numpy_for_networks_and_sorts(n: int) -> None:
    rows = table(n, 200, torch.float32).numpy()
    store = HostRows(rows)
    f = (n - 1) // 3
    ordered = np.sort(rows, axis=0)
    assert np.array_equal(store.median().numpy(), np.median(rows, axis=0))
    inner = ordered[f : n - f].astype(np.float64).mean(axis=0).astype(np.float32)
    assert np.array_equal(store.middle_mean(n - 2 * f).numpy(), inner)
    near = np.take_along_axis(
        rows, np.abs(rows - np.median(rows, axis=0)).argsort(axis=0)[: n - f], axis=0
    )
    np.testing.assert_allclose(
        store.nearest_mean(n - f).numpy(), near.mean(axis=0), rtol=1e-5, atol=1e-6
    )


def nearest_first(values: np.ndarray) -> list[float]:
    center = float(np.median(values))
    return sorted(values.tolist(), key=lambda value: (abs(value - center), value))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("n", range(1, 10))
def test_the_mean_of_the_nearest_is_right_for_any_number_of_them(n: int, whole: bool) -> None:
    draw = np.random.default_rng(n)
    # Whole numbers have ties; a heavy tail has none.
    values = draw.integers(-3, 4, size=(n, 300)) if whole else draw.standard_t(1.5, size=(n, 300))
    rows = values.astype(np.float64)
    for size in range(1, n + 1):
        expected = [np.mean(nearest_first(values)[:size]) for values in rows.T]
        for store in (HostRows(rows), DeviceRows(torch.from_numpy(rows))):
            np.testing.assert_allclose(
                store.nearest_mean(size).numpy(), expected, rtol=1e-9, atol=1e-12
            )


def test_rows_are_read_where_they_lie_in_any_layout() -> None:
    wide = table(30, 50, torch.float32)
    for rows in (wide.T, wide[::2], wide[:, 3:17], wide.T[5:9]):
        store = HostRows(rows.numpy())
        assert np.shares_memory(store.table.rows, wide.numpy())
        assert torch.equal(store.median(), HostRows(rows.contiguous().numpy()).median())
        np.testing.assert_allclose(
            store.gram(), (rows.double() @ rows.double().T).numpy(), rtol=1e-12
        )


def test_a_mixture_shares_the_scalar_products_and_keeps_norms_apart() -> None:
    rows = HostRows(table(6, 40, torch.float64).numpy())
    gram = rows.gram()
    norms = rows.squared_norms()
    halves = rows.mixed(np.eye(6) / 2)
    assert halves.unmixed().gram() is gram
    np.testing.assert_allclose(halves.squared_norms(), norms / 4)
    np.testing.assert_allclose(
        halves.mixed(np.full((2, 6), 1.0)).written().numpy(), [rows.table.rows.sum(axis=0) / 2] * 2
    )


def test_picked_rows_are_not_copied_and_give_what_their_copy_gives() -> None:
    table_of_rows = table(9, 200, torch.float32)
    chosen = [7, 2, 5, 0, 4]
    rows = HostRows(table_of_rows.numpy())
    # Known scalar products are handed on to the picked rows.
    rows.gram()
    picked = rows.only(chosen)
    copied = HostRows(table_of_rows[chosen].numpy())
    assert np.shares_memory(picked.table.rows, table_of_rows.numpy())
    for kernel in KERNELS.values():
        torch.testing.assert_close(kernel(picked), kernel(copied), rtol=1e-5, atol=1e-5)
    # Indices count among the picked rows: 3 and 1 of [7, 2, 5, 0, 4] are 0 and 2.
    picked_again = picked.only([3, 1])
    assert torch.equal(picked_again.written(), table_of_rows[[0, 2]])
    mixed = picked.mixed(np.full((1, 5), 0.2))
    torch.testing.assert_close(mixed.written()[0], table_of_rows[chosen].mean(dim=0))


def test_distances_of_rows_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = HostRows(table(6, 40, torch.float64).numpy())
    first = squared_distances(rows)
    monkeypatch.setattr("defenses.kernels.table.RowTable.products", lambda *arguments: 1 / 0)
    assert squared_distances(rows.mixed(np.eye(6)).unmixed()) is first
    np.testing.assert_allclose(squared_distances(rows.mixed(np.eye(6))), first)


def test_norms_of_eleven_million_coordinates_are_right_to_a_ten_millionth() -> None:
    rows = torch.randn(2, 11_000_000, generator=torch.Generator().manual_seed(1))
    exact = rows.double().square().sum(dim=1).sqrt().numpy()
    store = HostRows(rows.numpy())
    np.testing.assert_allclose(np.sqrt(store.squared_norms()), exact, rtol=1e-7)
    np.testing.assert_allclose(np.sqrt(store.gram().diagonal()), exact, rtol=1e-12)
    np.testing.assert_allclose(
        np.sqrt(store.distances_to(torch.zeros(rows.shape[1]))), exact, rtol=1e-7
    )


@pytest.mark.parametrize("scale", [1e-3, 1e-4, 1e-5, 1e-6, 1e-7])
def test_distances_of_updates_far_smaller_than_the_weights_are_right(scale: float) -> None:
    weights = torch.randn(
        1, 50_000, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    updates = torch.randn(
        8, 50_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    rows = weights + scale * updates
    exact = torch.stack([(rows - row).square().sum(dim=1) for row in rows]).numpy()
    np.testing.assert_allclose(squared_distances(HostRows(rows.numpy())), exact, rtol=2e-6)


def test_colluders_who_make_pairs_cancel_change_no_other_distance() -> None:
    honest = table(6, 500, torch.float64)
    liars = torch.full((3, 500), 1e15, dtype=torch.float64)
    rows = torch.cat([honest, liars])
    squared = squared_distances(HostRows(rows.numpy()))
    np.testing.assert_allclose(
        squared[:6, :6], squared_distances(HostRows(honest.numpy())), rtol=1e-6
    )
    assert (squared[6:, 6:] == 0.0).all()
