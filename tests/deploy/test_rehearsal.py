"""A masked rehearsal over Flower: the simulation's model, and what Flower could see and do."""

import http.client
import json
import socket
import ssl
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from securefl import run, vector
from securefl.errors import RunFailed
from securefl.files import read_json
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.deployed import process
from securefl.runs.flower import commands
from securefl.runs.flower.commands import Flower
from securefl.runs.flower.sockets import bound, send
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.evaluation import counting_parts, judging_shares
from securefl.scenario.assemble.public import public_parts
from securefl.scenario.assemble.site import site_parts
from securefl.scenario.scenario import parse_scenario
from tests.deploy.recording_gate import BODIES
from tests.deploy.stage import over_flower, processes, wait_for_round
from tests.runs.deployed.parties import DP, MASKED

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1500)]

# Rounds enough that strangers are heard before the end, on a slow machine, too.
TEXT = DP.replace("rounds = 2", "rounds = 4").replace("2.0", "9.0") + MASKED
TEXT += 'evaluate = { leave = "sums" }\n'
TRIPS = 3 + 5 + 3 * 3 + 3 + 1  # set-up, the first round, three more, the last model, the end
WORDS = ("<u1", "<u2", "<u4", "<u8", "<f4")  # what a whole number could travel as
WINDOW = 16  # numbers in a row


def pieces(values: torch.Tensor) -> list[bytes]:
    """Returns the bytes of every four float32 in a row that are not alike."""
    rows = values.detach().numpy().astype(np.float32).reshape(-1)
    windows = [rows[start : start + 4] for start in range(0, len(rows) - 4, 4)]
    return [window.tobytes() for window in windows if len(set(window.tolist())) == 4]


def runs_of(numbers: torch.Tensor) -> list[bytes]:
    """Returns the bytes, in every type, of whole numbers in a row that no chance repeats."""
    rows = numbers.detach().numpy().reshape(-1)
    windows = [rows[start : start + WINDOW] for start in range(len(rows) - WINDOW)]
    telling = [row for row in windows if min(np.sum(row == row[0]), np.sum(row != row[0])) >= 4]
    return [row.astype(word).tobytes() for row in telling for word in WORDS]


def counted(weights: torch.Tensor) -> dict[int, torch.Tensor]:
    """Returns what each site counts of a model, as it leaves the site without masks."""
    scenario = parse_scenario(TEXT)
    shared = public_parts(scenario, run="0" * 16)
    own = judging_shares(load_data(scenario))
    return {
        site: counting_parts(shared, site, own[site], ledger=None).tally.fit(weights, round=4).delta
        for site in range(4)
    }


def updates(folder: Path) -> dict[int, torch.Tensor]:
    """Returns the update of each site in round 0, as the site computes it by itself."""
    scenario = parse_scenario(TEXT)
    data = load_data(scenario)
    found = {}
    for site in range(4):
        shared = public_parts(scenario, run="0" * 16)
        parts = site_parts(shared, site, data.sites[site].train, ledger=folder / f"{site}.jsonl")
        weights = vector.to_vector(parts.public.model)
        found[site] = parts.trainer.fit(weights, round=0).delta
    return found


class Strangers:
    """What somebody tries while the rounds are played."""

    def __init__(self, programs: Path, out: Path, folder: Path) -> None:
        self.programs = programs
        self.out = out
        self.folder = folder

    def __call__(self) -> None:
        wait_for_round(self.out, 1)
        self.submit_through_the_gate()
        self.send_garbage_through_flower()

    def submit_through_the_gate(self) -> None:
        """Whoever has the public certificate, and no account on the machine, gets 404."""
        charter = read_json(self.out / "coordinator/charter.json")
        ca = self.out / "coordinator/ca.crt"
        flower = Flower(self.programs, self.folder / "stranger")
        flower.connect(charter["port"], ca.absolute())
        with pytest.raises(RunFailed, match="flwr failed"):
            flower.submit(Path("/nowhere"), {0: 1})
        for path in ("/v1/control/start-run", "/v1/runtime/acquire-task", "/docs", "/health"):
            connection = http.client.HTTPSConnection(
                charter["host"],
                charter["port"],
                context=ssl.create_default_context(cafile=str(ca)),
                timeout=60,
            )
            with closing(connection):
                connection.request("POST", path, b"")
                assert connection.getresponse().status == 404, path

    def send_garbage_through_flower(self) -> None:
        """An adversary that runs the SuperLink starts an app of its own at all sites."""
        nodes = read_json(self.out / "coordinator/flower.json")["nodes"]
        flower = Flower(self.programs, (self.out / "coordinator/flower").absolute())
        path = Path(read_json(self.out / "coordinator/flower.json")["socket"])
        ours = path.parents[1] / "stranger/relay"
        with closing(bound(ours)) as listener:
            listener.settimeout(120)
            flower.submit(ours, {int(site): node for site, node in nodes.items()})
            relay, _ = listener.accept()
            with relay:
                for site in range(4):
                    send(relay, site, 1, [b"garbage"])
                # The agents give no reply, so that none comes back. A run that ends takes along
                # what no node has fetched yet.
                relay.settimeout(40)
                with pytest.raises(TimeoutError):
                    relay.recv(1)


def test_a_masked_rehearsal_has_the_simulations_model_and_shows_flower_no_update(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_GATE", Path(__file__).with_name("recording_gate.py"))
    out = tmp_path / "out"
    during = Strangers(programs, out, tmp_path)
    result = over_flower(TEXT, programs, out, during=during)
    assert (result.exit_code, result.absent, result.identical) == (0, {}, True)
    assert result.trips == TRIPS
    for site in range(4):
        counts = process.counts_of(out / f"sites/{site}")
        assert (counts["answered"], counts["dropped"]) == (TRIPS, 1)
    assert not processes("flower-") + processes("flwr-") + processes("gate.py")
    assert not [*out.rglob("*.ssh"), *out.rglob("tls.pem")]

    home = out / "coordinator/flower"
    passed = (home / BODIES).read_bytes()
    database = b"".join(path.read_bytes() for path in home.glob("state.db*"))
    one_round = parse_scenario(TEXT, overrides=("rounds=1",))
    folder = run(one_round, tmp_path / "one").folder
    model = load_checkpoint(next(folder.glob("cells/*/model.safetensors"))).state.weights
    # The model travels in the clear: this would find an update, too.
    assert all(piece in passed for piece in pieces(model))
    for update in updates(tmp_path).values():
        assert pieces(update)
        assert not [piece for piece in pieces(update) if piece in passed or piece in database]
    last = load_checkpoint(out / "coordinator/model.safetensors").state.weights
    labels = {site: own.train.labels for site, own in enumerate(load_data(one_round).sites)}
    planted = [runs_of(numbers) for numbers in (*counted(last).values(), *labels.values())]
    # Site 2 has one patient without the disease: no run of its labels is telling.
    assert [bool(runs) for runs in planted] == [True] * 4 + [True, True, False, True]
    for runs in planted:
        assert not [run for run in runs if run in passed or run in database]


def test_the_network_is_this_machine_alone() -> None:
    """Where the engine permits: `make test-deploy` runs in a namespace with loopback only."""
    names = [name for _, name in socket.if_nameindex()]
    if names != ["lo"]:
        pytest.skip(f"this account may not make a network of its own: {json.dumps(names)}")
