"""How many vectors of the model's length a round leaves behind, by the number of its clients."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import pytest
import torch

from securefl.channels.protocol import UNWATCHED, Observer
from securefl.federation.engine import play_round
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import parse_scenario
from tests.recorder import Recorder

# A model that is longer than any client's records, so that length alone tells vectors apart.
TEXT = """
rounds = 2
data = {{ name = "digits", partition = "iid", clients = {clients} }}
model = {{ name = "mlp", hidden = [1500] }}
training = {{ kind = "sgd", batch = 128, epochs = 1 }}
channel.kind = "{channel}"
"""


def long_storages(
    roots: Iterable[object], *, d: int, outside: Iterable[object] = ()
) -> dict[int, int]:
    """Memory of at least d numbers of 2 bytes that the roots lead to, not through `outside`.

    Returns: place -> bytes.
    """
    visited = {id(other) for other in outside}
    storages: dict[int, int] = {}
    waiting = list(roots)
    while waiting:
        reached = waiting.pop()
        if id(reached) in visited or isinstance(reached, type | ModuleType):
            continue
        visited.add(id(reached))
        if isinstance(reached, torch.Tensor):
            storage = reached.untyped_storage()
            if storage.nbytes() >= 2 * d:
                storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(reached, np.ndarray):
            if reached.nbytes >= 2 * d and reached.base is None:
                storages[reached.__array_interface__["data"][0]] = reached.nbytes
        elif isinstance(reached, bytes | bytearray) and len(reached) >= 2 * d:
            storages[id(reached)] = len(reached)
        if isinstance(reached, FunctionType):  # its globals are everybody's
            waiting.extend(reached.__closure__ or ())
        else:
            waiting.extend(gc.get_referents(reached))
    return storages


def long_storages_after(
    channel: str, clients: int, folder: Path, *, observer: Observer = UNWATCHED
) -> int:
    """Vectors that engine, channel server and records hold after a round, without the clients."""
    scenario = parse_scenario(TEXT.format(channel=channel, clients=clients))
    made = assemble(scenario, run="r", ledgers=folder)
    federation, d = made.federation, made.start.weights.numel()
    sides_of_clients = list(federation.clients.values())
    played = play_round(federation, made.start, observer)
    assert not played.record.abandoned
    held = long_storages([played, federation, made.start], d=d, outside=sides_of_clients)
    return round(sum(held.values()) / (4 * d))


@pytest.mark.parametrize("channel", ["masked", "plain", "ckks"])
def test_a_round_that_nobody_watches_holds_as_many_vectors_whatever_its_clients(
    channel: str, tmp_path: Path
) -> None:
    sizes = (10, 20, 40) if channel == "masked" else (3, 6)
    counts = {n: long_storages_after(channel, n, tmp_path / str(n)) for n in sizes}
    assert len(set(counts.values())) == 1
    assert min(counts.values()) >= 2  # the model before and after, or nothing was counted


def test_a_round_that_is_watched_holds_every_update(tmp_path: Path) -> None:
    # The count above can fail: an observer that keeps values makes it grow with the clients.
    counts = [
        long_storages_after("masked", n, tmp_path / str(n), observer=Recorder()) for n in (3, 6)
    ]
    assert counts[1] - counts[0] >= 3


def vectors_held_by_the_rule(channel: str, clients: int, folder: Path, *, more: str = "") -> int:
    """Vectors of all parties, clients included, while the rule combines the rows of a round."""
    scenario = parse_scenario(TEXT.format(channel=channel, clients=clients) + more)
    made = assemble(scenario, run="r", ledgers=folder)
    federation, d = made.federation, made.start.weights.numel()
    held: list[float] = []

    def rule(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        held.append(sum(long_storages([rows, federation, made.start], d=d).values()) / (4 * d))
        return federation.rule(rows, weights)

    played = play_round(replace(federation, rule=rule), made.start)
    assert not played.record.abandoned
    return round(held[0])


def test_all_parties_together_hold_each_row_of_a_plain_round_once(tmp_path: Path) -> None:
    few, many = (vectors_held_by_the_rule("plain", n, tmp_path / str(n)) for n in (10, 30))
    assert many - few == 20
    assert few <= 10 + 6  # models, workspace, gradients


def test_all_parties_together_hold_as_many_vectors_of_a_masked_round_whatever_their_number(
    tmp_path: Path,
) -> None:
    few, many = (vectors_held_by_the_rule("masked", n, tmp_path / str(n)) for n in (10, 30))
    assert many == few


def test_absent_clients_leave_no_row_behind(tmp_path: Path) -> None:
    gone = "\nsimulate.drop = [{ client = 1, round = 0, stage = 1 }]"
    whole = vectors_held_by_the_rule("plain", 10, tmp_path / "whole")
    # The table has a place for everybody who was invited; nothing is copied to close the gap.
    assert vectors_held_by_the_rule("plain", 10, tmp_path / "gone", more=gone) == whole


REUSED = """
import ctypes
import resource
import torch
# Huge pages, where the system has some to spare, would hide how often pages are asked for.
PR_SET_THP_DISABLE = 41
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
{settle}

def step():
    # Several tensors of a step, of which the largest is freed last.
    tensors = [torch.ones(2**18) for _ in range(20)]
    while tensors:
        tensors.pop(0)

step()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
# What glibc chooses by itself depends on what was allocated and freed before: here, to return much.
RETURN = "ctypes.CDLL(None).mallopt(-3, 2**16)"
KEEP = f"{RETURN}; from securefl.federation.memory import keep_memory; keep_memory()"


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's memory")
def test_a_process_that_keeps_its_memory_asks_the_system_for_no_page_again() -> None:
    # 5 x 20 MiB are 25,600 pages.
    assert faults_of(KEEP) < 1_000 < faults_of(RETURN)


LEFT = """
import contextlib
import os
import torch
from securefl.federation.memory import keep_memory, kept_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

before = resident()
with {context}:
    tensors = [torch.ones(2**18) for _ in range(100)]
    last = tensors[-1]  # the heap ends above the others
    del tensors
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's memory")
def test_after_a_run_a_process_gives_back_what_it_kept() -> None:
    assert outcome_of(LEFT.format(context="contextlib.nullcontext(keep_memory())")) > 50 * 2**20
    assert outcome_of(LEFT.format(context="kept_memory()")) < 20 * 2**20


def faults_of(settle: str) -> int:
    return outcome_of(REUSED.format(settle=settle))


def outcome_of(code: str) -> int:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return int(done.stdout)
