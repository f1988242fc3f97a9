"""A model message is read once however many clients get it, and every message is checked."""

import math

import pytest
import torch
from torch import Tensor

from securefl import vector
from securefl.channels.messages import ModelMessage
from securefl.errors import ProtocolError
from securefl.federation.reader import ModelReader

SESSION = b"s" * 16
LAYOUT = "w(2,)"
WEIGHTS = torch.tensor([1.0, 2.0])


def message(weights: Tensor = WEIGHTS, *, session: bytes = SESSION, name: bytes = b"") -> bytes:
    name = name or vector.model_hash(LAYOUT, weights)
    return ModelMessage(session, 3, name, weights).to_bytes()


def reader(layout: str | None = LAYOUT) -> ModelReader:
    return ModelReader(layout=layout, d=2, session=SESSION)


def copy_of(data: bytes) -> bytes:
    return bytes(bytearray(data))


def test_the_same_message_is_read_once() -> None:
    shared, sent = reader(), message()
    first = shared.read(sent)
    assert shared.read(sent) is first
    assert (first.round, first.weights.tolist()) == (3, [1.0, 2.0])


def test_equal_bytes_are_another_message() -> None:
    shared, sent = reader(), message()
    first = shared.read(sent)
    again = shared.read(copy_of(sent))
    assert again is not first
    assert again.weights.tolist() == [1.0, 2.0]


def test_the_latest_of_several_messages_is_handed_out_under_its_own_name_only() -> None:
    shared, one, two = reader(), message(), message(WEIGHTS + 1)
    for sent, expected in ((one, [1.0, 2.0]), (two, [2.0, 3.0]), (one, [1.0, 2.0])):
        assert shared.read(sent).weights.tolist() == expected


def test_a_model_that_somebody_wrote_into_is_read_again() -> None:
    shared, sent = reader(), message()
    shared.read(sent).weights.view(1, 2).add_(1)
    assert shared.read(sent).weights.tolist() == [1.0, 2.0]


def test_a_buffer_is_read_each_time_since_it_can_change() -> None:
    shared, sent = reader(layout=None), bytearray(message())
    assert shared.read(sent).weights.tolist() == [1.0, 2.0]  # type: ignore[arg-type]
    sent[-4:] = vector.to_bytes(torch.tensor([5.0]))
    assert shared.read(sent).weights.tolist() == [1.0, 5.0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (message(session=b"t" * 16), "the model belongs to another session"),
        (message(name=bytes(32)), "is not the one that its message names"),
        (message(torch.tensor([1.0, math.nan])), "the model of round 3 is not finite"),
        (message(torch.ones(3)), "takes 65 bytes here, got 69"),
    ],
)
def test_a_bad_message_is_refused_each_time_and_leaves_the_good_one(
    sent: bytes, sentence: str
) -> None:
    shared, good = reader(), message()
    first = shared.read(good)
    for _ in range(2):
        with pytest.raises(ProtocolError, match=sentence):
            shared.read(sent)
    assert shared.read(good) is first


def test_each_process_of_a_deployment_checks_for_itself() -> None:
    sent = message()
    assert reader().read(sent) is not reader().read(sent)
