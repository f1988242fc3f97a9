"""The scattering model: what trains, what it refuses, and training it by each trainer."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.dp_sgd import dp_sgd_trainers
from securefl.learning.evaluate import predict
from securefl.learning.models.scattering.features import Recipe
from securefl.learning.models.scattering.head import grids_of, scattering
from securefl.learning.models.scattering.remembered import prepared
from securefl.learning.plan import DpPlan, LocalTraining
from securefl.learning.sgd import sgd_trainers
from securefl.learning.stacked.choice import unstackable
from securefl.learning.stacked.sgd import StackedSgd
from securefl.rng import seeded_keystream

TASK = Task(features=144, classes=2, image=(1, 12, 12))
GENERATOR = torch.Generator()


def model_of(task: Task = TASK, pooling: int = 3) -> nn.Sequential:
    return scattering(task, pooling=pooling, generator=GENERATOR)


def examples(n: int) -> Examples:
    """Stripes down are of class 0, stripes across of class 1, under noise."""
    generator = torch.Generator().manual_seed(n)
    labels = torch.arange(n) % 2
    waves = 60 * torch.cos(2.2 * torch.arange(12.0))
    stripes = torch.where(labels[:, None, None] == 0, waves[:, None], waves)
    noise = 20 * torch.randn(n, 12, 12, generator=generator)
    pixels = (128 + stripes + noise).clamp(0, 255).to(torch.uint8)
    return Examples(pixels[:, None], labels)


def local_of(model: nn.Module, *, noise: float | None = None) -> LocalTraining:
    records = {client: examples(20 + client) for client in range(3)}
    plans = {}
    if noise is not None:
        plans = {client: DpPlan(20, 5, 1, 1.0, noise_multiplier=noise) for client in records}
    return LocalTraining(
        model=model,
        task=TASK,
        examples=records,
        batch=5,
        epochs=1,
        lr=2.0,
        stream_for=partial(seeded_keystream, 0),
        plans=plans,
    )


def test_only_the_head_trains_and_it_starts_at_zero() -> None:
    model = model_of(Task(features=2352, classes=5, image=(3, 28, 28)), pooling=7)
    names = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert names == {"head.weight": (5, 3 * 3969), "head.bias": (5,)}
    assert not bool(vector.to_vector(model).any())
    assert not list(model.buffers())
    model(torch.zeros(2, 3, 28, 28)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_images_and_their_rows_have_the_same_answers() -> None:
    model, records = model_of(), examples(6)
    nn.init.normal_(model.get_submodule("head").weight)  # type: ignore[arg-type]
    rows = prepared(model, TASK, records.features)
    torch.testing.assert_close(model(rows), model(TASK.inputs(records.features)))
    torch.testing.assert_close(
        predict(model, TASK, records.features), TASK.probabilities(model(rows).detach())
    )


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"pooling": 5}, "scattering needs pooling of 1, 3 or 7, got 5"),
        ({"pooling": 7}, "sides of 28 pixels or more, got 12; set model.pooling to 1 or 3"),
        ({"scales": 3, "pooling": 3}, "sides of 24 pixels or more, got 12; set model.pooling to 1"),
        ({"scales": 4, "pooling": 1}, "sides of 16 pixels or more, got 12; use fewer scales"),
        ({"scales": 0}, "scattering needs scales of 1 to 4, got 0"),
        ({"scales": 5}, "scattering needs scales of 1 to 4, got 5"),
        ({"angles": 0}, "scattering needs angles of 1 to 16, got 0"),
        ({"angles": 17}, "scattering needs angles of 1 to 16, got 17"),
    ],
    ids=str,
)
def test_values_that_do_not_fit_are_refused(given: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        scattering(TASK, **given, generator=GENERATOR)


def test_tables_are_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"takes images, .* 64 numbers; use logistic or mlp"):
        scattering(Task(64, 10), generator=GENERATOR)


@pytest.mark.parametrize(
    ("image", "scales", "grids"),
    [
        ((1, 28, 28), None, (1, 3, 7)),
        ((1, 27, 64), None, (1, 3)),
        ((1, 8, 8), None, (1,)),
        ((1, 4, 4), None, ()),
        ((1, 4, 28, 28), None, (1, 3, 7)),
        ((1, 28, 28), 3, (1, 3)),
        ((1, 28, 28), "x", (1, 3, 7)),
        ((), None, ()),
    ],
    ids=str,
)
def test_grids_are_those_that_the_maps_have_places_for(
    image: tuple[int, ...], scales: object, grids: tuple[int, ...]
) -> None:
    task = Task(features=5, classes=2, image=image)
    assert grids_of(task, scales=scales) == grids
    for pooling in grids:
        usual = scales if isinstance(scales, int) else 2
        assert scattering(task, scales=usual, pooling=pooling, generator=GENERATOR)


def test_trainers_get_the_rows_once_and_keep_the_records() -> None:
    model = model_of()
    local = local_of(model)
    assert local.prepared is local.prepared
    for client, (features, labels) in local.examples.items():
        rows = local.prepared[client]
        assert torch.equal(rows.features, prepared(model, TASK, features))
        assert torch.equal(rows.labels, labels)
        assert features.dtype == torch.uint8


def test_no_trainer_computes_features_at_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    weights = vector.to_vector(model)
    plain, noisy = local_of(model), local_of(model, noise=1.0)
    assert plain.prepared
    assert noisy.prepared
    monkeypatch.setattr(Recipe, "rows", None)
    sgd_trainers(plain)[0].fit(weights, round=0)
    dp_sgd_trainers(noisy)[0].fit(weights, round=0)
    StackedSgd(plain).fit_many(weights, range(3), round=0)


def trained(weights: Tensor) -> float:
    """Returns the share of right answers on records that nobody trained on."""
    model = model_of()
    vector.load_vector(model, weights)
    fresh = examples(100)
    answers = predict(model, TASK, fresh.features).argmax(dim=1)
    return float((answers == fresh.labels).double().mean())


def test_sgd_on_rows_is_sgd_on_images() -> None:
    model = model_of()
    weights = vector.to_vector(model)
    by_rows = sgd_trainers(local_of(model))[0].fit(weights, round=0).delta
    # Behind another layer nothing is computed beforehand, and images pass each time.
    hidden = nn.Sequential(nn.Identity(), model)
    by_images = sgd_trainers(local_of(hidden))[0].fit(weights, round=0).delta
    torch.testing.assert_close(by_rows, by_images)
    assert trained(weights + by_rows) > 0.9


def test_dp_sgd_trains_on_it_with_each_gradient_clipped() -> None:
    model = model_of()
    weights = vector.to_vector(model)
    delta = dp_sgd_trainers(local_of(model, noise=0.0))[0].fit(weights, round=0).delta
    assert trained(weights + delta) > 0.9
    # At the start a record's gradient is half of a row of norm 1 and of the bias: within the clip.
    first = dp_sgd_trainers(local_of(model, noise=1.0))[1].fit(weights, round=0)
    assert first.spent is not None
    assert not torch.equal(first.delta, delta)


def test_stacked_clients_train_on_their_rows_as_alone() -> None:
    model = model_of()
    local, weights = local_of(model), vector.to_vector(model)
    assert unstackable(local) is None
    together = StackedSgd(local).fit_many(weights, range(3), round=0)
    alone = sgd_trainers(local)
    for client in range(3):
        expected = alone[client].fit(weights, round=0).delta
        torch.testing.assert_close(together[client].delta, expected, atol=1e-6, rtol=1e-4)
