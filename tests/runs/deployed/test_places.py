"""Noise of whole sums between sites: the same model as a simulation, and the same ledgers."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from securefl.errors import PolicyRefused, ScenarioError
from securefl.federation import engine
from securefl.federation.policy import load_policy, parse_policy
from securefl.privacy.chain import read_entries
from securefl.privacy.data_set import NO_NOISE
from securefl.privacy.events import ReleaseId, event_from_json
from securefl.privacy.past import past_of
from securefl.privacy.terms import LOCAL, Place
from securefl.runs.deployed.approving import approve_charter, outlook_of
from securefl.runs.deployed.audit_log import AuditLog
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.deployed.journal import AUDIT
from securefl.runs.deployed.rules import Rules
from securefl.runs.deployed.site import opened_site
from securefl.runs.deployed.site_folder import Folder, ledger_of
from securefl.runs.deployed.site_records import Registered, records_at
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import parse_scenario
from tests.commands import call
from tests.runs.deployed.parties import MASKED, deployment
from tests.runs.deployed.sites import allow, charter_file, federation

SUMS = """
seed = 1
rounds = 2
data = { name = "heart", partition = "natural" }
training = { kind = "clipped_gradient", lr = 1.0, momentum = 0.5, ema = 0.8 }
privacy = { epsilon = 8.0, noise = "seeded", place = "PLACE", records = [200, 173, 31, 86] }
"""


@pytest.mark.parametrize("place", ["local", "distributed"])
def test_sites_train_and_pay_as_a_simulation_does(place: str, tmp_path: Path) -> None:
    text = SUMS.replace("PLACE", place) + MASKED
    parties = deployment(text, tmp_path / "sites")
    after = parties.play()
    run = parties.charter.run
    simulated = assemble(parse_scenario(text), run=run, ledgers=tmp_path / "simulated")
    *_, last = engine.run(simulated.federation, simulated.start, rounds=2)
    assert torch.equal(after.weights, last.state.weights)
    assert set(after.step_state) == {"velocity", "iterate"}
    for site in range(4):
        (ledger,) = (tmp_path / "sites").glob(f"**/{site}.jsonl")
        assert past_of(ledger).events == past_of(tmp_path / f"simulated/{site}.jsonl").events


SITES = SUMS.replace('noise = "seeded", ', "").replace("PLACE", "distributed") + MASKED
SHARES = '{ places = ["local", "distributed"] }'


def test_a_site_refuses_noise_in_shares_unless_its_policy_lists_it(tmp_path: Path) -> None:
    charter = federation(tmp_path, SITES)
    site = tmp_path / "0"
    allow(site, channel="{ min_cohort = 3 }")
    sentence = r"^budget\.places does not list 'distributed': .* more than 1 of the other sites$"
    with pytest.raises(PolicyRefused, match=sentence):
        approve_charter(site, charter)
    assert not (site / "approval.json").exists()
    allow(site, budget=SHARES)
    proposal = approve_charter(site, charter).proposal
    assert (proposal.place, proposal.n_min) == (Place("distributed", 1), 2)
    # A policy that was tightened since stops the agent.
    allow(site, budget='{ places = ["local"] }')
    with pytest.raises(PolicyRefused, match=sentence), opened_site(site):
        pass


def test_an_approval_says_whom_noise_in_shares_holds_against(tmp_path: Path) -> None:
    federation(tmp_path, SITES)
    site = tmp_path / "0"
    allow(site, channel="{ min_cohort = 3 }", budget=SHARES)
    done = call("site", "approve", site, charter_file(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "; its epsilon holds against the coordinator together with up to 1 other site(s), as each "
        "sum has the noise of at least 2 honest ones, and NOT against more sites than that; no "
        "figures" in done.stdout
    )
    assert (
        "at its end, of 8 at delta 1e-05, which holds against the coordinator together with up to "
        "1 other site(s)" in done.stdout
    )
    again = call("site", "approve", site, charter_file(tmp_path), "--json", cwd=tmp_path)
    first, *_ = map(json.loads, again.stdout.splitlines())
    assert (first["place"], first["corrupt"], first["n_min"]) == ("distributed", 1, 2)


def test_what_was_released_under_noise_in_shares_stays_on_the_data_sets_account(
    tmp_path: Path,
) -> None:
    first = federation(tmp_path / "a", SITES)
    site = tmp_path / "a/0"
    allow(site, channel="{ min_cohort = 3 }", budget=SHARES)
    outlook = approve_charter(site, first)
    ledger = ledger_of(Folder.read(site, first), first.scenario())
    assert outlook.cost is not None
    ledger.reserve(outlook.cost, release_id=ReleaseId(first.run, 0, 0, 0))
    # Another federation, whose noise is each site's own, on the same records.
    text = SITES.replace('"distributed"', '"local"').replace("epsilon = 8.0", "epsilon = 2.0")
    second = federation(tmp_path / "b", text)
    job = as_member(second, first)
    shared = replace(outlook_of(Folder.read(site, job), records(site, job)).proposal, rounds=1)
    assert (shared.place, shared.n_min) == (LOCAL, None)
    assert (shared.earlier, shared.helpers) == ((Place("distributed", 1),), 1)
    load_policy(site / "policy.toml").check(shared, pins=True)
    with pytest.raises(PolicyRefused, match="an earlier federation on the data set had such noise"):
        parse_policy("channel = { min_cohort = 3 }").check(shared, pins=True)


def as_member(job: Charter, first: Charter) -> Charter:
    """Returns a charter for the same site and coordinator as another."""
    member = job.roster["0"].model_copy(update={"key": first.roster["0"].key})
    roster = {**job.roster, "0": member}
    return job.model_copy(update={"roster": roster, "server": first.server})


def permit(site: Path, charter: Charter, round: int) -> None:
    """Permits a training as an agent does."""
    folder = Folder.read(site, charter)
    books = (0, ledger_of(folder, charter.scenario()))
    Rules(folder.policy, charter, AuditLog.opened(site / AUDIT), books=books).permit(round)


def test_a_place_that_an_earlier_federation_had_counts_at_every_start_and_training(
    tmp_path: Path,
) -> None:
    first = federation(tmp_path / "a", SITES)
    site = tmp_path / "a/0"
    allow(site, channel="{ min_cohort = 3 }", budget=SHARES)
    cost = approve_charter(site, first).cost
    assert cost is not None
    text = SITES.replace('"distributed"', '"local"').replace("epsilon = 8.0", "epsilon = 2.0")
    second = as_member(federation(tmp_path / "b", text), first)
    approve_charter(site, second)
    # Approved before anything was released; the policy was tightened since.
    allow(site, budget='{ places = ["local"] }')
    permit(site, second, 0)
    ledger = ledger_of(Folder.read(site, first), first.scenario())
    ledger.reserve(cost, release_id=ReleaseId(first.run, 0, 0, 0))
    sentence = "an earlier federation on the data set had such noise"
    with pytest.raises(PolicyRefused, match=sentence):
        permit(site, second, 1)
    with pytest.raises(PolicyRefused, match=sentence), opened_site(site):
        pass


def test_training_without_a_claim_is_on_the_data_sets_account(tmp_path: Path) -> None:
    local = SITES.replace('"distributed"', '"local"')
    first = federation(tmp_path / "a", local.replace("epsilon = 8.0", "epsilon = inf"))
    site = tmp_path / "a/0"
    allow(site, channel="{ min_cohort = 3 }", budget="{ epsilon = inf }")
    approve_charter(site, first)
    second = as_member(federation(tmp_path / "b", local), first)
    allow(site, budget="{ epsilon = 8.0 }")
    approve_charter(site, second)
    # Nothing was trained until now.
    allow(site, budget="{ epsilon = inf }")
    approve_charter(site, first)
    permit(site, first, 0)
    (entry,) = read_entries(next((site / "ledger").glob("*.jsonl")))
    assert event_from_json(entry["event"]) == NO_NOISE
    assert approve_charter(site, second).spent == math.inf
    allow(site, budget="{ epsilon = 1e9 }")
    sentence = "^budget.epsilon = 1e.09 bounds all federations .* an earlier one claimed no epsilon"
    with pytest.raises(PolicyRefused, match=sentence):
        approve_charter(site, second)


def records(site: Path, charter: Charter) -> Registered:
    return records_at(site, charter.scenario(), 0)


def test_a_coordinator_hears_that_sites_refuse_noise_in_shares_by_default(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SITES)
    done = call(
        "coordinate", "init", "s.toml", "--address", "127.0.0.1:9", "--out", "fed", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "has to list 'distributed' in budget.places of its policy.toml" in done.stdout


def test_central_noise_between_sites_is_refused() -> None:
    scenario = parse_scenario(SUMS.replace("PLACE", "central") + MASKED)
    with pytest.raises(ScenarioError, match="between sites, use 'distributed' or 'local'"):
        check_deployable(scenario)
