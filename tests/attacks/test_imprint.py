"""Records from a linear layer and from an imprint: known answers, exactness, refusals."""

import math
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attacks.reconstruction.imprint import Imprint, imprint, imprinted, linear_inputs
from attacks.reconstruction.pictures import best_match
from securefl.data.medmnist import load_medmnist
from securefl.data.medmnist_info import source
from securefl.data.task import Examples, Task
from securefl.learning.models.images import cnn
from securefl.learning.models.linear import logistic, mlp
from tests.medmnist_files import official

GREY = Task(features=784, classes=2, image=(1, 28, 28))
FLAT = Task(features=20, classes=3)
GOOD = 30.0  # dB


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def gradients(layer: nn.Linear, loss: Tensor) -> tuple[Tensor, Tensor]:
    weight, bias = torch.autograd.grad(loss, [layer.weight, layer.bias])
    return weight, bias


def first_linear(model: nn.Module) -> nn.Linear:
    return next(layer for layer in model.modules() if isinstance(layer, nn.Linear))


def armed(seed: int = 0, *, bins: int = 64) -> tuple[Imprint, nn.Sequential]:
    """An imprint before an mlp, both float64, its cuts from 500 normal records."""
    front = imprint(normal(500, 20, seed=seed), normal(20, seed=seed + 1), bins=bins).double()
    return front, nn.Sequential(front, mlp(FLAT, generator=generator(seed + 2)).double())


