"""Epsilon beside other accountants, over 30 settings: `make bench-epsilon`."""

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from securefl.privacy.accounting.crosscheck import prv_epsilon, renyi_epsilon, rounded_down_epsilon
from securefl.privacy.accounting.epsilon import bounds
from securefl.privacy.events import SampledGaussian

SETTINGS = [  # sample rate, noise multiplier, steps, delta
    *(
        (1.0, noise, steps, 1e-5)
        for noise, steps in ((0.5, 1), (1.0, 1), (2.0, 1), (4.0, 1), (20.0, 1000))
    ),
    *((0.5, noise, 10, 1e-5) for noise in (0.7, 2.0, 8.0)),
    *((0.1, noise, 200, 1e-5) for noise in (0.6, 1.0, 2.0, 6.0)),
    *((0.064, 1.1, 320, delta) for delta in (1e-3, 1e-5, 1e-7, 1e-9)),
    *(
        (0.01, noise, steps, 1e-5)
        for noise, steps in ((0.5, 1), (1.0, 1), (0.8, 100), (1.0, 1000), (4.0, 1000))
    ),
    *((0.01, 1.0, 10_000, delta) for delta in (1e-5, 1e-6)),
    *(
        (0.001, noise, steps, 1e-6)
        for noise, steps in ((0.6, 1000), (0.8, 10_000), (1.0, 100_000), (3.0, 100_000))
    ),
    (0.3, 0.3, 3, 1e-5),
    (0.02, 10.0, 100, 1e-5),
    (0.05, 30.0, 50, 1e-5),
]


def measured(
    sample_rate: float, noise_multiplier: float, steps: int, delta: float
) -> dict[str, Any]:
    """One setting: both our ends, and what the others say; None where one cannot say."""
    segments = {SampledGaussian(sample_rate, noise_multiplier, steps): 1}
    begun = time.process_time()
    lower, upper = bounds(segments, delta=delta)
    seconds = time.process_time() - begun
    others = {
        "optimistic": lambda: rounded_down_epsilon(segments, delta=delta, interval=1e-4),
        "renyi": lambda: renyi_epsilon(segments, delta=delta),
        "opacus_prv": lambda: prv_epsilon(segments, delta=delta),
    }
    row = {
        "sample_rate": sample_rate,
        "noise_multiplier": noise_multiplier,
        "steps": steps,
        "delta": delta,
    }
    return (
        row
        | {"lower": lower, "upper": upper, "seconds": seconds}
        | {key: _said(ask) for key, ask in others.items()}
    )


def _said(ask: Callable[[], float | None]) -> float | None:
    try:
        return ask()
    except (ValueError, RuntimeError):
        return None


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table and where it comes from."""
    return "\n".join(_lines(rows)) + "\n"


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "# Epsilon beside other accountants"
    yield ""
    yield f"`make bench-epsilon`; dp-accounting {version('dp-accounting')}, Opacus {version('opacus')}. Neighbours"
    yield "differ by a record added or removed. `ours` is never below the true value, `not below` never above it. The"
    yield "optimist is dp-accounting's privacy buckets rounded down on a grid of 1e-4, which loses half a cell a step."
    yield "CPU seconds for both our ends."
    yield ""
    yield "| q | sigma | steps | delta | ours | not below | ours / not below | optimist | Rényi DP | Opacus PRV | s |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        tight = f"{row['upper'] / row['lower']:.4f}" if row["lower"] else "-"
        cells = [f"{row[key]:g}" for key in ("sample_rate", "noise_multiplier", "steps", "delta")]
        cells += [_number(row["upper"]), _number(row["lower"]), tight, _number(row["optimistic"])]
        cells += [
            _beside(row["renyi"], row["upper"]),
            _beside(row["opacus_prv"], row["upper"]),
            f"{row['seconds']:.1f}",
        ]
        yield f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "fails" if value is None else f"{value:.5g}"


def _beside(value: float | None, ours: float) -> str:
    return (
        _number(value)
        if value is None or ours < 1e-9
        else f"{value:.5g} ({100 * (value / ours - 1):+.1f} %)"
    )


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description="epsilon beside other accountants")
    parser.add_argument(
        "--out", type=Path, required=True, help="path of the results, without suffix"
    )
    out: Path = parser.parse_args().out
    warnings.simplefilter(
        "ignore"
    )  # of Rényi orders at the end of their range: the table shows what that costs
    rows = [measured(*setting) for setting in SETTINGS]
    page = markdown(rows)
    print(page)
    out.with_suffix(".md").write_text(page, encoding="utf-8")
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()}
            for row in rows
        )


if __name__ == "__main__":
    main()
