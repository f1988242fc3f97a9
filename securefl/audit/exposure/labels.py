"""Labels from an update: how many records of each class it is of."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

import attacks
from securefl import vector
from securefl.audit.exposure.layers import coordinates, output_call
from securefl.audit.exposure.look import Look, Update
from securefl.audit.exposure.result import Exposure, error_of_share
from securefl.audit.repertoire import LABELS
from securefl.data.task import Examples, Task

MAX_COUNTING_RECORDS = 500  # of the attacker, to count labels by
PROBED_RECORDS = 2  # that show which layer gives the outputs
MAX_POINTS = 5  # on the way from the global model to the local one, where gradients are taken
NO_RECORD_OF_A_CLASS = "the attacker has no record of some class"
NO_LINEAR_OUTPUT = "no linear layer that trains gives the model's outputs"


def labels(look: Look, update: Update, counts: Mapping[int, float]) -> Exposure:
    """Returns the share of labels that are right, next to the attacker's own shares of classes.

    Args:
        look: the first rounds.
        update: of the target, or a sum that contains it.
        counts: client -> how much its update counts in the sum.
    """
    name = LABELS
    if look.why_not_plain:
        return Exposure(name, look.why_not_plain)
    classes = look.task.classes
    estimate = counted(look, update, counts)
    if estimate is None:
        return Exposure(name, why_not_counted(look))
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
        (classes,) counts; None where `why_not_counted` says why.
    """
    records = _counting_records(look)
    layer = _output_layer(look, records)
    places = None if layer is None else coordinates(look.model, layer)
    if places is None or why_not_counted(look):
        return None
    own_gradients = _gradients_of_own(look, update, counts, records)  # (records, p)
    # An update of SGD is its learning rate times the sum of its steps' gradients, downhill.
    steps = sum(count * look.steps(client) for client, count in counts.items())
    return attacks.label_counts(
        update.moved[places].double() / (-look.lr(update.round) * steps),
        own_gradients,
        records.labels,
        classes=look.task.classes,
        n=len(look.behind(counts)),
    )


def why_not_counted(look: Look) -> str:
    """Returns why labels cannot be counted by the model's last layer; "" where they can."""
    records = _counting_records(look)
    if not bool(torch.bincount(records.labels, minlength=look.task.classes).all()):
        return NO_RECORD_OF_A_CLASS
    return "" if _output_layer(look, records) is not None else NO_LINEAR_OUTPUT


def _counting_records(look: Look) -> Examples:
    """Returns records of the attacker, to count labels by."""
    features = look.own_records.features[:MAX_COUNTING_RECORDS]
    return Examples(features, look.own_records.labels[:MAX_COUNTING_RECORDS])


def _output_layer(look: Look, records: Examples) -> nn.Linear | None:
    call = output_call(look.model, look.task.inputs(records.features[:PROBED_RECORDS]))
    return None if call is None else call.layer


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
        model: a workspace, left with these weights; a linear layer that trains gives the outputs.
        task: gives the loss.
        examples: k records.
        weights: (d,).

    Returns:
        (k, p) float64, by the p coordinates of the last layer, weights before biases.

    Raises:
        ValueError: no linear layer that trains gives the outputs.
    """
    vector.load_vector(model, weights)
    call = output_call(model, task.inputs(examples.features))
    places = None if call is None else coordinates(model, call.layer)
    if call is None or places is None:
        raise ValueError(NO_LINEAR_OUTPUT)
    logits = call.outputs.double().requires_grad_()
    total = task.loss(logits, examples.labels) * len(examples)  # the loss is a mean
    (error,) = torch.autograd.grad(total, logits)  # (k, outputs)
    by_weight = error[:, :, None] * call.inputs.double()[:, None, :]  # (k, outputs, inputs)
    rows = torch.cat([by_weight.flatten(1), error], dim=1)
    # A bias that does not train is not among them.
    return rows[:, : len(places)]
