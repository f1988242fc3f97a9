"""The rows and the page of the experiment of unlike scanners."""

import csv
import io
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from benchmarks.experiments.table import markdown, plus_minus

SITE_GOAL = 0.9  # held-out AUC of the site classifier that intensity steps have to stay below
BACK_GOAL = 0.5  # share of the lost AUC that they have to give back
NAMES = {"none": "none", "zscore": "z-score", "nyul": "Nyul", "nyul, zscore": "Nyul, then z-score"}


class Row(NamedTuple):
    """One seed of one model and its steps; AUCs on the test images.

    Attributes:
        model: its name.
        steps: of data.harmonise.
        lr: that was chosen.
        seed: of the run and the split.
        clean: on images of the scanner that the model was trained with.
        shifted: on images of both other scanners together.
        dark: on those of gain .6 and gamma 1.6.
        bright: on those of gain 1.3 and gamma .6.
    """

    model: str
    steps: str
    lr: float
    seed: int
    clean: float
    shifted: float
    dark: float
    bright: float


class Effect(NamedTuple):
    """Held-out AUCs of linear classifiers, on training images of three sites.

    Attributes:
        setting: in what the scanners differ.
        steps: of data.harmonise.
        seed: of the split.
        intensity: of the site, by intensity quantiles.
        sharpness: of the site, by sharpness.
        label: of the label, by intensity quantiles.
    """

    setting: str
    steps: str
    seed: int
    intensity: float
    sharpness: float
    label: float


Kind = TypeVar("Kind", Row, Effect)


def read_rows(text: str, kind: type[Kind]) -> list[Kind]:
    """Returns the rows of a CSV file."""
    types = kind.__annotations__
    lines = csv.DictReader(io.StringIO(text))
    return [kind(**{key: types[key](value) for key, value in line.items()}) for line in lines]


def back(rows: Sequence[Row], model: str, steps: str) -> list[float]:
    """Returns the share of the lost AUC that steps give back, for each seed.

    Lost is what shifted images cost a model without steps.
    """
    plain = {row.seed: row for row in rows if (row.model, row.steps) == (model, "none")}
    shares = []
    for row in rows:
        if (row.model, row.steps) == (model, steps):
            without = plain[row.seed]
            shares.append((row.shifted - without.shifted) / (without.clean - without.shifted))
    return shares


def page(rows: Sequence[Row], effects: Sequence[Effect], landmarks: Sequence[float]) -> str:
    """Returns docs/results/site-effect.md."""
    lines = [
        "# Unlike scanners",
        "",
        "`make bench-site-effect`; PneumoniaMNIST, 28 pixels, three sites by chance; five seeds, "
        "each with a split of its own; mean ±",
        "standard error. One site has the images as they are published. The second has gain .6 and "
        "gamma 1.6, the third gain 1.3 and",
        "gamma .6. [harmonise.md](../harmonise.md) says what the steps do. Nyul maps deciles to",
        f"{', '.join(f'{value:g}' for value in landmarks)},",
        "the mean deciles of the published validation images, which neither train nor judge.",
        "",
        "## One site trains, the others test",
        "",
        "AUC on the 624 test images. `clean`: as the site that trains would have them. `both`: as "
        "the two others would, 1,248 images",
        "together. Back: the share of the loss without a step, clean less both, that a step gives "
        f"back (goal: at least {BACK_GOAL:g}). Every",
        "row was tuned on seeds 100 and 101 over three learning rates, by the AUC on validation "
        "images of the site that trains.",
        "",
        *_transfer(rows),
        "",
        "## The site, from an image's intensities and from its sharpness",
        "",
        "Held-out AUC of a linear classifier on the training images, over five folds. Intensity: "
        "the deciles of an image. Sharpness: the",
        "variance of the Laplacian and the energy of the gradient. Label: of pneumonia, from the "
        "same deciles: a step takes from both.",
        f"Goal, for intensity and unlike intensities: below {SITE_GOAL:g} after a step. The "
        "scanners of blur differ by a blur of .6 and 1 pixels",
        "alone. There steps of intensity leave the site to be seen, and no goal was set.",
        "",
        *_sites(effects),
        # Fitted steps have a section of their own where they are measured on the same images.
    ]
    return "\n".join([*lines, ""])


def _transfer(rows: Sequence[Row]) -> Iterator[str]:
    table = []
    for model, steps in dict.fromkeys((row.model, row.steps) for row in rows):
        own = [row for row in rows if (row.model, row.steps) == (model, steps)]
        columns = (
            plus_minus([getattr(row, key) for row in own], digits=3)
            for key in ("clean", "shifted", "dark", "bright")
        )
        shares = back(rows, model, steps)
        given, verdict = "", ""
        if steps != "none":
            given = plus_minus(shares, digits=2)
            verdict = "met" if statistics.fmean(shares) >= BACK_GOAL else "NOT met"
        table.append((model, NAMES[steps], f"{own[0].lr:g}", *columns, given, verdict))
    head = ("model", "steps", "lr", "clean", "both", "gain .6", "gain 1.3", "back", "goal")
    yield from markdown(head, table)


def _sites(effects: Sequence[Effect]) -> Iterator[str]:
    table = []
    for setting, steps in dict.fromkeys((effect.setting, effect.steps) for effect in effects):
        own = [one for one in effects if (one.setting, one.steps) == (setting, steps)]
        columns = (
            plus_minus([getattr(one, key) for one in own], digits=3)
            for key in ("intensity", "sharpness", "label")
        )
        verdict = ""
        if setting == "intensity" and steps != "none":
            mean = statistics.fmean(one.intensity for one in own)
            verdict = "met" if mean < SITE_GOAL else "NOT met"
        table.append((setting, NAMES[steps], *columns, verdict))
    head = ("scanners differ in", "steps", "site, intensity", "site, sharpness", "label", "goal")
    yield from markdown(head, table)
