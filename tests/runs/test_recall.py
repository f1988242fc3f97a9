"""The server of a resumed run hears from the records who was found lying."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from securefl.channels.faults import Pairs, Remembers
from securefl.federation.values import Federation
from securefl.runs.recall import recall_faults
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import parse_scenario
from tests.runs.test_choosing import ROUNDS


class Remembering:
    def __init__(self) -> None:
        self.named: Mapping[int, str] = {}
        self.paired: Pairs = ()

    def recall(self, named: Mapping[int, str], paired: Pairs) -> None:
        self.named, self.paired = named, paired


def plain(folder: Path) -> Federation:
    scenario = parse_scenario("rounds = 1\ntraining.kind = 'sgd'")
    return assemble(scenario, run="test", ledgers=folder).federation


def test_named_clients_of_all_rounds_and_pairs_of_lost_rounds_are_recalled(tmp_path: Path) -> None:
    server = Remembering()
    assert isinstance(server, Remembers)
    recall_faults(replace(plain(tmp_path), memory=server), ROUNDS)
    assert server.named == {3: "its sketch is another", 7: "contradicted"}
    assert server.paired == ((4, 5),)


def test_a_server_without_a_memory_is_told_nothing(tmp_path: Path) -> None:
    federation = plain(tmp_path)
    assert federation.memory is None
    recall_faults(federation, ROUNDS)
