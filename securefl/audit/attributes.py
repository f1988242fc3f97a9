"""Labels, a property of the target's records, and whose a record is: from updates, each beside its chance."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from securefl.assemble import build_model, plan_for, sgd_trainer
from securefl.audit import catalog
from securefl.audit.exposure import Exposure, Look
from securefl.audit.knowledge import Knowledge, Sight
from securefl.audit.membership import Question, gradients
from securefl.cache import Remember, fresh
from securefl.data.task import Examples, concatenate
from securefl.rng import Keystream
from securefl.training.dp_sgd import DpSgd, DpSgdTrainer

_ENOUGH = 500  # records of the attacker's own, to count labels by
_POINTS = 5  # on the way from the global model to the local one, at which steps start
_FEWEST, _MOST = 20, 200  # records of a trial
HIGH, LOW = 0.3, 0.1  # shares of the rarer class
_SHADOWS, _TRIALS, _GUESSES = 24, 20, 8
_ASKED = 20  # records a client whose source is asked for


def attributes(look: Look, *, remember: Remember = fresh) -> Iterator[Exposure]:
    """What updates tell of labels, of a property and of sources."""
    sight = look.sight
    if sight is None or sight.model is None or sight.moved is None:
        yield Exposure("labels", "nothing that is seen moves with the target's update")
    else:
        yield _labels(look, sight)
        yield _property(look, sight, sight.model, remember)
    yield _source(look)


def counted(look: Look, sight: Sight) -> Tensor:
    """(classes,) how many records of each class an update or a sum seems to be of, by the model's last layer.

    How many records there are is taken as known.
    """
    if sight.model is None or sight.moved is None:
        raise ValueError("labels are counted where an update and its start are seen")
    steps = sum(look.steps(client) for client in sight.about) * sight.share
    mean = sight.moved.double() / (-look.inquiry.scenario.training.lr * steps)
    last = slice(-_last_layer(look), None)
    records = Examples(look.known.features[:_ENOUGH], look.known.labels[:_ENOUGH])
    seen = partial(gradients, look.model, look.task, records)
    most = max(look.steps(client) for client in sight.about)
    way = sight.moved / (sight.share * len(sight.about))  # of a client on average
    starts = torch.linspace(0, 1 - 1 / most, min(most, _POINTS)).tolist()
    known = torch.stack([seen(sight.model + at * way)[:, last].double() for at in starts]).mean(dim=0)
    n = len(look.behind(sight))
    return catalog.label_counts(mean[last], known, records.labels, classes=look.task.classes, n=n)


def labels_of(counts: Tensor) -> Tensor:
    """(n,) labels in ascending order."""
    return torch.repeat_interleave(torch.arange(len(counts)), counts)


def _labels(look: Look, sight: Sight) -> Exposure:
    """The share of labels that the counts get right, beside the attacker's own shares of classes."""
    classes = look.task.classes
    truth = torch.bincount(look.behind(sight).labels, minlength=classes)
    usual = torch.bincount(look.known.labels[:_ENOUGH], minlength=classes).double()
    usual /= usual.sum()
    if not bool((usual > 0).all()):
        return Exposure("labels", "the attacker has no record of some class")
    n = int(truth.sum())

    def right(counts: Tensor) -> float:
        return int(torch.minimum(counts, truth).sum()) / n

    guess = catalog.counts_from_bias(torch.zeros(classes, dtype=torch.float64), usual, n=n)
    whose = "the target's" if sight.alone else f"those of {len(sight.about)} clients together"
    why = f"the share of {n} labels that are right, {whose}; guessing takes the classes' usual shares"
    return Exposure("labels", why, "share", right(counted(look, sight)), right(guess))


def _property(look: Look, sight: Sight, model: Tensor, remember: Remember) -> Exposure:
    """How often an update tells whether 30 or 10 % of the records behind it are of the rarer class."""
    name, client = "property", look.inquiry.target
    target = look.data.sites[client].train
    rare = int(torch.bincount(look.known.labels, minlength=look.task.classes).argmin())
    n = min(_MOST, *(_most(examples, rare) for examples in (target, look.known)))
    if n < _FEWEST:
        return Exposure(
            name, f"too few records: {n} for trials of {_FEWEST}, with {HIGH:.0%} of class {rare} or {LOW:.0%}"
        )
    has = torch.arange(_SHADOWS) % 2 == 0
    shadows = []
    for at, one in enumerate(has.tolist()):
        part = _drawn(look.known, look.inquiry.stream(f"shadow {at}"), n=n, rare=rare, high=one)
        shadows.append(_update(look, model, part, client, f"shadow {at}", remember))
    rows = torch.stack(shadows)
    beside = [other for other in sight.about if other != client]
    others = sum(
        (_update(look, model, look.data.sites[other].train, other, "beside", remember) for other in beside),
        start=torch.zeros_like(model),
    )
    guessed = len(beside) * _usual(look, model, remember) if beside else 0
    right = 0
    for at, coin in enumerate(look.inquiry.stream("property").bernoulli(_TRIALS, probability=0.5).tolist()):
        part = _drawn(target, look.inquiry.stream(f"trial {at}"), n=n, rare=rare, high=coin)
        seen = _update(look, model, part, client, f"trial {at}", remember) + others
        right += (catalog.property_inference(seen - guessed, rows, has) > 0) == coin
    certain = catalog.clopper_pearson(right, _TRIALS, confidence=0.95)
    alone = "its update" if not beside else f"the sum of {len(sight.about)} updates"
    why = (
        f"whether {HIGH:.0%} or {LOW:.0%} of {n} records are of class {rare}, told from {alone} in {_TRIALS} trials, a "
        f"coin each ([{certain.lower:.0%}, {certain.upper:.0%}] at 95 %); {_SHADOWS} shadow updates"
    )
    return Exposure(name, why, "share", right / _TRIALS, 0.5)


