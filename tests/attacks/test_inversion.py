"""Records from updates: exact where that is known, and no better than guessing on noise."""

import math

import pytest
import torch
from torch import Tensor, nn

from attacks.inference.labels import label_of_one
from attacks.reconstruction.inversion import (
    Inverted,
    check_update,
    dlg,
    inverting_gradients,
    quick,
)
from attacks.reconstruction.local_steps import ONE_STEP, LocalSteps, local_update
from attacks.reconstruction.pictures import best_match, psnr
from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.models.images import cnn
from securefl.learning.models.linear import logistic, mlp
from securefl.learning.sgd import SgdTrainer
from securefl.rng import seeded_keystream

TWO = Task(features=64, classes=2, image=(1, 8, 8))
TEN = Task(features=64, classes=10, image=(1, 8, 8))
BOUNDS = (-1.0, 1.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(n: int, seed: int = 0) -> Tensor:
    """(n, 1, 8, 8) in [-1, 1]: a few waves, as images have more of than noise."""
    draws = generator(seed)
    at = torch.arange(8) / 8
    waves = [
        torch.sin(2 * math.pi * (at[:, None] * a + at[None] * b))
        for a, b in ((1, 0), (0, 1), (1, 1), (0.5, 1))
    ]
    mixed = torch.einsum("nk,kij->nij", torch.randn(n, 4, generator=draws), torch.stack(waves))
    return (mixed / mixed.abs().amax(dim=(1, 2), keepdim=True))[:, None]


def network() -> nn.Module:
    return mlp(TWO, hidden=(32,), generator=generator())


def linear(task: Task) -> nn.Module:
    """One linear layer whose weights are not zero."""
    model = logistic(task, generator=generator())
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.1 * torch.randn(p.shape, generator=generator(1)))
    return model.double()


# --- local steps


@pytest.mark.parametrize(("batch", "epochs"), [(None, 1), (3, 2), (2, 1)])
def test_local_steps_are_those_of_sgd(batch: int | None, epochs: int) -> None:
    model, records, labels = (
        mlp(TEN, hidden=(5,), generator=generator()),
        smooth(5),
        torch.tensor([3, 1, 4, 1, 5]),
    )
    local = LocalSteps(lr=0.3, batch=batch, epochs=epochs)
    update = local_update(model, TEN.loss, records, labels, local=local)
    twin = mlp(TEN, hidden=(5,), generator=generator())
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.3)
    for _ in range(epochs):
        for part in torch.arange(5).split(batch or 5):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            TEN.loss(twin(records[part]), labels[part]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    assert torch.allclose(update, vector.to_vector(twin) - vector.to_vector(model), atol=1e-6)
    assert update.requires_grad
    assert local.count(5) == epochs * {None: 1, 3: 2, 2: 3}[batch]


def test_local_steps_are_those_of_a_client_of_one_batch() -> None:
    model = cnn(TWO, channels=(4, 8), generator=generator())
    examples = Examples(smooth(4), torch.tensor([0, 1, 1, 0]))
    start = vector.to_vector(model)
    streams = lambda purpose, client, round: seeded_keystream(0, purpose, client, round)  # noqa: E731
    client = SgdTrainer(
        model, TWO, examples, client=0, batch=4, epochs=3, lr=0.2, stream_for=streams
    )
    sent = client.fit(start, round=0).delta
    vector.load_vector(model, start)
    update = local_update(model, TWO.loss, *examples, local=LocalSteps(lr=0.2, epochs=3))
    assert torch.allclose(update, sent, atol=1e-5)
    assert torch.equal(vector.to_vector(model), start)


def test_one_step_is_minus_the_gradient() -> None:
    model, records, labels = linear(TEN), smooth(3).double(), torch.tensor([0, 5, 9])
    TEN.loss(model(records), labels).backward()  # type: ignore[no-untyped-call]
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert torch.allclose(local_update(model, TEN.loss, records, labels, local=ONE_STEP), -gradient)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 0.0}, r"lr must be > 0, got 0\.0"),
        ({"lr": math.nan}, "lr must be > 0, got nan"),
        ({"lr": 1.0, "batch": 0}, "batch and epochs must be >= 1, got 0 and 1"),
        ({"lr": 1.0, "epochs": 0}, "batch and epochs must be >= 1, got None and 0"),
    ],
)
def test_impossible_local_steps_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LocalSteps(**arguments)  # type: ignore[arg-type]


