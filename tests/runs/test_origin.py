"""Training that continues from a released model pays for all of it."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from securefl.audit.lint import examine
from securefl.errors import BudgetExceeded, LedgerError, RunFolderError, ScenarioError
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import read_entries
from securefl.privacy.events import DiscreteGaussianSum, SampledGaussian
from securefl.privacy.ledger import Ledger
from securefl.privacy.past import NO_PAST, past_of
from securefl.privacy.terms import Terms
from securefl.runs import api
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.folder import Request, RunFolder
from securefl.runs.origin import origin_of
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import parse_scenario
from tests.commands import call, refused
from tests.privacy.test_ledger import rid
from tests.values import present

TEXT = """
rounds = 3
data = { name = "heart" }
training = { kind = "dp_sgd", batch = 64 }
privacy = { epsilon = 3.0, delta = 1e-5 }
"""
MORE = TEXT.replace("epsilon = 3.0", "epsilon = 5.0")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("continuation") / "earlier"
    api.run(parse_scenario(TEXT), folder, text=TEXT)
    return folder


def cell(folder: Path) -> Cell:
    ((_, _, found),) = RunFolder.open(folder).cells()
    return found


def after(folder: Path, text: str = MORE) -> str:
    return f'init_from = "{folder}"\n{text}'


# --- a ledger that goes on


def test_earlier_releases_count_and_the_first_line_names_them(tmp_path: Path) -> None:
    event, terms = SampledGaussian(0.1, 1.0, 10), Terms("example", "add_remove", 1e-5, 8.0)
    first = Ledger(tmp_path / "1.jsonl", terms)
    for round in range(3):
        first.reserve(event, release_id=rid(round))
    past = past_of(tmp_path / "1.jsonl")
    assert past.heads[-1] == first.head
    assert past.events == ((event, 3),)

    second = Ledger(tmp_path / "2.jsonl", terms, past)
    assert second.epsilon() == first.epsilon()
    second.reserve(event, release_id=rid(7))
    assert second.count(event) == 4
    assert second.epsilon() == epsilon({event: 4}, delta=1e-5)
    told = read_entries(tmp_path / "2.jsonl")[0]["before"]
    assert told["head"] == first.head
    assert told["events"] == [[{"sample_rate": 0.1, "noise_multiplier": 1.0, "steps": 10}, 3]]
    assert past_of(tmp_path / "2.jsonl").events == ((event, 4),)  # and so on
    assert Ledger(tmp_path / "2.jsonl", terms, past).head == second.head


def test_a_ledger_that_continues_something_else_is_refused(tmp_path: Path) -> None:
    event, terms = SampledGaussian(0.1, 1.0, 10), Terms("example", "add_remove", 1e-5, 8.0)
    Ledger(tmp_path / "1.jsonl", terms).reserve(event, release_id=rid(0))
    past = past_of(tmp_path / "1.jsonl")
    Ledger(tmp_path / "2.jsonl", terms, past).reserve(event, release_id=rid(1))
    with pytest.raises(
        LedgerError, match=r"2\.jsonl does not continue the run that it is said to continue"
    ):
        Ledger(tmp_path / "2.jsonl", terms, NO_PAST)
    with pytest.raises(
        LedgerError, match=r"1\.jsonl does not continue the run that it is said to continue"
    ):
        Ledger(tmp_path / "1.jsonl", terms, past)


# --- a run that goes on


def test_a_continued_run_starts_from_the_model_and_both_stay_within_the_budget(
    earlier: Path, tmp_path: Path
) -> None:
    scenario = parse_scenario(after(earlier))
    start = assemble(scenario, run="x", ledgers=tmp_path / "none", origin=origin_of(scenario)).start
    assert torch.equal(start.weights, load_checkpoint(cell(earlier).checkpoint).state.weights)
    assert start.round == 0

    metrics = api.run(scenario, tmp_path / "later", text=after(earlier))
    booked: Counter[SampledGaussian] = Counter()
    for folder in (earlier, tmp_path / "later"):
        entries = read_entries(cell(folder).ledgers / "0.jsonl")
        booked.update(SampledGaussian(**entry["event"]) for entry in entries if entry["event"])
    assert booked.total() == 6
    assert metrics["epsilons"]["0"] == epsilon(booked, delta=1e-5)
    assert 0.99 * 5.0 <= present(metrics["epsilon"]) <= 5.0
    (verdict,) = examine(tmp_path / "later")
    assert verdict.findings == []


def test_a_continued_run_is_not_assembled_from_scratch(earlier: Path, tmp_path: Path) -> None:
    later, alone = parse_scenario(after(earlier)), parse_scenario(TEXT)
    for scenario, origin in ((later, None), (alone, origin_of(later))):
        with pytest.raises(
            ValueError, match="an origin goes with a scenario that names one in init_from"
        ):
            assemble(scenario, run="x", ledgers=tmp_path / "none", origin=origin)


def test_a_third_run_pays_for_both(earlier: Path, tmp_path: Path) -> None:
    api.run(parse_scenario(after(earlier)), tmp_path / "second")
    third = after(tmp_path / "second", TEXT.replace("epsilon = 3.0", "epsilon = 6.0"))
    metrics = api.run(parse_scenario(third), tmp_path / "third")
    assert 0.99 * 6.0 <= present(metrics["epsilon"]) <= 6.0
    assert past_of(cell(tmp_path / "third").ledgers / "2.jsonl").events[0][1] == 3
    assert (
        sum(count for _, count in past_of(cell(tmp_path / "third").ledgers / "2.jsonl").events) == 9
    )


SUMS = """
rounds = 3
data = { name = "heart" }
training = { kind = "clipped_gradient", lr = 0.5 }
privacy = { place = "distributed", epsilon = 5.0, delta = 1e-5 }
channel = { kind = "masked" }
"""


def test_noise_in_shares_after_noise_of_their_own_counts_with_it(
    earlier: Path, tmp_path: Path
) -> None:
    text = after(earlier, SUMS)
    metrics = api.run(parse_scenario(text), tmp_path / "sums", text=text)
    # One noise for all: the client that had spent most reaches the budget, by composed divergences.
    costs = {}
    for ledger in sorted(cell(tmp_path / "sums").ledgers.iterdir()):
        booked = dict(past_of(ledger).events)
        kinds = {type(event): count for event, count in booked.items()}
        assert kinds == {SampledGaussian: 3, DiscreteGaussianSum: 3}
        costs[ledger.stem] = epsilon(booked, delta=1e-5)
    assert metrics["epsilons"] == costs
    assert 0.99 * 5.0 <= max(costs.values()) == metrics["epsilon"] <= 5.0
    assert min(costs.values()) < 0.99 * 5.0
    (verdict,) = examine(tmp_path / "sums")
    assert verdict.findings == []


def test_a_client_that_sits_out_the_middle_run_still_pays_for_the_first(
    earlier: Path, tmp_path: Path
) -> None:
    # Client 3 is in no round of the second run, which therefore books nothing for it.
    out = "\n".join(f"[[simulate.drop]]\nclient = 3\nround = {n}\nstage = 1" for n in range(3))
    api.run(parse_scenario(after(earlier, f"{MORE}{out}\n")), tmp_path / "second")
    first, second = (
        past_of(cell(earlier).ledgers / "3.jsonl"),
        past_of(cell(tmp_path / "second").ledgers / "3.jsonl"),
    )
    assert second.events == first.events
    (opening,) = read_entries(cell(tmp_path / "second").ledgers / "3.jsonl")
    assert (opening["kind"], opening["release"], opening["event"]) == ("begin", None, None)
    assert opening["before"] == first.to_json()
    (verdict,) = examine(tmp_path / "second")
    assert verdict.findings == []

    third = after(tmp_path / "second", TEXT.replace("epsilon = 3.0", "epsilon = 6.0"))
    metrics = api.run(parse_scenario(third), tmp_path / "third")
    booked = Counter(dict(first.events))
    entries = read_entries(cell(tmp_path / "third").ledgers / "3.jsonl")
    booked.update(SampledGaussian(**entry["event"]) for entry in entries if entry["event"])
    assert booked.total() == 6
    assert metrics["epsilons"]["3"] == epsilon(booked, delta=1e-5)
    (cell(tmp_path / "second").ledgers / "3.jsonl").unlink()
    with pytest.raises(LedgerError, match=r"the ledger 3\.jsonl of .* was cut or replaced"):
        api.run(parse_scenario(third), tmp_path / "fourth")


def test_a_past_alone_is_no_release(earlier: Path, tmp_path: Path) -> None:
    api.run(parse_scenario(after(earlier)), tmp_path / "later")
    terms = Terms("example", "add_remove", 1e-5, 5.0)
    for file in sorted(cell(tmp_path / "later").ledgers.iterdir()):
        file.unlink()
        Ledger(file, terms, past_of(cell(earlier).ledgers / file.name)).begin()
    (verdict,) = examine(tmp_path / "later")
    told = {finding.name: finding.message for finding in verdict.findings}
    assert (
        told["claim-without-noise"] == "a finite epsilon is claimed, and no ledger holds a release"
    )


def test_a_ledger_whose_past_cannot_be_written_says_so(tmp_path: Path) -> None:
    event, terms = SampledGaussian(0.1, 1.0, 10), Terms("example", "add_remove", 1e-5, 8.0)
    Ledger(tmp_path / "1.jsonl", terms).reserve(event, release_id=rid(0))
    past = past_of(tmp_path / "1.jsonl")
    later = Ledger(tmp_path / "none" / "1.jsonl", terms, past)
    (tmp_path / "none").write_text("a file where the folder should be")
    with pytest.raises(LedgerError, match=r"the ledger 1\.jsonl cannot be written: "):
        later.begin()
    again = Ledger(tmp_path / "2.jsonl", terms, past)
    again.begin()
    again.begin()
    assert len(read_entries(tmp_path / "2.jsonl")) == 1
    Ledger(tmp_path / "3.jsonl", terms).begin()
    assert not (tmp_path / "3.jsonl").exists()


def test_an_interrupted_continuation_resumes_and_pays_once(earlier: Path, tmp_path: Path) -> None:
    seeded = TEXT.replace("delta = 1e-5", 'delta = 1e-5, noise = "seeded"')
    api.run(parse_scenario(seeded), tmp_path / "first")
    text = after(tmp_path / "first", seeded.replace("epsilon = 3.0", "epsilon = 5.0"))

    class Stop(BaseException):
        pass

    def stop(record: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        api.run(parse_scenario(text), tmp_path / "later", on_round=stop)
    resumed = api.run(parse_scenario(text), tmp_path / "later")
    straight = api.run(parse_scenario(text), tmp_path / "straight")
    assert resumed["epsilon"] == straight["epsilon"]
    assert resumed["accuracy"] == straight["accuracy"]


def test_without_a_claim_only_the_model_is_taken_over(earlier: Path, tmp_path: Path) -> None:
    plain = 'rounds = 1\ndata = { name = "heart" }\ntraining = { kind = "sgd" }\n'
    metrics = api.run(parse_scenario(after(earlier, plain)), tmp_path / "later")
    assert metrics["epsilon"] is None


# --- refusals


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            MORE.replace('"heart" }', '"heart", split_seed = 4 }'),
            r"has data\.split_seed = 0, here it is 4; they",
        ),
        (
            MORE.replace("rounds = 3", 'rounds = 3\nmodel = { name = "mlp" }'),
            r"has model\.name = logistic, here it is mlp|has model\.hidden = not set",
        ),
        (
            MORE.replace("delta = 1e-5", "delta = 1e-6"),
            r"has privacy\.delta = 1e-05, here it is 1e-06",
        ),
        (
            MORE.replace("delta = 1e-5", "delta = 1e-5, records = [9, 9, 9, 9]"),
            r"has privacy\.records = \[",
        ),
    ],
)
def test_another_training_than_the_earlier_one_is_refused(
    earlier: Path, tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        api.run(parse_scenario(after(earlier, text)), tmp_path / "later")


def test_a_spent_budget_is_refused_before_anything_is_made(earlier: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BudgetExceeded,
        match=r"has spent epsilon 2\.99\d of 3, which is for both runs: raise privacy",
    ):
        api.run(parse_scenario(after(earlier, TEXT)), tmp_path / "later")
    assert not (tmp_path / "later").exists()


def test_a_claim_on_a_model_that_was_trained_without_noise_is_refused(tmp_path: Path) -> None:
    plain = 'rounds = 1\ndata = { name = "heart" }\ntraining = { kind = "sgd" }\n'
    api.run(parse_scenario(plain), tmp_path / "plain")
    with pytest.raises(
        ScenarioError, match="claims no DP: its model was trained on these records without noise"
    ):
        api.run(parse_scenario(after(tmp_path / "plain")), tmp_path / "later")
    assert not (tmp_path / "later").exists()


def test_a_run_that_did_not_end_or_is_none_is_refused(earlier: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(earlier, tmp_path / "copy"))
    status = cell(copy).folder / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"state": "running"}))
    with pytest.raises(ScenarioError, match="did not end; resume it first"):
        api.run(parse_scenario(after(copy)), tmp_path / "later")
    with pytest.raises(ScenarioError, match=r"init_from: .* is not a run folder"):
        api.run(parse_scenario(after(tmp_path / "nowhere")), tmp_path / "later")
    assert not (tmp_path / "later").exists()


def test_a_folder_of_several_runs_is_refused(tmp_path: Path) -> None:
    one, other = parse_scenario("rounds = 1"), parse_scenario("rounds = 2")
    RunFolder.create(tmp_path / "two", Request.of({"one": one, "other": other}, ""))
    with pytest.raises(ScenarioError, match=r"init_from: .* holds 2 runs, it must be one"):
        api.run(parse_scenario(after(tmp_path / "two")), tmp_path / "later")


def test_ledgers_that_were_cut_or_edited_are_refused(earlier: Path, tmp_path: Path) -> None:
    cut = Path(shutil.copytree(earlier, tmp_path / "cut"))
    ledger = cell(cut).ledgers / "2.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-2]))
    with pytest.raises(LedgerError, match=r"the ledger 2\.jsonl of .* was cut or replaced"):
        api.run(parse_scenario(after(cut)), tmp_path / "later")
    gone = Path(shutil.copytree(earlier, tmp_path / "gone"))
    (cell(gone).ledgers / "2.jsonl").unlink()
    with pytest.raises(LedgerError, match=r"the ledger 2\.jsonl of .* was cut or replaced"):
        api.run(parse_scenario(after(gone)), tmp_path / "later")
    edited = Path(shutil.copytree(earlier, tmp_path / "edited"))
    ledger = cell(edited).ledgers / "2.jsonl"
    ledger.write_text(ledger.read_text().replace('"steps":1', '"steps":2', 1))
    with pytest.raises(LedgerError, match=r"2\.jsonl was edited at line 1"):
        api.run(parse_scenario(after(edited)), tmp_path / "later")


def test_a_damaged_model_is_refused(earlier: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(earlier, tmp_path / "copy"))
    cell(copy).checkpoint.write_bytes(b"nothing")
    with pytest.raises(RunFolderError, match="is damaged"):
        api.run(parse_scenario(after(copy)), tmp_path / "later")


def test_validate_looks_for_the_run_and_says_what_it_spent(earlier: Path, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(after(earlier))
    done = call("validate", "s.toml", cwd=tmp_path)
    assert f"goes on from {earlier}, which spent epsilon 2.99" in done.stdout
    refused(
        call("validate", "s.toml", "--set", "privacy.epsilon=3.0", cwd=tmp_path),
        3,
        "which is for both runs",
    )
    (tmp_path / "s.toml").write_text(after(tmp_path / "nowhere"))
    refused(call("validate", "s.toml", cwd=tmp_path), 2, "is not a run folder")
