"""Records from an update: closed forms where a linear layer comes first, Inverting Gradients for small batches."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

import attacks
from securefl import vector
from securefl.audit.exposure.labels import counted, labels_of
from securefl.audit.exposure.look import Look, Update
from securefl.audit.exposure.result import Exposure, Pictures
from securefl.audit.inquiry import OnRound
from securefl.audit.replay import replay
from securefl.privacy.remember import Remember, fresh

MOST_RECORDS, MOST_STEPS = 16, 16  # of an update that is inverted
_ITERATIONS = 800
_WINDOW = 11  # pixels of a side that SSIM needs
_BINS, _COORDINATES = 512, 4_000_000  # of an imprint, and of its first layer
_SLOW = 1e-4  # gain under which bins hardly move over several steps; under masks it would be rounded away
_ALIKE = 1.001  # by how much records of a batch may count differently
_BEST = 25.0  # dB, from where on a reconstructed image shows what the record shows


def reconstructions(look: Look) -> Iterator[Exposure]:
    """What each attack that the adversary's sight allows makes of the first update."""
    update = look.update
    if update is None:
        yield Exposure("reconstruction", "nothing that is seen moves with the target's update")
        return
    yield from _analytic(look, update)
    yield _inverted(look, update)


def _analytic(look: Look, update: Update) -> Iterator[Exposure]:
    """The rows of a first linear layer; none where another layer comes first."""
    first = next(
        layer
        for layer in look.model.modules()
        if next(layer.parameters(recurse=False), None) is not None
    )
    if isinstance(first, nn.Linear):
        weight, bias = _first(update.moved, *first.weight.shape)
        yield _scored(
            look, update, "analytic leakage of the first layer", attacks.linear_inputs(weight, bias)
        )


def _first(moved: Tensor, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    """The weight and bias of a first linear layer, of an update (d,)."""
    return moved[: outputs * inputs].view(outputs, inputs), moved[outputs * inputs :][:outputs]


def _inverted(look: Look, update: Update) -> Exposure:
    """Inverting Gradients, the local steps played again; of a sum where it is the gradient of one batch."""
    name, training = "Inverting Gradients", look.inquiry.scenario.training
    if len(look.task.image) != 3:
        return Exposure(name, "made for flat images only")
    if update.counts is None:
        return Exposure(
            name, "not tried: what is seen is no sum of updates by weights that are known"
        )
    records, steps = len(look.behind(update.counts)), max(map(look.steps, update.counts))
    if records > MOST_RECORDS or steps > MOST_STEPS:
        many = f"{_several(records, 'record')} in {_several(steps, 'local step')}"
        made_for = f"it is made for up to {MOST_RECORDS} records and {MOST_STEPS} steps"
        return Exposure(name, f"not tried on {many}: {made_for}")
    each = {count / len(look.data.sites[client].train) for client, count in update.counts.items()}
    if len(update.counts) > 1 and (steps > 1 or max(each) > _ALIKE * min(each)):
        return Exposure(
            name,
            f"not tried on a sum of {len(update.counts)} updates that is not the gradient of a batch",
        )
    found = counted(look, update, update.counts)
    if found is None:
        return Exposure(
            name, "not tried: the attacker has no record of some class to count labels by"
        )
    vector.load_vector(look.model, update.model)
    inverted = attacks.inverting_gradients(
        look.model,
        look.task.loss,
        update.moved,
        labels_of(found),
        shape=look.task.image,
        bounds=(-1.0, 1.0),
        generator=look.inquiry.stream("inversion").torch_generator(),
        iterations=_ITERATIONS,
        local=attacks.LocalSteps(
            training.lr, records if steps == 1 else training.batch, training.epochs
        ),
    )
    found_so = _scored(look, update, name, inverted.records.flatten(1))
    return replace(found_so, why=f"{found_so.why}; {_ITERATIONS} iterations, more may find more")


def implanted(look: Look, *, on_round: OnRound, remember: Remember = fresh) -> Exposure:
    """What a server reads that puts an imprint before the model: the rounds up to the target's first, with it."""
    inquiry, name = look.inquiry, "imprint before the model"
    scenario, features = inquiry.scenario, look.task.features
    if not scenario.facts.channel.server_holds_model:
        return Exposure(name, "the clients hold the model, the server gives them none")
    if look.update is None:
        return Exposure(name, "nothing that is seen moves with the target's update")
    direction = torch.randn(features, generator=inquiry.stream("direction").torch_generator())
    one_step = max(map(look.steps, range(scenario.clients))) == 1
    gain = 1.0 if one_step or scenario.facts.channel.lossy else _SLOW
    bins = max(2, min(_BINS, _COORDINATES // features))
    front = attacks.imprint(look.task.inputs(look.known.features), direction, bins=bins, gain=gain)
    played = replay(
        scenario,
        [inquiry.watcher(look.data)],
        on_round=lambda record: on_round("imprint", record),
        remember=remember,
        rounds=look.update.round + 1,
        change=lambda parts: parts.on(nn.Sequential(front, parts.model)),
    )
    seen = replace(look, knowledge={inquiry.target: played.knowledge[0]}).update
    if seen is None:
        return Exposure(name, "with it nothing is seen that moves with the target's update")
    found = _scored(look, seen, name, attacks.imprinted(*_first(seen.moved, bins, features)))
    return replace(
        found, why=f"{found.why}; {bins} bins; clients that fixed the model beforehand refuse it"
    )


def _scored(look: Look, update: Update, attack: str, found: Tensor) -> Exposure:
    """The best match for each record, beside that of guesses: a mean, its grey, and as many records as rows found.

    Records are those behind the update; of all clients where it is not known who counts how much.
    """
    clients = range(len(look.data.sites)) if update.counts is None else update.counts
    truth = look.task.inputs(look.behind(clients).features).float().flatten(1)
    known = look.task.inputs(look.known.features).float().flatten(1)
    bounds = float(known.min()), float(known.max())
    guesses = torch.cat([attacks.guesses(known), known[: len(found)]])
    guess = attacks.best_match(guesses, truth, bounds=bounds).psnr
    match = attacks.best_match(found.float(), truth, bounds=bounds)
    whose = "of the target" if update.alone else f"of {len(clients)} clients together"
    why = f"PSNR, median over {_several(len(truth), 'record')} {whose}"
    measured, guessing = (float(psnr.quantile(0.5)) for psnr in (match.psnr, guess))
    error = _error_of_median(match.psnr - guess)
    if len(look.task.image) != 3:
        return Exposure(attack, why, "dB", measured, guessing, error=error)
    near = found.float()[match.which].clamp(*bounds) if len(found) else torch.zeros_like(truth)
    good, lucky = (int((psnr >= _BEST).sum()) for psnr in (match.psnr, guess))
    shape = (-1, *look.task.image)
    shown = Pictures(truth.view(shape), near.view(shape))
    why += f"; {good} of them at {_BEST:g} dB or more, {lucky} by guessing"
    if min(look.task.image[1:]) >= _WINDOW:
        why += f"; SSIM {float(attacks.ssim(shown.found, shown.truth, bounds=bounds).quantile(0.5)):.2f}"
    return Exposure(attack, why, "dB", measured, guessing, shown, error)


def _error_of_median(gains: Tensor) -> float | None:
    """Standard error of the median of gains (n,) as if they were normal; None for a single one."""
    if len(gains) < 2:
        return None
    return float(gains.std()) * math.sqrt(math.pi / 2 / len(gains))


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
