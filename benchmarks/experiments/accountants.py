"""Epsilon next to other accountants, over 30 settings: `make bench-epsilon`."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import NamedTuple

from benchmarks.experiments.table import Page, Setup, csv_text, main, markdown
from securefl.privacy.accounting.crosscheck import prv_epsilon, renyi_epsilon, rounded_down_epsilon
from securefl.privacy.accounting.epsilon import bounds
from securefl.privacy.events import SampledGaussian


class Setting(NamedTuple):
    """A subsampled Gaussian mechanism, and the delta of its epsilon."""

    sample_rate: float
    noise_multiplier: float
    steps: int
    delta: float


class Comparison(NamedTuple):
    """The epsilons of one setting; None where an accountant fails."""

    sample_rate: float
    noise_multiplier: float
    steps: int
    delta: float
    lower: float  # ours, never above the true value
    upper: float  # ours, never below the true value
    seconds: float  # of CPU, for both
    optimistic: float | None
    renyi: float | None
    opacus_prv: float | None


# From full batches to a sample rate of a thousandth, from one step to 100,000; three odd ones last.
SETTINGS = (
    Setting(1.0, 0.5, 1, 1e-5),
    Setting(1.0, 1.0, 1, 1e-5),
    Setting(1.0, 2.0, 1, 1e-5),
    Setting(1.0, 4.0, 1, 1e-5),
    Setting(1.0, 20.0, 1000, 1e-5),
    Setting(0.5, 0.7, 10, 1e-5),
    Setting(0.5, 2.0, 10, 1e-5),
    Setting(0.5, 8.0, 10, 1e-5),
    Setting(0.1, 0.6, 200, 1e-5),
    Setting(0.1, 1.0, 200, 1e-5),
    Setting(0.1, 2.0, 200, 1e-5),
    Setting(0.1, 6.0, 200, 1e-5),
    Setting(0.064, 1.1, 320, 1e-3),
    Setting(0.064, 1.1, 320, 1e-5),
    Setting(0.064, 1.1, 320, 1e-7),
    Setting(0.064, 1.1, 320, 1e-9),
    Setting(0.01, 0.5, 1, 1e-5),
    Setting(0.01, 1.0, 1, 1e-5),
    Setting(0.01, 0.8, 100, 1e-5),
    Setting(0.01, 1.0, 1000, 1e-5),
    Setting(0.01, 4.0, 1000, 1e-5),
    Setting(0.01, 1.0, 10_000, 1e-5),
    Setting(0.01, 1.0, 10_000, 1e-6),
    Setting(0.001, 0.6, 1000, 1e-6),
    Setting(0.001, 0.8, 10_000, 1e-6),
    Setting(0.001, 1.0, 100_000, 1e-6),
    Setting(0.001, 3.0, 100_000, 1e-6),
    Setting(0.3, 0.3, 3, 1e-5),
    Setting(0.02, 10.0, 100, 1e-5),
    Setting(0.05, 30.0, 50, 1e-5),
)
HEAD = (
    "q",
    "sigma",
    "steps",
    "delta",
    "ours",
    "not below",
    "ours / not below",
    "optimist",
    "Rényi DP",
    "Opacus PRV",
    "s",
)
_CELL = 1e-4  # of dp-accounting's grid
_TINY_EPSILON = 1e-9  # below it a percentage says nothing


def compared(setting: Setting) -> Comparison:
    """Returns both ends of our epsilon and the other accountants' values."""
    # One segment: all steps of one mechanism.
    segments = {SampledGaussian(setting.sample_rate, setting.noise_multiplier, setting.steps): 1}
    delta = setting.delta
    start = time.process_time()
    lower, upper = bounds(segments, delta=delta)
    seconds = time.process_time() - start
    return Comparison(
        *setting,
        lower,
        upper,
        seconds,
        optimistic=_or_none(lambda: rounded_down_epsilon(segments, delta=delta, interval=_CELL)),
        renyi=_or_none(lambda: renyi_epsilon(segments, delta=delta)),
        opacus_prv=_or_none(lambda: prv_epsilon(segments, delta=delta)),
    )


def _or_none(accountant: Callable[[], float | None]) -> float | None:
    """Returns the accountant's epsilon, or None where it fails."""
    try:
        return accountant()
    except (ValueError, RuntimeError):
        return None


def page(rows: list[Comparison]) -> str:
    """Returns docs/results/epsilon.md."""
    return "\n".join(_lines(rows)) + "\n"


def _lines(rows: list[Comparison]) -> Iterator[str]:
    yield "# Epsilon beside other accountants"
    yield ""
    yield (
        f"`make bench-epsilon`; dp-accounting {version('dp-accounting')}, "
        f"Opacus {version('opacus')}. Neighbours"
    )
    yield (
        "differ by a record added or removed. `ours` is never below the true value, `not below` "
        "never above it. The"
    )
    yield (
        "optimist is dp-accounting's privacy buckets rounded down on a grid of 1e-4, which loses "
        "half a cell a step."
    )
    yield "CPU seconds for both our ends."
    yield ""
    yield from markdown(HEAD, map(_cells, rows))


def _cells(row: Comparison) -> list[str]:
    return [
        f"{row.sample_rate:g}",
        f"{row.noise_multiplier:g}",
        f"{row.steps:g}",
        f"{row.delta:g}",
        _number(row.upper),
        _number(row.lower),
        f"{row.upper / row.lower:.4f}" if row.lower else "-",
        _number(row.optimistic),
        _relative(row.renyi, row.upper),
        _relative(row.opacus_prv, row.upper),
        f"{row.seconds:.1f}",
    ]


def _number(value: float | None) -> str:
    return "fails" if value is None else f"{value:.5g}"


def _relative(value: float | None, ours: float) -> str:
    """Returns the value, and how far it is from ours in per cent."""
    if value is None or ours < _TINY_EPSILON:
        return _number(value)
    return f"{value:.5g} ({100 * (value / ours - 1):+.1f} %)"


def measure(setup: Setup) -> Page:
    """Compares all settings, in this process: the CPU seconds are part of the result."""
    # Rényi accountants warn that their best order is the last one: the table shows the cost.
    warnings.simplefilter("ignore")
    rows = [compared(setting) for setting in SETTINGS]
    text = page(rows)
    table = csv_text(Comparison._fields, rows, digits=6)
    return Page(text, {"epsilon.md": text, "epsilon.csv": table})


if __name__ == "__main__":
    sys.exit(main(measure, about=__doc__))
