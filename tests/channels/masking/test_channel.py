"""The masked channel: the contract of all channels, in each ring.

Weights are public or private.
"""

from dataclasses import replace

import pytest

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.server import MaskedServer
from tests.channels.contract import EVERYONE, SESSION, WEIGHTS, ChannelContract, D, MakeSides, Sides
from tests.channels.masking.parties import agreement, identity, make_client

PUBLIC = agreement(
    EVERYONE,
    d=D,
    code=FixedPoint(ring=32, clip=128.0, rounding="nearest", most=5),
    max_weight=10,
    weights=WEIGHTS,
)


def maker(terms: Agreement) -> MakeSides:
    def make(*, session: bytes = SESSION) -> Sides:
        here = replace(terms, session=session)
        clients = {client: make_client(client, here) for client in EVERYONE}
        return Sides(MaskedServer(identity(-1), here), clients)

    return make


class TestMaskedChannel(ChannelContract):
    tolerance = 1e-5  # the row is float32
    fewest = 4  # 2 t > 5 + 1
    too_few = "a sum takes 4"
    bad_request = "does not verify|another session"

    @pytest.fixture
    def make(self) -> MakeSides:
        return maker(PUBLIC)


class TestMaskedChannelWithReportedWeights(TestMaskedChannel):
    @pytest.fixture
    def make(self) -> MakeSides:
        return maker(replace(PUBLIC, weights=None, max_weight=10))


class TestMaskedChannelInARingOf64(TestMaskedChannel):
    @pytest.fixture
    def make(self) -> MakeSides:
        return maker(
            replace(PUBLIC, code=FixedPoint(ring=64, clip=128.0, rounding="stochastic", most=5))
        )


class TestMaskedChannelInARingOf16(TestMaskedChannel):
    tolerance = (
        5 * 128 / 6553 * 10 / 11
    )  # half a step is enough for nearest; the smallest four weights add up to 11

    @pytest.fixture
    def make(self) -> MakeSides:
        return maker(
            replace(PUBLIC, code=FixedPoint(ring=16, clip=128.0, rounding="nearest", most=5))
        )
