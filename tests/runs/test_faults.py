"""kill -9 at every write of a run: nobody is charged for less than was sent, nothing leaves twice.

A child process plays a run whose n-th write ends it at once, as kill -9 would. Another one resumes
it; for n = 1, 2, 3 until the run is through. What left a client is noted outside of the run folder,
before the server has it.

Not noticed here, since what a process wrote outlives it: a ledger that is not synced (test_ledger).
"""

import gc
import os
import stat
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from securefl.audit.lint import examine
from securefl.channels.protocol import ClientUpdate, Packet
from securefl.federation.client import Client
from securefl.privacy.chain import read_entries
from securefl.runs import api
from securefl.runs.folder import RunFolder
from securefl.scenario.scenario import Scenario, parse_scenario

ROUNDS, KILLED, DONE = 2, 9, 0
TEXT = """
rounds = 2
data = { name = "heart", only = 2 }
training = { kind = "dp_sgd", batch = 32 }
privacy = { epsilon = 8.0, delta = 1e-5 }
"""


class Blow:
    """Ends the process at its n-th write; before it, in the middle of it, or after it."""

    def __init__(self, at: int, when: str) -> None:
        self._at, self._when, self._count = at, when, 0
        self._fsync, self._replace = os.fsync, os.replace
        self._safe: dict[int, int] = {}  # file -> bytes that a sync has confirmed

    def fsync(self, descriptor: int) -> None:
        self._count += 1
        found = os.fstat(descriptor)
        if self._count == self._at:
            if self._when == "torn" and stat.S_ISREG(found.st_mode):
                confirmed = self._safe.get(found.st_ino, 0)
                path = os.readlink(f"/proc/self/fd/{descriptor}")
                os.truncate(path, confirmed + (found.st_size - confirmed) // 2)
            if self._when == "after":
                self._fsync(descriptor)
            os._exit(KILLED)
        self._fsync(descriptor)
        self._safe[found.st_ino] = found.st_size

    def replace(self, source: str, target: str) -> None:
        self._count += 1
        if self._count == self._at:
            if self._when == "after":
                self._replace(source, target)
            os._exit(KILLED)
        self._replace(source, target)


def in_child(act: Callable[[], None]) -> int:
    """Run act in a fork of this process; its exit code."""
    gc.freeze()  # or the child's collector would touch, and so copy, every page of this process
    if (child := os.fork()) == 0:
        code = 1
        try:
            act()
            code = DONE
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def play(scenario: Scenario, out: Path, wire: Path, blow: Blow | None) -> None:
    """A run that notes on `wire` what leaves a client, as the bytes leave."""
    submit = Client.submit

    def noted(self: Client, update: ClientUpdate) -> Packet:
        packet = submit(self, update)
        with wire.open("a") as file:
            file.write(f"{update.delta.double().sum().item():.17g}\n")
        return packet

    Client.submit = noted  # type: ignore[method-assign]
    if blow is not None:
        os.fsync, os.replace = blow.fsync, blow.replace  # type: ignore[assignment]
    api.run(scenario, out)


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scenario]:
    torch.set_num_threads(1)  # forks of a process with more do not live
    found = {}
    for noise in ("system", "seeded"):
        found[noise] = parse_scenario(TEXT.replace("1e-5 }", f'1e-5, noise = "{noise}" }}'))
        api.run(
            found[noise], tmp_path_factory.mktemp(noise) / "run"
        )  # forks inherit what it computed
    return found


