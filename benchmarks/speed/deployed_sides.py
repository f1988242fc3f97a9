"""The sides of the comparison: our rehearsal over either link, and FedAvg over Flower."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.speed.deployed_clocks import Mark, Relay, Watch
from securefl.files import read_lines
from securefl.runs.deployed.certificates import CA_CERTIFICATE, TLS_CERTIFICATE, Authority
from securefl.runs.deployed.keys import TLS_KEY
from securefl.runs.deployed.process import FLOWER
from securefl.runs.deployed.rehearsal import rehearse
from securefl.runs.deployed.ways import ADDRESS, Direct, OverFlower, Way, Words
from securefl.runs.flower.commands import CONNECTION, Flower
from securefl.runs.flower.stage import coordinator_stage, free_port, site_stage
from securefl.runs.flower.supervision import Service, started
from securefl.runs.folder import RunFolder
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.evaluation import judging_shares
from securefl.scenario.scenario import parse_scenario

SITES = 4
APP = Path(__file__).parent / "peer_flower_deployed"
TEXT = """
seed = 1
rounds = {rounds}
weights = "equal"
data = {{ name = "heart", partition = "natural", test_on = "validation" }}
training = {{ kind = "sgd", batch = 64, epochs = 1, lr = 0.5 }}
{model}
{channel}
{evaluate}
"""
MASKED = 'channel = { kind = "masked", min_cohort = 4 }'
SUMS = 'evaluate = { leave = "sums" }'
LARGE = 'model = { name = "mlp", hidden = [256, 400] }'
_SECONDS_OF_A_RUN = 900.0


class Side(NamedTuple):
    """What is measured."""

    name: str  # direct, flower or fedavg
    masked: bool = False
    evaluates: bool = False
    large: bool = False  # a model of 107,297 parameters


class Played(NamedTuple):
    """One run of one side."""

    rounds: Sequence[Mark]  # what each took, the first one left out
    wall: float  # of all, with start-up, end and comparison
    simulated: float | None  # bytes of a site and a round in the simulation; None for FedAvg


def text_of(side: Side, rounds: int) -> str:
    """Returns the scenario of one of our sides."""
    return TEXT.format(
        rounds=rounds,
        model=LARGE if side.large else "",
        channel=MASKED if side.masked else "",
        evaluate=SUMS if side.evaluates else "",
    )


class _CountedDirect(Direct):
    """The direct link through a relay that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.relay = Relay(self.address)

    @contextmanager
    def between(self, coordinator: Path, sites: Mapping[int, Path], limit: int) -> Iterator[Words]:
        with super().between(coordinator, sites, limit) as words:
            host, port = self.relay.address
            yield replace(words, site=(host, str(port), *words.site[2:]))


class _CountedFlower(OverFlower):
    """Flower's link through a relay that counts."""

    def __init__(self, programs: Path) -> None:
        super().__init__(programs)
        self.relay = Relay(self.address)

    @contextmanager
    def between(self, coordinator: Path, sites: Mapping[int, Path], limit: int) -> Iterator[Words]:
        with ExitStack() as stack:
            stage = coordinator_stage(self._programs, coordinator, self.address, limit=limit)
            stack.enter_context(stage)
            for folder in sites.values():
                stack.enter_context(site_stage(self._programs, folder, self.relay.address))
            yield Words((FLOWER,), (FLOWER,))


