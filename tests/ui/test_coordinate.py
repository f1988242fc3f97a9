"""securefl keys, coordinate and site: from a scenario to a charter, as administrators go."""

import datetime
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from securefl import vector
from securefl.federation.record import RoundRecord
from securefl.federation.values import State
from securefl.files import is_held, locked
from securefl.runs.cell import Cell, CellState
from securefl.runs.deployed.approval import Approval
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.documents import utc_now
from securefl.runs.deployed.invitation import Invitation
from securefl.runs.deployed.keys import PASSPHRASE, signing_key
from securefl.runs.deployed.serving import request_stop
from securefl.scenario.assemble.public import public_parts
from securefl.scenario.scenario import parse_scenario
from tests.commands import Done, call, refused, scenario_file
from tests.runs.deployed.parties import SGD

NAMES = ("zurich", "basel", "geneva", "bern")


@pytest.fixture
def at(tmp_path: Path) -> Path:
    """A folder with a coordinator in `fed` and a site for each name."""
    path = scenario_file(tmp_path, SGD)
    address = ("--address", "127.0.0.1:9092")
    done = call("coordinate", "init", path, *address, "--out", "fed", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        joined(tmp_path, name)
    return tmp_path


def joined(at: Path, name: str) -> Done:
    done = call(
        *("site", "join", "fed/invitation.json", "--name", name, "--out", name, "--json"), cwd=at
    )
    assert done.returncode == 0, done.stderr
    return done


def last_line(done: Done) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


def admit(at: Path, *documents: str) -> Done:
    return call("coordinate", "admit", "fed", *documents, "--json", cwd=at)


def requests() -> list[str]:
    return [f"{name}/request.json" for name in NAMES]


def approve(at: Path, charter: Charter) -> list[str]:
    for site, member in charter.roster.items():
        approval = Approval.signed(charter, int(site), signing_key(at / member.name))
        approval.write(at / f"{member.name}.json")
    return [f"{name}.json" for name in NAMES]


def test_both_ends_show_the_fingerprint_of_the_invitation(at: Path) -> None:
    fingerprint = Invitation.read(at / "fed/invitation.json").fingerprint
    shown = last_line(joined(at, "lugano"))
    assert shown["fingerprint"] == fingerprint
    path = scenario_file(at, SGD)
    address = ("--address", "[::1]:9092")
    done = call("coordinate", "init", path, *address, "--out", "other", cwd=at)
    assert Invitation.read(at / "other/invitation.json").host == "::1"
    assert Invitation.read(at / "other/invitation.json").fingerprint in done.stdout


def test_requests_make_a_charter_and_approvals_make_it_ready(at: Path) -> None:
    shown = last_line(admit(at, *requests()))
    charter = Charter.read(at / "fed/charter.json")
    assert (shown["epoch"], shown["fingerprint"]) == (1, charter.fingerprint)
    assert shown["sites"] == dict(zip("0123", NAMES, strict=True))
    approvals = approve(at, charter)
    assert last_line(admit(at, *approvals[:3]))["missing"] == ["bern"]
    assert last_line(admit(at, approvals[3]))["ready"] is True


def test_requests_and_approvals_together_are_refused(at: Path) -> None:
    admit(at, *requests())
    approvals = approve(at, Charter.read(at / "fed/charter.json"))
    refused(admit(at, *requests(), approvals[0]), 2, "give requests or approvals, not both")


def test_too_few_requests_or_one_twice_are_refused(at: Path) -> None:
    refused(admit(at, *requests()[:3]), 2, "has 4 sites, and 3 requests are given")
    twice = [*requests()[:3], requests()[0]]
    refused(admit(at, *twice), 2, "2 sites have the name zurich")


def test_an_approval_of_an_older_epoch_is_refused(at: Path) -> None:
    admit(at, *requests())
    approvals = approve(at, Charter.read(at / "fed/charter.json"))
    call("coordinate", "admit", "fed", *requests(), "--deadline", "61", cwd=at)
    refused(admit(at, approvals[0]), 1, "site 0 approved another charter, of epoch 1")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1}', '{"charter": 1}'])
