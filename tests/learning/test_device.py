"""Training and evaluation on another device: nothing is left behind, and vectors come home."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples
from securefl.errors import SecureflError
from securefl.learning.clipping import layers
from securefl.learning.device import CPU, described, device_called, device_of, full_precision
from securefl.learning.dp_sgd import dp_sgd_trainers
from securefl.learning.evaluate import evaluate
from securefl.learning.options import StepOptions, adam, random_layers
from securefl.learning.plan import LocalTraining
from securefl.learning.protocol import Trained
from securefl.learning.sgd import sgd_trainers
from securefl.learning.stacked.choice import stack_size, unstackable
from securefl.learning.stacked.dp_sgd import StackedDpSgd
from securefl.learning.stacked.network import unstackable_layer
from securefl.learning.stacked.sgd import StackedSgd
from securefl.rng import seeded_keystream
from tests.learning.stacked.cases import MODELS, clients, plans, weights_of
from tests.other_device import OTHER, Elsewhere, other_device

SIZES = (5, 2)  # records of each client
CLIENTS = (0, 1)
# torch chooses the layout of a convolution's gradients by more than the numbers.
WITHIN = 1e-6
few = partial(clients, dtype=torch.float32, sizes=SIZES, epochs=1)
plans_of = partial(plans, SIZES, epochs=1)


def one_at_a_time(local: LocalTraining, weights: Tensor) -> dict[int, Trained]:
    trainers = sgd_trainers(local)
    return {client: trainers[client].fit(weights, round=1) for client in CLIENTS}


def with_noise(local: LocalTraining, weights: Tensor) -> dict[int, Trained]:
    trainers = dp_sgd_trainers(local)
    return {client: trainers[client].fit(weights, round=1) for client in CLIENTS}


def stacked(local: LocalTraining, weights: Tensor) -> dict[int, Trained]:
    return StackedSgd(local).fit_many(weights, CLIENTS, round=1)


def stacked_with_noise(local: LocalTraining, weights: Tensor) -> dict[int, Trained]:
    return StackedDpSgd(local).fit_many(weights, CLIENTS, round=1)


Train = Callable[[LocalTraining, Tensor], dict[int, Trained]]
WAYS: dict[str, Train] = {
    "plain": one_at_a_time,
    "noise": with_noise,
    "stacked": stacked,
    "stacked noise": stacked_with_noise,
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums of several threads differ in their last bits from call to call."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_the_same_elsewhere(train: Train, local: LocalTraining) -> None:
    weights = weights_of(local)
    here = train(replace(local, model=copy.deepcopy(local.model)), weights)
    with other_device():
        away = train(replace(local, model=copy.deepcopy(local.model).to(OTHER)), weights)
    for client in CLIENTS:
        assert type(away[client].delta) is Tensor
        assert float(here[client].delta.abs().max()) > 1e-4
        torch.testing.assert_close(away[client].delta, here[client].delta, rtol=0, atol=WITHIN)
        assert away[client].spent == here[client].spent


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODELS)
def test_a_client_trains_elsewhere_as_it_does_here(name: str, way: str) -> None:
    local = few(name, plans=plans_of())
    if unstackable_layer(local.model) is None or "stacked" not in way:
        assert_the_same_elsewhere(WAYS[way], local)


class Attentive(nn.Module):
    """Layers without a short way to their gradients, which Opacus writes down."""

    def __init__(self) -> None:
        super().__init__()
        self.spread = nn.Conv1d(1, 4, 3, padding="same")
        self.norm = nn.LayerNorm([4, 6])
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        places = self.norm(self.spread(x.unsqueeze(1)))
        logits: Tensor = self.last(self.drop(places.relu()).flatten(1))
        return logits


@pytest.mark.parametrize("way", ["plain", "noise"])
@pytest.mark.parametrize(
    "options",
    [
        StepOptions(),
        StepOptions(class_weights=(0.5, 2.0, 1.0)),
        StepOptions(optimizer=adam, physical_batch=3),
    ],
)
def test_other_layers_and_options_train_elsewhere_too(way: str, options: StepOptions) -> None:
    local = few("mlp", model=Attentive(), plans=plans_of(), options=options)
    assert_the_same_elsewhere(WAYS[way], local)


@pytest.mark.parametrize("name", ["cnn", "strides", "steps", "a frozen weight"])
def test_large_layers_train_elsewhere_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MAX_WHOLE", 0)  # no gradient is small enough to be written down
    assert_the_same_elsewhere(with_noise, few(name, plans=plans_of()))


@pytest.mark.parametrize("way", ["stacked", "stacked noise"])
def test_class_weights_reach_a_stack_elsewhere(way: str) -> None:
    options = StepOptions(class_weights=(0.5, 2.0, 1.0))
    local = few("mlp", plans=plans_of(), options=options)
    assert_the_same_elsewhere(WAYS[way], local)


def test_steps_without_records_are_noise_alone_elsewhere_too() -> None:
    local = few("mlp", plans=plans_of(records=4, batch=1, noise_multiplier=1.0))
    empty = {c: Examples(e.features[:0], e.labels[:0]) for c, e in local.examples.items()}
    for examples in (local.examples, empty):
        for way in ("noise", "stacked noise"):
            assert_the_same_elsewhere(WAYS[way], replace(local, examples=examples))


def test_batch_norm_and_an_adversary_train_elsewhere_too() -> None:
    normed = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    bends = {0: lambda gradient, way: gradient + 0.5 * way}
    local = few("mlp", model=normed, bends=bends)
    assert_the_same_elsewhere(one_at_a_time, local)


@pytest.mark.parametrize("name", ["cnn", "two classes", "several labels", "real targets"])
def test_a_model_is_evaluated_elsewhere_as_it_is_here(name: str) -> None:
    local = clients(name, dtype=torch.float32, sizes=(300,))
    here = evaluate(local.model, local.task, local.examples[0])
    with other_device():
        away = evaluate(local.model.to(OTHER), local.task, local.examples[0])
        assert device_of(local.model) == OTHER
    assert away == here


def test_a_vector_and_a_layout_of_a_model_elsewhere_are_those_of_the_model_here() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    weights, layout = vector.to_vector(model), vector.layout(model)
    with other_device():
        model.to(OTHER)
        assert vector.layout(model) == layout
        assert torch.equal(vector.to_vector(model), weights)
        vector.load_vector(model, weights + 1)
        assert torch.equal(vector.to_vector(model), weights + 1)


class Looking(nn.Module):
    """Notes where its records are, in a list that its copies share."""

    places: ClassVar[set[torch.device]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.places.add(x.device)
        logits: Tensor = self.last(x)
        return logits


def test_stacks_are_tried_here_wherever_the_model_is() -> None:
    local = clients("mlp", model=Looking(), dtype=torch.float32)
    size = stack_size(local, cohort=16)
    with other_device():
        away = replace(local, model=copy.deepcopy(local.model).to(OTHER))
        assert unstackable(away) is None
        assert stack_size(away, cohort=16) == size > 1
        assert device_of(away.model) == OTHER
    assert Looking.places == {CPU}


def test_the_other_device_of_the_tests_notices_what_was_not_moved() -> None:
    layer, x = nn.Linear(3, 2), torch.ones(4, 3)
    with other_device():
        layer.to(OTHER)
        with pytest.raises(RuntimeError, match="two devices"):
            layer(x)
        with pytest.raises(RuntimeError, match="two devices"):
            layer(x.to(OTHER)) + torch.ones(2)
        assert isinstance(layer(x.to(OTHER)), Elsewhere)
        assert type(layer(x.to(OTHER)).cpu()) is Tensor


def test_no_gpu_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SecureflError, match="needs a GPU and a torch that is built for it") as no:
        device_called("cuda")
    assert no.value.exit_code == 1
    assert device_called(None) == device_called("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device_called("cuda").type == "cuda"


def test_a_device_is_described_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA X")
    assert described(torch.device("cuda")) == "cuda (NVIDIA X)"
    assert described(torch.device("cpu")) == "cpu"


def test_a_gpu_computes_with_whole_numbers_only_while_we_use_it() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic, torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with full_precision(torch.device("cuda")):
            inside = cudnn.allow_tf32, cudnn.deterministic, torch.get_float32_matmul_precision()
        assert inside == (False, True, "highest")
        assert torch.get_float32_matmul_precision() == "high"
        with full_precision(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before[2])
    after = cudnn.allow_tf32, cudnn.deterministic, torch.get_float32_matmul_precision()
    assert after == before


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="torch before 2.9")
@pytest.mark.parametrize("way", WAYS)
def test_a_caller_who_allows_rough_products_gets_the_same_training(way: str) -> None:
    # Some CPUs then multiply numbers of 8 bits, and a clipped sum is longer than the clip.
    backend: Any = torch.backends.mkldnn
    precisions: list[str] = []

    def note(*_: object) -> None:
        precisions.extend([backend.matmul.fp32_precision, backend.conv.fp32_precision])

    local = few("wide layers", plans=plans_of(), on_step=note)
    weights = weights_of(local)
    usual = WAYS[way](local, weights)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        rough = WAYS[way](local, weights)
        assert backend.matmul.fp32_precision == "bf16"
    finally:
        torch.set_float32_matmul_precision(before)
    assert {*precisions} == {"ieee"}
    for client in CLIENTS:
        assert torch.equal(rough[client].delta, usual[client].delta)


def test_random_layers_of_a_gpu_draw_from_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    forked: list[object] = []
    fork = torch.random.fork_rng

    def forking(devices: list[torch.device]) -> object:
        forked.append(devices)
        return fork(devices=[])

    monkeypatch.setattr(torch.random, "fork_rng", forking)
    monkeypatch.setattr(torch.cuda, "manual_seed", seeds.append)
    stream = seeded_keystream(1, "dropout")
    expected = seeded_keystream(1, "dropout").torch_generator().initial_seed()
    with random_layers(stream, torch.device("cuda")):
        assert seeds == [expected]
        assert torch.initial_seed() == expected
    assert forked == [[torch.device("cuda")]]
    with random_layers(stream):
        assert len(seeds) == 1
    assert forked[1] == []
