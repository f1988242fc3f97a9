"""Labels from an update: how many records of each class it is of."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

import attacks
from securefl import vector
from securefl.audit.exposure.look import Look, Update
from securefl.audit.exposure.result import Exposure, error_of_share
from securefl.data.task import Examples, Task

MAX_COUNTING_RECORDS = 500  # of the attacker, to count labels by
MAX_POINTS = 5  # on the way from the global model to the local one, where gradients are taken
NO_RECORD_OF_A_CLASS = "the attacker has no record of some class"


def labels(look: Look, update: Update, counts: Mapping[int, float]) -> Exposure:
    """Returns the share of labels that are right, next to the attacker's own shares of classes.

    Args:
        look: the first rounds.
        update: of the target, or a sum that contains it.
        counts: client -> how much its update counts in the sum.
    """
    name = "labels"
    if look.why_not_plain:
        return Exposure(name, look.why_not_plain)
    classes = look.task.classes
    estimate = counted(look, update, counts)
    if estimate is None:
        return Exposure(name, NO_RECORD_OF_A_CLASS)
    truth = _true_shares(look, counts)
    n = int(estimate.sum())
    of_class = torch.bincount(look.own_records.labels, minlength=classes)
    usual = of_class.double() / len(look.own_records)
    # A bias gradient of zero says nothing: the counts are then the usual shares, in whole records.
    nothing = torch.zeros(classes, dtype=torch.float64)
    guess = attacks.counts_from_bias(nothing, usual, n=n)

    def right(counts: Tensor) -> float:
        """The share of labels that these counts and the truth have in common."""
        return float(torch.minimum(counts.double() / n, truth).sum())

    whose = "of the target" if update.alone else f"of {len(counts)} clients together"
    why = f"right labels among {n} {whose}; guessing takes the classes' usual shares"
    return Exposure(
        name,
        why,
        "share",
        right(estimate),
        right(guess),
        error=error_of_share(n),
    )


def _true_shares(look: Look, counts: Mapping[int, float]) -> Tensor:
    """(classes,) shares in the sum, where a record counts as much as its client's steps do."""
    shares = torch.zeros(look.task.classes, dtype=torch.float64)
    for client, count in counts.items():
        own = look.data.sites[client].train.labels
        of_class = torch.bincount(own, minlength=look.task.classes).double()
        weight = count * look.steps(client)
        shares += weight * of_class / len(own)
    return shares / shares.sum()


def counted(look: Look, update: Update, counts: Mapping[int, float]) -> Tensor | None:
    """Estimates the records of each class behind an update, by the model's last layer.

    The number of records is taken as known. In a sum, a record counts as much as its client's
    steps do.

    Returns:
        (classes,) counts; None where the attacker has no record of some class to compare with.
    """
    features = look.own_records.features[:MAX_COUNTING_RECORDS]
    labels_of_own = look.own_records.labels[:MAX_COUNTING_RECORDS]
    records = Examples(features, labels_of_own)
    of_class = torch.bincount(records.labels, minlength=look.task.classes)
    if not bool(of_class.all()):
        return None
    own_gradients = _gradients_of_own(look, update, counts, records)  # (records, p)
    # An update of SGD is its learning rate times the sum of its steps' gradients, downhill.
    steps = sum(count * look.steps(client) for client, count in counts.items())
    parameters = vector.statistics(look.model).start
    mean_gradient = update.moved[:parameters].double() / (-look.lr(update.round) * steps)
    coordinates = own_gradients.shape[1]
    return attacks.label_counts(
        mean_gradient[-coordinates:],  # the last layer comes last
        own_gradients,
        records.labels,
        classes=look.task.classes,
        n=len(look.behind(counts)),
    )


def _gradients_of_own(
    look: Look, update: Update, counts: Mapping[int, float], records: Examples
) -> Tensor:
    """(records, p) gradients of the attacker's records, mean over the points where steps start.

    Local steps start all along the way from the global to the local model, and gradients differ
    there. The last point is where the last step starts, and not where it ends.
    """
    max_steps = max(map(look.steps, counts))
    last = 1 - 1 / max_steps
    points = torch.linspace(0, last, min(max_steps, MAX_POINTS))
    way = update.moved / sum(counts.values())  # of a client on average
    gradients = []
    for point in points.tolist():
        weights = update.model + point * way
        by_record = last_layer_gradients(look.model, look.task, records, weights)
        gradients.append(by_record)
    return torch.stack(gradients).mean(dim=0)


def labels_of(counts: Tensor) -> Tensor:
    """Returns (n,) labels in ascending order, as many of each class as counts says."""
    return torch.repeat_interleave(torch.arange(len(counts)), counts)


def last_layer_gradients(
    model: nn.Module, task: Task, examples: Examples, weights: Tensor
) -> Tensor:
    """Returns the gradient of each record's loss by the model's last layer.

    One pass forward is enough: the gradient by a linear layer is the outer product of the error at
    its output and its input.

    Args:
        model: a workspace, left with these weights; its last layer is linear and gives the logits.
        task: gives the loss.
        examples: k records.
        weights: (d,).

    Returns:
        (k, p) float64, by the p coordinates of the last layer, weights before biases.
    """
    vector.load_vector(model, weights)
    model.eval()
    linear_layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    last = linear_layers[-1]
    inputs: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda layer, given: inputs.append(given[0].detach()))
    try:
        with torch.no_grad():
            logits = model(task.inputs(examples.features))
    finally:
        hook.remove()
    logits = logits.double().requires_grad_()
    total = task.loss(logits, examples.labels) * len(examples)  # the loss is a mean
    (error,) = torch.autograd.grad(total, logits)  # (k, outputs)
    (read,) = inputs  # (k, inputs)
    read = read.double()
    by_weight = error[:, :, None] * read[:, None, :]  # (k, outputs, inputs)
    return torch.cat([by_weight.flatten(1), error], dim=1)
