"""Property inference: is a class frequent or rare among the records behind an update?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

import attacks
from securefl.audit.exposure.look import Look, Update
from securefl.audit.exposure.result import Exposure, error_of_share
from securefl.audit.repertoire import PROPERTY
from securefl.data.task import Examples
from securefl.rng import Keystream
from securefl.scenario.assemble.trainers import make_trainers

MIN_TRIAL_RECORDS = 20
MAX_TRIAL_RECORDS = 200
HIGH_SHARE = 0.3  # of the rarest class, in half of the trials
LOW_SHARE = 0.1  # in the other half
SHADOW_UPDATES = 24  # even: half with the property, half without
TRIALS = 20  # even, likewise
GUESSED_UPDATES = 8  # averaged, to guess the update of a client that the attacker does not know
CONFIDENCE = 0.95  # of the interval around the share of right trials


@dataclass(frozen=True)
class _Setting:
    """What all trials of one look have in common.

    Attributes:
        look: the first rounds.
        model: (d,), the global model that trials start from.
        rare: the rarest class among the attacker's own records.
        n: records of a trial.
    """

    look: Look
    model: Tensor
    rare: int
    n: int


def property_of(look: Look, update: Update, counts: Mapping[int, float]) -> Exposure:
    """Returns how often an update reveals whether 30 or 10 % of its records are of a rare class.

    The attacker trains shadow updates on its own records, half with the property. The trials are
    updates on the target's records, in a sum where the adversary sees sums only.

    Args:
        look: the first rounds.
        update: of the target, or a sum that contains it.
        counts: client -> how much its update counts in the sum.
    """
    name = PROPERTY
    client = look.inquiry.target
    target = look.data.sites[client].train
    own_counts = torch.bincount(look.own_records.labels, minlength=look.task.classes)
    rare = int(own_counts.argmin())
    n = min(
        MAX_TRIAL_RECORDS,
        _largest_trial(target, rare),
        _largest_trial(look.own_records, rare),
    )
    if n < MIN_TRIAL_RECORDS:
        few = f"too few records: trials of {n}, where {MIN_TRIAL_RECORDS} are needed"
        return Exposure(name, few)
    setting = _Setting(look, update.model, rare, n)
    has_property = torch.arange(SHADOW_UPDATES) % 2 == 0
    # What the adversary sees of the target is its update times how much it counts in the sum.
    shadow_updates = []
    for index, high in enumerate(has_property.tolist()):
        shadow = _trial(setting, look.own_records, high, f"shadow {index}")
        shadow_updates.append(shadow)
    shadows = counts[client] * torch.stack(shadow_updates)  # (shadows, d)
    if not bool(torch.isfinite(shadows).all()):
        return Exposure(name, "the attacker's own training diverges")
    rest = _rest_of_sum(setting, counts)
    right = 0
    # As many trials with the property as without, so that one answer for all is right in half.
    for index in range(TRIALS):
        high = index % 2 == 0
        own = counts[client] * _trial(setting, target, high, f"trial {index}")
        sum_without_guess = own + rest.true - rest.guessed
        score = attacks.property_inference(sum_without_guess, shadows, has_property)
        answer = score > 0
        right += answer == high
    interval = attacks.clopper_pearson(right, TRIALS, confidence=CONFIDENCE)
    sight = "its update" if update.alone else f"a sum of {len(counts)} updates"
    why = (
        f"whether {HIGH_SHARE:.0%} or {LOW_SHARE:.0%} of {n} records are of class {rare}, "
        f"by {sight} in {TRIALS} trials, half of each "
        f"([{interval.lower:.0%}, {interval.upper:.0%}] at 95 %); "
        f"{SHADOW_UPDATES} shadow updates"
    )
    return Exposure(
        name,
        why,
        "share",
        right / TRIALS,
        0.5,
        error=error_of_share(TRIALS),
    )


class _Rest(NamedTuple):
    """The other clients' updates in a sum (d,), and what the attacker takes for them (d,)."""

    true: Tensor
    guessed: Tensor


def _rest_of_sum(setting: _Setting, counts: Mapping[int, float]) -> _Rest:
    """The rest of a sum; both are 0 where the target's update is seen alone."""
    look = setting.look
    model = setting.model
    others = {client: count for client, count in counts.items() if client != look.inquiry.target}
    true = torch.zeros_like(model)
    for client, count in others.items():
        records = look.data.sites[client].train
        true += count * _trained(look, model, records, client, "beside")
    if not others:
        return _Rest(true, torch.zeros_like(model))
    guess = _guessed_update(setting)
    return _Rest(true, sum(others.values()) * guess)


def _guessed_update(setting: _Setting) -> Tensor:
    """(d,) the attacker's guess at the update of a client that it knows nothing about."""
    look = setting.look
    n = len(look.data.sites[look.inquiry.target].train)
    updates = []
    for index in range(GUESSED_UPDATES):
        order = look.inquiry.stream(f"usual {index}").permutation(len(look.own_records))
        chosen = torch.from_numpy(order)[:n]
        records = Examples(look.own_records.features[chosen], look.own_records.labels[chosen])
        update = _trained(look, setting.model, records, look.inquiry.target, f"usual {index}")
        updates.append(update)
    return torch.stack(updates).mean(dim=0)


def _trial(setting: _Setting, examples: Examples, high: bool, name: str) -> Tensor:
    """(d,) the update of a client like the target, with a high or a low share of the rare class."""
    look = setting.look
    n = setting.n
    share = HIGH_SHARE if high else LOW_SHARE
    rare_count = round(share * n)
    stream = look.inquiry.stream(f"{name} records")
    order = torch.from_numpy(stream.permutation(len(examples)))
    is_rare = examples.labels[order] == setting.rare
    rare = order[is_rare][:rare_count]
    others = order[~is_rare][: n - rare_count]
    chosen = torch.cat([rare, others])
    if look.local.plans:
        # DP-SGD adds noise for as many records as the target declares: with fewer of them the
        # noise would count for more than it does. So records are repeated up to that number.
        records = look.local.plans[look.inquiry.target].records
        copies = math.ceil(records / n)
        chosen = chosen.repeat(copies)[:records]
    part = Examples(examples.features[chosen], examples.labels[chosen])
    return _trained(look, setting.model, part, look.inquiry.target, name)


def _largest_trial(examples: Examples, rare: int) -> int:
    """The most records that a trial can draw without taking nearly all of a class."""
    of_class = int((examples.labels == rare).sum())
    others = len(examples) - of_class
    return min(
        int(of_class / HIGH_SHARE),
        int(others / (1 - LOW_SHARE)),
        # At most half, so that two trials are not nearly the same records.
        len(examples) // 2,
    )


def _trained(look: Look, model: Tensor, examples: Examples, client: int, name: str) -> Tensor:
    """(d,) the update that a client's local training makes of model with these records."""

    def streams(purpose: str, client: int, round: int) -> Keystream:
        return look.inquiry.stream(f"{name} {purpose} {client}")

    local = replace(look.local, examples={client: examples}, stream_for=streams)
    trainer = make_trainers(look.inquiry.scenario, local)[client]
    return trainer.fit(model, round=0).delta
