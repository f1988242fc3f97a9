"""securefl site: what its administrator types, and the exit code that each refusal has."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from securefl.errors import Interrupted, RunFolderError
from securefl.files import locked
from securefl.runs.deployed.approving import approve_charter
from securefl.runs.deployed.audit_log import OVER, AuditLog, Event
from securefl.ui import site as ui
from securefl.ui.display import PlainDisplay
from tests.commands import call, refused
from tests.runs.deployed.sites import DP, allow, charter_file, federation


def events(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_an_approval_shows_cost_and_fingerprint(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    done = call("site", "approve", tmp_path / "0", charter_file(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "approved the charter of epoch 1: 3 rounds" in done.stdout
    assert "spent epsilon 0 before it, and 1.644 at its end, of 8 at delta 1e-05" in done.stdout
    assert "reads only sums of at least 4 updates, also with the help of 1 other" in done.stdout
    assert "no figures on test records leave" in done.stdout
    assert f"site 2: site-2, key {charter.roster['2'].key[:16]}" in done.stdout
    assert f"fingerprint {charter.fingerprint}" in done.stdout
    again = call("site", "approve", "0", charter_file(tmp_path), "--json", cwd=tmp_path)
    first, *roster, second = events(again.stdout)
    assert [line["name"] for line in roster] == [f"site-{site}" for site in range(4)]
    assert [line["key"] for line in roster] == [one.key for one in charter.roster.values()]
    assert (first["epoch"], first["rounds"], first["spent"]) == (1, 3, 0.0)
    assert (first["channel"], first["min_cohort"], first["leave"]) == ("masked", 4, "never")
    assert second["fingerprint"] == charter.fingerprint


def test_an_approval_of_a_channel_without_masks_says_who_reads_updates(tmp_path: Path) -> None:
    federation(tmp_path, DP.replace('kind = "masked", min_cohort = 4', 'kind = "plain"'))
    allow(tmp_path / "0", channel='{ allowed = ["plain"], min_cohort = 1 }')
    done = call("site", "approve", tmp_path / "0", charter_file(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the coordinator reads each update (plain)" in done.stdout


@pytest.mark.parametrize(
    ("tables", "text", "code", "sentence"),
    [
        ({"channel": "{ min_cohort = 5 }"}, DP, 4, "min_cohort = 5 does not allow sums of 4"),
        ({"bugdet": "{ epsilon = 1.0 }"}, DP, 2, "did you mean 'budget'?"),
        ({}, DP.replace("= 3.0", "= 0.2"), 3, "does not allow a single training"),
        ({}, DP.replace("noise_m", 'noise = "seeded", noise_m'), 2, "is for rehearsals"),
    ],
)
def test_a_refused_approval_has_the_exit_code_of_its_reason(
    tables: dict[str, str], text: str, code: int, sentence: str, tmp_path: Path
) -> None:
    federation(tmp_path, text)
    allow(tmp_path / "0", **tables)
    done = call("site", "approve", tmp_path / "0", charter_file(tmp_path), cwd=tmp_path)
    refused(done, code, sentence)


def test_a_check_looks_at_everything_and_says_what_is_wrong(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    approve_charter(tmp_path / "0", charter)
    done = call("site", "check", tmp_path / "0", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = [event["check"] for event in events(done.stdout)]
    assert names == [
        *("clock", "certificates", "disk", "receipts", "records", "policy", "rounds", "connection")
    ]
    plain = call("site", "check", tmp_path / "0", cwd=tmp_path)
    assert "200 training records, 200 declared; the files that were approved" in plain.stdout
    assert "epsilon 0 is spent on the data set, 1.644 of 8 at its end" in plain.stdout
    assert "nobody answers at 127.0.0.1:1 now" in plain.stdout
    # The policy is read anew: what was tightened since the approval counts.
    allow(tmp_path / "0", channel="{ min_cohort = 5 }")
    refused(call("site", "check", tmp_path / "0", cwd=tmp_path), 4, "does not allow sums of 4")
    (tmp_path / "0/tls.crt").unlink()
    done = call("site", "check", tmp_path / "0", cwd=tmp_path)
    refused(done, 1, "tls.crt is missing or damaged")
    assert "policy: NOT READY" in done.stdout


def test_a_check_outside_the_charters_validity_is_refused(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    late = charter.model_copy(
        update={"valid_from": "2020-01-01T00:00:00Z", "valid_until": "2020-02-01T00:00:00Z"}
    )
    approve_charter(tmp_path / "0", late)
    done = call("site", "check", tmp_path / "0", cwd=tmp_path)
    refused(done, 1, "this machine's clock says")
    refused(call("site", "start", tmp_path / "0", cwd=tmp_path), 1, "this machine's clock says")


@pytest.mark.parametrize("command", ["check", "start"])
def test_a_site_without_an_approval_neither_checks_nor_starts(command: str, tmp_path: Path) -> None:
    federation(tmp_path)
    done = call("site", command, tmp_path / "0", cwd=tmp_path)
    refused(done, 1, "has approved no charter: securefl site approve")
    refused(call("site", command, tmp_path / "nowhere", cwd=tmp_path), 1, "there is no folder")


def test_two_agents_on_one_folder_are_refused(tmp_path: Path) -> None:
    approve_charter(tmp_path / "0", federation(tmp_path))
    with locked(tmp_path / "0"):
        refused(call("site", "start", tmp_path / "0", cwd=tmp_path), 1, "is in use by another")


def test_a_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    approve_charter(tmp_path / "0", federation(tmp_path))
    (tmp_path / "0").chmod(0o705)
    for command in ("check", "start", "status", "stop", "log"):
        done = call("site", command, tmp_path / "0", cwd=tmp_path)
        refused(done, 1, "is open to other users")


def test_status_and_log_read_files_alone(tmp_path: Path) -> None:
    federation(tmp_path)
    done = call("site", "status", tmp_path / "0", cwd=tmp_path)
    assert "no agent; no charter approved; 0 trainings, 0 refusals" in done.stdout
    call("site", "approve", tmp_path / "0", charter_file(tmp_path), cwd=tmp_path)
    log = AuditLog.opened(tmp_path / "0/audit.jsonl")
    log.note(Event.TRAINING, round=0)
    log.note(Event.REFUSED, reason="budget.epsilon")
    with locked(tmp_path / "0"):
        done = call("site", "status", tmp_path / "0", "--json", cwd=tmp_path)
        (facts,) = events(done.stdout)
    assert (facts["at_work"], facts["epoch"], facts["trainings"]) == (True, 1, 1)
    assert (facts["spent"], facts["budget"]) == (0.0, 8.0)
    shown = call("site", "log", tmp_path / "0", cwd=tmp_path)
    assert [line.split()[2] for line in shown.stdout.splitlines()] == [
        *("approved", "training", "refused")
    ]
    assert "reason budget.epsilon" in shown.stdout
    path = tmp_path / "0/audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"round":0', b'"round":1'))
    done = call("site", "log", tmp_path / "0", cwd=tmp_path)
    refused(done, 1, "was changed at or before line 2")
    assert not done.stdout


def test_a_line_that_an_agent_is_writing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    federation(tmp_path)
    path = tmp_path / "0/audit.jsonl"
    log = AuditLog.opened(path)
    for round in range(2):
        log.note(Event.TRAINING, round=round)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    (tmp_path / "0/charter.json").touch()
    monkeypatch.setattr("time.sleep", lambda seconds: path.write_bytes(whole))
    with pytest.raises(RunFolderError, match="damaged at line 2"):
        ui.log(tmp_path / "0", PlainDisplay())  # nobody is writing
    with locked(tmp_path / "0"):
        ui.log(tmp_path / "0", PlainDisplay())
    assert capsys.readouterr().out.count("training") == 2


def test_a_folder_without_flower_is_refused(tmp_path: Path) -> None:
    approve_charter(tmp_path / "0", federation(tmp_path))
    done = call("site", "start", tmp_path / "0", "--flower", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere has no flwr and no flower-superlink" in done.stderr
    assert not (tmp_path / "0/flower.json").exists()


def test_a_stop_ends_the_agent_and_nobody_is_stopped_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve_charter(tmp_path / "0", federation(tmp_path))
    refused(call("site", "stop", tmp_path / "0", cwd=tmp_path), 1, "no agent is at work on")
    asked = []

    def run(path: Path, *others: object) -> None:
        with locked(path):
            asked.append(call("site", "stop", path, cwd=path))
            for _ in range(100):
                time.sleep(0.1)
        raise RunFolderError("nobody stopped this agent")

    monkeypatch.setattr(ui, "run_site", run)
    done = call("site", "start", tmp_path / "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "stopped"
    assert asked[0].returncode == 0
    assert not (tmp_path / "0/stop.json").exists()


def test_ctrl_c_has_exit_code_130_and_an_old_stop_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve_charter(tmp_path / "0", federation(tmp_path))
    (tmp_path / "0/stop.json").write_text('{"now": true}')

    def run(path: Path, *others: object) -> None:
        assert not (path / "stop.json").exists()
        raise Interrupted

    monkeypatch.setattr(ui, "run_site", run)
    assert call("site", "start", tmp_path / "0", cwd=tmp_path).returncode == 130


def test_an_agent_whose_run_is_over_does_not_wait_for_another(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    approve_charter(tmp_path / "0", charter)
    log = AuditLog.opened(tmp_path / "0/audit.jsonl")
    log.note(Event.STOPPED, charter="ab" * 32, kind=OVER)
    assert not ui._is_over(tmp_path / "0", charter)
    log.note(Event.STOPPED, charter=charter.digest.hex(), kind=OVER)
    done = call("site", "start", tmp_path / "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the run of this charter is over at this site" in done.stdout


def test_a_check_says_how_many_trainings_the_day_has_left(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    allow(tmp_path / "0", rounds="{ a_day = 4 }")
    approve_charter(tmp_path / "0", charter)
    log = AuditLog.opened(tmp_path / "0/audit.jsonl")
    for round in range(2):
        log.note(Event.TRAINING, charter="ab" * 32, round=round)
    done = call("site", "check", tmp_path / "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = "rounds.a_day = 4 leaves 2 trainings today, 3 are to come: the site will decline"
    assert words in done.stdout
