"""Hierarchical federation: regions play rounds of their own, and a top combines their changes."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import attacks
from securefl.channels.messages import HASH_BYTES, HEAD_BYTES
from securefl.channels.protocol import UNWATCHED, Observation, Seen
from securefl.errors import BudgetExceeded, ClientFailure, RoundAbandoned, ScenarioError
from securefl.federation import engine
from securefl.federation.profile import Profile
from securefl.federation.record import RoundRecord
from securefl.federation.topologies.hierarchical import SEES
from securefl.federation.values import Played
from securefl.files import read_lines
from securefl.learning.protocol import Trained
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import read_entries
from securefl.runs import api
from securefl.runs.cell import Cell
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.play import run_cell
from securefl.scenario import catalog
from securefl.scenario.assemble.assemble import Assembled, assemble, join
from securefl.scenario.assemble.parts import parts
from securefl.scenario.assemble.trainers import fine_tuners, step_options
from securefl.scenario.budget import outlook, require_lasting
from securefl.scenario.making.algorithm import schedule_of
from securefl.scenario.scenario import Scenario, make_scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.federation.topologies.playing import played, weights
from tests.privacy.lint import test_lint as lint
from tests.recorder import Recorder
from tests.runs.test_play import comparable, nothing, run_until_killed
from tests.scenario.texts import refusal
from tests.values import present

SIX = 'rounds = 3\ndata = { name = "heart", partition = "iid", clients = 6 }\n'
SGD = 'training = { kind = "sgd", batch = 32, lr = 0.2 }\n'
DP = """
training = {{ batch = 32, lr = 0.2 }}
privacy = {{ noise = "{noise}", noise_multiplier = 2.0 }}
"""
PAIRS = "[[0, 1], [2, 3], [4, 5]]"
HALVES = "[[0, 2, 4], [1, 3, 5]]"


def over(regions: str, more: str = "") -> str:
    return f'topology = {{ kind = "hierarchical", regions = {regions}{more and ", "}{more} }}\n'


def sgd(regions: str, keys: str = "", more: str = "") -> Scenario:
    return parse_scenario(SIX + SGD + over(regions, keys) + more)


def dp(keys: str = "inner_rounds = 2", more: str = "", noise: str = "seeded") -> Scenario:
    return parse_scenario(SIX + DP.format(noise=noise) + over(PAIRS, keys) + more)


def bits(vector: Tensor) -> list[int]:
    return vector.view(torch.int32).tolist()


# The arithmetic.


@pytest.mark.parametrize("channel", ["plain", "masked"])
def test_one_region_and_a_mean_above_is_a_run_with_one_server(channel: str, tmp_path: Path) -> None:
    more = f'channel = {{ kind = "{channel}", min_cohort = 3 }}\n'
    below = played(sgd("[[0, 1, 2, 3, 4, 5]]", more=more), tmp_path / "below")
    server = played(parse_scenario(SIX + SGD + more), tmp_path / "server")
    # The region hands up (x + e) - x in place of e, which rounds each coordinate once more.
    torch.testing.assert_close(weights(below), weights(server), rtol=0, atol=1e-6)
    assert [record.survivors for record in below.rounds()] == [tuple(range(6))] * 3


def test_one_region_adds_the_same_bits_where_the_model_is_larger_than_its_change(
    tmp_path: Path,
) -> None:
    # Then x + e lies within a factor of two of x, so that (x + e) - x is exact (Sterbenz), and
    # added to x it is x + e again.
    text = SIX.replace("rounds = 3", "rounds = 1") + 'model = { name = "mlp" }\n'
    text += SGD.replace("lr = 0.2", "lr = 1e-6")
    below = played(parse_scenario(text + over("[[0, 1, 2, 3, 4, 5]]")), tmp_path / "below")
    server = played(parse_scenario(text), tmp_path / "server")
    start = assemble(parse_scenario(text), run="", ledgers=tmp_path / "none").start.weights
    large = start.abs() > 1e-3
    assert int(large.sum()) > 100
    assert not torch.equal(weights(server)[large], start[large])
    assert bits(weights(below)[large]) == bits(weights(server)[large])


@pytest.mark.parametrize("regions", [HALVES, "[[0], [1, 2], [3, 4, 5]]"])
@pytest.mark.parametrize("how", ["equal", "declared"])
def test_means_of_means_are_fedavg_also_where_clients_drop_out(
    regions: str, how: str, tmp_path: Path
) -> None:
    more = f'weights = "{how}"\nsimulate = {{ drop = [{{ client = 1, round = 1 }}] }}\n'
    below = played(sgd(regions, more=more), tmp_path / "below")
    server = played(parse_scenario(SIX + SGD + more), tmp_path / "server")
    torch.testing.assert_close(weights(below), weights(server), rtol=0, atol=1e-6)
    survivors = [record.survivors for record in below.rounds()]
    assert survivors == [record.survivors for record in server.rounds()]
    assert survivors[1] == (0, 2, 3, 4, 5)


@pytest.mark.parametrize("step", ["fedadam", "fedavgm"])
def test_the_servers_step_is_taken_at_the_top_once_a_round(step: str, tmp_path: Path) -> None:
    more = f'server = {{ step = "{step}" }}\nweights = "equal"\n'
    below = played(sgd(HALVES, more=more), tmp_path / "below")
    server = played(parse_scenario(SIX + SGD + more), tmp_path / "server")
    torch.testing.assert_close(weights(below), weights(server), rtol=0, atol=1e-5)


TRIMMED = 'inner_rounds = 2, top = { rule = "trimmed_mean", f = 1 }'


@pytest.mark.parametrize("workers", [1, 2])
def test_two_inner_rounds_under_a_trimmed_mean_equal_the_slow_way(
    workers: int, tmp_path: Path
) -> None:
    regions = [[0, 1], [2, 3], [4, 5]]
    cell = played(sgd(PAIRS, TRIMMED), tmp_path / "cell", workers=workers)
    made = parts(sgd(PAIRS, TRIMMED), run="", ledgers=tmp_path / "none")
    records = made.scenario.site_records
    x = assemble(made.scenario, run="", ledgers=tmp_path / "none").start.weights
    for round in range(3):
        changes = []
        for region in regions:
            y = x
            total = sum(records[client] for client in region)
            for number in (2 * round, 2 * round + 1):
                mean = torch.zeros_like(y)
                for client in region:
                    delta = made.trainers[client].fit(y, round=number).delta
                    mean += records[client] / total * delta
                y = y + mean
            changes.append(y - x)
        # Of three values, the trimmed mean with f = 1 keeps the one in the middle.
        x = x + torch.stack(changes).median(dim=0).values
    torch.testing.assert_close(weights(cell), x, rtol=0, atol=1e-6)


# What parties see.


class Kept(Recorder):
    """Keeps what parties see, and finds it by party and kind, ascending by client."""

    def by(self, party: str, kind: Seen) -> list[Observation]:
        found = [one for one in self.observations if (one.party, one.kind) == (party, kind)]
        return sorted(found, key=lambda one: one.about)


def play_one(scenario: Scenario, folder: Path, kept: Kept) -> tuple[Assembled, Played]:
    assembled = join(parts(scenario, run="", ledgers=folder))
    return assembled, assembled.play(assembled.federation, assembled.start, kept)


def expected(party: str, channel: str) -> set[str]:
    """What a kind of party sees: of the topology, and of the channel inside a region."""
    kinds = set(SEES.get(party, ()))
    inside = catalog.CHANNELS[channel].sees
    kinds |= set(inside.get("server" if party == "region" else party, ()))
    return {kind.value for kind in kinds}


@pytest.mark.parametrize("channel", ["plain", "masked"])
def test_the_transcript_of_a_run_has_what_is_declared(channel: str, tmp_path: Path) -> None:
    more = f'channel = {{ kind = "{channel}" }}\n'
    cell = played(sgd(HALVES, more=more), tmp_path / "cell")
    seen: dict[str, set[str]] = {}
    for line in read_lines(cell.folder / "transcript.jsonl"):
        seen.setdefault(line["party"], set()).add(line["kind"])
    clients = {f"client {client}" for client in range(6)}
    assert set(seen) == {"top", "network", "region 0", "region 1", *clients}
    for party, kinds in seen.items():
        assert kinds == expected(party.split()[0], channel), party


def test_a_region_sees_the_updates_of_its_own_clients_and_the_top_sees_changes(
    tmp_path: Path,
) -> None:
    kept = Kept()
    play_one(sgd(HALVES), tmp_path, kept)
    for number, clients in enumerate([(0, 2, 4), (1, 3, 5)]):
        rows = kept.by(f"region {number}", Seen.CLEAR_UPDATE)
        assert [row.about for row in rows] == [(client,) for client in clients]
        for client, row in zip(clients, rows, strict=True):
            (own,) = kept.by(f"client {client}", Seen.OWN_UPDATE)
            assert torch.equal(present(row.values), present(own.values))
        (change,) = kept.by(f"region {number}", Seen.OWN_UPDATE)
        assert change.about == clients
    changes = kept.by("top", Seen.CLEAR_UPDATE)
    assert [change.about for change in changes] == [(0, 2, 4), (1, 3, 5)]
    rows = kept.by("region 1", Seen.CLEAR_UPDATE)
    records = sgd(HALVES).site_records
    shares = torch.tensor([float(records[client]) for client in (1, 3, 5)])
    mean = (shares / shares.sum()) @ torch.stack([present(row.values) for row in rows])
    torch.testing.assert_close(present(changes[1].values), mean, rtol=0, atol=1e-6)


def test_masks_show_a_regions_server_one_sum_of_its_clients(tmp_path: Path) -> None:
    kept = Kept()
    play_one(sgd(HALVES, more='channel = { kind = "masked" }\n'), tmp_path, kept)
    for number, clients in enumerate([(0, 2, 4), (1, 3, 5)]):
        (opened,) = kept.by(f"region {number}", Seen.SUM_OF_UPDATES)
        assert opened.about == clients
        assert not kept.by(f"region {number}", Seen.CLEAR_UPDATE)
    assert [row.about for row in kept.by("top", Seen.CLEAR_UPDATE)] == [(0, 2, 4), (1, 3, 5)]


def test_each_region_has_a_session_of_its_own(tmp_path: Path) -> None:
    assembled = join(parts(sgd(HALVES), run="", ledgers=tmp_path))
    federation = assembled.federation
    sessions = {federation.session, *(region.session for region in federation.regions.values())}
    assert len(sessions) == 3
    members = {number: tuple(region.clients) for number, region in federation.regions.items()}
    assert members == {0: (0, 2, 4), 1: (1, 3, 5)}


def test_the_facts_of_a_region_are_not_those_that_were_settled_for_all() -> None:
    text = SIX + SGD + 'channel = { kind = "masked" }\n'
    facts = parse_scenario(text.replace('"iid"', '"natural"').replace(", clients = 6", "")).facts
    assert facts.terms.cohort == 4
    assert set(present(facts.public_weights)) == {0, 1, 2, 3}
    assert facts.max_weight == max(facts.site_records)
    region = facts.within([3, 1, 2])
    assert region.terms.cohort == 3
    assert set(present(region.public_weights)) == {1, 2, 3}
    assert region.max_weight == max(facts.site_records[1:]) < facts.max_weight
    assert facts.terms.cohort == 4


def test_the_record_adds_the_bytes_of_both_levels(tmp_path: Path) -> None:
    scenario = sgd(HALVES, "inner_rounds = 2")
    record = played(scenario, tmp_path / "cell").rounds()[0]
    d = scenario.facts.coordinates
    model = HEAD_BYTES + HASH_BYTES + 4 * d
    request = HEAD_BYTES + HASH_BYTES
    update = HEAD_BYTES + 8 + 4 * d  # sender and weight
    messages = 2 * 6 + 2  # of clients in two inner rounds, and of two regions
    assert record.bytes_up == messages * update
    assert record.bytes_down == messages * (model + request)
    assert record.cohort == tuple(range(6))


# Privacy.


def paid(cell: Cell, client: int, kind: str) -> list[int]:
    entries = read_entries(cell.ledgers / f"{client}.jsonl")
    return [entry["release"][2] for entry in entries if entry["kind"] == kind]


def test_each_training_is_paid_for_and_settled_once(tmp_path: Path) -> None:
    cell = played(dp(), tmp_path / "cell")
    for client in range(6):
        assert paid(cell, client, "reserve") == list(range(6))
        assert paid(cell, client, "settle") == list(range(6))
    heads = cell.rounds()[-1].ledger_heads
    assert heads == {
        client: read_entries(cell.ledgers / f"{client}.jsonl")[-1]["hash"] for client in range(6)
    }


CALIBRATED = """
training = { batch = 32, lr = 0.2 }
privacy = { epsilon = 8.0 }
"""
TWICE = SIX + CALIBRATED + over(PAIRS, "inner_rounds = 2")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hierarchical") / "run"
    api.run(parse_scenario(TWICE), folder, text=TWICE)
    return folder


@pytest.fixture
def run(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "run"))


def test_noise_is_calibrated_for_all_trainings_and_the_lint_finds_no_mistake(run: Path) -> None:
    metrics = present(Cell(lint.cell(run)).metrics())
    assert 0.98 * 8 <= present(metrics["epsilon"]) <= 8
    assert lint.messages(run) == {}


def test_the_lint_finds_a_training_of_a_round_that_was_not_booked(run: Path) -> None:
    def unbooked(entry: dict[str, Any]) -> dict[str, Any] | None:
        return None if entry["release"][2] == 3 else entry

    lint.rewrite_ledger(run, 4, unbooked)
    found = lint.messages(run)["steps-not-accounted"]
    assert found == "client 4 trains 2 times in round 1, and its ledger books 1"


def test_the_lint_knows_that_a_client_may_miss_some_trainings_of_a_round(run: Path) -> None:
    def missed(record: dict[str, Any]) -> None:
        if record["round"] == 1:
            record["absent"] = {"4": "inner round 2 of 2: it was silent"}

    def unbooked(entry: dict[str, Any]) -> dict[str, Any] | None:
        return None if entry["release"][2] == 3 else entry

    lint.rewrite_ledger(run, 4, unbooked)
    lint.change_rounds(run, missed)
    assert "steps-not-accounted" not in lint.messages(run)


def test_the_lint_sees_noise_for_less_than_was_asked_of_a_client_in_all_trainings(
    run: Path,
) -> None:
    def noisier(entry: dict[str, Any]) -> dict[str, Any]:
        event = entry["event"]
        double = event and event | {"noise_multiplier": 2 * event["noise_multiplier"]}
        return entry | {"event": double}

    lint.rewrite_ledger(run, 0, noisier)
    assert "noise for epsilon 8 was asked for" in lint.messages(run)["noise-not-as-configured"]


def affordable(scenario: Scenario, trainings: int) -> Scenario:
    """Returns the scenario with a budget for so many trainings of each client."""
    privacy = present(scenario.privacy)
    plan = scenario.facts.plan_without_noise(0).with_noise(present(privacy.noise_multiplier))
    epsilons = [
        epsilon({plan.cost: count}, delta=privacy.delta) for count in (trainings, trainings + 1)
    ]
    values = scenario.resolved()
    values["privacy"]["epsilon"] = sum(epsilons) / 2
    return make_scenario(values)


def test_the_outlook_counts_trainings_and_the_engine_ends_where_it_says(tmp_path: Path) -> None:
    # A budget for five of six trainings: in the last round the first inner round is paid for.
    scenario = affordable(dp(), 5)
    assert require_lasting(scenario).leaves == {}
    cell = played(scenario, tmp_path / "five")
    last = cell.rounds()[-1]
    assert not last.abandoned
    assert last.survivors == tuple(range(6))
    assert set(last.absent) == set(range(6))
    assert all(reason.startswith("inner round 2 of 2: ") for reason in last.absent.values())
    # For four of them, the last round cannot begin.
    scenario = affordable(dp(), 4)
    assert outlook(scenario).ends == 2
    with pytest.raises(BudgetExceeded, match=r"round 2 of 3 .* no region with 1 clients can pay"):
        require_lasting(scenario)
    with pytest.raises(BudgetExceeded, match="round 2: 0 of 6 clients may still spend"):
        played(scenario, tmp_path / "four")


def test_a_run_ends_where_too_few_regions_have_clients_that_can_pay(tmp_path: Path) -> None:
    keys = 'top = { rule = "trimmed_mean", f = 1 }'
    both = 'channel = { kind = "plain", min_cohort = 2 }\n'
    records = "records = [50, 100, 100, 100, 100, 100]"
    text = SIX + DP.format(noise="seeded").replace("2.0 }", f"2.0, {records} }}")
    scenario = affordable(parse_scenario(text + over(PAIRS, keys) + both), 1)
    forecast = outlook(scenario)
    # Client 0 takes part with half of its records, so that it spends its budget sooner.
    assert forecast.leaves[0] == 1
    assert (forecast.ends, len(forecast.leaves)) == (1, 1)
    with pytest.raises(BudgetExceeded, match="fewer than 3 regions with 2 clients each"):
        require_lasting(scenario)
    with pytest.raises(BudgetExceeded, match="round 1: 5 of 6 clients may still spend"):
        played(scenario, tmp_path / "cell")


def test_a_schedule_goes_on_from_training_to_training() -> None:
    more = 'training = { kind = "sgd", batch = 32, lr = 0.2, schedule = "cosine" }\n'
    twice = parse_scenario(SIX + over(PAIRS, "inner_rounds = 2") + more)
    six = parse_scenario(SIX.replace("rounds = 3", "rounds = 6") + more)
    rates = [schedule_of(one, trainings=one.facts.trainings) for one in (twice, six)]
    assert [rates[0](number) for number in range(6)] == [rates[1](number) for number in range(6)]
    made = step_options(twice).schedule
    assert [made(number) for number in range(6)] == [rates[1](number) for number in range(6)]
    step = (
        SIX
        + over(PAIRS, "inner_rounds = 2")
        + more.replace('"cosine"', '"step", step_factor = 0.5')
    )
    assert parse_scenario(step, overrides=("training.step_every=5",))
    words = "training.step_every = 6 has no effect in 6 rounds"
    assert words in refusal(step, "training.step_every=6")


def test_sites_that_fine_tune_draw_numbers_that_no_training_has_drawn(tmp_path: Path) -> None:
    text = 'rounds = 3\ndata = { name = "heart" }\n' + over("[[0, 1], [2, 3]]", "inner_rounds = 2")
    training = 'training = { kind = "sgd", batch = 32, lr = 0.2, fine_tune = 1 }\n'
    made = parts(parse_scenario(text + training), run="", ledgers=tmp_path)
    assembled = join(made)
    start = assembled.start.weights
    tuner = fine_tuners(made.scenario, made.local)[0]
    own = assembled.own[0](assembled.start)
    assert torch.equal(own, start + tuner.fit(start, round=6).delta)
    assert not torch.equal(own, start + tuner.fit(start, round=3).delta)


# Failures.


def test_silent_and_late_clients_are_so_in_each_inner_round(tmp_path: Path) -> None:
    drop, late = "{ client = 1, round = 0, stage = 1 }", "{ client = 2, round = 1 }"
    cell = played(dp(more=f"simulate = {{ drop = [{drop}], late = [{late}] }}\n"), tmp_path / "c")
    records = cell.rounds()
    assert [record.survivors for record in records] == [
        (0, 2, 3, 4, 5),
        (0, 1, 3, 4, 5),
        tuple(range(6)),
    ]
    assert dict(records[0].absent) == {1: "dropped at stage 1 (simulated)"}
    assert dict(records[1].absent) == {2: "its update came too late (simulated)"}
    assert paid(cell, 1, "reserve") == [2, 3, 4, 5]
    assert paid(cell, 2, "reserve") == list(range(6))
    assert paid(cell, 2, "settle") == [0, 1, 4, 5]


PAIRED = 'channel = { kind = "plain", min_cohort = 2 }\n'


def test_a_region_with_too_few_clients_is_absent_and_the_others_go_on(tmp_path: Path) -> None:
    more = f"simulate = {{ drop = [{{ client = 3, round = 1 }}] }}\n{PAIRED}"
    cell = played(dp(more=more), tmp_path / "cell")
    records = cell.rounds()
    assert [record.abandoned for record in records] == [False] * 3
    assert records[1].survivors == (0, 1, 4, 5)
    assert dict(records[1].absent) == {
        2: "its region's round was abandoned: 1 updates came, the minimum cohort is 2",
        3: "dropped at stage 1 (simulated)",
    }
    assert paid(cell, 2, "reserve") == list(range(6))
    assert paid(cell, 2, "settle") == [0, 1, 4, 5]
    assert paid(cell, 0, "settle") == list(range(6))


def test_too_few_regions_leave_the_model_as_it_was(tmp_path: Path) -> None:
    more = f"simulate = {{ drop = [{{ client = 3, round = 1 }}] }}\n{PAIRED}"
    cell = played(dp(TRIMMED, more), tmp_path / "cell")
    records = cell.rounds()
    assert [record.abandoned for record in records] == [False, True, False]
    assert records[1].reason == (
        "top: 2 updates came, the minimum cohort is 3; "
        "region 1: 1 updates came, the minimum cohort is 2"
    )
    assert records[1].survivors == ()
    assert dict(records[1].absent) == {3: "dropped at stage 1 (simulated)"}
    assert records[1].accuracy == records[0].accuracy


class Failing:
    """A trainer that fails in some of its trainings."""

    cost = None

    def __init__(self, inner: Any, numbers: set[int]) -> None:
        self._inner = inner
        self._numbers = numbers

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        if round in self._numbers:
            raise ClientFailure("the disk is full")
        trained: Trained = self._inner.fit(weights, round=round)
        return trained


def failing(scenario: Scenario, folder: Path, failures: dict[int, set[int]]) -> list[Played]:
    made = parts(scenario, run="", ledgers=folder)
    trainers = {
        client: Failing(trainer, failures.get(client, set()))
        for client, trainer in made.trainers.items()
    }
    assembled = join(replace(made, trainers=trainers))
    return list(engine.run(assembled.federation, assembled.start, rounds=2, play=assembled.play))


@pytest.mark.parametrize("number", [0, 1])
def test_a_region_hands_up_what_its_other_inner_rounds_gave(number: int, tmp_path: Path) -> None:
    scenario = sgd(PAIRS, "inner_rounds = 2", PAIRED)
    first, second = failing(scenario, tmp_path, {3: {number}})
    assert first.record.survivors == tuple(range(6))
    place = f"inner round {number + 1} of 2: "
    few = "its region's round was abandoned: 1 updates came, the minimum cohort is 2"
    assert dict(first.record.absent) == {2: f"{place}{few}", 3: f"{place}the disk is full"}
    assert second.record.absent == {}
    # The slow way: region 1 makes one step where the others make two.
    made = parts(scenario, run="", ledgers=tmp_path)
    x = assemble(scenario, run="", ledgers=tmp_path).start.weights
    records = scenario.site_records
    total = torch.zeros_like(x)
    for clients in ([0, 1], [2, 3], [4, 5]):
        y = x
        share = sum(records[client] for client in clients)
        for inner in (0, 1):
            if clients == [2, 3] and inner == number:
                continue
            fits = [made.trainers[client].fit(y, round=inner).delta for client in clients]
            y = y + sum(records[c] / share * fit for c, fit in zip(clients, fits, strict=True))
        total += share / sum(records) * (y - x)
    torch.testing.assert_close(first.state.weights, x + total, rtol=0, atol=1e-6)


def test_a_client_that_misses_an_inner_round_still_weighs_in(tmp_path: Path) -> None:
    first, _ = failing(sgd(PAIRS, "inner_rounds = 2"), tmp_path, {3: {1}})
    assert first.record.survivors == tuple(range(6))
    assert dict(first.record.absent) == {3: "inner round 2 of 2: the disk is full"}


def test_a_masked_region_whose_set_up_lost_too_many_names_itself(tmp_path: Path) -> None:
    more = 'channel = { kind = "masked" }\nsimulate = { missing = [3] }\n'
    with pytest.raises(RoundAbandoned, match=r"^region 1: "):
        assemble(sgd(HALVES, more=more), run="", ledgers=tmp_path)


def test_a_client_that_missed_the_set_up_is_left_out_of_its_region(tmp_path: Path) -> None:
    more = 'channel = { kind = "masked" }\nsimulate = { missing = [3] }\n'
    eight = SIX.replace("clients = 6", "clients = 8")
    scenario = parse_scenario(eight + SGD + over("[[0, 1, 2, 3, 4], [5, 6, 7]]") + more)
    assembled = assemble(scenario, run="", ledgers=tmp_path)
    assert list(assembled.left_out) == [3]
    assert list(assembled.federation.clients) == [0, 1, 2, 4, 5, 6, 7]
    after = assembled.play(assembled.federation, assembled.start, UNWATCHED)
    assert after.record.survivors == (0, 1, 2, 4, 5, 6, 7)


# Robustness.


def attacked(attack: str, keys: str, more: str = "", regions: str = HALVES) -> Scenario:
    return sgd(regions, keys, f"attack = {{ {attack} }}\n{more}")


def test_corrupt_clients_change_their_rows_inside_their_region(tmp_path: Path) -> None:
    kept = Kept()
    attack = 'name = "sign_flip", scale = 2.0, clients = [0, 3]'
    play_one(attacked(attack, "inner_rounds = 1"), tmp_path, kept)
    honest = {
        one.about: present(one.values)
        for one in kept.observations
        if one.kind is Seen.OWN_HONEST_UPDATES
    }
    assert set(honest) == {(0,), (3,)}
    for number, client in ((0, 0), (1, 3)):
        rows = {row.about: row for row in kept.by(f"region {number}", Seen.CLEAR_UPDATE)}
        sent = present(rows[client,].values)
        torch.testing.assert_close(sent, -2.0 * honest[client,][0])


def test_an_attack_plans_with_the_clients_of_its_region(tmp_path: Path) -> None:
    attack = 'name = "a_little_is_enough", clients = [0, 1, 2, 5]'
    ten = SIX.replace("clients = 6", "clients = 10")
    regions = "[[0, 1, 3, 4, 6], [2, 5, 7, 8, 9]]"
    text = f"{ten}{SGD}{over(regions)}attack = {{ {attack} }}\n"
    assembled = assemble(parse_scenario(text), run="", ledgers=tmp_path)
    rows = torch.tensor([[1.0], [2.0]])
    for number, corrupt in ((0, {0, 1}), (1, {2, 5})):
        adversary = assembled.federation.regions[number].adversary
        assert adversary.clients == corrupt
        planned = attacks.a_little_is_enough(rows, f=2, n=5)
        assert torch.equal(adversary.attack(rows, rows, 0), planned)
        assert not torch.equal(planned, attacks.a_little_is_enough(rows, f=2, n=10))


def test_an_omniscient_attack_knows_the_updates_of_its_region(tmp_path: Path) -> None:
    kept = Kept()
    attack = 'name = "sign_flip", scale = 2.0, clients = [0], knows = "omniscient"'
    play_one(attacked(attack, ""), tmp_path, kept)
    (known,) = kept.by("adversary", Seen.OTHERS_HONEST_UPDATES)
    assert known.about == (2, 4)


def test_a_rule_at_the_top_holds_against_a_region_that_is_all_corrupt(tmp_path: Path) -> None:
    attack = 'name = "gaussian", std = 50.0, clients = [0, 1]'
    robust = sgd(PAIRS, TRIMMED, f"attack = {{ {attack} }}\n")
    mean = sgd(PAIRS, "inner_rounds = 2", f"attack = {{ {attack} }}\n")
    honest = played(sgd(PAIRS, TRIMMED), tmp_path / "honest")
    start = assemble(robust, run="", ledgers=tmp_path / "none").start.weights
    moved = float((weights(honest) - start).norm())
    far = float((weights(played(mean, tmp_path / "mean")) - start).norm())
    near = float((weights(played(robust, tmp_path / "robust")) - start).norm())
    assert near < 3 * moved
    assert far > 10 * moved


def test_a_rule_inside_holds_against_corrupt_clients_in_every_region(tmp_path: Path) -> None:
    attack = 'attack = { name = "gaussian", std = 50.0, clients = [0, 3] }\n'
    median = 'defense = { rule = "median" }\n'
    keys = "inner_rounds = 2"
    honest = played(sgd(HALVES, keys), tmp_path / "honest")
    start = assemble(sgd(HALVES, keys), run="", ledgers=tmp_path / "none").start.weights
    moved = float((weights(honest) - start).norm())
    robust = played(sgd(HALVES, keys, attack + median), tmp_path / "robust")
    mean = played(sgd(HALVES, keys, attack), tmp_path / "mean")
    assert float((weights(robust) - start).norm()) < 3 * moved
    assert float((weights(mean) - start).norm()) > 10 * moved


def test_a_row_that_is_not_finite_is_set_aside_in_its_region_and_weighs_nothing(
    tmp_path: Path,
) -> None:
    more = 'attack = { name = "non_finite", clients = [0] }\ndefense = { rule = "median" }\n'
    kept = Kept()
    _, outcome = play_one(sgd(HALVES, more=more), tmp_path, kept)
    assert outcome.record.screened == (0,)
    assert outcome.record.survivors == tuple(range(6))
    assert [row.about for row in kept.by("top", Seen.CLEAR_UPDATE)] == [(1, 3, 5), (2, 4)]


def test_the_summary_warns_of_more_bad_regions_than_the_top_tolerates() -> None:
    attack = 'name = "sign_flip", scale = 2.0, clients = [0, 3]'
    words = "is bad as soon as one of its clients is"
    two = attacked(attack, TRIMMED, regions=PAIRS)
    assert "2 regions have corrupt clients, and a region with a mean" in summary(two)
    assert "the top's trimmed_mean tolerates 1" in summary(two)
    together = attacked(attack.replace("3]", "1]"), TRIMMED, regions=PAIRS)
    assert words not in summary(together)
    assert words not in summary(attacked(attack, "", 'defense = { rule = "median" }\n'))
    for rule, warned in (("median", True), ("mean", True)):
        top = f'top = {{ rule = "{rule}" }}'
        assert (words in summary(attacked(attack, top, regions=PAIRS))) is warned
    five = "[[0], [1], [2], [3], [4, 5]]"
    assert words not in summary(attacked(attack, 'top = { rule = "median" }', regions=five))


def test_the_summary_says_who_sees_what() -> None:
    text = summary(sgd("[[0], [1, 2, 3], [4, 5]]", TRIMMED))
    assert "hierarchical: 3 regions of 1 to 3 clients play 2 rounds each" in text
    assert "region 0 is client 0 alone" in text
    assert "region 2" not in text.replace("region of 2", "")
    for size in (1, 2, 3):
        assert f"the server of a region of {size} sees every update" in text


# Runs.


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = dp(TRIMMED, 'server = { step = "fedavgm" }\n')
    whole, killed = Cell(tmp_path / "whole"), Cell(tmp_path / "killed")
    expected = run_cell(whole, scenario, on_round=nothing)
    # In the second inner round of round 1, when region 0 has settled its first one.
    run_until_killed(monkeypatch, killed, scenario, round=3)
    assert [record.round for record in killed.rounds()] == [0]
    assert comparable(run_cell(killed, scenario, on_round=nothing)) == comparable(expected)
    assert bits(weights(killed)) == bits(weights(whole))
    for client in range(6):
        assert paid(killed, client, "reserve") == list(range(6))
        assert paid(killed, client, "settle") == list(range(6))


@pytest.mark.parametrize("number", [2, 3])
def test_under_fresh_noise_a_round_that_was_cut_short_is_lost(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(tmp_path / "cell")
    run_until_killed(monkeypatch, cell, dp(noise="system"), round=number)
    run_cell(cell, dp(noise="system"), on_round=nothing)
    assert [record.abandoned for record in cell.rounds()] == [False, True, False]
    for client in range(6):
        released = paid(cell, client, "reserve")
        assert sorted(set(released)) == released
    # The kill came in the region of client 2, before the next region began.
    assert paid(cell, 4, "reserve") == [0, 1, 4, 5]
    assert paid(cell, 2, "reserve") == [*range(number + 1), 4, 5]


@pytest.mark.parametrize("channel", ["plain", "masked"])
def test_workers_give_the_same_bits(channel: str, tmp_path: Path) -> None:
    more = f'channel = {{ kind = "{channel}" }}\n'
    scenario = parse_scenario(
        SIX + DP.format(noise="seeded") + over(HALVES, "inner_rounds = 2") + more
    )
    one = played(scenario, tmp_path / "one")
    two = played(scenario, tmp_path / "two", workers=2)
    assert bits(weights(one)) == bits(weights(two))
    assert [comparable_record(record) for record in one.rounds()] == [
        comparable_record(record) for record in two.rounds()
    ]


def comparable_record(record: RoundRecord) -> RoundRecord:
    """Returns the record without wall time, and without heads: these name the run."""
    return replace(record, seconds=0.0, ledger_heads={})


def test_stacks_of_clients_differ_by_rounding_alone(tmp_path: Path) -> None:
    scenario = sgd(HALVES, "inner_rounds = 2", "engine = { stack = 2 }\n")
    cell = Cell(tmp_path / "stacked")
    assert run_cell(cell, scenario, on_round=nothing)["stack"] == 2
    alone = played(sgd(HALVES, "inner_rounds = 2"), tmp_path / "alone")
    torch.testing.assert_close(weights(cell), weights(alone), rtol=0, atol=1e-5)


def test_the_run_may_end_with_its_best_model(tmp_path: Path) -> None:
    text = SIX.replace("clients = 6", 'clients = 6, test_on = "validation"')
    steep = SGD.replace("0.2", "20.0") + over(HALVES, "inner_rounds = 2")
    scenario = parse_scenario(text + steep + 'evaluate = { keep = "best" }\n')
    cell = Cell(tmp_path / "cell")
    metrics = run_cell(cell, scenario, on_round=nothing)
    accuracies = [present(record.accuracy) for record in cell.rounds()]
    assert metrics["accuracy"] == max(accuracies)
    assert metrics["kept_round"] == accuracies.index(max(accuracies))


def test_a_profile_has_the_stages_of_both_levels(tmp_path: Path) -> None:
    profile = Profile()
    played(sgd(HALVES, "inner_rounds = 2"), tmp_path / "cell", profile=profile)
    assert {"load model", "channel, server", "train", "rule", "settle"} <= set(profile.costs)


# Refusals.


def test_values_in_force_are_a_scenario_again_and_name_the_parameters_of_the_top() -> None:
    keys = 'top = { rule = "centered_clipping", radius = 1.0 }'
    scenario = sgd(HALVES, keys)
    values = scenario.resolved()
    assert make_scenario(values).resolved() == values
    parameters = catalog.RULES["centered_clipping"].parameters
    assert {"rule", *parameters} == set(values["topology"]["top"])
    spelt_out = sgd(HALVES, 'inner_rounds = 1, top = { rule = "mean" }')
    assert sgd(HALVES).resolved() == spelt_out.resolved()


def test_the_rule_of_the_top_may_be_a_bare_word_or_a_name() -> None:
    table = sgd(HALVES, 'inner_rounds = 1, top = { rule = "median" }')
    for other in ('"median"', '{ name = "median" }'):
        assert sgd(HALVES, f"inner_rounds = 1, top = {other}").resolved() == table.resolved()


REFUSED = [
    (
        'topology = "hierarchical"',
        "topology.kind = 'hierarchical' needs topology.regions, a list of clients for each region",
    ),
    (over("[]"), "needs topology.regions"),
    (over("[[0, 1, 2], [4, 5]]"), "topology.regions: client 3 is in none; add it to one"),
    (over("[[0, 1, 2], [2, 3, 4, 5]]"), "topology.regions: client 2 is listed 2 times"),
    (over("[[0, 1, 2, 2], [3, 4, 5]]"), "topology.regions: client 2 is listed 2 times"),
    (over("[[0, 1, 2], [3, 4, 5, 6]]"), "topology.regions: there is no client 6 among 6"),
    (over("[[0, 1, 2], [], [3, 4, 5]]"), "topology.regions: region 1 has no clients; remove it"),
    (over(HALVES, "inner_rounds = 0"), "topology.inner_rounds"),
    (over(HALVES, 'order = "random"'), "topology.order has no effect with 'hierarchical'"),
    (
        over("[[0, 1, 2, 3], [4, 5]]") + PAIRED.replace("2", "3"),
        "region 1: channel.min_cohort: 3 exceeds the 2 clients of a round",
    ),
    (
        over("[[0, 1, 2, 3], [4, 5]]") + 'channel = { kind = "masked" }',
        "region 1: channel.kind = 'masked' with channel.corrupt = 1 needs 3 clients or more",
    ),
    (
        over("[[0, 1, 2], [3, 4, 5]]") + 'defense = { rule = { name = "krum", f = 1 } }',
        "region 0: krum with f=1 needs 5 rows, plain with 3 clients reveals 3",
    ),
    (
        over("[[0, 1, 2], [3, 4, 5]]") + 'channel = { kind = "ckks" }',
        "channel.kind = 'ckks' hides the model from it; use 'plain' or 'masked'",
    ),
    (over(HALVES) + "cohort = { size = 4 }", "cohort.size = 4 is below 6; remove it"),
    (
        over(HALVES) + 'weights = "reported"\nchannel = { max_weight = 9 }',
        "channel.max_weight has no effect",
    ),
    (over(HALVES) + 'weights = "reported"', "weights = 'reported' are not public; use 'equal'"),
    (
        over(HALVES) + 'training = { kind = "sgd", algorithm = "scaffold" }',
        "training.algorithm = 'scaffold' needs one server, of whose model",
    ),
    (over(HALVES, 'top = { rule = "best" }'), "topology.top.rule: there is no 'best'"),
    (
        over(HALVES, 'top = { rule = "trimmed_mean", f = 1 }'),
        "topology.top: trimmed_mean with f=1 needs 3 regions, there are 2: use a smaller f, more",
    ),
    (over(HALVES, 'top = { rule = "nna", f = 0 }'), "nna takes a row of a node's own"),
    (over(HALVES, 'top = { rule = "krum" }'), "topology.top: krum needs f"),
    (over(HALVES, 'top = { rule = "krum", f = -1 }'), "topology.top: f must be >= 0, got -1"),
    (over(HALVES, "top = { f = 1 }"), "topology.top: mean takes no parameters, got 'f'"),
    (over(HALVES, 'top = { channel = "masked" }'), "mean takes no parameters, got 'channel'"),
    (
        over(HALVES) + 'attack = { name = "mimic", clients = [0, 1] }',
        "with a single client and knows",
    ),
    ('topology = { kind = "cyclic", inner_rounds = 2 }', "topology.inner_rounds has no effect"),
    (f'topology = {{ kind = "cyclic", regions = {HALVES} }}', "topology.regions has no effect"),
]


@pytest.mark.parametrize(("line", "sentence"), REFUSED)
def test_what_makes_no_sense_is_refused(line: str, sentence: str) -> None:
    training = "" if "training" in line else SGD
    assert sentence in refusal(f"{SIX}{training}{line}\n")


def test_a_region_may_have_as_many_corrupt_clients_as_a_sum_expects() -> None:
    attack = 'attack = { name = "sign_flip", scale = 2.0, clients = [0, 1] }\n'
    assert sgd(HALVES, more=f'channel = {{ kind = "masked" }}\n{attack}')
    words = "attack.clients: 2 clients are corrupt, channel.corrupt declares 1; raise it"
    text = SIX + SGD + over(HALVES) + 'channel = { kind = "masked" }\n'
    assert words in refusal(text + attack.replace("[0, 1]", "[0, 2]"))


def test_between_sites_it_is_refused() -> None:
    with pytest.raises(ScenarioError, match="topology has no place between sites"):
        check_deployable(sgd(HALVES))