@pytest.mark.parametrize(
    ("when", "noise"),
    [
        ("torn", "system"),
        ("after", "seeded"),
        # The others in the slow suite: each pair takes a run for every write of a run.
        pytest.param("torn", "seeded", marks=pytest.mark.slow),
        pytest.param("after", "system", marks=pytest.mark.slow),
        pytest.param("before", "system", marks=pytest.mark.slow),
        pytest.param("before", "seeded", marks=pytest.mark.slow),
    ],
)
def test_everything_that_left_is_charged_at_whichever_write_a_kill_hits(
    scenarios: dict[str, Scenario], tmp_path: Path, noise: str, when: str
) -> None:
    scenario, cuts = scenarios[noise], 0
    for at in range(1, 200):
        out, wire = tmp_path / f"run{at}", tmp_path / f"wire{at}"
        wire.touch()
        code = in_child(partial(play, scenario, out, wire, Blow(at, when)))
        if code == DONE:
            break
        assert code == KILLED
        cuts += 1
        left = wire.read_text().splitlines()
        if (ledger := next(out.glob("cells/*/ledgers/0.jsonl"), None)) is not None:
            reserved = sum(entry["kind"] == "reserve" for entry in read_entries(ledger))
        else:
            reserved = 0
        assert len(left) <= reserved  # at the moment of the kill

        assert in_child(partial(play, scenario, out, wire, None)) == DONE
        ((_, _, cell),) = RunFolder.open(out).cells()
        entries = read_entries(cell.ledgers / "0.jsonl")
        rounds = Counter(entry["release"][2] for entry in entries if entry["kind"] == "reserve")
        assert rounds == {0: 1, 1: 1}  # once each, whatever happened
        different = set(wire.read_text().splitlines())
        assert len(different) <= len(rounds)  # a round repeated is the same release
        if noise == "system":
            assert len(wire.read_text().splitlines()) <= len(rounds)  # or is not repeated
        assert [
            finding for verdict in examine(out) for finding in verdict.findings if finding.grave
        ] == []
        metrics = cell.metrics()
        assert metrics is not None
        assert metrics["abandoned"] <= (noise == "system")
    assert code == DONE
    assert cuts > 20


def test_a_kill_that_hits_nothing_would_show(
    scenarios: dict[str, Scenario], tmp_path: Path
) -> None:
    wire = tmp_path / "wire"
    assert in_child(lambda: play(scenarios["system"], tmp_path / "run", wire, None)) == DONE
    assert len(wire.read_text().splitlines()) == ROUNDS


# Sums with shares of noise

SUMS = """
rounds = 2
data = { name = "heart" }
training = { kind = "clipped_gradient", lr = 0.5 }
privacy = { place = "distributed", epsilon = 8.0, delta = 1e-5 }
channel = { kind = "masked" }
"""


def play_sums(scenario: Scenario, out: Path, wire: Path, blow: Blow | None) -> None:
    """A run that notes on `wire` each client whose update leaves."""
    submit = Client.submit

    def noted(self: Client, update: ClientUpdate) -> Packet:
        packet = submit(self, update)
        with wire.open("a") as file:
            file.write(f"{self.client}\n")
        return packet

    Client.submit = noted  # type: ignore[method-assign]
    if blow is not None:
        os.fsync, os.replace = blow.fsync, blow.replace  # type: ignore[assignment]
    api.run(scenario, out)


def reservations(out: Path) -> Counter[str]:
    """Returns client -> the sums that its ledger books; each at the fewest shares that count."""
    booked = Counter[str]()
    for ledger in out.glob("cells/*/ledgers/*.jsonl"):
        entries = [entry for entry in read_entries(ledger) if entry["kind"] == "reserve"]
        # Of four hospitals three must survive, of which one may lie.
        assert {entry["event"]["shares"] for entry in entries} <= {2}
        booked[ledger.stem] = len(entries)
    return booked


@pytest.mark.parametrize(
    ("when", "stride"),
    [
        # Every write in the slow suite: each takes two runs.
        ("torn", 7),
        pytest.param("torn", 1, marks=pytest.mark.slow),
        pytest.param("after", 1, marks=pytest.mark.slow),
    ],
)
def test_every_share_that_left_is_charged_at_whichever_write_a_kill_hits(
    tmp_path: Path, when: str, stride: int
) -> None:
    torch.set_num_threads(1)
    scenario = parse_scenario(SUMS)
    api.run(scenario, tmp_path / "whole")  # forks inherit what it computed
    cuts = 0
    for at in range(1, 200, stride):
        out, wire = tmp_path / f"run{at}", tmp_path / f"wire{at}"
        wire.touch()
        code = in_child(partial(play_sums, scenario, out, wire, Blow(at, when)))
        if code == DONE:
            break
        assert code == KILLED
        cuts += 1
        left = Counter(wire.read_text().splitlines())
        assert left <= reservations(out)  # at the moment of the kill
        assert in_child(partial(play_sums, scenario, out, wire, None)) == DONE
        # A round is not repeated, and each share that left is charged.
        left = Counter(wire.read_text().splitlines())
        assert left <= reservations(out)
        assert max(left.values(), default=0) <= 2
        findings = [finding for verdict in examine(out) for finding in verdict.findings]
        assert [finding for finding in findings if finding.grave] == []
    assert code == DONE
    assert cuts > 25 / stride
    assert reservations(tmp_path / "whole") == Counter({"0": 2, "1": 2, "2": 2, "3": 2})
