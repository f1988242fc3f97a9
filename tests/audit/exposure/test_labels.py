"""Label counts: right where gradients are the model's own, next to guessing usual shares."""

from dataclasses import replace

import pytest
import torch

from securefl.audit.exposure.labels import counted, labels_of, last_layer_gradients
from securefl.audit.membership import gradients
from securefl.learning.models.linear import mlp
from securefl.vector import to_vector
from tests.audit.exposure.subjects import IMAGES, everything, images, look, scores, sums


@pytest.mark.parametrize(
    ("who", "channel", "clients"),
    [
        ("server", "plain", {0}),
        ("server", "masked", {0, 1, 2, 3}),
        ("clients", "plain", {0, 2, 3}),  # client 1 takes its own out of the step
        ("server+clients", "masked", {0, 2, 3}),
        ("server+key-holder", "ckks", {0}),
        ("clients", "ckks", {0, 2, 3}),
        ("outsider-weights", "plain", set()),
    ],
)
@pytest.mark.parametrize("weights", ["equal", "reported"])
def test_labels_are_counted_in_any_update_that_is_seen(
    who: str, channel: str, clients: set[int], weights: str
) -> None:
    """One step of an untrained model is counted exactly, up to rounding, for sites of any size."""
    skewed = (
        "data.partition=dirichlet",
        "data.alpha=0.3",
        "data.minimum=40",
        "training.batch=1300",
    )
    subject = look(who, *sums(channel, weights), *skewed)
    update = subject.update
    if not clients:
        assert update is None
        return
    assert update is not None
    assert update.counts is not None
    assert set(update.counts) == clients
    assert update.round == 0
    assert update.alone is (clients == {0})
    measured, guessing = scores(everything(subject)["labels"])
    assert measured > 0.97 > guessing


def test_a_step_that_is_no_mean_has_no_clients_to_count() -> None:
    subject = look("clients", "defense.rule=median")
    assert subject.update is not None
    assert subject.update.counts is None
    exposures = everything(subject)
    why = "what is seen is no sum of updates by weights that are known"
    assert exposures["labels"].why == why
    assert exposures["property"].why == why


def test_labels_of_counts_ascend() -> None:
    assert labels_of(torch.tensor([2, 0, 3])).tolist() == [0, 0, 2, 2, 2]


@pytest.mark.parametrize(
    ("channel", "epochs", "lr", "batch"),
    [("plain", 2, 0.3, 32), ("plain", 1, 2.0, 160), ("masked", 2, 0.3, 32)],
)
def test_labels_of_several_steps_are_counted_where_steps_start(
    channel: str, epochs: int, lr: float, batch: int
) -> None:
    """The second of two long steps starts half way; in a sum, a client goes its part of the way."""
    values = (
        f"channel.kind={channel}",
        f"training.epochs={epochs}",
        f"training.lr={lr}",
        f"training.batch={batch}",
    )
    measured, guessing = scores(everything(look("server", *values))["labels"])
    assert measured > 0.95 > guessing


def test_last_layer_gradients_are_the_models_own() -> None:
    for task in (IMAGES, replace(IMAGES, classes=5)):
        model = mlp(task, hidden=(7,), generator=torch.Generator().manual_seed(0))
        examples = images(6, 3)
        weights = 2 * to_vector(model)
        whole = gradients(model, task, examples, weights)
        last = last_layer_gradients(model, task, examples, weights)
        assert last.shape == (6, 8 * task.outputs)
        assert torch.allclose(last, whole[:, -last.shape[1] :].double(), atol=1e-6)


@pytest.mark.parametrize(
    "keys", ["training.momentum=0.5", "training.class_weights=[1,1,1,1,1,1,1,1,1,2]"]
)
def test_labels_are_not_counted_where_an_update_is_no_sum_of_gradients(keys: str) -> None:
    exposures = everything(look("server", keys))
    why = "not tried: it is made for plain SGD on the task's own loss"
    assert exposures["labels"].why == why
    assert exposures["labels"].measured is None
    assert exposures["Inverting Gradients"].measured is None


def test_labels_are_counted_with_the_learning_rate_of_the_round() -> None:
    subject = look("server", "training.batch=1300")
    update = subject.update
    assert update is not None
    assert update.counts is not None
    options = replace(subject.local.options, schedule=lambda round: 0.5)
    faded = replace(subject, local=replace(subject.local, options=options))
    assert faded.lr(0) == 0.5 * subject.lr(0) == 0.05
    half = update._replace(moved=0.5 * update.moved)
    expected, same, other = (
        counted(look, seen, update.counts)
        for look, seen in ((subject, update), (faded, half), (subject, half))
    )
    assert expected is not None
    assert same is not None
    assert other is not None
    assert torch.equal(same, expected)
    assert not torch.equal(other, expected)