def test_what_is_no_document_is_refused(content: str, at: Path) -> None:
    (at / "x.json").write_text(content)
    refused(admit(at, "x.json"), 1, "x.json")


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":9", "host:0", "host:65536", "host:x", "a b:9"]
)
def test_an_address_needs_host_and_port(address: str, tmp_path: Path) -> None:
    path = scenario_file(tmp_path, SGD)
    done = call("coordinate", "init", path, "--address", address, "--out", "fed", cwd=tmp_path)
    refused(done, 2, "--address takes HOST:PORT")
    assert not (tmp_path / "fed").exists()


def test_a_scenario_too_large_for_an_invitation_is_refused(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, SGD + "#" * (1 << 18))
    address = ("--address", "127.0.0.1:9092")
    done = call("coordinate", "init", path, *address, "--out", "fed", cwd=tmp_path)
    assert done.returncode == 2
    assert "text: string should have at most 262144 characters" in done.stderr
    assert len(done.stderr) < 1000
    assert not (tmp_path / "fed").exists()


def test_new_keys_show_their_public_halves_and_ask_for_no_passphrase_on_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = last_line(call("keys", "new", "plain", "--json", cwd=tmp_path))
    public = signing_key(tmp_path / "plain").public_key().public_bytes_raw()
    assert shown["key"] == public.hex()
    monkeypatch.setenv(PASSPHRASE, "sesame")
    call("keys", "new", "locked", "--passphrase", cwd=tmp_path)
    assert b"ENCRYPTED" in (tmp_path / "locked/identity.pem").read_bytes()
    monkeypatch.setenv(PASSPHRASE, "")
    refused(call("keys", "new", "x", "--passphrase", cwd=tmp_path), 2, "the passphrase is empty")
    refused(call("keys", "new", "plain", cwd=tmp_path), 2, "plain exists")


@pytest.fixture
def ready(at: Path) -> Path:
    """The same, with a charter that all have approved."""
    admit(at, *requests())
    admit(at, *approve(at, Charter.read(at / "fed/charter.json")))
    return at


def command(at: Path, name: str, *options: str) -> Done:
    return call("coordinate", name, "fed", *options, cwd=at)


def test_check_and_status_say_how_far_it_is(ready: Path) -> None:
    charter = Charter.read(ready / "fed/charter.json")
    assert last_line(command(ready, "check", "--json"))["fingerprint"] == charter.fingerprint
    shown = last_line(command(ready, "status", "--json"))
    assert (shown["state"], shown["at_work"], shown["rounds"]) == ("new", False, 2)
    assert "0 of 2 rounds are over" in command(ready, "status").stdout


def kept(at: Path, number: int, *, abandoned: bool) -> None:
    """Keeps one round more, without playing it."""
    parts = public_parts(parse_scenario(SGD), run="")
    record = RoundRecord(number, abandoned, "", (), (), {}, (), 0, 0, 0, None, {}, 0.0)
    state = State(vector.to_vector(parts.model), round=number + 1)
    Cell(at / "fed").keep(state, record, vector.shapes(parts.model))


def test_rounds_that_gave_nothing_and_the_end_of_a_run_are_said(ready: Path) -> None:
    cell = Cell(ready / "fed")
    cell.open()
    cell.begin_round(0)
    kept(ready, 0, abandoned=True)
    words = "1 of 2 rounds are over, 1 of them ABANDONED"
    stopped = command(ready, "status").stdout
    assert f"no coordinator is at work; stopped, and start goes on, {words}" in stopped
    assert f"ready: {words}" in command(ready, "check").stdout
    assert last_line(command(ready, "status", "--json"))["abandoned"] == 1
    kept(ready, 1, abandoned=False)
    cell.finish(CellState.DONE)
    words = "the run is over: 2 of 2 rounds are over, 1 of them ABANDONED"
    assert words in command(ready, "check").stdout
    assert last_line(command(ready, "check", "--json"))["ready"] is False


def test_status_before_a_charter_says_so(at: Path) -> None:
    assert "no charter yet" in command(at, "status").stdout
    refused(command(at, "start"), 1, "fed has no charter yet: securefl coordinate admit fed")


@pytest.mark.parametrize("name", ["check", "start"])
def test_nobody_starts_without_all_approvals_or_with_an_open_folder(name: str, ready: Path) -> None:
    (ready / "fed").chmod(0o755)
    refused(command(ready, name), 1, "fed is open to other users: chmod 700 fed")
    (ready / "fed").chmod(0o700)
    (ready / "fed/approvals.json").unlink()
    refused(command(ready, name), 1, "not approved by zurich, basel, geneva, bern")


