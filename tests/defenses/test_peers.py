"""Our rules give the answers of ByzFL and Flower on heavy tails, ties and two camps.

The answers were made by tests/vectors/peers_of_rules.py.
"""

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import defenses
from benchmarks.speed import rules as speed
from tests.paths import VECTORS

PUBLISHED = json.loads((VECTORS / "peers_of_rules.json").read_text(encoding="utf-8"))
F = PUBLISHED["f"]
OURS: dict[str, Callable[[Tensor], Tensor]] = {
    "median": defenses.median,
    "trimmed_mean": lambda rows: defenses.trimmed_mean(rows, f=F),
    "meamed": lambda rows: defenses.meamed(rows, f=F),
    "krum": lambda rows: defenses.krum(rows, f=F),
    "multi_krum": lambda rows: defenses.multi_krum(rows, f=F),
    "geometric_median": lambda rows: defenses.geometric_median(rows, smoothing=1e-9),
    "centered_clipping": lambda rows: defenses.centered_clipping(rows, radius=2.0),
    "centered_clipping, 3 iterations": lambda rows: defenses.centered_clipping(
        rows, radius=2.0, iterations=3
    ),
    "mda": lambda rows: defenses.mda(rows, f=F),
    "monna": lambda rows: defenses.monna(rows, f=F, pivot=4),
    "nearest_neighbor_mixing": lambda rows: defenses.nearest_neighbor_mixing(rows, f=F).tensor(),
    "adaptive_clipping": lambda rows: defenses.adaptive_clipping(rows, f=F).tensor(),
    "clip_norms": lambda rows: defenses.clip_norms(rows, radius=2.0).tensor(),
    "flower krum": lambda rows: defenses.krum(rows, f=F),
    "flower bulyan": lambda rows: defenses.bulyan(rows, f=F),
}
# Where several rows are equally good, each library takes another one. We take the set of least
# total distance (mda), the first rows (mixing), and in Bulyan the smaller of two values equally far
# from the median, which happens in one coordinate of these tables.
APART = {
    ("ties", "mda"): 0.44445,
    ("ties", "nearest_neighbor_mixing"): 0.27273,
    ("ties", "flower bulyan"): 0.5,
}


def test_every_rule_of_theirs_is_compared() -> None:
    assert set(PUBLISHED["tables"]) == {"heavy tails", "ties", "two camps"}
    assert all(set(table["answers"]) == set(OURS) for table in PUBLISHED["tables"].values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", OURS)
@pytest.mark.parametrize("table", PUBLISHED["tables"])
def test_the_answer_is_theirs(table: str, rule: str, dtype: torch.dtype) -> None:
    rows = torch.tensor(PUBLISHED["tables"][table]["rows"], dtype=dtype)
    theirs = torch.tensor(PUBLISHED["tables"][table]["answers"][rule], dtype=torch.float64)
    apart = (OURS[rule](rows).double() - theirs).abs().max() / max(1.0, float(theirs.abs().max()))
    if (table, rule) in APART:
        # Another difference would have another reason than the tie.
        assert apart == pytest.approx(APART[table, rule], abs=1e-4)
    else:
        assert apart < 1e-5


@pytest.mark.parametrize("rule", speed.our_rules(4))
@pytest.mark.parametrize("spoilt", [False, True])
def test_the_benchmark_can_measure_every_rule(rule: str, spoilt: bool) -> None:
    if spoilt and rule in speed.REFUSES_SPOILT:
        with pytest.raises(ValueError, match="cannot tell its pivot"):
            speed.measured(rule, n=20, d=30, f=4, repeats=1, spoilt=spoilt)
        return
    assert speed.measured(rule, n=20, d=30, f=4, repeats=1, spoilt=spoilt).cpu_s > 0
