"""Models as vectors: layout, bytes and hash, by hand."""

import hashlib
import math
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from securefl import vector
from securefl.errors import ProtocolError

deterministic = settings(derandomize=True, max_examples=200, deadline=None, database=None)
floats32 = st.floats(width=32, allow_nan=False)


class Billion:
    """Claims to hold a gigabyte, of which only the length can be read."""

    def __len__(self) -> int:
        return 2**30


def two_layers() -> nn.Sequential:
    """Returns a model with weights 1 2 3 4, a frozen bias 5 6, weights 7 8, and no bias."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1, bias=False))
    for parameter, values in zip(
        model.parameters(), ([[1, 2], [3, 4]], [5, 6], [[7, 8]]), strict=True
    ):
        parameter.data = torch.tensor(values, dtype=torch.float32)
    model[0].bias.requires_grad = False
    return model


def test_the_vector_holds_the_trainable_parameters_in_declared_order() -> None:
    assert vector.to_vector(two_layers()).tolist() == [1, 2, 3, 4, 7, 8]


def test_the_vector_is_a_copy_without_a_gradient() -> None:
    # With a single parameter nothing is concatenated, so a view would be possible.
    model = nn.Linear(2, 1, bias=False)
    weights = vector.to_vector(model)
    before = model.weight.detach().clone()
    weights += 1
    assert not weights.requires_grad
    assert torch.equal(model.weight, before)


def test_a_loaded_vector_is_read_back_and_frozen_parameters_stay() -> None:
    model = two_layers()
    vector.load_vector(model, torch.tensor([-1.0, 0.5, 9.0, 8.0, 7.0, 6.0]))
    assert vector.to_vector(model).tolist() == [-1, 0.5, 9, 8, 7, 6]
    first, frozen, second = model.parameters()
    assert first.tolist() == [[-1, 0.5], [9, 8]]
    assert frozen.tolist() == [5, 6]
    assert second.tolist() == [[7, 6]]
    assert first.requires_grad


def test_a_loaded_vector_and_the_model_share_no_memory() -> None:
    model, weights = two_layers(), torch.zeros(6)
    vector.load_vector(model, weights)
    weights += 1
    assert vector.to_vector(model).tolist() == [0] * 6


@pytest.mark.parametrize("shape", [(5,), (7,), (8,), (1, 6), (6, 1), ()])
def test_a_vector_of_another_shape_is_not_loaded(shape: tuple[int, ...]) -> None:
    model = two_layers()
    with pytest.raises(ValueError, match="the model has 6 coordinates, the vector has shape"):
        vector.load_vector(model, torch.zeros(shape))
    assert vector.to_vector(model).tolist() == [1, 2, 3, 4, 7, 8]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("d", [1, 7, 64, 1000])
def test_one_coordinate_that_is_not_finite_is_noticed_wherever_it_is(d: int, bad: float) -> None:
    # Numbers whose sum, and whose squares, are beyond float32.
    largest = torch.finfo(torch.float32).max
    values = torch.full((d,), largest)
    assert vector.is_finite(values)
    assert vector.is_finite(-values.double())
    for place in range(d):
        values[place] = bad
        assert not vector.is_finite(values)
        values[place] = largest


def test_a_vector_without_coordinates_has_no_bytes() -> None:
    assert vector.to_bytes(torch.zeros(0)) == b""
    assert vector.from_bytes(b"", d=0).shape == (0,)


def test_bytes_are_read_without_a_copy_where_they_lie_ready() -> None:
    values = torch.tensor([1.0, 3.0])
    view = vector.view_of_bytes(values)
    values[1] = 5.0
    assert bytes(view) == vector.to_bytes(torch.tensor([1.0, 5.0]))
    row = torch.zeros(3)
    vector.read_into(row[1:], view)
    assert row.tolist() == [0, 1, 5]
    with pytest.raises(ProtocolError, match=r"3 coordinates takes 12 bytes, got 8"):
        vector.read_into(row, view)
    # The row has memory of its own.
    values.zero_()
    assert row.tolist() == [0, 1, 5]


def test_infinities_of_both_signs_and_nan_are_noticed_together() -> None:
    assert not vector.is_finite(torch.tensor([math.inf, 0.0, -math.inf, math.nan]))


def test_bytes_are_float32_little_endian() -> None:
    # 1.0 is 3f800000, -2.5 is c0200000, the smallest denormal is 00000001.
    values = torch.tensor([1.0, -2.5, 2.0**-149])
    assert vector.to_bytes(values).hex() == "0000803f" + "000020c0" + "01000000"
    assert (
        vector.from_bytes(bytes.fromhex("0000803f000020c001000000"), d=3).tolist()
        == values.tolist()
    )


def test_bytes_of_a_double_a_gradient_or_a_slice_equal_the_plain_vectors() -> None:
    plain = vector.to_bytes(torch.tensor([1.0, 3.0]))
    assert vector.to_bytes(torch.tensor([1.0, 3.0], dtype=torch.float64)) == plain
    assert vector.to_bytes(torch.tensor([1.0, 3.0], requires_grad=True)) == plain
    assert vector.to_bytes(torch.tensor([1.0, 2.0, 3.0, 4.0])[::2]) == plain


@deterministic
@given(st.lists(floats32, max_size=20))
def test_vectors_make_the_round_trip_bit_for_bit(values: list[float]) -> None:
    weights = torch.tensor(values, dtype=torch.float32)
    data = vector.to_bytes(weights)
    assert data == struct.pack(f"<{len(values)}f", *values)
    back = vector.from_bytes(data, d=len(values))
    assert back.dtype is torch.float32
    # The bytes tell -0.0 from 0.0.
    assert vector.to_bytes(back) == data


@deterministic
@given(
    st.integers(0, 6).flatmap(
        lambda d: st.tuples(st.just(d), st.binary(min_size=4 * d, max_size=4 * d))
    )
)
def test_any_bytes_of_the_right_length_are_a_vector(case: tuple[int, bytes]) -> None:
    d, data = case
    back = vector.from_bytes(memoryview(data), d=d)
    assert back.shape == (d,)
    for value, (expected,) in zip(back.tolist(), struct.iter_unpack("<f", data), strict=True):
        assert value == expected or (math.isnan(value) and math.isnan(expected))


def test_a_parsed_vector_can_be_written_to_and_leaves_the_bytes_alone() -> None:
    data = bytearray(8)
    back = vector.from_bytes(bytes(data), d=2)
    back += 1
    assert vector.from_bytes(memoryview(data), d=2).tolist() == [0, 0]
    shared = vector.from_bytes(memoryview(data), d=2)
    data[0] = 255
    assert shared.tolist() == [0, 0]


@pytest.mark.parametrize("size", [0, 7, 9, 11, 13, 16])
def test_bytes_of_another_length_are_refused(size: int) -> None:
    with pytest.raises(
        ProtocolError, match=f"a vector of 3 coordinates takes 12 bytes, got {size}"
    ):
        vector.from_bytes(bytes(size), d=3)


def test_the_length_is_checked_before_anything_is_allocated() -> None:
    with pytest.raises(ProtocolError, match=f"takes 4 bytes, got {2**30}"):
        vector.from_bytes(Billion(), d=1)  # type: ignore[arg-type]
    with pytest.raises(ProtocolError, match=f"takes {4 * 10**15} bytes, got 4"):
        vector.from_bytes(bytes(4), d=10**15)


def test_the_layout_names_every_trainable_parameter_with_its_shape() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1, bias=False))
    assert vector.layout(model) == "0.weight(2, 2);0.bias(2,);1.weight(1, 2)"


def test_the_layout_holds_a_hash_of_what_stays_at_home() -> None:
    # SHA-256 over 23 (the length), "0.bias(2,)torch.float32", and 5 and 6 as float32.
    head = b"0.bias(2,)torch.float32"
    values = len(head).to_bytes(8, "little") + head + struct.pack("<2f", 5, 6)
    frozen = hashlib.sha256(values).hexdigest()
    model = two_layers()
    assert vector.layout(model) == f"0.weight(2, 2);1.weight(1, 2);frozen:{frozen}"
    model.state_dict()["0.bias"][1] = 7
    assert frozen not in vector.layout(model)


def normed() -> nn.Sequential:
    """Returns a layer without bias and a batch norm: 1 2, then 3, 4, then mean 5, variance 6."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    vector.load_vector(model, torch.tensor([1.0, 2, 3, 4, 5, 6]))
    return model