@pytest.mark.parametrize("days", [-1, 91])
def test_a_clock_that_is_off_is_one_line(
    days: int, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = utc_now() + datetime.timedelta(days=days)
    monkeypatch.setattr("securefl.runs.deployed.serving.utc_now", lambda: off)
    refused(command(ready, "start"), 1, "this machine's clock says")


def test_a_second_coordinator_and_a_foreign_address_are_refused(ready: Path) -> None:
    with locked(ready / "fed"):
        refused(command(ready, "start"), 1, "fed is in use by another run")
    done = command(ready, "start", "--listen", "192.0.2.1")
    refused(done, 1, "cannot listen at 192.0.2.1:9092")


def test_a_folder_without_flower_is_refused_and_the_coordinator_can_start(ready: Path) -> None:
    done = command(ready, "start", "--listen", "127.0.0.1", "--flower", "nowhere")
    refused(done, 2, "nowhere has no flwr and no flower-superlink")
    assert not (ready / "fed/flower").exists()
    assert not is_held(ready / "fed")


def test_stop_now_interrupts_a_coordinator_that_waits(ready: Path) -> None:
    def stop() -> None:
        while not is_held(ready / "fed"):
            time.sleep(0.01)
        request_stop(ready / "fed", now=True)

    thread = threading.Thread(target=stop)
    thread.start()
    done = command(ready, "start", "--listen", "127.0.0.1")
    thread.join()
    assert done.returncode == 130
    assert "the same command goes on from here" in done.stderr


def test_stop_without_a_coordinator_is_refused(ready: Path) -> None:
    refused(command(ready, "stop"), 1, "no coordinator is at work on fed")


def test_next_before_the_end_of_a_run_is_refused(ready: Path) -> None:
    done = command(ready, "next", "s.toml", "--out", "later")
    refused(done, 1, "the run of fed has no last model yet")
    assert not (ready / "later").exists()


def test_next_makes_the_folder_of_another_run(ready: Path) -> None:
    cell = Cell(ready / "fed")
    parts = public_parts(parse_scenario(SGD), run="")
    record = RoundRecord(0, True, "", (), (), {}, (), 0, 0, 0, None, {}, 0.0)
    cell.keep(State(vector.to_vector(parts.model)), record, vector.shapes(parts.model))
    cell.finish(CellState.DONE)
    shown = last_line(command(ready, "next", "s.toml", "--out", "later", "--json"))
    charter = Charter.read(ready / "later/charter.json")
    assert shown["fingerprint"] == charter.fingerprint
    assert charter.origin is not None


def test_a_folder_in_the_wrong_place_is_named(at: Path) -> None:
    done = call("coordinate", "admit", "fed/invitation.json", "zurich/request.json", cwd=at)
    refused(done, 1, "fed/invitation.json is no coordinator's folder")
    refused(call("coordinate", "check", "nowhere", cwd=at), 1, "nowhere is no coordinator's folder")
    refused(admit(at, "zurich"), 2, "zurich is a folder: give its request.json")
    done = call("site", "approve", "zurich", "fed", cwd=at)
    refused(done, 1, "fed is a folder: give the site's folder, then charter.json")
    refused(call("site", "log", "zurich", cwd=at), 1, "zurich has approved no charter")


def test_a_scenario_that_default_policies_refuse_is_said_before_anybody_is_invited(
    tmp_path: Path,
) -> None:
    path = scenario_file(tmp_path, SGD)
    address = ("--address", "127.0.0.1:9092", "--set", "channel.kind=masked")
    words = ("coordinate", "init", path, *address)
    warned = call(*words, "--out", "a", "--set", "channel.min_cohort=3", cwd=tmp_path)
    silent = call(*words, "--out", "b", "--set", "channel.min_cohort=4", cwd=tmp_path)
    assert (warned.returncode, silent.returncode) == (0, 0)
    assert "set channel.min_cohort = 4 in the scenario" in warned.stdout
    # The last words, after those that say to send the invitation.
    assert warned.stdout.index("BEFORE you send it") > warned.stdout.index("to every site")
    assert "BEFORE" not in silent.stdout
    figures = ("--set", "channel.min_cohort=4", "--set", "evaluate.leave=sums")
    asked = call(*words, "--out", "c", *figures, cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert "each site has to set evaluation.leave = 'sums'" in asked.stdout