def _usual(look: Look, model: Tensor, remember: Remember) -> Tensor:
    """(d,) what the attacker takes for the update of a client that it knows nothing about."""
    n = len(look.data.sites[look.inquiry.target].train)
    found = []
    for at in range(_GUESSES):
        order = torch.from_numpy(look.inquiry.stream(f"usual {at}").permutation(len(look.known)))[:n]
        part = Examples(look.known.features[order], look.known.labels[order])
        found.append(_update(look, model, part, look.inquiry.target, f"usual {at}", remember))
    return torch.stack(found).mean(dim=0)


def _most(examples: Examples, rare: int) -> int:
    """The largest trial that these records allow, without taking nearly all of them."""
    of_class = int((examples.labels == rare).sum())
    return min(int(of_class / HIGH), int((len(examples) - of_class) / (1 - LOW)), len(examples) // 2)


def _drawn(examples: Examples, stream: Keystream, *, n: int, rare: int, high: bool) -> Examples:
    """So many of these records at random, with a high or a low share of the rarer class."""
    wanted = round((HIGH if high else LOW) * n)
    order = torch.from_numpy(stream.permutation(len(examples)))
    is_rare = examples.labels[order] == rare
    chosen = torch.cat([order[is_rare][:wanted], order[~is_rare][: n - wanted]])
    return Examples(examples.features[chosen], examples.labels[chosen])


def _update(look: Look, model: Tensor, examples: Examples, client: int, name: str, remember: Remember) -> Tensor:
    """(d,) what a client's local training makes of model with these records."""
    scenario = look.inquiry.scenario

    def streams(purpose: str, client: int, round: int) -> Keystream:
        return look.inquiry.stream(f"{name} {purpose} {client}")

    if scenario.training.kind == "sgd":
        plain = sgd_trainer(scenario, look.task, examples, look.model, client=client, streams=streams)
        return plain.fit(model, round=0).delta
    machine = DpSgd(build_model(scenario, look.task), look.task, lr=scenario.training.lr)
    noisy = DpSgdTrainer(machine, examples, plan_for(scenario, client, remember), client=client, stream_for=streams)
    return noisy.fit(model, round=0).delta


def _source(look: Look) -> Exposure:
    """How often the client that trained on a record is found, among those whose updates are seen by themselves."""
    models = {client: _local_models(known) for client, known in look.knowledge.items()}
    seen = {client: found for client, found in models.items() if found}
    if len(seen) < 2:
        return Exposure("source", "needs the updates of two clients or more, each by itself")
    rounds = min(map(len, seen.values()))
    asked = [_asked(look, client) for client in seen]
    examples = concatenate(asked)
    question = Question(examples, examples, look.model, look.task, None)
    losses = torch.stack(
        [torch.stack([question.losses(found[round]) for found in seen.values()]) for round in range(rounds)]
    )
    whose = torch.repeat_interleave(torch.arange(len(seen)), torch.tensor([len(part) for part in asked]))
    right = (catalog.source_inference(losses) == whose).double()
    shares = torch.bincount(whose).double() / len(whose)
    why = f"whose of {len(seen)} clients a training record is, {len(examples)} records asked, by {rounds} rounds"
    return Exposure("source", why, "share", float(right.mean()), float(shares.max()))


def _local_models(known: Knowledge) -> list[Tensor]:
    """Where a client's training ended, in every round in which that is seen."""
    return [
        sight.model + sight.moved
        for sight in known.moves
        if sight.alone and sight.model is not None and sight.moved is not None
    ]


def _asked(look: Look, client: int) -> Examples:
    """Some training records of a client, at random."""
    train = look.data.sites[client].train
    order = torch.from_numpy(look.inquiry.stream(f"asked {client}").permutation(len(train)))[:_ASKED]
    return Examples(train.features[order], train.labels[order])


def _last_layer(look: Look) -> int:
    """Coordinates of the last layer, which come last."""
    *_, last = (layer for layer in look.model.modules() if isinstance(layer, nn.Linear))
    return sum(p.numel() for p in last.parameters())
