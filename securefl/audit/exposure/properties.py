"""Labels, a property of the target's records, and whose a record is: from updates, each beside its chance."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

import attacks
from securefl.audit.exposure.look import Look, Update
from securefl.audit.exposure.result import Exposure, error_of_share
from securefl.data.task import Examples
from securefl.rng import Keystream
from securefl.scenario.assemble.trainers import make_trainers

_ENOUGH = 500  # records of the attacker's own, to count labels by
_POINTS = 5  # on the way from the global model to the local one, at which steps start
_FEWEST, _MOST = 20, 200  # records of a trial
HIGH, LOW = 0.3, 0.1  # shares of the rarer class
_SHADOWS, _TRIALS, _GUESSES = 24, 20, 8  # the first two even: half with the property, half without
_ASKED = 20  # records a client whose source is asked for
_UNSUMMED = "what is seen is no sum of updates by weights that are known"


def property_of(look: Look, update: Update, counts: Mapping[int, float]) -> Exposure:
    """How often an update tells whether 30 or 10 % of the records behind it are of the rarer class."""
    name, client = "property", look.inquiry.target
    target, model = look.data.sites[client].train, update.model
    rare = int(torch.bincount(look.known.labels, minlength=look.task.classes).argmin())
    n = min(_MOST, *(_most(examples, rare) for examples in (target, look.known)))
    if n < _FEWEST:
        few = f"too few records: trials of {n}, where {_FEWEST} are needed"
        return Exposure(name, few)
    has = torch.arange(_SHADOWS) % 2 == 0
    rows = counts[client] * torch.stack(
        [
            _trial(look, model, look.known, n, rare, high, f"shadow {at}")
            for at, high in enumerate(has.tolist())
        ]
    )
    if not bool(torch.isfinite(rows).all()):
        return Exposure(name, "the attacker's own training diverges")
    beside = {other: count for other, count in counts.items() if other != client}
    others, guessed = torch.zeros_like(model), torch.zeros_like(model)
    for other, count in beside.items():
        others += count * _trained(look, model, look.data.sites[other].train, other, "beside")
    if beside:
        guessed = sum(beside.values()) * _usual(look, model)
    coins = [
        at % 2 == 0 for at in range(_TRIALS)
    ]  # as many of each, so that one answer for all is right in half
    right = 0
    for at, high in enumerate(coins):
        seen = counts[client] * _trial(look, model, target, n, rare, high, f"trial {at}") + others
        right += (attacks.property_inference(seen - guessed, rows, has) > 0) == high
    certain = attacks.clopper_pearson(right, _TRIALS, confidence=0.95)
    seen_as = "its update" if update.alone else f"a sum of {len(counts)} updates"
    why = (
        f"whether {HIGH:.0%} or {LOW:.0%} of {n} records are of class {rare}, told from {seen_as} in {_TRIALS} trials, "
        f"half of each ([{certain.lower:.0%}, {certain.upper:.0%}] at 95 %); {_SHADOWS} shadow updates"
    )
    return Exposure(name, why, "share", right / _TRIALS, 0.5, error=error_of_share(_TRIALS))


def _usual(look: Look, model: Tensor) -> Tensor:
    """(d,) what the attacker takes for the update of a client that it knows nothing about."""
    n, found = len(look.data.sites[look.inquiry.target].train), []
    for at in range(_GUESSES):
        order = torch.from_numpy(look.inquiry.stream(f"usual {at}").permutation(len(look.known)))[
            :n
        ]
        part = Examples(look.known.features[order], look.known.labels[order])
        found.append(_trained(look, model, part, look.inquiry.target, f"usual {at}"))
    return torch.stack(found).mean(dim=0)


def _trial(
    look: Look, model: Tensor, examples: Examples, n: int, rare: int, high: bool, name: str
) -> Tensor:
    """(d,) the update of a client like the target with n of these records, a high or a low share of the rarer class.

    Under DP-SGD they are repeated until they are as many as the target has, or noise would count for more than it does.
    """
    wanted = round((HIGH if high else LOW) * n)
    order = torch.from_numpy(look.inquiry.stream(f"{name} records").permutation(len(examples)))
    is_rare = examples.labels[order] == rare
    chosen = torch.cat([order[is_rare][:wanted], order[~is_rare][: n - wanted]])
    if look.local.plans:
        chosen = chosen.repeat(-(-look.local.plans[look.inquiry.target].records // n))
        chosen = chosen[: look.local.plans[look.inquiry.target].records]
    part = Examples(examples.features[chosen], examples.labels[chosen])
    return _trained(look, model, part, look.inquiry.target, name)


def _most(examples: Examples, rare: int) -> int:
    """The largest trial that these records allow, without taking nearly all of them."""
    of_class = int((examples.labels == rare).sum())
    return min(
        int(of_class / HIGH), int((len(examples) - of_class) / (1 - LOW)), len(examples) // 2
    )


def _trained(look: Look, model: Tensor, examples: Examples, client: int, name: str) -> Tensor:
    """(d,) what a client's local training makes of model with these records."""

    def streams(purpose: str, client: int, round: int) -> Keystream:
        return look.inquiry.stream(f"{name} {purpose} {client}")

    local = replace(look.local, examples={client: examples}, stream_for=streams)
    trainer = make_trainers(look.inquiry.scenario, local)[client]
    return trainer.fit(model, round=0).delta
