"""A server that lies about who was in a sum of shares of noise: the ledgers book the same."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from securefl.channels.protocol import ChannelServer, View
from securefl.federation import engine
from securefl.privacy.chain import read_entries
from securefl.privacy.events import DiscreteGaussianSum
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import parse_scenario

ROUNDS = 3
TEXT = f"""
rounds = {ROUNDS}
data = {{ name = "heart", partition = "iid", clients = 5 }}
training = {{ kind = "clipped_gradient", lr = 0.5 }}
privacy = {{ place = "distributed", epsilon = 3.0, delta = 1e-5, noise = "seeded" }}
channel = {{ kind = "masked" }}
"""
Lie = Callable[[tuple[int, ...]], tuple[int, ...]]


class Lying:
    """A server that is honest, except about who was in its sums."""

    def __init__(self, server: ChannelServer, lie: Lie) -> None:
        self._server = server
        self._lie = lie

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def close_stage(self) -> View | None:
        view = self._server.close_stage()
        if view is None:
            return None
        return replace(view, members=tuple(self._lie(members) for members in view.members))


def ledgers_after(folder: Path, lie: Lie) -> dict[int, Any]:
    """Returns client -> epsilon, and the events that its ledger on disk reserves."""
    assembled = assemble(parse_scenario(TEXT), run="run", ledgers=folder)
    federation = replace(
        assembled.federation, server=cast(ChannelServer, Lying(assembled.federation.server, lie))
    )
    list(engine.run(federation, assembled.start, rounds=ROUNDS))
    found = {}
    for client, ledger in assembled.ledgers.items():
        entries = read_entries(folder / f"{client}.jsonl")
        reserved = [entry["event"] for entry in entries if entry["kind"] == "reserve"]
        assert not any(entry["event"] for entry in entries if entry["kind"] != "reserve")
        found[client] = (ledger.epsilon(), reserved)
    return found


def everybody(members: Iterable[int]) -> tuple[int, ...]:
    return (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    "lie",
    [lambda members: (), lambda members: (0,), everybody, lambda members: members[1:]],
    ids=["nobody", "one", "everybody", "one less"],
)
def test_whoever_a_server_says_was_there_each_ledger_books_the_same(
    tmp_path: Path, lie: Lie
) -> None:
    honest = ledgers_after(tmp_path / "honest", lambda members: members)
    assert ledgers_after(tmp_path / "lying", lie) == honest
    for epsilon, reserved in honest.values():
        assert 2.9 < epsilon <= 3.0
        # Three honest shares count of five, although all five were there.
        events = [DiscreteGaussianSum(**fields) for fields in reserved]
        assert [event.shares for event in events] == [3] * ROUNDS