# --- DLG


@pytest.mark.parametrize(("task", "label"), [(TWO, 0), (TWO, 1), (TEN, 0), (TEN, 7)])
def test_dlg_on_a_linear_model_is_exact(task: Task, label: int) -> None:
    model, record, labels = linear(task), smooth(1, seed=label).double(), torch.tensor([label])
    update = local_update(model, task.loss, record, labels, local=ONE_STEP).detach()
    inferred = torch.tensor([label_of_one(-update[-task.outputs :])])
    result = dlg(model, task.loss, update, inferred, shape=(1, 8, 8), generator=generator(3))
    assert float(psnr(result.records, record, bounds=BOUNDS)) > 60
    assert result.distance < 1e-6


def test_dlg_recovers_two_records_of_a_smooth_network() -> None:
    model = mlp(TEN, hidden=(64,), generator=generator()).double()
    records, labels = smooth(2).double(), torch.tensor([2, 6])
    update = local_update(model, TEN.loss, records, labels, local=ONE_STEP).detach()
    result = dlg(model, TEN.loss, update, labels, shape=(1, 8, 8), generator=generator(3))
    assert bool((psnr(result.records, records, bounds=BOUNDS) > 40).all())


# --- Inverting Gradients


def inverted(
    update: Tensor, labels: Tensor, model: nn.Module, seed: int = 0, **given: object
) -> Inverted:
    values: dict[str, object] = {"iterations": 200, "local": ONE_STEP} | given
    return inverting_gradients(
        model,
        TWO.loss,
        update,
        labels,
        shape=(1, 8, 8),
        bounds=BOUNDS,
        generator=generator(seed),
        **values,  # type: ignore[arg-type]
    )


def update_of(
    records: Tensor, labels: Tensor, model: nn.Module, local: LocalSteps = ONE_STEP
) -> Tensor:
    return local_update(model, TWO.loss, records, labels, local=local).detach()


def test_inverting_gradients_recovers_an_image_and_none_from_shuffled_gradients() -> None:
    model, decibels, controls = network(), [], []
    for seed in range(3):
        record, labels = smooth(1, seed=seed), torch.tensor([seed % 2])
        update = update_of(record, labels, model)
        decibels.append(
            float(psnr(inverted(update, labels, model, seed).records, record, bounds=BOUNDS))
        )
        mixed = update[torch.randperm(len(update), generator=generator(seed))]
        controls.append(
            float(psnr(inverted(mixed, labels, model, seed).records, record, bounds=BOUNDS))
        )
    grey = [
        float(psnr(torch.zeros(1, 1, 8, 8), smooth(1, seed=seed), bounds=BOUNDS))
        for seed in range(3)
    ]
    assert min(decibels) > 25
    assert all(nothing < guess + 1 for nothing, guess in zip(controls, grey, strict=True))


def test_dlg_recovers_nothing_from_shuffled_gradients() -> None:
    model, record, labels = linear(TEN), smooth(1).double(), torch.tensor([4])
    update = seen_by(model, record, labels)
    mixed = update[torch.randperm(len(update), generator=generator())]
    result = dlg(model, TEN.loss, mixed, labels, shape=(1, 8, 8), generator=generator(3))
    assert (
        float(psnr(result.records, record, bounds=BOUNDS))
        < float(psnr(0 * record, record, bounds=BOUNDS)) + 1
    )
    assert result.distance > 0.1


def seen_by(model: nn.Module, record: Tensor, labels: Tensor) -> Tensor:
    return local_update(model, TEN.loss, record, labels, local=ONE_STEP).detach()


def test_steps_are_repeated_and_not_taken_for_a_gradient() -> None:
    model, record, labels = network(), smooth(1, seed=1), torch.tensor([1])
    local = LocalSteps(lr=0.2, epochs=5)
    update = update_of(record, labels, model, local)
    again = float(psnr(inverted(update, labels, model, local=local).records, record, bounds=BOUNDS))
    as_gradient = float(psnr(inverted(update, labels, model).records, record, bounds=BOUNDS))
    assert again > 25
    assert again > as_gradient + 5


