"""Long suites (`make test-slow`): kill -9 at random moments, and long fuzzing of messages."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from securefl.channels.messages import ModelMessage, PlainUpdate, UpdateRequest
from securefl.errors import ProtocolError
from securefl.files import read_lines
from securefl.runs.cell import Cell
from securefl.runs.folder import RunFolder
from tests.values import present

SECUREFL = str(Path(sys.executable).with_name("securefl"))
SCENARIO = """
rounds = 150
training = {{ kind = "dp_sgd", batch = 64 }}
privacy = {{ noise = "{noise}", epsilon = 8.0 }}
"""
ENVIRONMENT = {**os.environ, "NO_COLOR": "1"}


def rounds_written(folder: Path) -> int:
    """Bytes of the records of finished rounds so far."""
    return sum(path.stat().st_size for path in folder.glob("cells/*/rounds.jsonl"))


def run_to_the_end(path: Path, out: str, chance: random.Random, kills: int) -> Cell:
    """Start, kill at a random moment after its first new round, and again; then let it finish."""
    command = [SECUREFL, "run", str(path), "--out", out, "--display", "none"]
    for _ in range(kills):
        before = rounds_written(path.parent / out)
        process = subprocess.Popen(command, cwd=path.parent, env=ENVIRONMENT)
        while process.poll() is None and rounds_written(path.parent / out) <= before:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.5))
        process.kill()
        process.wait()
    done = subprocess.run(command, cwd=path.parent, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return RunFolder.open(path.parent / out).cells()[0][2]


def reserved(cell: Cell, client: int) -> list[int]:
    lines = read_lines(cell.ledgers / f"{client}.jsonl")
    return [line["release"][2] for line in lines if line["kind"] == "reserve"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_any_number_of_kills_leaves_a_seeded_run_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(SCENARIO.format(noise="seeded"))
    whole = run_to_the_end(path, "whole", random.Random(0), kills=0)
    cut = run_to_the_end(path, "cut", random.Random(1), kills=12)
    assert (
        whole.folder / "model.safetensors"
    ).read_bytes()  # its metadata holds seconds, so compare metrics
    first, second = whole.metrics(), cut.metrics()
    assert first is not None
    assert second is not None
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    assert [reserved(cut, client) for client in range(4)] == [list(range(150))] * 4


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_any_number_of_kills_never_releases_a_round_twice_under_system_noise(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(SCENARIO.format(noise="system"))
    cell = run_to_the_end(path, "cut", random.Random(2), kills=12)
    rounds = cell.rounds()
    assert [record.round for record in rounds] == list(range(150))
    abandoned = {record.round for record in rounds if record.abandoned}
    for client in range(4):
        paid = reserved(cell, client)
        assert len(set(paid)) == len(paid)
        assert set(paid) >= set(range(150)) - abandoned
    metrics = cell.metrics()
    assert metrics is not None
    assert present(metrics["epsilon"]) <= 8
    assert metrics["abandoned"] == len(abandoned) > 0


@pytest.mark.slow
def test_a_hundred_thousand_broken_messages_raise_protocol_errors_only() -> None:
    chance = random.Random(0)
    session = bytes(range(16))
    valid: list[tuple[bytes, Callable[[bytes], object]]] = [
        (
            ModelMessage(session, 3, bytes(32), torch.ones(5)).to_bytes(),
            lambda data: ModelMessage.from_bytes(data, d=5),
        ),
        (UpdateRequest(session, 3, bytes(32)).to_bytes(), UpdateRequest.from_bytes),
        (
            PlainUpdate(session, 3, 1, 7, torch.ones(5)).to_bytes(),
            lambda data: PlainUpdate.from_bytes(data, d=5),
        ),
    ]
    parsed = refused = 0
    for _ in range(100_000):
        message, parse = chance.choice(valid)
        data = bytearray(message)
        for _ in range(chance.randint(1, 4)):
            kind = chance.randrange(3)
            if kind == 0 and data:
                data[chance.randrange(len(data))] = chance.randrange(256)
            elif kind == 1:
                del data[chance.randrange(len(data) + 1) :]
            else:
                data += chance.randbytes(chance.randrange(8))
        try:
            parse(bytes(data))
            parsed += 1
        except ProtocolError:
            refused += 1
    assert parsed > 1000
    assert refused > 1000
