"""What updates show: reconstruction and attribute inference beside guessing. Run by `make bench-leakage`.

Needs pneumoniamnist.npz and retinamnist.npz (downloaded, or under SECUREFL_DATA). Prints one table as Markdown; with
--write it goes to docs/results/leakage.md, and the figure of eight clients' images to docs/figures/reconstructions.svg.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from attacks.reconstruction.pictures import best_match, guesses, psnr
from benchmarks.experiments import attributes, imprints, reconstructions, through_rules
from benchmarks.experiments.reconstructions import BOUNDS, Row
from securefl.audit.exposure.look import Look, look_at
from securefl.audit.exposure.reconstruction import reconstructions as reconstructed
from securefl.audit.exposure.result import Pictures
from securefl.audit.inquiry import Inquiry
from securefl.audit.pictures import draw_rows
from securefl.scenario.scenario import parse_scenario

_NOISE = ("training.kind=dp_sgd", "privacy.noise=seeded", f"privacy.records={[1] * 10}")
SHOWN: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "local DP, epsilon 8": (*_NOISE, "privacy.epsilon=8.0"),
    "local DP, epsilon 1": (*_NOISE, "privacy.epsilon=1.0"),
    "masked": ("channel.kind=masked",),
    "ckks": ("channel.kind=ckks",),
}
EIGHT = 8
SOURCES = {
    "reconstruction": reconstructions.rows,
    "through the rule": through_rules.rows,
    "closed forms": imprints.rows,
    "attributes": attributes.rows,
}
_INTRO = """PSNR in dB, of the best match, beside the better of two guesses by who has seen no update: the mean training
image, and its mean grey. "none" under goal: measured without one. Mean ± standard error. Attacks that fail here are no
evidence for an epsilon: they bound nothing, another attack may do better. Reconstructions take 800 iterations and one
start, on the toolkit's `cnn` of channels 32 and 56 where nothing else is said.

shuffled: the coordinates of each gradient or update in another order. With one logit (PneumoniaMNIST) the sum of a
gradient's coordinates alone tells the counts where activations are alike, and no order hides a sum: there the control
is "signs too", with signs drawn anew.

The last table and [the figure](../figures/reconstructions.svg): ten clients with one image each take one step, and the
server inverts what it sees of eight of them. Images: PneumoniaMNIST (CC BY 4.0, Kermany et al. 2018; MedMNIST v2, Yang
et al. 2023).
"""
_HEAD = ("| what | goal | measured | |", "|---|---|---|---|")


def eight_clients(overrides: tuple[str, ...]) -> tuple[Look, Pictures]:
    """One image of each of eight clients of ten, and what the server takes for them (0 rows where it sees nothing)."""
    scenario = parse_scenario(through_rules.FEDERATION, overrides=("seed=3", *overrides))
    look = look_at(Inquiry(scenario, "server"), on_round=lambda label, record: None)
    images = [look.data.sites[client].train.features for client in range(EIGHT)]
    truth = look.task.inputs(torch.cat(images))
    first = _pictures(look, 0)
    if first is None:
        found = truth[:0]
    elif len(first) > 1:  # a sum: every target gives the same
        found = first[:EIGHT]
    else:
        others = [_pictures(look, client) for client in range(1, EIGHT)]
        found = torch.cat([first, *(one for one in others if one is not None)])
    return look, Pictures(truth, found)


def _pictures(look: Look, client: int) -> Tensor | None:
    """The nearest of what the last attack took for a client's records, or for those behind a sum it is part of."""
    of = replace(look, inquiry=replace(look.inquiry, target=client))
    shown = [one.pictures for one in reconstructed(of) if one.pictures is not None]
    return shown[-1].found if shown else None


def figure(path: Path | None) -> Iterator[str]:
    """What the server makes of the same eight images under each channel and noise: a table, drawn where path says."""
    rows: list[tuple[str, Tensor]] = []
    yield "| the server sees | median PSNR | guessing |"
    yield "|---|---|---|"
    for name, overrides in SHOWN.items():
        look, pictures = eight_clients(overrides)
        guessed = guesses(look.task.inputs(look.known.features))
        guessing = best_match(guessed, pictures.truth, bounds=BOUNDS).psnr.quantile(0.5)
        if not rows:
            rows += [("original", pictures.truth)]
        rows.append((name if len(pictures.found) else f"{name}: ciphertexts", pictures.found))
        told = "nothing to start from"
        if len(pictures.found):
            told = f"{psnr(pictures.found, pictures.truth, bounds=BOUNDS).quantile(0.5):.1f} dB"
        yield f"| {name} | {told} | {guessing:.1f} dB |"
    mean = guesses(look.task.inputs(look.known.features))[:1]
    rows.append(("guess: mean image", mean.expand(EIGHT, -1, -1, -1)))
    if path is not None:
        draw_rows(path, rows)


def measured(name: str) -> list[Row]:
    """The rows of one source, in a process of its own."""
    torch.set_num_threads(1)
    return list(SOURCES[name]())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write where that is asked for; the table says which goals are missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", type=Path, help="the docs folder")
    chosen = parser.parse_args(arguments)
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as workers:
        waiting: dict[str, Future[list[Row]]] = {
            name: workers.submit(measured, name) for name in SOURCES
        }
        shown = workers.submit(
            shown_lines, None if chosen.write is None else chosen.write / "figures"
        )
        told = [*_HEAD]
        for name, rows in waiting.items():
            for what, goal, found, met in rows.result():
                told.append(f"| {name}: {what} | {goal} | {found} | {verdict(goal, met)} |")
        told += ["", *shown.result()]
    text = "\n".join(told) + "\n"
    sys.stdout.write(text)
    if chosen.write is not None:
        page = f"# What updates show\n\nMade by `make bench-leakage`.\n\n{_INTRO}\n{text}"
        (chosen.write / "results" / "leakage.md").write_text(page, encoding="utf-8")
    return 0


def verdict(goal: str, met: bool) -> str:
    """The last cell of a row."""
    return "" if goal == "none" else "met" if met else "NOT met"


def shown_lines(folder: Path | None) -> list[str]:
    """The lines of the figure's table."""
    torch.set_num_threads(1)
    return list(figure(None if folder is None else folder / "reconstructions.svg"))


if __name__ == "__main__":
    sys.exit(main())