def test_the_length_of_an_update_does_not_matter() -> None:
    model, record, labels = network(), smooth(1), torch.tensor([1])
    update = update_of(record, labels, model)
    here, there = (
        inverted(update * scale, labels, model, iterations=8) for scale in (1.0, 2.0**-20)
    )
    assert torch.equal(here.records, there.records)
    assert here.distance == pytest.approx(there.distance)


def test_pixels_stay_within_their_bounds_and_the_generator_decides_the_start() -> None:
    model, record, labels = network(), smooth(1), torch.tensor([0])
    update = update_of(record, labels, model)
    results = [inverted(update, labels, model, seed, iterations=8, lr=3.0) for seed in (0, 0, 1)]
    assert all(float(result.records.abs().max()) <= 1 for result in results)
    assert torch.equal(results[0].records, results[1].records)
    assert not torch.equal(results[0].records, results[2].records)


def test_the_answer_is_no_worse_than_the_start() -> None:
    """A step as wide as the range never settles."""
    model, record, labels = network(), smooth(1), torch.tensor([0])
    update = update_of(record, labels, model)
    start = torch.randn(1, 1, 8, 8, generator=generator()) / 2

    def objective(records: Tensor) -> float:
        here = update_of(records, labels, model)
        flat = (records[..., 1:, :] - records[..., :-1, :]).abs().mean()
        flat = flat + (records[..., 1:] - records[..., :-1]).abs().mean()
        return float(1 - here @ update / here.norm() / update.norm() + 0.01 * flat)

    result = inverted(update, labels, model, iterations=8, lr=5.0)
    assert objective(result.records) <= objective(start) + 1e-5
    assert result.distance == pytest.approx(
        float(
            1
            - update_of(result.records, labels, model)
            @ update
            / update_of(result.records, labels, model).norm()
            / update.norm()
        ),
        abs=1e-5,
    )


@pytest.mark.parametrize(("lr", "weight", "late"), [(1.5, 0.05, False), (0.3, 1.0, True)])
def test_the_search_is_that_of_the_paper_step_by_step(lr: float, weight: float, late: bool) -> None:
    """The oracle is Adam written out, on signs; the step falls after 6, 10 and 14 of 16.

    The best of all iterations is the answer.
    """
    model, record, labels = network(), smooth(1), torch.tensor([0])
    update = update_of(record, labels, model)
    here = (torch.randn(1, 1, 8, 8, generator=generator()) / 2).requires_grad_()
    first, second = torch.zeros(2, *here.shape)
    passed: list[tuple[float, float, Tensor]] = []
    for step in range(1, 17):
        sent = local_update(model, TWO.loss, here, labels, local=ONE_STEP)
        distance = 1 - torch.dot(sent, update) / sent.norm() / update.norm()
        rough = (here[..., 1:, :] - here[..., :-1, :]).abs().mean() + (
            here[..., 1:] - here[..., :-1]
        ).abs().mean()
        (slope,) = torch.autograd.grad(distance + weight * rough, here)
        passed.append(
            (
                float((distance + weight * rough).detach()),
                float(distance.detach()),
                here.detach().clone(),
            )
        )
        first, second = 0.9 * first + 0.1 * slope.sign(), 0.999 * second + 0.001 * slope.sign() ** 2
        rate = lr * 0.1 ** sum(step > fall for fall in (6, 10, 14))
        move = rate * first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        here = (here.detach() - move).clamp(-1, 1).requires_grad_()
    at = min(range(16), key=lambda step: passed[step][0])
    assert (
        (at > 10) if late else (0 < at < 6)
    )  # where falls show in the answer, and where the end is not the best
    result = inverted(update, labels, model, iterations=16, lr=lr, total_variation=weight)
    assert torch.allclose(result.records, passed[at][2], atol=1e-4)
    assert result.distance == pytest.approx(passed[at][1], abs=1e-5)


def test_dlgs_distance_is_in_the_updates_length() -> None:
    model, record, labels = linear(TEN), smooth(1).double(), torch.tensor([4])
    update = seen_by(model, record, labels)
    mixed = update[torch.randperm(len(update), generator=generator())] * 7  # which no record gives
    result = dlg(
        model, TEN.loss, mixed, labels, shape=(1, 8, 8), generator=generator(3), iterations=2
    )
    off = seen_by(model, result.records, labels) - mixed
    assert result.distance == pytest.approx(float(off.norm() / mixed.norm()) ** 2)
    assert 0.1 < result.distance < 1


