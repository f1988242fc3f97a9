"""Labels, a property of the target's records, and whose a record is: from updates, each beside its chance."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

import attacks
from securefl import vector
from securefl.audit.exposure import Exposure, Look, Update
from securefl.audit.membership import Question
from securefl.data.task import Examples, Task, concatenate
from securefl.learning.dp_sgd import DpSgd, DpSgdTrainer
from securefl.rng import Keystream
from securefl.scenario.assemble import build_model, sgd_trainer

_ENOUGH = 500  # records of the attacker's own, to count labels by
_POINTS = 5  # on the way from the global model to the local one, at which steps start
_FEWEST, _MOST = 20, 200  # records of a trial
HIGH, LOW = 0.3, 0.1  # shares of the rarer class
_SHADOWS, _TRIALS, _GUESSES = 24, 20, 8  # the first two even: half with the property, half without
_ASKED = 20  # records a client whose source is asked for
_UNSUMMED = "what is seen is no sum of updates by weights that are known"


def attributes(look: Look) -> Iterator[Exposure]:
    """What updates tell of labels, of a property and of sources."""
    update = look.update
    if update is None:
        yield Exposure("labels", "nothing that is seen moves with the target's update")
    elif update.counts is None:
        yield from (Exposure(name, _UNSUMMED) for name in ("labels", "property"))
    else:
        yield _labels(look, update, update.counts)
        yield _property(look, update, update.counts)
    yield _source(look)


def counted(look: Look, update: Update, counts: Mapping[int, float]) -> Tensor | None:
    """(classes,) how many records of each class an update or a sum seems to be of, by the model's last layer.

    How many records there are is taken as known. In a sum a record counts as much as its client's steps do. None where
    the attacker has no record of some class.
    """
    records = Examples(look.known.features[:_ENOUGH], look.known.labels[:_ENOUGH])
    if not bool(torch.bincount(records.labels, minlength=look.task.classes).all()):
        return None
    steps = sum(count * look.steps(client) for client, count in counts.items())
    mean = update.moved.double() / (-look.inquiry.scenario.training.lr * steps)
    most = max(map(look.steps, counts))
    way = update.moved / sum(counts.values())  # of a client on average
    starts = torch.linspace(0, 1 - 1 / most, min(most, _POINTS)).tolist()
    found = [
        last_layer_gradients(look.model, look.task, records, update.model + at * way)
        for at in starts
    ]
    known = torch.stack(found).mean(dim=0)
    last, n = mean[-known.shape[1] :], len(look.behind(counts))
    return attacks.label_counts(last, known, records.labels, classes=look.task.classes, n=n)


def labels_of(counts: Tensor) -> Tensor:
    """(n,) labels in ascending order."""
    return torch.repeat_interleave(torch.arange(len(counts)), counts)


def last_layer_gradients(
    model: nn.Module, task: Task, examples: Examples, weights: Tensor
) -> Tensor:
    """(k, p) float64, of each record's loss by the p coordinates of the last layer at weights (d,).

    model, a workspace, is left with these weights; its last layer is linear and gives the logits.
    """
    vector.load_vector(model, weights)
    *_, last = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    read: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda layer, given: read.append(given[0].detach()))
    try:
        with torch.no_grad():
            logits = model(task.inputs(examples.features))
    finally:
        hook.remove()
    logits = logits.double().requires_grad_()
    (error,) = torch.autograd.grad(
        task.loss(logits, examples.labels) * len(examples), logits
    )  # (k, outputs)
    by_weight = error[:, :, None] * read[0].double()[:, None, :]
    return torch.cat([by_weight.flatten(1), error], dim=1)


def _labels(look: Look, update: Update, counts: Mapping[int, float]) -> Exposure:
    """The share of labels that the counts get right, beside the attacker's own shares of classes."""
    name, classes = "labels", look.task.classes
    found = counted(look, update, counts)
    if found is None:
        return Exposure(name, "the attacker has no record of some class")
    truth = torch.zeros(classes, dtype=torch.float64)
    for client, count in counts.items():
        labels = look.data.sites[client].train.labels
        truth += (
            count
            * look.steps(client)
            * torch.bincount(labels, minlength=classes).double()
            / len(labels)
        )
    truth /= truth.sum()
    n = int(found.sum())
    usual = torch.bincount(look.known.labels, minlength=classes).double() / len(look.known)
    guess = attacks.counts_from_bias(torch.zeros(classes, dtype=torch.float64), usual, n=n)

    def right(counts: Tensor) -> float:
        return float(torch.minimum(counts.double() / n, truth).sum())

    whose = "the target's" if update.alone else f"those of {len(counts)} clients together"
    why = (
        f"the share of {n} labels that are right, {whose}; guessing takes the classes' usual shares"
    )
    return Exposure(name, why, "share", right(found), right(guess), error=_error_of_share(n))


