"""Records from an update: closed forms where a linear layer comes first, Inverting Gradients for small batches."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from securefl import vector
from securefl.audit import catalog
from securefl.audit.attributes import counted, labels_of
from securefl.audit.exposure import Exposure, Look, Pictures
from securefl.audit.knowledge import Sight
from securefl.audit.leakage import OnRound
from securefl.audit.replay import replay
from securefl.cache import Remember, fresh
from securefl.catalog import CHANNELS
from securefl.channels.parties import MODEL

MOST_RECORDS, MOST_STEPS = 16, 16  # of an update that is inverted
_BINS, _COORDINATES = 512, 4_000_000  # of an imprint, and of its first layer
_SLOW = 1e-4  # gain under which bins hardly move over several steps; under masks it would be rounded away
_BEST = 25.0  # dB, from where on a reconstruction shows what the record shows


def reconstructions(look: Look) -> Iterator[Exposure]:
    """What each attack that the sight allows makes of it."""
    sight = look.sight
    if sight is None or sight.model is None or sight.moved is None:
        yield Exposure("reconstruction", "nothing that is seen moves with the target's update")
        return
    yield from _analytic(look, sight)
    yield _inverted(look, sight, sight.model, sight.moved)


def _analytic(look: Look, sight: Sight) -> Iterator[Exposure]:
    """The rows of a first linear layer; none where another layer comes first."""
    first = next(layer for layer in look.model.modules() if next(layer.parameters(recurse=False), None) is not None)
    if not isinstance(first, nn.Linear) or sight.moved is None:
        return
    weight = sight.moved[: first.weight.numel()].view_as(first.weight)
    bias = sight.moved[first.weight.numel() :][: len(weight)]
    found = catalog.linear_inputs(weight, bias)
    yield _scored(look, sight, "analytic leakage of the first layer", found)


def _inverted(look: Look, sight: Sight, model: Tensor, moved: Tensor) -> Exposure:
    """Inverting Gradients, the local steps played again; of a sum where each client takes one step."""
    name, records = "Inverting Gradients", len(look.behind(sight))
    steps = max(look.steps(client) for client in sight.about)
    if len(look.task.image) != 3:
        return Exposure(name, "made for flat images only")
    if records > MOST_RECORDS or steps > MOST_STEPS:
        many = f"{_several(records, 'record')} in {_several(steps, 'local step')}"
        made_for = f"it is made for up to {MOST_RECORDS} records and {MOST_STEPS} steps"
        return Exposure(name, f"not tried on {many}: {made_for}")
    if len(sight.about) > 1 and steps > 1:
        return Exposure(name, f"not tried on a sum of {len(sight.about)} updates of {steps} steps each")
    training = look.inquiry.scenario.training
    labels = labels_of(counted(look, sight))
    batch = records if steps == 1 else training.batch
    vector.load_vector(look.model, model)
    found = catalog.inverting_gradients(
        look.model,
        look.task.loss,
        moved.float(),
        labels,
        shape=look.task.image,
        bounds=(-1.0, 1.0),
        generator=look.inquiry.stream("inversion").torch_generator(),
        local=catalog.LocalSteps(lr=training.lr, batch=batch, epochs=training.epochs),
    )
    return _scored(look, sight, name, found.records.flatten(1))


def implanted(look: Look, *, on_round: OnRound, remember: Remember = fresh) -> Exposure:
    """What a server reads that puts an imprint before the model: a first round played with it."""
    inquiry, name = look.inquiry, "imprint before the model"
    scenario, features = inquiry.scenario, look.task.features
    if MODEL not in CHANNELS[scenario.channel.kind].sees["server"]:
        return Exposure(name, "the clients hold the model, the server gives them none")
    steps = max(look.steps(client) for client in range(scenario.clients))
    known = look.task.inputs(look.known.features)
    direction = torch.randn(features, generator=inquiry.stream("direction").torch_generator())
    gain = 1.0 if steps == 1 or scenario.channel.kind != "plain" else _SLOW
    bins = max(2, min(_BINS, _COORDINATES // features))
    front = catalog.imprint(known, direction, bins=bins, gain=gain)
    played = replay(
        scenario,
        [inquiry.watcher(look.data)],
        on_round=lambda record: on_round("imprint", record),
        remember=remember,
        rounds=1,
        implant=lambda model: nn.Sequential(copy.deepcopy(front), model),
    )
    sight = played.knowledge[0].sights[0]
    if sight.moved is None:
        return Exposure(name, "nothing that is seen moves with the target's update")
    weight, bias = sight.moved[: bins * features].view(bins, features), sight.moved[bins * features :][:bins]
    found = _scored(look, sight, name, catalog.imprinted(weight, bias))
    return replace(found, why=f"{found.why}; {bins} bins; clients that fixed the model beforehand refuse it")


def _scored(look: Look, sight: Sight, attack: str, found: Tensor) -> Exposure:
    """The best match for each record, beside the best of the mean record and a constant."""
    truth = look.task.inputs(look.behind(sight).features).float().flatten(1)
    known = look.task.inputs(look.known.features).float().flatten(1)
    bounds = float(known.min()), float(known.max())
    guesses = catalog.best_match(catalog.guesses(known), truth, bounds=bounds)
    match = catalog.best_match(found.float(), truth, bounds=bounds)
    near = found.float()[match.which].clamp(*bounds) if len(found) else torch.zeros_like(truth)
    good = int((match.psnr >= _BEST).sum())
    whose = "of the target" if sight.alone else f"of the {len(sight.about)} clients together"
    why = f"PSNR, median over {_several(len(truth), 'record')} {whose}; {good} of them at {_BEST:g} dB or more"
    shape = (-1, *(look.task.image or (look.task.features,)))
    shown = Pictures(truth.view(shape), near.view(shape)) if len(look.task.image) == 3 else None
    return Exposure(attack, why, "dB", float(match.psnr.median()), float(guesses.psnr.median()), shown)


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
