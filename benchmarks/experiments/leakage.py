"""What updates show: reconstruction and attribute inference, next to guessing.

Run by `make bench-leakage`. Needs pneumoniamnist.npz and retinamnist.npz (downloaded, or under
SECUREFL_DATA). Prints one table as Markdown. With --write it goes to docs/results/leakage.md, and
the figure of eight clients' images to docs/figures/reconstructions.svg.
"""

import sys
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from attacks.reconstruction.pictures import best_match, guesses, psnr
from benchmarks.experiments import attributes, imprints, reconstructions, through_rules
from benchmarks.experiments.reconstructions import BOUNDS
from benchmarks.experiments.table import Page, Row, Setup, main, markdown
from securefl.audit.exposure.look import Look, look_at
from securefl.audit.exposure.reconstruction import reconstructions as reconstructed
from securefl.audit.exposure.result import Pictures
from securefl.audit.inquiry import Inquiry
from securefl.scenario.scenario import parse_scenario
from securefl.ui.figures import draw_rows

_NOISE = ("training.kind=dp_sgd", "privacy.noise=seeded", f"privacy.records={[1] * 10}")
SHOWN: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "local DP, epsilon 8": (*_NOISE, "privacy.epsilon=8.0"),
    "local DP, epsilon 1": (*_NOISE, "privacy.epsilon=1.0"),
    "masked": ("channel.kind=masked",),
    "ckks": ("channel.kind=ckks",),
}
CLIENTS_SHOWN = 8  # of ten
SOURCES = {
    "reconstruction": reconstructions.rows,
    "through the rule": through_rules.rows,
    "closed forms": imprints.rows,
    "attributes": attributes.rows,
}
_INTRO = """\
PSNR is in dB, of the best match. Guessing is the better of two guesses by an attacker who saw no
update: the mean training image, and its mean grey. A goal of "none" marks a figure that is only
measured. Mean ± standard error. Attacks that fail here are no evidence for an epsilon: they bound
nothing, and another attack may do better. Reconstructions take 800 iterations and one start, on the
toolkit's `cnn` with channels 32 and 56 unless a row says otherwise.

Shuffled: the coordinates of each gradient or update in another order. With one logit
(PneumoniaMNIST) the sum of a gradient's coordinates alone gives the counts where activations are
alike, and no order hides a sum. There the control is "signs too", with signs drawn at random.

The last table and [the figure](../figures/reconstructions.svg): ten clients with one image each
take one step, and the server inverts what it sees of eight of them. Images: PneumoniaMNIST (CC BY
4.0, Kermany et al. 2018; MedMNIST v2, Yang et al. 2023).
"""


def eight_clients(overrides: tuple[str, ...]) -> tuple[Look, Pictures]:
    """Returns one image of each of eight clients, and the server's reconstructions of them.

    There are no reconstructions where the server sees nothing to start from.
    """
    scenario = parse_scenario(through_rules.FEDERATION, overrides=("seed=3", *overrides))
    look = look_at(Inquiry(scenario, "server"), on_round=lambda label, record: None)
    images = [look.data.sites[client].train.features for client in range(CLIENTS_SHOWN)]
    truth = look.task.inputs(torch.cat(images))
    first = _pictures(look, 0)
    if first is None:
        return look, Pictures(truth, truth[:0])
    # A sum gives the same pictures for every target: those of all clients.
    if len(first) > 1:
        return look, Pictures(truth, first[:CLIENTS_SHOWN])
    pictures = [first]
    for client in range(1, CLIENTS_SHOWN):
        picture = _pictures(look, client)
        if picture is not None:
            pictures.append(picture)
    return look, Pictures(truth, torch.cat(pictures))


def _pictures(look: Look, client: int) -> Tensor | None:
    """Returns the last attack's best matches for a client, or for the sum that it is part of."""
    aimed = replace(look, inquiry=replace(look.inquiry, target=client))
    shown = [exposure.pictures for exposure in reconstructed(aimed)]
    pictures = [shot for shot in shown if shot is not None]
    return pictures[-1].found if pictures else None


def figure(path: Path | None) -> list[str]:
    """Returns the table of the figure's channels and noises, and draws the figure at `path`."""
    pictures_by_label: list[tuple[str, Tensor]] = []
    rows = []
    for name, overrides in SHOWN.items():
        look, pictures = eight_clients(overrides)
        # The attacker's own records, not the clients': guessing may not use what it guesses.
        guessed = guesses(look.task.inputs(look.own_records.features))
        guessing = best_match(guessed, pictures.truth, bounds=BOUNDS).psnr.quantile(0.5)
        if not pictures_by_label:
            pictures_by_label.append(("original", pictures.truth))
        label = name if len(pictures.found) else f"{name}: ciphertexts"
        pictures_by_label.append((label, pictures.found))
        measured = "nothing to start from"
        if len(pictures.found):
            decibels = psnr(pictures.found, pictures.truth, bounds=BOUNDS)
            measured = f"{decibels.quantile(0.5):.1f} dB"
        rows.append([name, measured, f"{guessing:.1f} dB"])
    mean = guesses(look.task.inputs(look.own_records.features))[:1]
    pictures_by_label.append(("guess: mean image", mean.expand(CLIENTS_SHOWN, -1, -1, -1)))
    if path is not None:
        draw_rows(path, pictures_by_label)
    return list(markdown(("the server sees", "median PSNR", "guessing"), rows))


def measured_rows(name: str) -> list[Row]:
    """Returns the rows of one source."""
    return list(SOURCES[name]())


def measure(setup: Setup) -> Page:
    """Measures all sources and the figure, each in a process of its own.

    The folder of --write is docs: the page goes to its results, the figure to its figures.
    """
    waiting: dict[str, Future[list[Row]]] = {
        name: setup.workers.submit(measured_rows, name) for name in SOURCES
    }
    # The figure is drawn by the worker that has the pictures.
    path = None if setup.folder is None else setup.folder / "figures/reconstructions.svg"
    drawn = setup.workers.submit(figure, path)
    cells = [
        [f"{name}: {row.what}", row.goal, row.measured, row.verdict]
        for name, rows in waiting.items()
        for row in rows.result()
    ]
    lines = [*markdown(("what", "goal", "measured", ""), cells), "", *drawn.result()]
    text = "\n".join(lines) + "\n"
    page = f"# What updates show\n\nMade by `make bench-leakage`.\n\n{_INTRO}\n{text}"
    return Page(text, {"results/leakage.md": page})


if __name__ == "__main__":
    sys.exit(main(measure, about=__doc__))