def _property(look: Look, update: Update, counts: Mapping[int, float]) -> Exposure:
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
    return Exposure(name, why, "share", right / _TRIALS, 0.5, error=_error_of_share(_TRIALS))


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
    if look.plans:
        chosen = chosen.repeat(-(-look.plans[look.inquiry.target].records // n))
        chosen = chosen[: look.plans[look.inquiry.target].records]
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
    scenario = look.inquiry.scenario

    def streams(purpose: str, client: int, round: int) -> Keystream:
        return look.inquiry.stream(f"{name} {purpose} {client}")

    if client not in look.plans:
        plain = sgd_trainer(
            scenario, look.task, examples, look.model, client=client, streams=streams
        )
        return plain.fit(model, round=0).delta
    machine = DpSgd(build_model(scenario, look.task), look.task, lr=scenario.training.lr)
    noisy = DpSgdTrainer(machine, examples, look.plans[client], client=client, stream_for=streams)
    return noisy.fit(model, round=0).delta


def _source(look: Look) -> Exposure:
    """How often the client that trained on a record is found, among those seen by themselves in the same rounds."""
    rounds: dict[int, dict[int, Tensor]] = {}
    for client, known in look.knowledge.items():
        for sight in known.moves:
            if sight.alone and sight.model is not None and sight.moved is not None:
                rounds.setdefault(sight.round, {})[client] = sight.model + sight.moved
    most = max(map(len, rounds.values()), default=0)
    clients = next((list(models) for models in rounds.values() if len(models) == most), [])
    if len(clients) < 2:
        return Exposure(
            "source", "needs the updates of two clients or more in a round, each by itself"
        )
    together = [models for models in rounds.values() if set(clients) <= set(models)]
    asked = [_asked(look, client) for client in clients]
    examples = concatenate(asked)
    question = Question(examples, examples, look.model, look.task, None)
    losses = torch.stack(
        [
            torch.stack([question.losses(models[client]) for client in clients])
            for models in together
        ]
    )
    whose = torch.repeat_interleave(
        torch.arange(len(clients)), torch.tensor([len(part) for part in asked])
    )
    right = (attacks.source_inference(losses) == whose).double()
    shares = torch.bincount(whose).double() / len(whose)
    several = "a round" if len(together) == 1 else f"{len(together)} rounds"
    why = f"whose of {len(clients)} clients a training record is, {len(examples)} records asked, by {several}"
    return Exposure(
        "source",
        why,
        "share",
        float(right.mean()),
        float(shares.max()),
        error=_error_of_share(len(right)),
    )


def _asked(look: Look, client: int) -> Examples:
    """Some training records of a client, at random."""
    train = look.data.sites[client].train
    order = torch.from_numpy(look.inquiry.stream(f"asked {client}").permutation(len(train)))[
        :_ASKED
    ]
    return Examples(train.features[order], train.labels[order])


def _error_of_share(trials: int) -> float:
    """The largest standard error that a share of so many independent trials can have."""
    return 0.5 / math.sqrt(trials)
