"""The plain channel: the contract of all channels, and its own rules."""

import pytest
import torch

from securefl.channels.plain import PlainClient, PlainServer
from tests.channels.contract import (
    EVERYONE,
    HASH,
    MIN_COHORT,
    SESSION,
    WEIGHTS,
    ChannelContract,
    D,
    MakeSides,
    Sides,
    Stages,
    play,
    updates_for,
)
from tests.recorder import Recorder


def make_sides(*, session: bytes = SESSION) -> Sides:
    server = PlainServer(session, d=D, min_cohort=MIN_COHORT, weights=WEIGHTS)
    return Sides(server, {client: PlainClient(client, session) for client in EVERYONE})


class TestPlainChannel(ChannelContract):
    @pytest.fixture
    def make(self) -> MakeSides:
        return make_sides

    tolerance = 1e-12


def test_every_client_has_a_row_of_its_own_ascending_whatever_the_order_of_arrival() -> None:
    sides, updates = make_sides(), updates_for(0)
    stages = Stages(sides, round=0)
    messages = stages.answers()
    stages.deliver({client: messages[client] for client in (3, 0, 4, 1, 2)})
    stages.close()
    assert stages.view is not None
    assert stages.view.members == ((0,), (1,), (2,), (3,), (4,))
    assert stages.view.weights.tolist() == [5, 1, 2, 10, 3]
    assert torch.equal(
        stages.view.rows, torch.stack([updates[client].delta for client in EVERYONE])
    )


def test_rows_and_weights_of_survivors_stay_together() -> None:
    view = play(make_sides(), round=0, silent=(0, 2))
    assert view.members == ((1,), (3,), (4,))
    assert view.weights.tolist() == [1, 10, 3]
    assert view.rows[:, 0].tolist() == [2, 8, 16]


@pytest.mark.parametrize("declared", [WEIGHTS, None])
def test_declared_weights_beat_reported_ones(declared: dict[int, int] | None) -> None:
    server = PlainServer(SESSION, d=D, min_cohort=1, weights=declared)
    client = PlainClient(3, SESSION)
    server.begin(0, [3], HASH)
    client.receive(server.requests()[3])
    update = updates_for(0)[3]
    boasting = type(update)(update.delta, 2**31 - 1, None, HASH)
    assert server.absorb(3, client.submit(boasting))
    assert server.close_stage().weights.tolist() == [10 if declared else 2**31 - 1]


def test_the_whole_update_is_seen_by_server_and_network_alike() -> None:
    sides = make_sides()
    recorder = Recorder()
    stages = Stages(sides, round=0, observer=recorder)
    messages = stages.answers(silent=(1,))
    stages.deliver(messages)
    seen = recorder.observations
    for party in ("server", "network"):
        rows = [o for o in seen if o.party == party]
        assert [o.about for o in rows] == [(0,), (2,), (3,), (4,)]
        for o in rows:
            assert o.kind == "update in the clear"
            assert o.shape == (D,)
            assert o.size == len(messages[o.about[0]]) == 25 + 8 + 4 * D
            assert o.values is not None
            assert torch.equal(o.values, stages.updates[o.about[0]].delta)
    assert len(seen) == 8


def test_observations_do_not_print_the_values_they_hold() -> None:
    recorder = Recorder()
    play(make_sides(), round=0, observer=recorder)
    assert recorder.observations[0].values is not None
    assert "tensor" not in repr(recorder.observations)


def test_a_row_that_is_not_finite_travels_as_it_is() -> None:
    sides, updates = make_sides(), updates_for(0)
    updates[1].delta[:] = torch.tensor([float("nan"), float("inf"), -1.0])
    stages = Stages(sides, round=0, updates=updates)
    stages.deliver(stages.answers())
    stages.close()
    assert stages.view is not None
    assert stages.view.rows[1].isnan().tolist() == [True, False, False]
