"""Figures as files; those inside a page are drawn in `ui.report.figures`.

A figure of reconstructed images holds training records, so that it is drawn only where it was
asked for.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")  # files only: no window, and no display needed

import numpy as np
from matplotlib import pyplot as plt

from securefl.privacy.accounting.profile import Profile

if TYPE_CHECKING:  # torch: seconds that the figure of a privacy profile need not wait
    from torch import Tensor

    from securefl.audit.exposure.result import Pictures
    from securefl.audit.findings import Findings
    from securefl.ui.data_set import Images

MAX_PICTURES = 8  # in a row
IMAGES_IN_A_ROW = 4
MAX_NAMED_CLASSES = 10  # in the legend of a figure of records
Curve = tuple[Sequence[float], Sequence[float]]  # times, and what was measured then
Bar = tuple[float, float, float]  # a number, the mean there and its standard error
LOWEST_RATE = 1e-4  # where the axes of an ROC curve begin


def draw_profile(path: Path, profile: Profile, largest_epsilon: float) -> None:
    """Draws delta over epsilon, and the bound on an attack's hits over its false alarms.

    Args:
        path: the file; its suffix chooses the format.
        profile: the privacy profile of some releases.
        largest_epsilon: end of the left axis.

    Raises:
        OSError: the file cannot be written.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    epsilons = np.linspace(0, largest_epsilon, 200)
    left.semilogy(epsilons, profile.deltas(epsilons))
    left.set(xlabel="epsilon", ylabel="delta", title="privacy profile")

    rates = np.logspace(-5, 0, 100)
    right.loglog(rates, [profile.most_true_positives(rate) for rate in rates])
    right.loglog(rates, rates, linestyle=":", color="grey")
    right.set(xlabel="false positives", ylabel="true positives")
    right.set(title="the most that any attack finds")
    try:
        figure.savefig(path)
    finally:
        plt.close(figure)


def draw_records(
    path: Path, sites: Sequence[str], classes: Sequence[str], counts: Sequence[Sequence[int]]
) -> None:
    """Draws a bar of each site's training records, in one colour a class.

    Args:
        path: the file; its suffix chooses the format.
        sites: names.
        classes: names.
        counts: of each site, records of each class.

    Raises:
        OSError: the file cannot be written.
    """
    figure, axes = plt.subplots(figsize=(7, 1.5 + 0.35 * len(sites)), layout="constrained")
    ends = np.zeros(len(sites))
    colours = plt.get_cmap("viridis")(np.linspace(0.1, 0.9, len(classes)))
    for index, (name, colour) in enumerate(zip(classes, colours, strict=True)):
        records = np.array([site[index] for site in counts])
        axes.barh(range(len(sites)), records, left=ends, color=colour, label=name)
        ends += records
    axes.set(xlabel="training records")
    # A dollar sign in somebody's name begins no formula.
    axes.set_yticks(range(len(sites)), sites, parse_math=False)
    axes.invert_yaxis()
    # More names would cover the bars.
    if len(classes) <= MAX_NAMED_CLASSES:
        for text in figure.legend(loc="outside right upper", fontsize="small").get_texts():
            text.set_parse_math(False)
    try:
        figure.savefig(path)
    finally:
        plt.close(figure)


def draw_findings(findings: "Findings", *, pictures: bool) -> Path | None:
    """Draws the figures of an audit next to its file.

    Args:
        findings: of one adversary.
        pictures: whether reconstructed images were asked for.

    Returns:
        The figure that shows training records; None where there is none.
    """
    if any(line.curve is not None for line in findings.lines):
        draw_curves(findings.curves, findings)
    pairs = [
        (exposure.attack, exposure.pictures)
        for exposure in findings.exposures
        if exposure.pictures is not None
    ]
    if not pictures or not pairs:
        return None
    draw_pairs(findings.pictures, pairs)
    return findings.pictures


def draw_curves(path: Path, findings: "Findings") -> None:
    """Draws the ROC curve of every attack, both axes logarithmic, and the claim's upper bound."""
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    for line in findings.lines:
        if line.curve is None:
            continue
        false, true = line.curve.false_positive, line.curve.true_positive
        axes.step(false, true, where="post", label=line.attack, lw=1)
    rates = np.logspace(-4, 0, 100)
    for profile in {line.profile for line in findings.lines if line.profile is not None}:
        bound = [profile.most_true_positives(rate) for rate in rates]
        axes.plot(rates, bound, color="black", lw=1, label="the most that the claim allows")
    axes.plot(rates, rates, color="grey", linestyle=":", label="chance")
    axes.set(xscale="log", yscale="log", xlim=(LOWEST_RATE, 1), ylim=(LOWEST_RATE, 1))
    axes.set(xlabel="false positives", ylabel="true positives", title=findings.claim)
    axes.legend(fontsize="small")
    figure.savefig(path)
    plt.close(figure)


