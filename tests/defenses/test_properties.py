"""One suite over all rules: properties that hold for any rows."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import defenses
from tests.paths import ROOT

deterministic = settings(derandomize=True, max_examples=30, deadline=None, database=None)
F = 2
Rule = Callable[[Tensor], Tensor]
RULES: dict[str, Rule] = {
    "median": defenses.median,
    "trimmed_mean": lambda rows: defenses.trimmed_mean(rows, f=F),
    "meamed": lambda rows: defenses.meamed(rows, f=F),
    "krum": lambda rows: defenses.krum(rows, f=F),
    "multi_krum": lambda rows: defenses.multi_krum(rows, f=F),
    # With f = 2 its last choice goes by one neighbour: two rows that are each other's nearest tie.
    "bulyan": lambda rows: defenses.bulyan(rows, f=3 if len(rows) == 15 else F),
    "geometric_median": defenses.geometric_median,
    "mda": lambda rows: defenses.mda(rows, f=F),
    "dnc": lambda rows: defenses.dnc(rows, f=F),
    "monna": lambda rows: defenses.monna(
        rows, f=F, pivot=int(rows.abs().nan_to_num(math.inf).sum(dim=1).argmin())
    ),
    "centered_clipping": lambda rows: defenses.centered_clipping(
        rows, radius=float(rows[:, 0].abs().max()) + 1.0
    ),
    "mixing, krum": lambda rows: defenses.krum(defenses.nearest_neighbor_mixing(rows, f=F), f=F),
    "mixing, median": lambda rows: defenses.median(defenses.nearest_neighbor_mixing(rows, f=F)),
    "adaptive, mda": lambda rows: defenses.mda(defenses.adaptive_clipping(rows, f=F), f=F),
}
MOVES_WITH_ITS_ROWS = [
    name for name in RULES if name not in ("centered_clipping", "adaptive, mda", "monna")
]
BOXED = ["median", "trimmed_mean"]
seeds = st.integers(0, 2**32 - 1)


def heavy(seed: int, n: int = 11, d: int = 5) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_t(1.5, size=(n, d)))


def close(estimate: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    torch.testing.assert_close(estimate, expected, rtol=1e-6, atol=1e-7 * scale)


@pytest.mark.parametrize("name", RULES)
@given(seed=seeds)
@deterministic
def test_the_order_of_the_rows_does_not_matter(name: str, seed: int) -> None:
    rows = heavy(seed, n=11 if name != "bulyan" else 15)
    shuffled = rows[torch.from_numpy(np.random.default_rng(seed).permutation(len(rows)))]
    close(RULES[name](shuffled), RULES[name](rows), float(rows.abs().max()))


@pytest.mark.parametrize("name", [name for name in RULES if name != "centered_clipping"])
@given(seed=seeds, exponent=st.integers(-12, 12))
@deterministic
def test_scaled_rows_give_a_scaled_estimate(name: str, seed: int, exponent: int) -> None:
    rows, scale = heavy(seed), 10.0**exponent
    close(RULES[name](rows * scale) / scale, RULES[name](rows), float(rows.abs().max()))


@pytest.mark.parametrize("name", MOVES_WITH_ITS_ROWS)
@given(seed=seeds, shift=st.floats(-1e4, 1e4))
@deterministic
def test_shifted_rows_give_a_shifted_estimate(name: str, seed: int, shift: float) -> None:
    rows = heavy(seed)
    close(RULES[name](rows + shift) - shift, RULES[name](rows), float(rows.abs().max()) + 1e4)


@pytest.mark.parametrize(
    "name", ["trimmed_mean", "meamed", "multi_krum", "mda", "dnc", "bulyan", "monna"]
)
def test_without_liars_it_is_the_mean(name: str) -> None:
    arguments = {"pivot": 3} if name == "monna" else {}
    rows = heavy(5)
    close(getattr(defenses, name)(rows, f=0, **arguments), rows.mean(dim=0))


@pytest.mark.parametrize("name", BOXED)
@given(seed=seeds, lie=st.floats(width=32))
@deterministic
def test_f_liars_cannot_leave_the_honest_box(name: str, seed: int, lie: float) -> None:
    honest = heavy(seed)
    rows = torch.cat([honest, torch.full((F, 5), lie, dtype=torch.float64)])
    estimate = RULES[name](rows)
    assert (estimate >= honest.min(dim=0).values).all()
    assert (estimate <= honest.max(dim=0).values).all()


@pytest.mark.parametrize("lie", [1e6, 1e12, 1e17, 9e17, 1e30, math.inf, math.nan])
@pytest.mark.parametrize("name", [name for name in RULES if name != "centered_clipping"])
def test_f_rows_of_any_size_move_it_no_further_than_the_honest_rows_are_apart(
    name: str, lie: float
) -> None:
    honest = heavy(3) + 1.0
    spread = float(torch.cdist(honest, honest).max())
    ladder = torch.zeros(F, 5)
    ladder[:, 0] = torch.tensor([lie, lie / 10])
    for liars in (torch.full((F, 5), lie), torch.tensor([[lie] * 5, [-lie] * 5]), ladder):
        estimate = RULES[name](torch.cat([honest, liars.double()]))
        assert float((estimate - honest.mean(dim=0)).norm()) < 2 * spread


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", RULES)
def test_an_estimate_is_finite_of_the_rows_dtype_and_the_input_untouched(
    name: str, dtype: torch.dtype
) -> None:
    rows = heavy(9).to(dtype)
    rows[4] = 1e18
    rows[6, 2] = math.nan
    before = rows.clone()
    estimate = (
        RULES[name](rows)
        if name != "centered_clipping"
        else defenses.centered_clipping(rows, radius=1.0)
    )
    assert estimate.dtype == dtype
    assert estimate.shape == (5,)
    assert estimate.isfinite().all()
    torch.testing.assert_close(rows, before, rtol=0, atol=0, equal_nan=True)
    # An estimate is a copy, never a view: writing into it leaves the rows alone.
    estimate[:] = 7.0
    torch.testing.assert_close(rows, before, rtol=0, atol=0, equal_nan=True)


def test_two_threads_give_the_estimates_of_a_single_thread() -> None:
    single = estimates_with_threads(1)
    assert single.shape == (len(RULES), 40)
    torch.testing.assert_close(estimates_with_threads(2), single, rtol=1e-5, atol=1e-5)


def estimates_with_threads(count: int) -> Tensor:
    """Returns every rule's estimate, from a process of its own.

    BLAS and torch read their numbers of threads when they are loaded.
    """
    code = (
        "import json, tests.defenses.test_properties as t;"
        "rows = t.heavy(4, n=12, d=20_000).float();"
        "print(json.dumps([rule(rows)[::500].tolist() for rule in t.RULES.values()]))"
    )
    threads = {f"{library}_NUM_THREADS": str(count) for library in ("OMP", "OPENBLAS", "MKL")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **threads},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return torch.tensor(json.loads(done.stdout))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "rows", [torch.zeros(4), torch.zeros(0, 3), torch.zeros(3, 2, dtype=torch.int64)]
)
def test_rows_that_are_no_table_of_floats_are_refused(name: str, rows: Tensor) -> None:
    calls: dict[str, Rule] = {**RULES, "monna": lambda rows: defenses.monna(rows, f=F, pivot=0)}
    calls["centered_clipping"] = lambda rows: defenses.centered_clipping(rows, radius=1.0)
    with pytest.raises(ValueError, match="rows must"):
        calls[name](rows)
