"""The contract of every channel: inherit `ChannelContract` in a test file and override `make`.

The suite knows no stage by name. It drives a round as the engine does, stage after stage, until a
View appears at the server's `close_stage` or at a client's `receive`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Protocol

import pytest
import torch
from torch import Tensor

from securefl.channels.protocol import (
    UNWATCHED,
    ChannelClient,
    ChannelServer,
    ClientUpdate,
    Observation,
    Observer,
    Packet,
    View,
)
from securefl.errors import ProtocolError, RoundAbandoned
from securefl.privacy.events import DiscreteGaussianSum
from tests.recorder import Recorder

SESSION, OTHER_SESSION = bytes(range(16)), bytes(range(1, 17))
HASH, OTHER_HASH = b"h" * 32, b"o" * 32
EVERYONE = (0, 1, 2, 3, 4)
D = 3
MIN_COHORT = 3
WEIGHTS = {0: 5, 1: 1, 2: 2, 3: 10, 4: 3}  # public, one a client


@dataclass(frozen=True)
class Sides:
    """Both sides of a channel between one server and the clients 0 to 4, before its first round."""

    server: ChannelServer
    clients: Mapping[int, ChannelClient]


class MakeSides(Protocol):
    """Builds a channel of D coordinates, minimum cohort MIN_COHORT and public weights WEIGHTS."""

    def __call__(self, *, session: bytes = SESSION) -> Sides: ...


def updates_for(round: int) -> dict[int, ClientUpdate]:
    """Returns small integers that differ by client and round; no two subsets share a mean."""
    return {
        client: ClientUpdate(
            delta=torch.tensor([2.0**client, 1.0 + round, -(3.0**client)]),
            weight=WEIGHTS[client],
            spent=None,
            model_hash=HASH,
        )
        for client in EVERYONE
    }


@dataclass
class Stages:
    """One round, driven by hand."""

    sides: Sides
    round: int
    cohort: tuple[int, ...] = EVERYONE
    updates: Mapping[int, ClientUpdate] = field(default_factory=dict)
    view: View | None = None
    # Clients whose channel said: train, then submit.
    to_train: set[int] = field(default_factory=set)
    observer: Observer = UNWATCHED

    def __post_init__(self) -> None:
        self.updates = self.updates or updates_for(self.round)
        self.sides.server.begin(self.round, self.cohort, HASH, self.observer)

    def answers(self, *, silent: Iterable[int] = (), hold: Iterable[int] = ()) -> dict[int, Packet]:
        """Returns this stage's messages, except from the silent; clients on hold do not submit."""
        messages: dict[int, Packet] = {}
        for client, request in self.sides.server.requests().items():
            if client in silent:
                continue
            reply = self.sides.clients[client].receive(request)
            if isinstance(reply, View):
                self.view = reply
            elif reply is not None:
                messages[client] = reply
            else:
                self.to_train.add(client)
                # As a client does before it trains.
                self.sides.clients[client].check_model(self.round, HASH)
                if client not in hold:
                    messages[client] = self.sides.clients[client].submit(self.updates[client])
        return messages

    def deliver(self, messages: Mapping[int, Packet]) -> None:
        """Hands honest messages to the server, which takes all of them."""
        for client, message in messages.items():
            assert self.sides.server.absorb(client, message) is True

    def close(self) -> None:
        """Ends the stage."""
        self.view = self.sides.server.close_stage() or self.view


def play(
    sides: Sides,
    *,
    round: int,
    cohort: tuple[int, ...] = EVERYONE,
    silent: Iterable[int] = (),
    observer: Observer = UNWATCHED,
) -> View:
    """Plays a whole round in which the silent never answer. Raises RoundAbandoned."""
    stages, silent = Stages(sides, round, cohort, observer=observer), set(silent)
    while stages.view is None:
        stages.deliver(stages.answers(silent=silent))
        stages.close()
    return stages.view


def record(sides: Sides, *, round: int, observer: Observer = UNWATCHED) -> list[dict[int, Packet]]:
    """Returns everyone's messages in a whole round, stage by stage."""
    stages, recorded = Stages(sides, round, observer=observer), []
    while stages.view is None:
        recorded.append(stages.answers())
        stages.deliver(recorded[-1])
        stages.close()
    return recorded


def until_asked(sides: Sides, client: int, *, round: int) -> Stages:
    """Plays a round until `client` has to train and has not submitted."""
    stages = Stages(sides, round)
    while True:
        messages = stages.answers(hold=[client])
        if client in stages.to_train:
            return stages
        stages.deliver(messages)
        stages.close()


