"""The rows and the page of the experiment of unlike scanners."""

import csv
import io
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from benchmarks.experiments.table import markdown, plus_minus

SITE_GOAL = 0.9  # held-out AUC of the site classifier that intensity steps have to stay below
BACK_GOAL = 0.5  # share of the lost AUC that they have to give back
POSITIVE, NEGATIVE = 390, 234  # test images of PneumoniaMNIST with and without pneumonia
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

    `shifted` puts two scanners' images in one ROC: it also falls where the scores of one scanner
    are higher than those of the other. `within` does not.
    """

    model: str
    steps: str
    lr: float
    seed: int
    clean: float
    shifted: float
    dark: float
    bright: float

    @property
    def within(self) -> float:
        """Returns the mean of the AUCs within each of the two other scanners."""
        return (self.dark + self.bright) / 2


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
    """Returns the share of the AUC lost in one ROC that steps give back, for each seed.

    Lost is what shifted images cost a model without steps.
    """
    plain = {row.seed: row for row in _own(rows, model, "none")}
    shares = []
    for row in _own(rows, model, steps):
        without = plain[row.seed]
        shares.append((row.shifted - without.shifted) / (without.clean - without.shifted))
    return shares


def back_within(rows: Sequence[Row], model: str, steps: str) -> float | None:
    """Returns the share of the AUC lost within a scanner that steps give back, of mean losses.

    Returns:
        None where the mean loss without steps is below the standard error that the test images
        leave. A share of it would be noise.
    """
    plain = _own(rows, model, "none")
    clean = statistics.fmean(row.clean for row in plain)
    within = statistics.fmean(row.within for row in plain)
    if clean - within < auc_error(clean, POSITIVE, NEGATIVE):
        return None
    after = statistics.fmean(row.within for row in _own(rows, model, steps))
    return (after - within) / (clean - within)


def auc_error(auc: float, positive: int, negative: int) -> float:
    """Returns the standard error of an AUC that is due to a finite test sample.

    Source: Hanley and McNeil, Radiology 1982, equation 1 and the exponential form of Q1 and Q2.
    """
    q1 = auc / (2 - auc)
    q2 = 2 * auc**2 / (1 + auc)
    spread = (positive - 1) * (q1 - auc**2) + (negative - 1) * (q2 - auc**2)
    return math.sqrt((auc * (1 - auc) + spread) / (positive * negative))


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
        "the mean deciles of the published validation images, which train nothing and are no test "
        "images. They judge the runs that choose the",
        "learning rates.",
        "",
        "## One site trains, the others test",
        "",
        "AUC on the 624 test images. `clean`: as the site that trains would have them. `gain .6`, "
        "`gain 1.3`: as one of the two others would.",
        "`within`: the mean of these two. `one ROC`: both in one ROC, as if all hospitals shared "
        "one threshold; it has every test image twice,",
        "dark and bright. It also falls where the scores of one scanner are higher than those of "
        "another, which `within` does not.",
        "",
        f"Back: the share of the loss without a step, clean less one ROC, that a step gives back "
        f"(goal: at least {BACK_GOAL:g}). Every row was tuned",
        "on seeds 100 and 101 over six learning rates from .01 to 3, by the AUC on validation "
        "images of the site that trains.",
        "",
        *_transfer(rows),
        "",
        *_losses(rows),
        "",
        "± is over deals of the same 4,708 training and 624 test images. It lacks the error of a "
        "finite test sample: by itself, an AUC of",
        *_sample_error(rows),
        "",
        "## The site, from an image's intensities and from its sharpness",
        "",
        "Held-out AUC of a linear classifier on the training images, over five folds. Intensity: "
        "the deciles of an image. Sharpness: the",
        "variance of the Laplacian and the energy of the gradient. Label: of pneumonia, from the "
        "same deciles: a step takes from both.",
        f"Goal, for intensity and unlike intensities: below {SITE_GOAL:g} after a step. The "
        "scanners of blur differ by a blur of .6 and 1 pixels",
        "alone. There steps of intensity leave the site to be seen, and no goal was set. ± is over "
        "deals of the same images, and lacks the error of a",
        "finite sample of them.",
        "",
        *_sites(effects),
        # Fitted steps have a section of their own where they are measured on the same images.
    ]
    return "\n".join([*lines, ""])


def _transfer(rows: Sequence[Row]) -> Iterator[str]:
    table = []
    for model, steps in dict.fromkeys((row.model, row.steps) for row in rows):
        own = _own(rows, model, steps)
        columns = (
            plus_minus([getattr(row, key) for row in own], digits=3)
            for key in ("clean", "dark", "bright", "within", "shifted")
        )
        shares = back(rows, model, steps)
        given, verdict = "", ""
        if steps != "none":
            given = plus_minus(shares, digits=2)
            verdict = "met" if statistics.fmean(shares) >= BACK_GOAL else "NOT met"
        table.append((model, NAMES[steps], f"{own[0].lr:g}", *columns, given, verdict))
    head = ("model", "steps", "lr", "clean", "gain .6", "gain 1.3", "within", "one ROC")
    yield from markdown((*head, "back", "goal"), table)


def _losses(rows: Sequence[Row]) -> Iterator[str]:
    """Yields what each model loses without steps, and what of it is within a scanner."""
    steps = [name for name in dict.fromkeys(row.steps for row in rows) if name != "none"]
    all_small = True
    for model in dict.fromkeys(row.model for row in rows):
        plain = _own(rows, model, "none")
        in_one = plus_minus([row.clean - row.shifted for row in plain], digits=3)
        within = plus_minus([row.clean - row.within for row in plain], digits=3)
        yield f"- **{model}** without a step loses {in_one} in one ROC, and {within} `within`."
        given = []
        for name in steps:
            share = back_within(rows, model, name)
            if share is not None:
                given.append(f"{NAMES[name]} {share:.2f}")
        if given:
            all_small = False
            yield f"  Of the loss within a scanner, these shares come back: {', '.join(given)}."
        else:
            yield (
                "  The loss within a scanner is below the error of an AUC on the test images: too "
                "small for a share of it."
            )
    if all_small:
        yield (
            "- So the loss is mostly that the scores of two scanners are not comparable, and steps "
            "make them so. A threshold for each hospital"
        )
        yield "  would do so, too, where it has labels to choose one."


def _sample_error(rows: Sequence[Row]) -> Iterator[str]:
    errors = []
    for model in dict.fromkeys(row.model for row in rows):
        mean = statistics.fmean(row.clean for row in _own(rows, model, "none"))
        errors.append(f"{mean:.2f} has {auc_error(mean, POSITIVE, NEGATIVE):.3f}")
    yield f"{', and one of '.join(errors)}, by Hanley and McNeil (Radiology 1982)."


def _own(rows: Sequence[Row], model: str, steps: str) -> list[Row]:
    return [row for row in rows if (row.model, row.steps) == (model, steps)]


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