def test_a_prior_makes_images_smoother() -> None:
    model, record, labels = network(), smooth(1), torch.tensor([0])
    update = update_of(record, labels, model)
    rough, flat = (
        inverted(update, labels, model, total_variation=weight).records for weight in (0.0, 0.3)
    )
    assert float(flat.diff(dim=-1).abs().mean()) < 0.8 * float(rough.diff(dim=-1).abs().mean())


def test_a_batch_is_recovered_in_any_order() -> None:
    model, records, labels = network(), smooth(2, seed=5), torch.tensor([0, 1])
    update = update_of(records.flip(0), labels.flip(0), model)
    result = inverted(update, labels, model, iterations=400).records
    assert float(best_match(result, records, bounds=BOUNDS).psnr.min()) > 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"update": torch.zeros(3)}, r"update must have shape \(\d+\), got \(3,\)"),
        ({"update": "zero"}, "update must not be zero"),
        ({"update": "nan"}, "update must be finite"),
        ({"labels": torch.zeros(0, dtype=torch.int64)}, "got 0 labels"),
        ({"iterations": 7}, "and 7 iterations"),
        ({"bounds": (1.0, 1.0)}, r"bounds \(1\.0, 1\.0\)"),
        ({"shape": (8, 8)}, r"shape \(8, 8\)"),
        (
            {"shape": (1, 7, 8)},
            r"model and loss take no 1 records of shape \(1, 7, 8\) with these labels: ",
        ),
    ],
)
def test_updates_that_cannot_be_inverted_are_refused(
    change: dict[str, object], message: str
) -> None:
    model, d = network(), len(vector.to_vector(network()))
    bad = {"zero": torch.zeros(d), "nan": torch.full((d,), math.nan)}
    values: dict[str, object] = {
        "update": torch.ones(d),
        "labels": torch.tensor([0]),
        "iterations": 8,
        "bounds": BOUNDS,
        "shape": (1, 8, 8),
        "generator": generator(),
    } | {key: bad[value] if isinstance(value, str) else value for key, value in change.items()}
    update, labels = values.pop("update"), values.pop("labels")
    with pytest.raises(ValueError, match=message):
        inverting_gradients(model, TWO.loss, update, labels, **values)  # type: ignore[arg-type]


def test_dlg_refuses_updates_that_it_cannot_search() -> None:
    model, d = linear(TEN), 650
    with pytest.raises(ValueError, match="dlg needs labels and iterations >= 1, got 0 and 1"):
        dlg(
            model,
            TEN.loss,
            torch.ones(d),
            torch.zeros(0),
            shape=(1, 8, 8),
            generator=generator(),
            iterations=1,
        )
    with pytest.raises(ValueError, match="got 1 and 0"):
        dlg(
            model,
            TEN.loss,
            torch.ones(d),
            torch.zeros(1),
            shape=(1, 8, 8),
            generator=generator(),
            iterations=0,
        )
    with pytest.raises(
        ValueError,
        match=r"model and loss take no 1 records of shape .* with these labels: Target 10 is out",
    ):
        dlg(
            model,
            TEN.loss,
            torch.ones(d).double(),
            torch.tensor([10]),
            shape=(1, 8, 8),
            generator=generator(),
        )
    with pytest.raises(ValueError, match="update must not be zero"):
        check_update(model, torch.zeros(d))


# --- one thread, no denormals


def flushed() -> bool:
    return float(torch.tensor(1e-40) * 1) == 0


def test_a_search_runs_on_one_thread_and_restores_the_settings() -> None:
    threads, before = torch.get_num_threads(), flushed()
    try:
        torch.set_num_threads(2)
        torch.set_flush_denormal(False)
        with quick():
            assert torch.get_num_threads() == 1
            assert flushed()
        assert torch.get_num_threads() == 2
        assert not flushed()
        torch.set_flush_denormal(True)
        with quick():
            assert flushed()
        assert flushed()
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(before)
