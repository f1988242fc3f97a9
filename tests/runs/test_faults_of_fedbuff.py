"""kill -9 at every write of a run without lockstep: nothing leaves twice, and the run completes.

As in test_faults. What left a client is noted with its client and ticket.
"""

import os
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch

from securefl.audit.lint import examine
from securefl.channels.messages import PlainUpdate
from securefl.channels.protocol import ClientUpdate, Packet
from securefl.federation.client import Client
from securefl.privacy.chain import read_entries
from securefl.runs import api
from securefl.runs.folder import RunFolder
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.runs.test_faults import DONE, KILLED, Blow, in_child
from tests.values import present

TEXT = """
rounds = 2
data = { name = "heart" }
training = { kind = "dp_sgd", batch = 64, epochs = 1 }
privacy = { noise = "NOISE", noise_multiplier = 2.0 }
topology = { kind = "fedbuff", buffer = 1, concurrency = 2, max_updates = 20 }
simulate = { speed = [1, 2, 3, 4] }
"""


def play(scenario: Scenario, out: Path, wire: Path, blow: Blow | None) -> None:
    """A run that notes on `wire` what leaves a client, as the bytes leave."""
    submit = Client.submit

    def noted(self: Client, update: ClientUpdate) -> Packet:
        packet = submit(self, update)
        message = PlainUpdate.from_bytes(packet, d=update.delta.numel())
        with wire.open("a") as file:
            total = message.delta.double().sum().item()
            file.write(f"{message.sender} {message.round} {total:.17g}\n")
        return packet

    Client.submit = noted  # type: ignore[method-assign]
    if blow is not None:
        os.fsync, os.replace = blow.fsync, blow.replace  # type: ignore[assignment]
    api.run(scenario, out)


@pytest.mark.parametrize(
    ("when", "noise"),
    [
        ("after", "system"),
        pytest.param("torn", "system", marks=pytest.mark.slow),
        pytest.param("before", "system", marks=pytest.mark.slow),
        pytest.param("torn", "seeded", marks=pytest.mark.slow),
        pytest.param("after", "seeded", marks=pytest.mark.slow),
    ],
)
def test_nothing_is_released_twice_at_whichever_write_a_kill_hits(
    noise: str, when: str, tmp_path: Path
) -> None:
    torch.set_num_threads(1)  # forks of a process with more do not live
    scenario, cuts = parse_scenario(TEXT.replace("NOISE", noise)), 0
    api.run(scenario, tmp_path / "run")  # forks inherit what it computed
    for at in range(1, 200):
        out, wire = tmp_path / f"run{at}", tmp_path / f"wire{at}"
        wire.touch()
        code = in_child(partial(play, scenario, out, wire, Blow(at, when)))
        if code == DONE:
            break
        assert code == KILLED
        cuts += 1
        assert in_child(partial(play, scenario, out, wire, None)) == DONE
        ((_, _, cell),) = RunFolder.open(out).cells()
        left = [line.split() for line in wire.read_text().splitlines()]
        released = Counter(
            (client, ticket) for client, ticket, _ in dict.fromkeys(map(tuple, left))
        )
        # A ticket has one update, whatever happened; under fresh noise it leaves once.
        assert set(released.values()) == {1}
        if noise == "system":
            assert len(left) == len(released)
        booked = set()
        for path in cell.ledgers.glob("*.jsonl"):
            entries = [entry for entry in read_entries(path) if entry["kind"] == "reserve"]
            numbers = [(path.stem, str(entry["release"][2])) for entry in entries]
            assert len(numbers) == len(set(numbers))
            booked |= set(numbers)
        assert set(released) <= booked
        assert [record.abandoned for record in cell.rounds()] == [False, False]
        clocks = [present(record.clock) for record in cell.rounds()]
        assert clocks == sorted(clocks)
        grave = [one for verdict in examine(out) for one in verdict.findings if one.grave]
        assert grave == []
    assert code == DONE
    assert cuts > 15