def leaked(front: Imprint, model: nn.Module, records: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of the imprint for records whose classes take turns."""
    labels = torch.arange(len(records)) % 3
    return gradients(front.front, FLAT.loss(model(records), labels))


def occupied(front: Imprint, records: Tensor) -> Tensor:
    """(n,) the bin of every record: how many rows are active, less one."""
    active: Tensor = front.front(records) > 0
    return active.sum(dim=1) - 1


# --- the first layer as it is


def test_linear_inputs_known_answer() -> None:
    # The third row is negative over negative. Rows without a finite bias gradient that is not zero
    # are left out.
    weight = torch.tensor(
        [[2.0, 4.0], [1.0, 1.0], [3.0, -6.0], [1.0, 1.0], [1.0, 1.0], [math.nan, 1.0]]
    )
    inputs = linear_inputs(weight, torch.tensor([2.0, 0.0, -3.0, math.inf, math.nan, 1.0]))
    assert inputs.tolist() == [[1.0, 2.0], [-1.0, 2.0]]
    assert inputs.dtype == torch.float64


def test_a_row_whose_quotient_overflows_is_left_out() -> None:
    weight = torch.tensor([[1e300, 0.0], [1.0, 2.0]], dtype=torch.float64)
    assert linear_inputs(weight, torch.tensor([1e-300, 1.0], dtype=torch.float64)).tolist() == [
        [1.0, 2.0]
    ]


@pytest.mark.parametrize(
    "build",
    [
        lambda: logistic(GREY, generator=generator(1)),
        lambda: mlp(GREY, hidden=(32, 8), generator=generator(1)),
    ],
    ids=["logistic", "mlp"],
)
def test_a_single_record_is_given_away_exactly_by_every_row_of_the_first_layer(
    build: Callable[[], nn.Module],
) -> None:
    model = build().double()
    record = normal(1, 1, 28, 28, seed=2)
    layer = first_linear(model)
    inputs = linear_inputs(*gradients(layer, GREY.loss(model(record), torch.tensor([1]))))
    assert inputs.shape == (layer.out_features, 784)
    assert torch.allclose(inputs, record.flatten().expand_as(inputs), rtol=1e-14, atol=0)


def test_one_step_of_sgd_gives_away_as_much_as_the_gradient() -> None:
    model = mlp(FLAT, generator=generator(3)).double()
    record, layer = normal(1, 20, seed=4), first_linear(model)
    before = [layer.weight.detach().clone(), layer.bias.detach().clone()]
    FLAT.loss(model(record), torch.tensor([2])).backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    inputs = linear_inputs(layer.weight.detach() - before[0], layer.bias.detach() - before[1])
    assert torch.allclose(inputs, record.expand_as(inputs), atol=1e-10)


def test_rows_of_a_batch_are_mixtures() -> None:
    # Records (1, 0) and (0, 1). Their gradients of two outputs are 1, 3 and 1, -3, which gives
    # weights 1/4, 3/4 and -1/2, 3/2.
    inputs = linear_inputs(torch.tensor([[1.0, 3.0], [1.0, -3.0]]), torch.tensor([4.0, -2.0]))
    assert inputs.tolist() == [[0.25, 0.75], [-0.5, 1.5]]


def test_linear_inputs_refuses_gradients_that_do_not_fit() -> None:
    with pytest.raises(
        ValueError, match=r"weight_gradient must have shape \(any, any\), got \(3,\)"
    ):
        linear_inputs(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"bias_gradient must have shape \(3\), got \(2\,\)"):
        linear_inputs(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"bias_gradient must be floats, got torch\.int64"):
        linear_inputs(torch.zeros(3, 2), torch.zeros(3).long())


# --- the imprint


def test_imprint_shifts_known_answer() -> None:
    # 3 is above both cuts: (3 - 0) + (3 - 1) = 5, times 2 is 10. 0.5 is above the first cut only,
    # and -1 above none.
    module = Imprint(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), gain=2.0)
    inputs = module(torch.tensor([[3.0, 5.0], [0.5, 5.0], [-1.0, 5.0]]))
    assert inputs.tolist() == [[13.0, 15.0], [1.5, 6.0], [-1.0, 5.0]]
    assert module(torch.ones(4, 1, 1, 2)).shape == (4, 1, 1, 2)


def test_cuts_are_quantiles_and_the_first_lies_a_range_below_known_answer() -> None:
    # Measurements 0, 2, 4, 6, 8: the quantiles 1/4, 1/2 and 3/4 are 2, 4 and 6; the first is 0 - 8.
    module = imprint(torch.arange(5.0)[:, None], torch.tensor([2.0]), bins=4)
    measure, cuts = module.front.weight[:, 0], -module.front.bias
    assert (2 * cuts / measure).tolist() == pytest.approx([-8.0, 2.0, 4.0, 6.0])
    # Of 8: 16 + 6 + 4 + 2 = 28 over 4 bins, in standard deviations of sqrt(10), times a thousandth.
    shift = module(torch.tensor([[4.0]])).detach() - 4.0
    assert float(shift) == pytest.approx(28 / 4 / math.sqrt(10) / 1000, rel=1e-3)


def test_gain_scales_the_gradient_and_leaves_the_output() -> None:
    auxiliary, direction, records = (
        normal(300, 20, seed=1),
        normal(20, seed=2),
        normal(6, 20, seed=3),
    )
    tail = mlp(FLAT, generator=generator(4)).double()
    results = []
    for gain in (1.0, 100.0):
        front = imprint(auxiliary, direction, bins=16, gain=gain).double()
        model = nn.Sequential(front, tail)
        results.append((model(records), *leaked(front, model, records)))
    (output, weight, bias), (same, larger, more) = results
    assert torch.allclose(output, same, rtol=1e-6)
    assert torch.allclose(100 * weight, larger, rtol=1e-5)
    assert torch.allclose(100 * bias, more, rtol=1e-5)


@pytest.mark.parametrize("build", [mlp, cnn], ids=["mlp", "cnn"])
def test_the_model_behind_an_imprint_predicts_as_before(build: Callable[..., nn.Module]) -> None:
    tail = build(GREY, generator=generator(5))
    images = torch.rand(50, 1, 28, 28, generator=generator(6)) * 2 - 1
    front = imprint(images, torch.randn(784, generator=generator(7)), bins=128)
    with torch.no_grad():
        assert 0 < float((front(images) - images).abs().max()) < 0.01
        assert 0 < float((tail(front(images)) - tail(images)).abs().max()) < 0.01


def test_imprinted_known_answer() -> None:
    # A = (1, 2) in bin 0 with gradient 2, B = (3, 4) in bin 2 with -1, C = (5, 6) in bin 3 with 4;
    # bin 1 is empty. A row sums the records above its cut: A + B + C, B + C, B + C, C.
    weight = torch.tensor([[19.0, 24.0], [17.0, 20.0], [17.0, 20.0], [20.0, 24.0]])
    inputs = imprinted(weight, torch.tensor([5.0, 3.0, 3.0, 4.0]))
    assert inputs.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert inputs.dtype == torch.float64


def test_bins_at_or_below_the_tolerance_are_left_out() -> None:
    # Bias gradients of the bins: -1024, 1, 2; by the rows: -1021, 3, 2.
    weight, bias = torch.tensor([[-1.0], [1.0], [1.0]]), torch.tensor([-1021.0, 3.0, 2.0])
    assert len(imprinted(weight, bias, tolerance=0.0)) == 3
    assert len(imprinted(weight, bias, tolerance=0.5 / 1024)) == 3
    assert len(imprinted(weight, bias, tolerance=1 / 1024)) == 2
    assert len(imprinted(weight, bias)) == 2
    assert len(imprinted(weight, bias, tolerance=2 / 1024)) == 1


def test_by_default_a_bin_below_a_thousandth_of_the_largest_counts_as_empty() -> None:
    weight = torch.ones(3, 1)
    assert [
        len(imprinted(weight, torch.tensor([bias, bias, 1.0]))) for bias in (1.0011, 1.0009)
    ] == [2, 1]


def test_a_gradient_of_zero_gives_nothing() -> None:
    assert imprinted(torch.zeros(4, 2), torch.zeros(4), tolerance=0.0).shape == (0, 2)
    # Logistic regression starts at zero, and passes no gradient on.
    front, _ = armed()
    model = nn.Sequential(front, logistic(FLAT, generator=generator(0)).double())
    assert imprinted(*leaked(front, model, normal(5, 20, seed=9))).shape == (0, 20)


@pytest.mark.parametrize("seed", range(4))
def test_records_alone_in_their_bin_come_back_exactly_in_the_order_of_their_measurement(
    seed: int,
) -> None:
    front, model = armed(seed)
    records = normal(24, 20, seed=seed + 50)
    bins = occupied(front, records)
    inputs = imprinted(*leaked(front, model, records))
    full, places, counts = torch.unique(bins, return_inverse=True, return_counts=True)
    assert len(inputs) == len(full) > 15
    alone = counts[places] == 1
    assert 5 < int(alone.sum()) < 24
    assert torch.allclose(inputs[places][alone], records[alone], atol=1e-9)
    # A bin of several records: a mixture whose weights sum to 1.
    crowd = next(iter((counts > 1).nonzero()))
    basis = torch.cat([records[places == crowd].T, torch.ones(1, int(counts[crowd]))])
    mixed = torch.cat([inputs[crowd].T, torch.ones(1, 1)])
    assert float((basis @ torch.linalg.lstsq(basis, mixed).solution - mixed).abs().max()) < 1e-9


def test_the_lowest_and_the_highest_bin_hold_records_beyond_the_auxiliary_ones() -> None:
    auxiliary, direction = normal(200, 20, seed=1), normal(20, seed=2)
    front = imprint(auxiliary, direction, bins=8).double()
    values = auxiliary @ direction
    extent = float(values.max() - values.min())
    along = direction / direction.square().sum()
    records = torch.stack(
        [along * (float(values.min()) - 0.9 * extent), along * (float(values.max()) + 5 * extent)]
    )
    assert occupied(front, records).tolist() == [0, 7]
    model = nn.Sequential(front, mlp(FLAT, generator=generator(3)).double())
    assert torch.allclose(imprinted(*leaked(front, model, records)), records, atol=1e-9)


@pytest.mark.parametrize("factor", [-0.1, 1e-9, 1e9])
def test_scale_and_sign_do_not_matter(factor: float) -> None:
    front, model = armed()
    weight, bias = leaked(front, model, normal(12, 20, seed=60))
    assert torch.allclose(
        imprinted(factor * weight, factor * bias), imprinted(weight, bias), atol=1e-9
    )


def test_neither_order_nor_clients_matter() -> None:
    front, model = armed()
    records, labels = normal(12, 20, seed=61), torch.arange(12) % 3

    def read(*parts: Tensor) -> Tensor:
        """From the sum over clients of the mean over their records."""
        losses = torch.stack([FLAT.loss(model(records[part]), labels[part]) for part in parts])
        return imprinted(*gradients(front.front, losses.sum()))

    together = read(torch.arange(12))
    order = torch.randperm(12, generator=generator(1))
    assert torch.allclose(read(order), together, atol=1e-9)
    assert torch.allclose(read(*torch.split(order, 3)), together, atol=1e-9)


def test_imprint_refuses_directions_that_measure_nothing() -> None:
    auxiliary, direction = normal(10, 2, 3, seed=1), torch.ones(6)
    for changed, match in (
        ({"bins": 1}, "bins >= 2 and gain finite and > 0, got bins=1, gain=1"),
        ({"gain": 0.0}, "got bins=4, gain=0"),
        ({"gain": math.inf}, "got bins=4, gain=inf"),
        ({"gain": math.nan}, "got bins=4, gain=nan"),
    ):
        with pytest.raises(ValueError, match=match):
            imprint(auxiliary, direction, **{"bins": 4, **changed})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"direction must have shape \(6\), got \(5,\)"):
        imprint(auxiliary, torch.ones(5), bins=4)
    with pytest.raises(ValueError, match="auxiliary must be finite, got 60"):
        imprint(auxiliary / 0.0, direction, bins=4)
    with pytest.raises(ValueError, match="records that differ along direction, all 10 measure 0"):
        imprint(auxiliary, torch.zeros(6), bins=4)
    with pytest.raises(ValueError, match="records that differ along direction, all 1 measure 6"):
        imprint(torch.ones(1, 6), direction, bins=4)


def test_imprinted_refuses_gradients_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="weight_gradient must be finite, got 1"):
        imprinted(torch.tensor([[math.nan], [1.0]]), torch.ones(2))
    with pytest.raises(ValueError, match=r"bias_gradient must have shape \(2\), got \(3,\)"):
        imprinted(torch.ones(2, 1), torch.ones(3))
    for tolerance in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match=rf"tolerance in \[0, 1\), got {tolerance:g}"):
            imprinted(torch.ones(2, 1), torch.ones(2), tolerance=tolerance)


# --- how well


@pytest.fixture
def pneumonia(monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Examples]:
    """Training images as a model reads them, and the published test set."""
    official("pneumoniamnist", monkeypatch)
    data = load_medmnist(source("pneumoniamnist"), partition="pooled", test_on="test")
    return GREY.inputs(data.sites[0].train.features), data.test


def pixels(inputs: Tensor) -> Tensor:
    return (inputs.view(-1, 1, 28, 28) + 1) / 2


@pytest.mark.parametrize("build", [mlp, cnn], ids=["mlp", "cnn"])
def test_512_bins_give_away_85_percent_of_32_images_in_milliseconds_and_no_shuffled_one(
    pneumonia: tuple[Tensor, Examples], build: Callable[..., nn.Module]
) -> None:
    auxiliary, test = pneumonia
    front = imprint(auxiliary, torch.randn(784, generator=generator(1)), bins=512)
    model = nn.Sequential(front, build(GREY, generator=generator(2)))
    shares, seconds = [], []
    for seed in range(3000, 3010):
        chosen = torch.randperm(len(test), generator=generator(seed))[:32]
        true = GREY.inputs(test.features[chosen])
        weight, bias = gradients(front.front, GREY.loss(model(true), test.labels[chosen]))
        began = time.perf_counter()
        recovered = imprinted(weight, bias)
        seconds.append(time.perf_counter() - began)
        shares.append(
            float(
                (best_match(pixels(recovered), pixels(true), bounds=(0, 1)).psnr > GOOD)
                .double()
                .mean()
            )
        )
        other = torch.randperm(weight.numel(), generator=generator(seed + 1000))
        nothing = best_match(
            pixels(imprinted(weight.flatten()[other].view_as(weight), bias)),
            pixels(true),
            bounds=(0, 1),
        ).psnr
        blind = best_match(pixels(auxiliary.mean(dim=0)), pixels(true), bounds=(0, 1)).psnr
        assert bool((nothing < GOOD).all())
        assert float(nothing.mean()) < float(blind.mean())
    assert sum(shares) / len(shares) >= 0.85
    assert sorted(seconds)[5] < 0.1