def draw_clocks(path: Path, panels: Mapping[str, Mapping[str, Sequence[Curve]]]) -> None:
    """Draws accuracy over simulated time as SVG: the mean over seeds, and the range between them.

    Args:
        path: of the figure.
        panels: title -> label -> a curve a seed, of times and values.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.5 * len(panels), 3.4), sharey=True, layout="constrained"
    )
    for axis, (title, ways) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        for label, curves in ways.items():
            end = min(times[-1] for times, _ in curves)
            places = np.linspace(min(times[0] for times, _ in curves), end, 200)
            values = np.stack([np.interp(places, times, value) for times, value in curves])
            (line,) = axis.plot(places, values.mean(axis=0), lw=1.2, label=label)
            low, high = values.min(axis=0), values.max(axis=0)
            axis.fill_between(places, low, high, color=line.get_color(), alpha=0.15, lw=0)
        axis.set(title=title, xlabel="simulated time", ylim=(0.5, 1.0))
    np.atleast_1d(axes)[0].set_ylabel("accuracy")
    np.atleast_1d(axes)[-1].legend(fontsize="small", loc="lower right")
    _keep(figure, path)


def draw_bars(
    path: Path, panels: Mapping[str, Mapping[str, Sequence[Bar]]], *, across: str, upwards: str
) -> None:
    """Draws means with their errors over a few numbers, one panel a title, one line a label.

    Args:
        path: of the figure.
        panels: title -> label -> number, mean and standard error; a single one is drawn as a level.
        across: name of the numbers.
        upwards: name of the means.
    """
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(3.4 * columns, 2.8 * lines), layout="constrained", squeeze=False
    )
    for axis, (title, rows) in zip(axes.flat, panels.items(), strict=False):
        for label, bars in rows.items():
            numbers, means, errors = zip(*bars, strict=True)
            if len(bars) == 1:
                axis.axhline(means[0], color="grey", lw=1, linestyle=":", label=label)
            else:
                axis.errorbar(numbers, means, errors, marker="o", ms=3, lw=1.2, label=label)
                axis.set_xticks(numbers, [f"{number:g}" for number in numbers])
        axis.set(title=title, xlabel=across)
    for axis in axes[:, 0]:
        axis.set_ylabel(upwards)
    axes.flat[0].legend(fontsize="small")
    _keep(figure, path)


def draw_drift(path: Path, curves: Mapping[str, Curve], metric: str) -> None:
    """Draws a metric over the versions of a model, one line a site.

    Args:
        path: the file; its suffix chooses the format.
        curves: site -> versions, and the values measured there.
        metric: its name.

    Raises:
        OSError: the file cannot be written.
    """
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    versions: set[float] = set()
    for name, (numbers, values) in curves.items():
        width = 2.0 if name == "all" else 1.0
        axes.plot(numbers, values, marker="o", lw=width, ms=4, label=name)
        versions.update(numbers)
    axes.set(xlabel="version", ylabel=metric)
    axes.set_xticks(sorted(versions))
    for text in figure.legend(loc="outside right upper", fontsize="small").get_texts():
        text.set_parse_math(False)
    # Without salt and date the same values would give other bytes.
    try:
        with plt.rc_context({"svg.hashsalt": "securefl"}):
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    finally:
        plt.close(figure)


def draw_images(path: Path, images: "Images") -> None:
    """Draws public images in rows of four, a title over all of them and a label over each.

    Args:
        path: the file; its suffix chooses the format.
        images: pixels in [-1, 1].

    Raises:
        OSError: the file cannot be written.
    """
    columns = min(IMAGES_IN_A_ROW, len(images.pixels))
    rows = math.ceil(len(images.pixels) / columns)
    size = (1.6 * columns, 1.7 * rows + 0.5)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, label, image in zip(axes.flat, images.labels, images.pixels, strict=False):
        axis.imshow(_pixels(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(label, fontsize="small", parse_math=False)
    figure.suptitle(images.title, fontsize="small", parse_math=False)
    try:
        figure.savefig(path)
    finally:
        plt.close(figure)


def draw_pairs(path: Path, pairs: Sequence[tuple[str, "Pictures"]]) -> None:
    """Draws a row of originals over a row of reconstructions for each attack, as SVG."""
    rows: list[tuple[str, Tensor]] = []
    for attack, pictures in pairs:
        rows.append(("original", pictures.truth))
        rows.append((attack, pictures.found))
    draw_rows(path, rows)


def draw_rows(path: Path, rows: Sequence[tuple[str, "Tensor"]]) -> None:
    """Draws labelled rows of images as SVG, the first `MAX_PICTURES` of each.

    Args:
        path: of the figure.
        rows: a label, and images (n, channels, side, side) in [-1, 1].
    """
    columns = min(MAX_PICTURES, max(len(images) for _, images in rows))
    size = (0.9 * columns + 2.2, 0.95 * len(rows))
    figure, axes = plt.subplots(
        len(rows), columns, figsize=size, squeeze=False, layout="constrained"
    )
    for row, (label, images) in zip(axes, rows, strict=True):
        for column, axis in enumerate(row):
            axis.set(xticks=[], yticks=[])
            axis.set_frame_on(False)
            if column < len(images):
                pixels = _pixels(images[column])
                axis.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize="small")
    _keep(figure, path)


def _keep(figure: Any, path: Path) -> None:
    """Writes a figure as SVG, whose bytes are the same for the same content."""
    # Without salt and date they would not be, which a committed figure needs.
    with plt.rc_context({"svg.hashsalt": "securefl"}):
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _pixels(image: "Tensor") -> Any:
    """(side, side) or (side, side, 3) in [0, 1]."""
    shown = ((image.detach() + 1) / 2).clamp(0, 1).float()
    return (shown[0] if len(shown) == 1 else shown.movedim(0, -1)).numpy()
