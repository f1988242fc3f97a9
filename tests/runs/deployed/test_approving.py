"""Approval: the policy and the ledger of the data set decide, whatever the charter asks."""

import json
import os
import shutil
from pathlib import Path

import pytest

from securefl.channels.monotonic import FileMonotonic
from securefl.errors import BudgetExceeded, NotReady, PolicyRefused, RunFolderError, ScenarioError
from securefl.federation.policy import load_policy
from securefl.files import write_json
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.events import ReleaseId, SampledGaussian
from securefl.privacy.ledger import Ledger
from securefl.privacy.terms import Terms
from securefl.runs.deployed.approval import Approval
from securefl.runs.deployed.approving import approve_charter
from securefl.runs.deployed.audit_log import AuditLog, Event, verified
from securefl.runs.deployed.charter import CHARTER, Charter
from securefl.runs.deployed.checking import checks_of
from securefl.runs.deployed.figures import figures_ledger
from securefl.runs.deployed.rules import Rules
from securefl.runs.deployed.site import opened_site
from securefl.runs.deployed.site_folder import (
    APPROVAL,
    Folder,
    journal_of,
    ledger_of,
    register,
    require_registered,
)
from securefl.scenario.assemble.evaluation import counts_cost, open_figures_ledger
from tests.runs.deployed.sites import DP, allow, federation


def untouched(site: Path) -> bool:
    """Whether nothing of an approval is there."""
    return not any((site / name).exists() for name in (APPROVAL, CHARTER, "ledger"))


