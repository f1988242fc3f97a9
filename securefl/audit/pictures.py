"""Figures of reconstructed images beside the records that they are of; such a figure holds training records."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from securefl.audit.exposure.result import Pictures

MOST = 8  # pairs of an attack


def draw_pairs(path: Path, shown: Sequence[tuple[str, Pictures]]) -> None:
    """A row of originals over a row of reconstructions for each attack, as SVG."""
    rows = [
        (label, images)
        for attack, pictures in shown
        for label, images in (("original", pictures.truth), (attack, pictures.found))
    ]
    draw_rows(path, rows)


def draw_rows(path: Path, rows: Sequence[tuple[str, Tensor]]) -> None:
    """Rows of images (n, channels, side, side) in [-1, 1], each with its label; the first eight of each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    across = min(MOST, max(len(images) for _, images in rows))
    size = (0.9 * across + 2.2, 0.95 * len(rows))
    figure, axes = plt.subplots(
        len(rows), across, figsize=size, squeeze=False, layout="constrained"
    )
    for line, (label, images) in zip(axes, rows, strict=True):
        for place, axis in enumerate(line):
            axis.set(xticks=[], yticks=[])
            axis.set_frame_on(False)
            if place < len(images):
                axis.imshow(
                    _pixels(images[place]), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
                )
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize="small")
    with plt.rc_context({"svg.hashsalt": "securefl"}):
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _pixels(image: Tensor) -> Any:
    """(side, side) or (side, side, 3) in [0, 1]."""
    shown = ((image.detach() + 1) / 2).clamp(0, 1).to(torch.float32)
    return (shown[0] if len(shown) == 1 else shown.movedim(0, -1)).numpy()
