"""A study on a cluster of two nodes, which these tests start and end."""

import csv
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.folder import RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray"),
]

SECUREFL = str(Path(sys.executable).with_name("securefl"))
STUDY = """
seeds = 2
[base]
rounds = 3
training = { kind = "sgd" }
[axes]
"defense.rule" = ["mean", "median"]
"""
PRIVATE = """
seeds = 1
[base]
rounds = 2
training = { kind = "dp_sgd" }
privacy = { epsilon = 8.0, delta = 1e-3 }
"""
ENDLESS = STUDY.replace("rounds = 3", "rounds = 1000000")
SECONDS_TO_WAIT = 90.0
PLACE = re.compile(r"[0-9.]+:[0-9]+\s")


# In a process of its own: Ray reads its environment once, when it is imported.
NODES = """
import sys
from ray.cluster_utils import Cluster

nodes = Cluster()
try:
    for _ in range(2):
        nodes.add_node(num_cpus=1, include_dashboard=False, object_store_memory=10**8)
    nodes.wait_for_nodes()
    print(nodes.address, flush=True)
    sys.stdin.read()
finally:
    nodes.shutdown()
"""


@pytest.fixture(autouse=True, scope="module")
def apart() -> Iterator[None]:
    """Keeps Ray's token out of the account, and the folders of nodes where tests can see them."""
    # Ray adds eighty bytes of its own to this path, and a socket's path has 107 at most: the
    # folder of a test is too deep.
    with (
        tempfile.TemporaryDirectory(prefix="n", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("TMPDIR", folder)
        yield


@pytest.fixture(scope="module")
def cluster(apart: None) -> Iterator[str]:
    """Two nodes of one CPU each; gives their address."""
    command = [sys.executable, "-c", NODES]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as nodes:
        assert nodes.stdin is not None
        assert nodes.stdout is not None
        try:
            lines = iter(nodes.stdout.readline, "")
            yield next(line for line in lines if PLACE.fullmatch(line)).strip()
        finally:
            nodes.stdin.close()
            nodes.wait(SECONDS_TO_WAIT)


def bench(folder: Path, study: str, *options: str) -> "subprocess.Popen[str]":
    """Starts a command."""
    file = folder / "study.toml"
    file.write_text(study)
    return subprocess.Popen(
        [SECUREFL, "bench", str(file), "--out", str(folder / "run"), "--display=json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, events, and standard error of a command."""
    try:
        out, errors = process.communicate(timeout=SECONDS_TO_WAIT)
    finally:
        process.kill()
    return process.returncode, [json.loads(line) for line in out.splitlines()], errors


def run(folder: Path, study: str, *options: str) -> list[dict[str, Any]]:
    code, events, errors = ended(bench(folder, study, *options))
    assert code == 0, errors
    assert errors == ""
    return events


def on(address: str) -> tuple[str, ...]:
    return "--engine", "ray", "--address", address


def cells(folder: Path) -> dict[str, Cell]:
    return {cell.hash: cell for _, _, cell in RunFolder.open(folder / "run").cells()}


def numbers(cell: Cell) -> dict[str, Any]:
    """What a cell holds, without its run's random name and the time that it took."""
    rounds = [{**line, "seconds": 0} for line in cell.round_lines()]
    weights = load_checkpoint(cell.checkpoint).state.weights.tolist()
    names = sorted(path.name for path in cell.folder.rglob("*") if path.name != ".lock")
    metrics = {**(cell.metrics() or {}), "seconds": 0}
    return {"rounds": rounds, "weights": weights, "metrics": metrics, "names": names}


def values(folder: Path) -> list[list[str]]:
    """The rows of results.csv, without those of seconds."""
    with (folder / "run" / "results.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.reader(file) if "seconds" not in row]


def check_equal(first: Path, second: Path) -> None:
    assert values(first) == values(second)
    assert (first / "run/tables.md").read_bytes() == (second / "run/tables.md").read_bytes()
    ours, theirs = cells(first), cells(second)
    assert list(ours) == list(theirs)
    for name, cell in ours.items():
        assert numbers(cell) == numbers(theirs[name])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, STUDY, "--jobs=1")
    return folder


def test_two_nodes_write_what_this_machine_writes(
    tmp_path: Path, cluster: str, undisturbed: Path
) -> None:
    events = run(tmp_path, STUDY, *on(cluster))
    check_equal(tmp_path, undisturbed)
    # As many at once as the cluster has CPUs: one on each node.
    assert max(len(event.get("running", ())) for event in events) == 2


@pytest.mark.parametrize("first", ["local", "ray"])
def test_either_engine_goes_on_where_the_other_one_stopped(
    tmp_path: Path, cluster: str, undisturbed: Path, first: str
) -> None:
    engines = {"local": ("--jobs=1",), "ray": on(cluster)}
    run(tmp_path, STUDY, *engines.pop(first), "--max-cells=2")
    assert sum(cell.metrics() is not None for cell in cells(tmp_path).values()) == 2
    run(tmp_path, STUDY, *engines.popitem()[1])
    check_equal(tmp_path, undisturbed)
    assert {cell.timings().starts for cell in cells(tmp_path).values()} == {1}


def test_ledgers_come_back_from_a_node(tmp_path: Path, cluster: str) -> None:
    run(tmp_path, PRIVATE, *on(cluster))
    (cell,) = cells(tmp_path).values()
    heads = cell.rounds()[-1].ledger_heads
    assert heads
    for client, head in heads.items():
        assert head in (cell.ledgers / f"{client}.jsonl").read_text()


def test_a_hanging_cell_is_cut_on_its_node(tmp_path: Path, cluster: str) -> None:
    code, events, _ = ended(bench(tmp_path, ENDLESS, *on(cluster), "--cell-limit=2"))
    assert code == 1
    failed = [event for event in events if event.get("state") == "failed"]
    assert len(failed) == 4
    assert all("longer than the limit of 2 s a cell" in event["reason"] for event in failed)
    assert all(cell.rounds() for cell in cells(tmp_path).values())
    wait_until(lambda: not processes("securefl-worker"))


def test_a_ray_process_that_is_killed_fails_its_cell_and_no_other(
    tmp_path: Path, cluster: str
) -> None:
    process = bench(tmp_path, ENDLESS, *on(cluster), "--max-cells=1", "--cell-limit=60")
    wait_until(lambda: processes("securefl-worker"))
    for pid in processes("ray::work"):
        os.kill(pid, signal.SIGKILL)
    code, events, _ = ended(process)
    assert code == 1
    (failed,) = (event for event in events if event.get("state") == "failed")
    assert failed["reason"] == "its process died (WorkerCrashedError)"
    wait_until(lambda: not processes("securefl-worker"))


def test_ctrl_c_ends_the_tasks_and_the_same_command_goes_on(tmp_path: Path, cluster: str) -> None:
    before = set(folders_of_tasks())
    process = bench(tmp_path, ENDLESS, *on(cluster))
    wait_until(lambda: len(processes("securefl-worker")) == 2)
    assert len(set(folders_of_tasks()) - before) == 2
    process.send_signal(signal.SIGINT)
    code, events, errors = ended(process)
    assert (code, events[-1]["event"]) == (130, "interrupted"), errors
    wait_until(lambda: not processes("securefl-worker") and not processes("ray::work"))
    assert set(folders_of_tasks()) <= before
    assert all(cell.status().state == "new" for cell in cells(tmp_path).values())


def test_nothing_runs_on_once_the_command_is_killed(tmp_path: Path, cluster: str) -> None:
    process = bench(tmp_path, ENDLESS, *on(cluster))
    wait_until(lambda: len(processes("securefl-worker")) == 2)
    process.kill()
    ended(process)
    wait_until(lambda: not processes("securefl-worker"))


def test_without_an_address_a_cluster_of_this_machine_serves_one_command(
    tmp_path: Path, undisturbed: Path
) -> None:
    run(tmp_path, STUDY, "--engine=ray", "--jobs=2")
    check_equal(tmp_path, undisturbed)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:9", "Connection refused"),
        ("ray://127.0.0.1:10001", "takes HOST:PORT"),
        ("nowhere", "takes HOST:PORT"),
        ("127.0.0.1:99999", "this is no Ray cluster that this command can join"),
    ],
)
def test_an_address_without_a_cluster_is_one_sentence(
    tmp_path: Path, address: str, sentence: str
) -> None:
    code, events, errors = ended(bench(tmp_path, STUDY, *on(address)))
    assert code == 2
    assert len(errors.splitlines()) == 1
    assert errors.startswith("error: --address")
    assert sentence in errors
    assert events[-1]["exit"] == 2
    assert not (tmp_path / "run").exists()


def folders_of_tasks() -> list[Path]:
    return list(Path(os.environ["TMPDIR"]).glob("securefl-node-*"))


def wait_until(happened: Callable[[], object]) -> None:
    begun = time.monotonic()
    while not happened():
        assert time.monotonic() - begun < SECONDS_TO_WAIT
        time.sleep(0.1)


def processes(name: str) -> list[int]:
    """Processes of this test's cluster whose name begins so."""
    ours = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = (folder / "comm").read_text().startswith(name[:15])
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        token = os.environ["RAY_AUTH_TOKEN"].encode()
        if named and token in environment:
            ours.append(int(folder.name))
    return ours