def mean_of(view: View) -> Tensor:
    """Returns the weighted mean (d,) of the rows."""
    weights = view.weights.double()
    return (view.rows.double() * weights.unsqueeze(1)).sum(dim=0) / weights.sum()


def mean_of_updates(clients: Sequence[int], *, round: int) -> Tensor:
    """Returns the weighted mean (d,) of these clients' updates."""
    updates = updates_for(round)
    total = sum(WEIGHTS[client] for client in clients)
    return (
        torch.stack([updates[client].delta.double() * WEIGHTS[client] for client in clients]).sum(
            dim=0
        )
        / total
    )


def outline(seen: Sequence[Observation], *, grain: int = 1) -> list[tuple[object, ...]]:
    """Returns all observations without values, their sizes in units of `grain` bytes."""
    return sorted((o.party, o.kind, o.about, o.shape, round(o.size / grain)) for o in seen)


def malformed(message: Packet) -> list[Packet]:
    """Returns messages that a broken or lying client could send instead."""
    message = bytes(message)
    return [
        b"",
        b"\0",
        message[:-1],
        message[1:],
        message + b"\0",
        message + message,
        b"\xff" * len(message),
        bytes(len(message)),
        bytes([message[0] ^ 1]) + message[1:],
        message[:3] + bytes([message[3] + 1]) + message[4:],
    ]


