"""Records from an update: closed forms by a first linear layer, and Inverting Gradients."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

import attacks
from securefl import vector
from securefl.audit.exposure.labels import PROBED_RECORDS, counted, labels_of, why_not_counted
from securefl.audit.exposure.layers import coordinates, reading_layer
from securefl.audit.exposure.look import Look, Update
from securefl.audit.exposure.result import Exposure, Pictures
from securefl.audit.inquiry import OnRound
from securefl.audit.repertoire import (
    FIRST_LAYER,
    FIXED_FEATURES,
    IMPRINT,
    INVERTING,
    RECONSTRUCTION,
)
from securefl.audit.replay import replay
from securefl.data.task import Examples
from securefl.learning.models.scattering.features import features_of
from securefl.learning.models.scattering.remembered import prepared
from securefl.privacy.remember import Remember, fresh

MAX_RECORDS = 16  # behind an update that is inverted
MAX_STEPS = 16
ITERATIONS = 800  # of Inverting Gradients
MIN_SSIM_PIXELS = 11  # of a side: the size of SSIM's window
MAX_IMPRINT_BINS = 512
MAX_IMPRINT_COORDINATES = 4_000_000  # of an imprint's first layer
# With a small gain the bins hardly move over several local steps. Under masks an update is rounded
# to the ring, which would swallow so small a gain.
SMALL_GAIN = 1e-4
MAX_WEIGHT_RATIO = 1.001  # between records of a batch: more is a sum that no batch gives
GOOD_PSNR_DB = 25.0  # from here on a reconstruction shows what the record shows
NOTHING_MOVES = "nothing that is seen moves with the target's update"


def reconstructions(look: Look) -> Iterator[Exposure]:
    """Yields what each attack makes of the first update that the adversary sees."""
    update = look.update
    if update is None:
        yield Exposure(RECONSTRUCTION, NOTHING_MOVES)
        return
    yield from _analytic(look, update)
    yield _inverted(look, update)


def _analytic(look: Look, update: Update) -> Iterator[Exposure]:
    """The inputs of the layer that reads the records; nothing where none is linear.

    Where a model begins with fixed features, that layer reads these.
    """
    first = reading_layer(look.model, _read(look, look.own_records)[:PROBED_RECORDS])
    places = None if first is None else coordinates(look.model, first)
    if first is not None and places is not None:
        outputs, width = first.weight.shape
        weight, bias = _first_layer(update.moved[places], outputs, width)
        inputs = attacks.linear_inputs(weight, bias)
        is_fixed = features_of(look.model) is not None
        name = FIXED_FEATURES if is_fixed else FIRST_LAYER
        yield _scored(look, update, name, inputs, as_read=is_fixed)


def _read(look: Look, examples: Examples) -> Tensor:
    """Returns records as the first layer that trains reads them."""
    return look.task.inputs(prepared(look.model, look.task, examples.features))


def _first_layer(moved: Tensor, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    """The weight (outputs, inputs) and bias (outputs,) of a first linear layer, in an update."""
    size = outputs * inputs
    weight = moved[:size].view(outputs, inputs)
    bias = moved[size : size + outputs]
    return weight, bias


def _inverted(look: Look, update: Update) -> Exposure:
    """Inverting Gradients, which plays the local steps again."""
    if len(look.task.image) != 3:
        return Exposure(INVERTING, "made for flat images only")
    if update.counts is None:
        why = "not tried: what is seen is no sum of updates by weights that are known"
        return Exposure(INVERTING, why)
    steps = max(map(look.steps, update.counts))
    why_not = look.why_not_plain or _why_not_inverted(look, update.counts, steps)
    if why_not:
        return Exposure(INVERTING, why_not)
    estimate = counted(look, update, update.counts)
    if estimate is None:
        return Exposure(INVERTING, f"not tried: {why_not_counted(look)} to count labels by")
    training = look.inquiry.scenario.training
    # A single step is over all records at once, those of a sum included.
    batch = len(look.behind(update.counts)) if steps == 1 else training.batch
    # Counting labels left the workspace elsewhere on the way to the local model.
    vector.load_vector(look.model, update.model)
    look.model.eval()
    parameters = vector.statistics(look.model).start
    inverted = attacks.inverting_gradients(
        look.model,
        look.task.loss,
        update.moved[:parameters],
        labels_of(estimate),
        shape=look.task.image,
        bounds=look.inquiry.scenario.data.image_bounds,
        generator=look.inquiry.stream("inversion").torch_generator(),
        iterations=ITERATIONS,
        local=attacks.LocalSteps(look.lr(update.round), batch, training.epochs),
    )
    exposure = _scored(look, update, INVERTING, inverted.records.flatten(1))
    return replace(exposure, why=f"{exposure.why}; {ITERATIONS} iterations, more may find more")


def _why_not_inverted(look: Look, counts: Mapping[int, float], steps: int) -> str:
    """Why Inverting Gradients is not tried on this update; "" where it is."""
    records = len(look.behind(counts))
    if records > MAX_RECORDS or steps > MAX_STEPS:
        return (
            f"not tried on {_plural(records, 'record')} in {_plural(steps, 'local step')}: "
            f"it is made for up to {MAX_RECORDS} records and {MAX_STEPS} steps"
        )
    # A sum of single steps is the gradient of one batch, if all records count alike in it.
    weights = []  # of a record
    for client, count in counts.items():
        own_records = look.data.sites[client].train
        weights.append(count / len(own_records))
    uneven = max(weights) > MAX_WEIGHT_RATIO * min(weights)
    if len(counts) > 1 and (steps > 1 or uneven):
        return f"not tried on a sum of {len(counts)} updates that is not the gradient of a batch"
    return ""


def implanted(look: Look, *, on_round: OnRound, remember: Remember = fresh) -> Exposure:
    """Returns what a malicious server reads that puts an imprint before the model.

    The rounds up to the target's first are played again with the larger model.

    Args:
        look: the first rounds without it.
        on_round: called with the record of each round.
        remember: caches expensive results.

    Source: Fowl et al., ICLR 2022 (Robbing the Fed).
    """
    inquiry = look.inquiry
    scenario = inquiry.scenario
    features = look.task.features
    if not scenario.facts.channel.server_holds_model:
        return Exposure(IMPRINT, "the clients hold the model, the server gives them none")
    if look.update is None:
        return Exposure(IMPRINT, NOTHING_MOVES)
    affordable_bins = min(MAX_IMPRINT_BINS, MAX_IMPRINT_COORDINATES // features)
    bins = max(2, affordable_bins)
    front = _imprint(look, bins)
    played = replay(
        scenario,
        [inquiry.watcher(look.data)],
        on_round=lambda record: on_round("imprint", record),
        remember=remember,
        rounds=look.update.round + 1,
        change=lambda parts: parts.on(nn.Sequential(front, parts.model)),
    )
    update = replace(look, knowledge={inquiry.target: played.knowledge[0]}).update
    if update is None:
        return Exposure(IMPRINT, "with it nothing is seen that moves with the target's update")
    weight, bias = _first_layer(update.moved, bins, features)
    records = attacks.imprinted(weight, bias)
    exposure = _scored(look, update, IMPRINT, records)
    note = f"{bins} bins; clients that fixed the model beforehand refuse it"
    return replace(exposure, why=f"{exposure.why}; {note}")


def _imprint(look: Look, bins: int) -> nn.Module:
    """A layer that sorts records into bins along a random direction."""
    stream = look.inquiry.stream("direction")
    direction = torch.randn(look.task.features, generator=stream.torch_generator())
    scenario = look.inquiry.scenario
    most_steps = max(map(look.steps, range(scenario.clients)))
    full_gain = most_steps == 1 or scenario.facts.channel.lossy
    gain = 1.0 if full_gain else SMALL_GAIN
    inputs = look.task.inputs(look.own_records.features)
    return attacks.imprint(inputs, direction, bins=bins, gain=gain)


def _scored(
    look: Look, update: Update, attack: str, records: Tensor, *, as_read: bool = False
) -> Exposure:
    """Scores reconstructed records (k, features) by the best match for each true record.

    With as_read they are what the first layer that trains reads, which no picture shows.

    Guesses are the attacker's mean record, its mean grey, and as many records of its own as the
    attack offers: more candidates come closer to some record by luck alone. Where it is unknown
    how much each client counts, the records of all clients are compared.
    """
    clients = range(len(look.data.sites)) if update.counts is None else update.counts

    def read(found: Examples) -> Tensor:
        return _read(look, found) if as_read else look.task.inputs(found.features)

    truth = read(look.behind(clients)).float().flatten(1)
    own = read(look.own_records).float().flatten(1)
    bounds = float(own.min()), float(own.max())
    as_many_own = own[: len(records)]
    guesses = torch.cat([attacks.guesses(own), as_many_own])
    guess = attacks.best_match(guesses, truth, bounds=bounds).psnr
    match = attacks.best_match(records.float(), truth, bounds=bounds)
    whose = "of the target" if update.alone else f"of {len(clients)} clients together"
    exposure = Exposure(
        attack,
        f"PSNR, median over {_plural(len(truth), 'record')} {whose}",
        "dB",
        float(match.psnr.quantile(0.5)),
        float(guess.quantile(0.5)),
        error=_error_of_median(match.psnr - guess),
    )
    if as_read or len(look.task.image) != 3:
        return exposure
    nearest = torch.zeros_like(truth)
    if len(records):
        nearest = records.float()[match.which].clamp(*bounds)
    shape = (-1, *look.task.image)
    pictures = Pictures(truth.view(shape), nearest.view(shape))
    why = exposure.why + _on_images(pictures, match.psnr, guess, bounds)
    # Figures draw from -1 to 1; images in standard deviations go beyond.
    reach = max(1.0, -bounds[0], bounds[1])
    shown = Pictures(pictures.truth / reach, pictures.found / reach)
    return replace(exposure, why=why, pictures=shown)


def _on_images(pictures: Pictures, psnr: Tensor, guess: Tensor, bounds: tuple[float, float]) -> str:
    """How many images are good, and their structural similarity if they are large enough."""
    good = int((psnr >= GOOD_PSNR_DB).sum())
    lucky = int((guess >= GOOD_PSNR_DB).sum())
    text = f"; {good} of them at {GOOD_PSNR_DB:g} dB or more, {lucky} by guessing"
    if min(pictures.truth.shape[-2:]) < MIN_SSIM_PIXELS:
        return text
    alike = attacks.ssim(pictures.found, pictures.truth, bounds=bounds)
    median = float(alike.quantile(0.5))
    return f"{text}; SSIM {median:.2f}"


def _error_of_median(gains: Tensor) -> float | None:
    """Standard error of the median of gains (n,) as if they were normal; None for a single one."""
    if len(gains) < 2:
        return None
    # The variance of a normal sample's median is pi / 2 of that of its mean.
    return float(gains.std()) * math.sqrt(math.pi / 2 / len(gains))


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