def test_an_approval_is_signed_logged_and_pins_the_code(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    outlook = approve_charter(tmp_path / "2", charter)
    Approval.read(tmp_path / "2" / APPROVAL).check(charter)
    code = load_policy(tmp_path / "2/policy.toml").code
    assert (code.allowed, code.layouts) == ((charter.code,), (charter.layout,))
    (line,) = verified(tmp_path / "2/audit.jsonl")
    assert (line.event, line.charter, line.epoch) == (Event.APPROVED, charter.digest.hex(), 1)
    assert outlook.spent == 0.0
    assert 0 < outlook.proposal.total_epsilon <= 4.0
    # The same again changes nothing but the log.
    assert approve_charter(tmp_path / "2", charter) == outlook


@pytest.mark.parametrize(
    ("tables", "text", "sentence"),
    [
        ({"budget": "{ epsilon = 3.9 }"}, DP, "epsilon = 3.9 does not allow epsilon 4"),
        ({"budget": "{ delta = 1e-6 }"}, DP, "delta = 1e-06 does not allow delta 1e-05"),
        ({"channel": "{ min_cohort = 5 }"}, DP, "min_cohort = 5 does not allow sums of 4"),
        ({"channel": "{ corrupt = 2 }"}, DP, "does not allow masks that withstand 1"),
        ({}, DP.replace('"masked", min_cohort = 4', '"plain"'), "does not list 'plain'"),
        ({"code": '{ allowed = ["0123456789abcdef"] }'}, DP, "code.allowed does not list"),
        ({"code": '{ layouts = ["sha256:00"] }'}, DP, "code.layouts does not list sha256:"),
        ({"rounds": "{ a_day = 1 }"}, DP.replace("rounds = 3", "rounds = 31"), "allows 30 rounds"),
    ],
)
def test_a_charter_that_asks_too_much_is_refused_and_leaves_nothing(
    tables: dict[str, str], text: str, sentence: str, tmp_path: Path
) -> None:
    charter = federation(tmp_path, text)
    allow(tmp_path / "0", **tables)
    policy = (tmp_path / "0/policy.toml").read_bytes()
    with pytest.raises(PolicyRefused) as refusal:
        approve_charter(tmp_path / "0", charter)
    assert sentence in str(refusal.value)
    assert refusal.value.exit_code == 4
    assert untouched(tmp_path / "0")
    assert (tmp_path / "0/policy.toml").read_bytes() == policy


def test_two_jobs_on_one_data_set_share_the_budget_of_the_policy(tmp_path: Path) -> None:
    # Each costs epsilon 3.5 in two rounds, after which its own budget of 4 is spent.
    text = DP.replace("noise_multiplier = 3.0", "noise_multiplier = 1.5")
    first, second = federation(tmp_path / "a", text), federation(tmp_path / "b", text)
    site = tmp_path / "a/0"
    allow(site, budget="{ epsilon = 4.5 }")
    outlook = approve_charter(site, first)
    assert (outlook.spent, outlook.rounds) == (0.0, 2)
    assert outlook.proposal.total_epsilon == pytest.approx(3.518, abs=1e-3)
    ledger = ledger_of(Folder.read(site, first), first.scenario())
    assert ledger is not None
    assert outlook.cost is not None
    for round in range(2):
        ledger.reserve(outlook.cost, release_id=ReleaseId(first.run, 0, round, 0))
    # The second federation knows the site by the same key.
    member = second.roster["0"].model_copy(update={"key": first.roster["0"].key})
    roster = {**second.roster, "0": member}
    job = second.model_copy(update={"roster": roster, "server": first.server})
    with pytest.raises(PolicyRefused, match="this federation and all earlier ones on the data set"):
        approve_charter(site, job)
    assert Charter.read(site / CHARTER) == first
    # The ledger refuses as well, should the approval have come before the spending.
    other = ledger_of(Folder.read(site, job), job.scenario())
    assert other is not None
    other.reserve(outlook.cost, release_id=ReleaseId(job.run, 0, 0, 0))
    with pytest.raises(PolicyRefused, match="all federations on this data set"):
        other.reserve(outlook.cost, release_id=ReleaseId(job.run, 0, 1, 0))


def test_the_delta_of_figures_is_that_of_the_policy_at_most(tmp_path: Path) -> None:
    figures = 'evaluate = { leave = "noisy", epsilon = 0.5, delta = 1e-3 }\n'
    charter = federation(tmp_path, DP + figures)
    allow(tmp_path / "0", budget="{ test_epsilon = 0.8 }", evaluation='{ leave = "noisy" }')
    sentence = "delta = 1e-05 does not allow figures with delta 0.001"
    with pytest.raises(PolicyRefused, match=sentence):
        approve_charter(tmp_path / "0", charter)
    allow(tmp_path / "0", budget="{ test_epsilon = 0.8, delta = 1e-3 }")
    approve_charter(tmp_path / "0", charter)


def test_figures_of_all_federations_share_one_budget(tmp_path: Path) -> None:
    text = DP + 'evaluate = { leave = "noisy", epsilon = 0.5 }\n'
    charter = federation(tmp_path, text)
    site = tmp_path / "0"
    allow(site, budget="{ test_epsilon = 0.8 }", evaluation='{ leave = "noisy" }')
    assert approve_charter(site, charter).proposal.test_epsilon == 0.5
    event = SampledGaussian(1.0, 10.0, 1)
    folder = Folder.read(site, charter)
    for run in (charter.run, "earlier"):
        ledger = Ledger(figures_ledger(folder, run), Terms("example", "add_remove", 1e-5, 8.0))
        ledger.reserve(event, release_id=ReleaseId(run, 0, 0, 0))
    # What this run has booked is in its price already.
    spent = epsilon({event: 1}, delta=1e-5)
    with pytest.raises(PolicyRefused, match=f"cost {0.5 + spent:g} together with all earlier"):
        approve_charter(site, charter)
    allow(site, budget=f"{{ test_epsilon = {0.51 + spent} }}", evaluation='{ leave = "noisy" }')
    approve_charter(site, charter)


def test_an_older_epoch_is_not_approved_again(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    newer = charter.model_copy(update={"epoch": 2})
    approve_charter(tmp_path / "1", newer)
    with pytest.raises(RunFolderError, match="epoch 1, and epoch 2 of this run was approved"):
        approve_charter(tmp_path / "1", charter)
    other = newer.model_copy(update={"deadline": 9.0})
    with pytest.raises(RunFolderError, match="epoch 2, and epoch 2 of this run was approved"):
        approve_charter(tmp_path / "1", other)
    assert Charter.read(tmp_path / "1" / CHARTER) == newer


def test_seeded_noise_is_for_rehearsals(tmp_path: Path) -> None:
    text = DP.replace("noise_multiplier", 'noise = "seeded", noise_multiplier')
    charter = federation(tmp_path, text)
    with pytest.raises(ScenarioError, match=r"privacy\.noise = 'seeded' is for rehearsals"):
        approve_charter(tmp_path / "0", charter)
    assert untouched(tmp_path / "0")
    approve_charter(tmp_path / "0", charter, rehearsed=True)
    text = DP.replace("min_cohort = 4", 'min_cohort = 4, secrets = "seeded"')
    charter = federation(tmp_path / "b", text)
    with pytest.raises(ScenarioError, match=r"channel\.secrets = 'seeded' is for rehearsals"):
        approve_charter(tmp_path / "b/0", charter)


def test_a_budget_that_allows_no_training_has_exit_code_3(tmp_path: Path) -> None:
    text = DP.replace("noise_multiplier = 3.0", "noise_multiplier = 0.2")
    charter = federation(tmp_path, text)
    with pytest.raises(BudgetExceeded, match="epsilon 4 does not allow a single training"):
        approve_charter(tmp_path / "0", charter)
    assert untouched(tmp_path / "0")


def test_changed_records_need_a_new_approval_and_keep_the_ledger(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    site = tmp_path / "0"
    approve_charter(site, charter)
    folder = Folder.read(site, charter)
    (before,) = json.loads((site / "ledger/registered.json").read_text())["files"]
    ledger = ledger_of(folder, charter.scenario())
    with pytest.raises(NotReady, match="have changed since the charter was approved"):
        require_registered(folder, "f" * 64)
    register(folder, "f" * 64)
    require_registered(folder, "f" * 64)
    with pytest.raises(NotReady, match="have changed since"):
        require_registered(folder, before)  # approved once, and replaced since
    registered = json.loads((site / "ledger/registered.json").read_text())
    assert registered == {"ledger": before, "files": [before, "f" * 64]}
    again = ledger_of(folder, charter.scenario())
    assert again is not None
    assert ledger is not None
    assert again._path == ledger._path == site / f"ledger/{before}.jsonl"


def shared(folder: Path, *sites: Path) -> Path:
    """Lets the folders of one site keep their ledgers in one place; returns it."""
    ledgers = folder / "ledgers"
    ledgers.mkdir(mode=0o700)
    for site in sites:
        with (site / "site.toml").open("a") as file:
            file.write(f'\nledger = "{ledgers}"\n')
    return ledgers


def test_two_folders_of_one_site_spend_one_budget_where_they_share_ledgers(tmp_path: Path) -> None:
    text = DP.replace("noise_multiplier = 3.0", "noise_multiplier = 1.5")
    first, second = federation(tmp_path / "a", text), federation(tmp_path / "b", text)
    one, other = tmp_path / "a/0", tmp_path / "b/0"
    ledgers = shared(tmp_path, one, other)
    for site in (one, other):
        allow(site, budget="{ epsilon = 4.5 }")
    outlook = approve_charter(one, first)
    assert outlook.cost is not None
    ledger = ledger_of(Folder.read(one, first), first.scenario())
    assert ledger is not None
    for round in range(2):
        ledger.reserve(outlook.cost, release_id=ReleaseId(first.run, 0, round, 0))
    with pytest.raises(PolicyRefused, match="this federation and all earlier ones on the data set"):
        approve_charter(other, second)
    assert untouched(other)
    # The first has replaced its files since, whose ledger stays: the second comes with the old.
    register(Folder.read(one, first), "f" * 64)
    allow(other, budget="{ epsilon = 40.0 }")
    assert approve_charter(other, second).spent == pytest.approx(3.518, abs=1e-3)
    (file,) = ledgers.glob("*.jsonl")
    same = ledger_of(Folder.read(other, second), second.scenario())
    assert same is not None
    assert same._path == ledger._path == file
    # One agent at a time writes; the other folder's does not start meanwhile.
    with opened_site(other):
        with pytest.raises(RunFolderError, match="ledgers is in use by another"), opened_site(one):
            raise AssertionError("two agents on one ledger")
        with pytest.raises(RunFolderError, match="ledgers is in use by another"):
            approve_charter(one, first)
    with pytest.raises(NotReady, match="files of records have changed"), opened_site(one):
        pass


def test_records_with_a_ledger_of_their_own_are_not_booked_in_another(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    one, other = tmp_path / "0", tmp_path / "1"
    shared(tmp_path, one, other)
    for site in (one, other):
        approve_charter(site, charter)
    (theirs,) = json.loads((other / "ledger/registered.json").read_text())["files"]
    before = (one / "ledger/registered.json").read_text()
    for ask in (register, lambda folder, digest: ledger_of(folder, charter.scenario(), digest)):
        with pytest.raises(RunFolderError, match=r"booked in another ledger of .*ledgers: join"):
            ask(Folder.read(one, charter), theirs)
    assert (one / "ledger/registered.json").read_text() == before


def test_a_crash_between_the_two_lists_of_files_leaves_one_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    charter = federation(tmp_path)
    one, other = tmp_path / "a", tmp_path / "b"
    for folder in (one, other):
        shutil.copytree(tmp_path / "0", folder)
    ledgers = shared(tmp_path, one, other)
    approve_charter(one, charter)

    def killed(path: Path, value: object) -> None:
        if path.name == "registered.json":
            raise KeyboardInterrupt
        write_json(path, value)

    with monkeypatch.context() as patch:
        patch.setattr("securefl.runs.deployed.site_folder.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            register(Folder.read(one, charter), "f" * 64)
    register(Folder.read(other, charter), "f" * 64)
    assert len(list(ledgers.glob("*.files.json"))) == 1


def test_a_folder_whose_ledgers_another_names_is_held_too(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    one, other = tmp_path / "0", tmp_path / "1"
    approve_charter(one, charter)
    with (other / "site.toml").open("a") as file:
        file.write(f'\nledger = "{one / "ledger"}"\n')
    with (
        opened_site(one),
        pytest.raises(RunFolderError, match="ledger is in use by another"),
    ):
        approve_charter(other, charter)


def test_shared_ledgers_that_are_gone_or_open_to_others_are_refused(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    site = tmp_path / "0"
    ledgers = shared(tmp_path, site)
    ledgers.chmod(0o755)
    with pytest.raises(RunFolderError, match="ledgers"):
        approve_charter(site, charter)
    ledgers.rmdir()
    with pytest.raises(RunFolderError, match=r"there is no folder .*ledgers"):
        approve_charter(site, charter)
    assert untouched(site)


def test_a_later_epoch_does_not_judge_a_model_again(tmp_path: Path) -> None:
    charter = federation(tmp_path, DP + 'evaluate = { leave = "sums" }\n')
    log = AuditLog.opened(tmp_path / "audit.jsonl")
    policy = load_policy(tmp_path / "0/policy.toml")
    Rules(policy, charter, log).permit_counting(3)
    later = charter.model_copy(update={"epoch": 2})
    with pytest.raises(PolicyRefused, match="the model of round 3 was judged before"):
        Rules(policy, later, log).permit_counting(3)
    job = charter.model_copy(update={"run": "ab" * 8})
    Rules(policy, job, log).permit_counting(3)


@pytest.mark.parametrize("gone", ["the file", "a line"])
def test_a_ledger_of_figures_that_was_removed_is_not_begun_anew(gone: str, tmp_path: Path) -> None:
    charter = federation(tmp_path, DP + 'evaluate = { leave = "noisy", epsilon = 0.5 }\n')
    site = tmp_path / "0"
    allow(site, budget="{ test_epsilon = 2.0 }", evaluation='{ leave = "noisy" }')
    approve_charter(site, charter)
    folder = Folder.read(site, charter)
    path, log_file = figures_ledger(folder, charter.run), site / "audit.jsonl"
    figures = open_figures_ledger(charter.scenario(), path)
    cost = counts_cost(charter.scenario())
    assert figures is not None
    assert cost is not None
    for number in (1, 2):
        log = AuditLog.opened(log_file)
        monotonic = FileMonotonic(site / "answered.json")
        ledger = ledger_of(folder, charter.scenario())
        journal_of(folder, log, monotonic, ledger, figures).keep(b"e" * 32, b"reply", number)
        # The first reply left before anything was paid, so that there is no file yet.
        assert path.exists() is (number == 2)
        with opened_site(site) as opened:
            ours = opened.agent._journal._figures
            assert ours is not None
            assert ours.head == figures.head
        if number == 1:
            figures.reserve(cost, release_id=ReleaseId(charter.run, 0, 3, 0))
    if gone == "the file":
        path.unlink()
    else:
        path.write_bytes(b"")
    sentence = r"judging.* is older than .*audit\.jsonl, or was removed"
    for later in (charter, charter.model_copy(update={"epoch": 2, "run": "ab" * 8})):
        with pytest.raises(RunFolderError, match=sentence):
            approve_charter(site, later)
    with pytest.raises(RunFolderError, match=sentence), opened_site(site):
        raise AssertionError("the agent started")
    checks = {check.name: check.run for check in checks_of(folder, AuditLog.opened(log_file))}
    with pytest.raises(RunFolderError, match=sentence):
        checks["receipts"]()


def test_a_full_disk_leaves_no_approval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    charter = federation(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunFolderError, match=r"cannot write into .*: No space left on device"):
            approve_charter(tmp_path / "0", charter)
    assert not (tmp_path / "0" / APPROVAL).exists()
    approve_charter(tmp_path / "0", charter)


def test_a_charter_of_other_sites_is_refused(tmp_path: Path) -> None:
    federation(tmp_path)
    other = federation(tmp_path / "other")
    with pytest.raises(RunFolderError, match="roster does not list this site's Ed25519 key"):
        approve_charter(tmp_path / "0", other)


def test_a_folder_whose_charter_was_swapped_does_not_start(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    site = tmp_path / "0"
    with pytest.raises(RunFolderError, match="has approved no charter"), opened_site(site):
        pass
    newer = charter.model_copy(update={"epoch": 2})
    approve_charter(site, charter)
    kept = (site / APPROVAL).read_bytes()
    approve_charter(site, newer)
    charter.write(site / CHARTER)
    (site / APPROVAL).write_bytes(kept)
    refusal = pytest.raises(RunFolderError, match=r"is not the charter that .* was approved last")
    with refusal, opened_site(site):
        pass


def test_the_log_of_an_approval_goes_on_in_the_agents(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    site = tmp_path / "0"
    approve_charter(site, charter)
    with opened_site(site) as opened:
        assert not opened.is_finished
        with pytest.raises(RunFolderError, match="is in use"), opened_site(site):
            pass
        with pytest.raises(RunFolderError, match="is in use"):
            approve_charter(site, charter)
    events = [line.event for line in verified(site / "audit.jsonl")]
    assert events == [Event.APPROVED, Event.STARTED, Event.STOPPED]


def test_a_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    approve_charter(tmp_path / "0", charter)
    (tmp_path / "0").chmod(0o750)
    with pytest.raises(RunFolderError, match="is open to other users"):
        approve_charter(tmp_path / "0", charter)
    with pytest.raises(RunFolderError, match="is open to other users"), opened_site(tmp_path / "0"):
        pass


def test_a_witness_shows_a_folder_from_a_backup(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    site = tmp_path / "0"
    (site / "site.toml").write_text(f'witness = "{tmp_path}/witness"\n')
    approve_charter(site, charter)
    backup = (site / "audit.jsonl").read_bytes()
    with opened_site(site) as opened:
        opened.agent._journal.log.note(Event.TRAINING)
        opened.agent._journal.testify()
    (site / "audit.jsonl").write_bytes(backup)
    older = r"audit\.jsonl is older than a receipt"
    with pytest.raises(RunFolderError, match=older), opened_site(site):
        pass
    with pytest.raises(RunFolderError, match=older):
        approve_charter(site, charter)
    (tmp_path / "witness").unlink()
    with pytest.raises(RunFolderError, match="cannot read the witness"), opened_site(site):
        pass


def test_numbers_that_are_gone_are_not_begun_anew(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    site = tmp_path / "0"
    approve_charter(site, charter)
    (site / "answered.json").unlink()
    for act in (lambda: approve_charter(site, charter), lambda: opened_site(site).__enter__()):
        with pytest.raises(Exception, match=r"answered\.json is missing or damaged"):
            act()


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ({"code": '{ allowed = ["0000000000000000"] }'}, r"code\.allowed does not list"),
        ({"channel": "{ min_cohort = 5 }"}, "does not allow sums of 4 updates"),
        ({"channel": "{ corrupt = 2 }"}, "does not allow masks that withstand 1"),
        ({"channel": '{ allowed = ["plain"] }'}, "does not list 'masked'"),
        ({"budget": "{ epsilon = 3.9 }"}, "does not allow epsilon 4"),
        ({"budget": "{ delta = 1e-6 }"}, "does not allow delta 1e-05"),
    ],
)
def test_a_policy_that_was_tightened_stops_the_agent(
    tables: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    charter = federation(tmp_path)
    site = tmp_path / "0"
    approve_charter(site, charter)
    allow(site, **tables)
    with pytest.raises(PolicyRefused, match=sentence), opened_site(site):
        pass
    assert AuditLog.opened(site / "audit.jsonl").lines[-1].event is Event.APPROVED


def spent_and_sent(site: Path, charter: Charter) -> None:
    """Pays for three trainings, and notes that a reply left after them."""
    folder = Folder.read(site, charter)
    outlook = approve_charter(site, charter)
    ledger = ledger_of(folder, charter.scenario())
    assert ledger is not None
    assert outlook.cost is not None
    for round in range(3):
        ledger.reserve(outlook.cost, release_id=ReleaseId(charter.run, 0, round, 0))
    log = AuditLog.opened(site / "audit.jsonl")
    monotonic = FileMonotonic(site / "answered.json")
    journal_of(folder, log, monotonic, ledger).keep(b"e" * 32, b"reply", 1)


@pytest.mark.parametrize("gone", ["the ledger", "the registration, and a byte changed", "a line"])
def test_a_ledger_that_was_removed_is_not_begun_anew(gone: str, tmp_path: Path) -> None:
    charter = federation(tmp_path)
    site = tmp_path / "0"
    spent_and_sent(site, charter)
    (ledger,) = (site / "ledger").glob("*.jsonl")
    if gone == "the ledger":
        ledger.unlink()
    elif gone == "a line":
        ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))
    else:
        (site / "ledger/registered.json").unlink()
        ledger.rename(ledger.with_name(f"{'f' * 64}.jsonl"))
    sentence = r"ledger is older than .*audit\.jsonl, or was removed"
    for later in (charter, charter.model_copy(update={"epoch": 2, "run": "ab" * 8})):
        with pytest.raises(RunFolderError, match=sentence):
            approve_charter(site, later)
    refusal = RunFolderError if (site / "ledger/registered.json").exists() else NotReady
    with pytest.raises(refusal), opened_site(site):
        raise AssertionError("the agent started")


def test_a_witness_that_is_gone_is_not_begun_anew(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    site, settings = tmp_path / "0", tmp_path / "0/site.toml"
    witnessed = f'witness = "{tmp_path}/witness"\n'
    settings.write_text(witnessed)
    approve_charter(site, charter)
    (tmp_path / "witness").unlink()
    with pytest.raises(RunFolderError, match="witness is gone, which the last approval"):
        approve_charter(site, charter.model_copy(update={"epoch": 2}))
    # Whoever means it says so.
    settings.write_text("")
    approve_charter(site, charter)
    settings.write_text(witnessed)
    approve_charter(site, charter)
    assert (tmp_path / "witness").exists()


@pytest.mark.parametrize(
    "registered", ["{}", '{"ledger": "../../other", "files": ["a"]}', '{"ledger": 1, "files": []}']
)
def test_a_damaged_registration_is_refused(registered: str, tmp_path: Path) -> None:
    charter = federation(tmp_path)
    approve_charter(tmp_path / "0", charter)
    (tmp_path / "0/ledger/registered.json").write_text(registered)
    with pytest.raises(RunFolderError, match="registers no data set"), opened_site(tmp_path / "0"):
        pass
    with pytest.raises(RunFolderError, match="registers no data set"):
        approve_charter(tmp_path / "0", charter)