class ChannelContract:
    """The properties of every channel."""

    # Absolute error of a mean. A subclass adds the error of fixed point or CKKS.
    tolerance = 1e-6
    # Survivors of five that a round takes; above the minimum where a threshold demands more.
    fewest = MIN_COHORT
    # Bytes by which the size of a message may vary, where it is compressed.
    grain = 1
    too_few = f"minimum cohort is {MIN_COHORT}"
    bad_request = r"a message of|another session"

    @pytest.fixture
    def make(self) -> MakeSides:
        raise NotImplementedError("override the fixture `make`")

    def is_the_mean_of(self, view: View, clients: Sequence[int], *, round: int) -> bool:
        expected = mean_of_updates(clients, round=round)
        return torch.allclose(mean_of(view), expected, rtol=0, atol=self.tolerance)

    def test_a_round_ends_in_a_view_of_everyone(self, make: MakeSides) -> None:
        view = play(make(), round=0)
        assert view.clients == EVERYONE
        assert self.is_the_mean_of(view, EVERYONE, round=0)

    def test_a_view_has_one_weight_and_one_set_of_members_a_row_ascending(
        self, make: MakeSides
    ) -> None:
        view = play(make(), round=0)
        assert view.rows.shape == (len(view.members), D)
        assert view.weights.shape == (len(view.members),)
        assert bool((view.weights > 0).all())
        assert [client for row in view.members for client in row] == list(EVERYONE)

    def test_rounds_follow_one_another_with_their_own_updates(self, make: MakeSides) -> None:
        sides = make()
        for round in (0, 1, 5):
            assert self.is_the_mean_of(play(sides, round=round), EVERYONE, round=round)

    def test_the_view_of_any_survivors_is_the_mean_of_exactly_what_they_submitted(
        self, make: MakeSides
    ) -> None:
        sides = make()
        groups = [group for size in range(self.fewest, 6) for group in combinations(EVERYONE, size)]
        for round, survivors in enumerate(groups):
            view = play(sides, round=round, silent=set(EVERYONE) - set(survivors))
            assert view.clients == survivors
            assert self.is_the_mean_of(view, survivors, round=round)

    def test_only_the_invited_are_asked(self, make: MakeSides) -> None:
        sides = make()
        play(sides, round=0)
        sides.server.begin(1, (0, 2, 4), HASH)
        assert list(sides.server.requests()) == [0, 2, 4]
        view = play(sides, round=2, cohort=(0, 2, 4))
        assert view.clients == (0, 2, 4)
        assert self.is_the_mean_of(view, (0, 2, 4), round=2)

    @pytest.mark.parametrize("answering", [(), (3,), (1, 3)])
    def test_below_the_minimum_cohort_a_round_is_abandoned(
        self, make: MakeSides, answering: tuple[int, ...]
    ) -> None:
        with pytest.raises(RoundAbandoned, match=self.too_few):
            play(make(), round=0, silent=set(EVERYONE) - set(answering))

    def test_nothing_of_an_abandoned_round_leaks_into_the_next(self, make: MakeSides) -> None:
        sides, untouched = make(), make()
        seen, seen_of_untouched = Recorder(), Recorder()
        survivors = EVERYONE[-self.fewest :]
        silent = EVERYONE[: -self.fewest]
        with pytest.raises(RoundAbandoned, match=self.too_few):
            play(sides, round=0, silent=(2, 3, 4))
        view = play(sides, round=1, silent=silent, observer=seen)
        assert view.clients == survivors
        assert self.is_the_mean_of(view, survivors, round=1)
        play(untouched, round=1, silent=silent, observer=seen_of_untouched)
        assert self.outline(seen) == self.outline(seen_of_untouched)

    def outline(self, recorder: Recorder) -> list[tuple[object, ...]]:
        """Returns what was seen, without values; sizes are rounded to the channel's grain."""
        return outline(recorder.observations, grain=self.grain)

    def test_dropped_messages_change_nothing(self, make: MakeSides) -> None:
        sides, elsewhere = make(), make(session=OTHER_SESSION)
        honest, seen = Recorder(), Recorder()
        earlier = record(sides, round=0, observer=honest)
        here, there = Stages(sides, round=1, observer=seen), Stages(elsewhere, round=1)
        stage = 0
        while here.view is None:
            messages, foreign = here.answers(), there.answers()
            for client, message in messages.items():
                assert not self.taken(sides, client, malformed(message)), "malformed"
                assert not self.taken(sides, client, [foreign[client]]), "from another session"
                assert not self.taken(sides, client, [earlier[stage][client]]), (
                    "from an earlier round"
                )
                foreign_messages = [other for sender, other in messages.items() if sender != client]
                assert not self.taken(sides, client, foreign_messages), "from another sender"
                assert not self.taken(sides, 5, [message]), "from a stranger"
            here.deliver(messages)
            there.deliver(foreign)
            for client, message in messages.items():
                assert not self.taken(sides, client, [message]), "a duplicate"
            here.close()
            there.close()
            for client, message in messages.items():
                assert not self.taken(sides, client, [message]), "late"
            stage += 1
        assert here.view.clients == EVERYONE
        assert self.is_the_mean_of(here.view, EVERYONE, round=1)
        assert self.outline(seen) == self.outline(honest)

    def taken(self, sides: Sides, client: int, messages: Sequence[Packet]) -> list[Packet]:
        """Returns the messages that the server did not drop."""
        return [
            message for message in messages if sides.server.absorb(client, message) is not False
        ]

    def test_the_first_message_of_a_client_that_comes_after_its_stage_is_dropped(
        self, make: MakeSides
    ) -> None:
        sides = make()
        seen = Recorder()
        stages = Stages(sides, round=0, observer=seen)
        messages = stages.answers()
        late = messages.pop(4)
        while stages.view is None:
            stages.deliver(messages)
            stages.close()
            before = self.outline(seen)
            assert sides.server.absorb(4, late) is False
            assert self.outline(seen) == before
            messages = {} if stages.view is not None else stages.answers(silent=(4,))
        assert stages.view.clients == (0, 1, 2, 3)
        assert self.is_the_mean_of(stages.view, (0, 1, 2, 3), round=0)

    def test_who_was_not_invited_is_dropped(self, make: MakeSides) -> None:
        sides, everyone = make(), make()
        play(sides, round=0)
        theirs = Stages(everyone, round=1)
        ours = Stages(sides, round=1, cohort=(0, 1, 2, 3))
        message = theirs.answers()[4]
        assert sides.server.absorb(4, message) is False
        while ours.view is None:
            ours.deliver(ours.answers())
            ours.close()
        assert ours.view.clients == (0, 1, 2, 3)

    def test_before_the_first_round_everything_is_dropped(self, make: MakeSides) -> None:
        sides, begun = make(), make()
        for client, message in Stages(begun, round=0).answers().items():
            assert sides.server.absorb(client, message) is False

    def test_nothing_is_submitted_that_was_not_asked_for(self, make: MakeSides) -> None:
        sides = make()
        with pytest.raises(ProtocolError, match="no update was asked for"):
            sides.clients[0].submit(updates_for(0)[0])
        assert play(sides, round=0).clients == EVERYONE

    def test_an_update_is_submitted_once(self, make: MakeSides) -> None:
        stages = until_asked(make(), 0, round=0)
        stages.sides.clients[0].submit(stages.updates[0])
        with pytest.raises(ProtocolError, match="no update was asked for"):
            stages.sides.clients[0].submit(stages.updates[0])

    def test_an_update_that_needs_shares_of_noise_is_refused_where_the_channel_adds_none(
        self, make: MakeSides
    ) -> None:
        stages = until_asked(make(), 0, round=0)
        event = DiscreteGaussianSum.of(3.0, 4, sensitivity=1.0, granularity=0.1, dimension=D)
        with pytest.raises(ProtocolError, match="this channel adds none"):
            stages.sides.clients[0].submit(replace(stages.updates[0], spent=event))
        stages.sides.clients[0].submit(stages.updates[0])

    def test_an_update_of_another_model_is_refused_and_the_right_one_still_accepted(
        self, make: MakeSides
    ) -> None:
        stages = until_asked(make(), 0, round=0)
        with pytest.raises(ProtocolError, match="trained on another model"):
            stages.sides.clients[0].submit(replace(stages.updates[0], model_hash=OTHER_HASH))
        message = stages.sides.clients[0].submit(stages.updates[0])
        assert stages.sides.server.absorb(0, message) is True

    def test_a_client_trains_only_on_the_model_and_in_the_round_that_were_asked_for(
        self, make: MakeSides
    ) -> None:
        sides = make()
        with pytest.raises(ProtocolError, match="no update was asked for"):
            sides.clients[0].check_model(0, HASH)
        stages = until_asked(sides, 0, round=3)
        sides.clients[0].check_model(3, HASH)
        for round in (2, 4):
            with pytest.raises(
                ProtocolError, match=f"is of round {round}, an update of round 3 was asked for"
            ):
                sides.clients[0].check_model(round, HASH)
        with pytest.raises(ProtocolError, match="trained on another model"):
            sides.clients[0].check_model(3, OTHER_HASH)
        assert sides.server.absorb(0, sides.clients[0].submit(stages.updates[0])) is True
        with pytest.raises(ProtocolError, match="no update was asked for"):
            sides.clients[0].check_model(3, HASH)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_an_update_that_is_not_finite_is_answered_as_any_other(
        self, make: MakeSides, bad: float
    ) -> None:
        lengths = []
        for value in (1.0, bad):
            stages = until_asked(make(), 0, round=0)
            update = replace(stages.updates[0], delta=torch.tensor([0.0, value, 0.0]))
            message = stages.sides.clients[0].submit(update)
            lengths.append(len(message))
            assert stages.sides.server.absorb(0, message) is True
        assert lengths[0] == lengths[1]

    def test_requests_of_an_old_round_are_refused_and_the_next_round_goes_on(
        self, make: MakeSides
    ) -> None:
        sides = make()
        sides.server.begin(3, EVERYONE, HASH)
        older = sides.server.requests()
        sides.server.begin(4, EVERYONE, HASH)
        old = sides.server.requests()
        play(sides, round=4)
        for client in EVERYONE:
            for request in (old[client], older[client]):
                with pytest.raises(ProtocolError, match="was asked for before"):
                    sides.clients[client].receive(request)
        assert self.is_the_mean_of(play(sides, round=5), EVERYONE, round=5)

    def test_requests_of_another_session_or_in_bad_shape_are_refused(self, make: MakeSides) -> None:
        sides, elsewhere = make(), make(session=OTHER_SESSION)
        elsewhere.server.begin(0, EVERYONE, HASH)
        with pytest.raises(ProtocolError, match="another session"):
            sides.clients[0].receive(elsewhere.server.requests()[0])
        sides.server.begin(0, EVERYONE, HASH)
        for request in malformed(sides.server.requests()[0]):
            with pytest.raises(ProtocolError, match=self.bad_request):
                sides.clients[0].receive(bytes(request))
        assert play(sides, round=0).clients == EVERYONE

    def test_server_and_network_are_seen_to_see_something_of_every_survivor(
        self, make: MakeSides
    ) -> None:
        recorder = Recorder()
        play(make(), round=0, silent=(1,), observer=recorder)
        for party in ("server", "network"):
            seen = [o for o in recorder.observations if o.party == party]
            assert {client for o in seen for client in o.about} == {0, 2, 3, 4}
            assert all(o.kind and o.size > 0 for o in seen)
        assert {o.party for o in recorder.observations} == {"server", "network"}

    def test_an_observer_is_told_of_its_own_round_only(self, make: MakeSides) -> None:
        sides, first, second = make(), Recorder(), Recorder()
        play(sides, round=0, observer=first)
        of_the_first_round = list(first.observations)
        sides.server.begin(1, EVERYONE, HASH, second)
        assert second.observations == []
        play(sides, round=2, observer=second)
        assert second.observations
        assert first.observations == of_the_first_round