def test_running_statistics_come_behind_the_parameters() -> None:
    model = normed()
    state = model.state_dict()
    assert (state["1.running_mean"].item(), state["1.running_var"].item()) == (5, 6)
    assert vector.to_vector(model).tolist() == [1, 2, 3, 4, 5, 6]
    assert list(vector.shapes(model)) == [
        *("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    ]
    assert vector.size(model) == 6
    assert vector.statistics(model) == (4, 2, (slice(5, 6),))
    assert vector.layout(model) == (
        "0.weight(1, 2);1.weight(1,);1.bias(1,);buffers:1.running_mean(1,);1.running_var(1,)"
    )


def test_a_model_without_buffers_has_no_statistics() -> None:
    assert vector.statistics(two_layers()) == (6, 0, ())


def test_counters_start_again_with_each_model_and_are_in_no_hash() -> None:
    model = normed()
    before = vector.layout(model)
    counter = model.state_dict()["1.num_batches_tracked"]
    counter.fill_(9)
    assert vector.layout(model) == before
    vector.load_vector(model, torch.zeros(6))
    assert counter.item() == 0


def test_buffers_of_frozen_modules_stay_at_home_and_count_in_the_layout() -> None:
    model = normed()
    model[1].requires_grad_(False)
    assert vector.to_vector(model).tolist() == [1, 2]
    before = vector.layout(model)
    assert before.startswith("0.weight(1, 2);frozen:")
    model.state_dict()["1.running_mean"].fill_(8)
    assert vector.layout(model) != before


def test_integers_and_buffers_outside_the_state_stay_at_home() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.register_buffer("index", torch.tensor([3]))
    model.register_buffer("scratch", torch.tensor([4.0]), persistent=False)
    model.register_buffer("scale", torch.tensor(5.0))
    assert list(vector.shapes(model)) == ["weight", "scale"]
    before = vector.layout(model)
    assert ";buffers:scale();frozen:" in before
    vector.load_vector(model, torch.tensor([1.0, 2.0]))
    assert vector.layout(model) == before
    model.state_dict()["index"].fill_(4)
    assert vector.layout(model) != before


def test_a_model_without_memory_for_its_weights_has_a_size() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(10**6, 10**6), nn.BatchNorm1d(10**6))
    assert vector.size(model) == 10**12 + 5 * 10**6


def by_hand(text: str, length: bytes, *values: float) -> bytes:
    return hashlib.sha256(
        length + text.encode() + struct.pack(f"<{len(values)}f", *values)
    ).digest()


def test_the_hash_is_sha256_over_length_layout_and_weights() -> None:
    weights = torch.tensor([1.0, -2.5])
    assert vector.model_hash("w(2,)", weights) == by_hand("w(2,)", b"\x05\0\0\0\0\0\0\0", 1.0, -2.5)
    # sha256sum of the 17 bytes 05 00 00 00 00 00 00 00 77 28 32 2c 29 00 00 80 3f, from a shell.
    only = vector.model_hash("w(2,)", torch.tensor([1.0]))
    assert only.hex() == "39593a2e50d2231782afd3f4d73056bb3b2230299f0ea4069a733dbcee9d822c"


def changed(weights: Tensor, at: int) -> Tensor:
    other = weights.clone()
    other[at] = torch.nextafter(other[at], torch.tensor(9.0))
    return other


def test_the_hash_tells_apart_every_weight_every_name_and_the_border_between_them() -> None:
    weights = torch.tensor([struct.unpack("<f", b"abcd")[0], 2.0, 3.0])
    hashes = [vector.model_hash("a(3,)", weights), vector.model_hash("b(3,)", weights)]
    hashes += [vector.model_hash("a(3,)", changed(weights, at)) for at in range(3)]
    # The bytes of the first weight, moved into the layout.
    hashes.append(vector.model_hash("a(3,)abcd", weights[1:]))
    assert len(set(hashes)) == len(hashes)