def play(side: Side, rounds: int, programs: Path) -> Played:
    """Runs a side once.

    Raises:
        SystemExit: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="deployed") as name:
        if side.name == "fedavg":
            return _fedavg(side, rounds, programs, Path(name))
        return _ours(side, rounds, programs, Path(name) / "out")


def _ours(side: Side, rounds: int, programs: Path, out: Path) -> Played:
    text = text_of(side, rounds)
    scenario = parse_scenario(text)
    opened: list[_CountedDirect | _CountedFlower] = []
    watches: list[Watch] = []

    def way() -> Way:
        opened.append(_CountedFlower(programs) if side.name == "flower" else _CountedDirect())
        return opened[0]

    def watch(agents: Mapping[int, subprocess.Popen[bytes]]) -> None:
        progress = out / "coordinator" / "rounds.jsonl"
        watches.append(Watch(progress, opened[0].relay, partial(_sent, out / "sites" / "0")))

    start = time.perf_counter()
    result = rehearse(scenario, text, (), out, on_started=watch, way=way)
    wall = time.perf_counter() - start
    marks = watches[0].stop()
    opened[0].relay.close()
    if result.exit_code or result.absent or not result.identical:
        raise SystemExit(f"{side} failed: {result}")
    simulation = RunFolder(out / "simulation").cell(scenario).rounds()
    simulated = sum(record.bytes_up + record.bytes_down for record in simulation)
    return Played(marks, wall, simulated / rounds / SITES)


def _sent(site: Path) -> int:
    """Returns how many envelopes a site has answered, by its audit log."""
    return sum(line["event"] == "sent" for line in read_lines(site / "audit.jsonl"))


def _fedavg(side: Side, rounds: int, programs: Path, folder: Path) -> Played:
    """Runs SuperLink and SuperNodes with Flower's own settings, without accounts for nodes."""
    _write_records(folder)
    flower = Flower(programs, folder / "home")
    port = free_port()
    relay = Relay((ADDRESS, port))
    Authority.generate().write(folder)
    Authority.read(folder).certify_server(folder, ADDRESS)
    flower.connect(port, folder / CA_CERTIFICATE)
    # As somebody would who starts Flower by hand: with Flower's own poll interval.
    environment = dict(flower.environment)
    del environment["FLWR_SUPEREXEC_TASK_POLL_INTERVAL"]
    services = [Service("superlink", _superlink(flower, port, folder), environment)]
    for site in range(SITES):
        services.append(
            Service(f"site{site}", _supernode(flower, site, relay, folder), environment)
        )
    start = time.perf_counter()
    progress = folder / "progress"
    supervisor = started(services, flower.home)
    try:
        _wait_for_nodes(flower, environment)
        watch = Watch(progress, relay, lambda: 0)
        evaluate = 1.0 if side.evaluates else 0.0
        _flwr(
            flower,
            environment,
            *("run", str(APP), CONNECTION),
            *("-c", f'rounds={rounds} evaluate={evaluate} progress="{progress}"'),
        )
        _wait(lambda: progress.exists() and len(progress.read_text().splitlines()) == rounds)
        time.sleep(0.5)
        marks = watch.stop()
    finally:
        supervisor.terminate()
        supervisor.wait()
        relay.close()
    moved = [float(line.split()[1]) for line in progress.read_text().splitlines()]
    if not moved[-1] > 0:
        raise SystemExit("Flower's FedAvg trained nothing")
    return Played(marks, time.perf_counter() - start, None)


def _superlink(flower: Flower, port: int, folder: Path) -> list[str]:
    return [
        str(flower.programs / "flower-superlink"),
        *("--host", ADDRESS, "--port", str(port)),
        *("--ssl-ca-certfile", str(folder / CA_CERTIFICATE)),
        *("--ssl-certfile", str(folder / TLS_CERTIFICATE)),
        *("--ssl-keyfile", str(folder / TLS_KEY)),
        "--disable-runtime-dependency-installation",
    ]


def _supernode(flower: Flower, site: int, relay: Relay, folder: Path) -> list[str]:
    host, port = relay.address
    return [
        str(flower.programs / "flower-supernode"),
        *("--superlink", f"{host}:{port}", "--root-certificates", str(folder / CA_CERTIFICATE)),
        *("--host", ADDRESS, "--port", str(free_port())),
        *("--node-config", f'records="{folder / f"{site}.npz"}"'),
    ]


def _write_records(folder: Path) -> None:
    """Writes the records that our sites have."""
    data = load_data(parse_scenario(text_of(Side("fedavg", evaluates=True), 1)))
    for site, judge in enumerate(judging_shares(data)):
        train = data.sites[site].train
        np.savez(
            folder / f"{site}.npz",
            train_features=train.features.numpy(),
            train_labels=train.labels.numpy(),
            judge_features=judge.features.numpy(),
            judge_labels=judge.labels.numpy(),
        )


def _wait_for_nodes(flower: Flower, environment: Mapping[str, str]) -> None:
    def are_there() -> bool:
        try:
            answer = _flwr(flower, environment, "supernode", "list", CONNECTION)
        except SystemExit:  # the SuperLink still starts
            return False
        return sum(node["status"] == "online" for node in answer["nodes"]) == SITES

    _wait(are_there)


def _wait(is_over: Callable[[], bool]) -> None:
    end = time.monotonic() + _SECONDS_OF_A_RUN
    while not is_over():
        if time.monotonic() > end:
            raise SystemExit("Flower's FedAvg did not end")
        time.sleep(0.2)


def _flwr(
    flower: Flower, environment: Mapping[str, str], *words: str
) -> dict[str, list[dict[str, object]]]:
    """Runs a `flwr` command; returns what it says in JSON."""
    done = subprocess.run(  # noqa: S603 - a program of the environment, and words of our own
        [str(flower.programs / "flwr"), *words, "--format", "json"],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    except ValueError:
        answer = {}
    if not answer.get("success"):
        raise SystemExit(f"flwr {words[0]} failed: {done.stdout}{done.stderr}")
    return answer
