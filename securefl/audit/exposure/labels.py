"""Labels from an update, next to the usual shares of classes."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

import attacks
from securefl import vector
from securefl.audit.exposure.look import Look, Update
from securefl.audit.exposure.result import Exposure, error_of_share
from securefl.data.task import Examples, Task

_ENOUGH = 500  # records of the attacker's own, to count labels by
_POINTS = 5  # on the way from the global model to the local one, at which steps start


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


def labels(look: Look, update: Update, counts: Mapping[int, float]) -> Exposure:
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
    return Exposure(name, why, "share", right(found), right(guess), error=error_of_share(n))
