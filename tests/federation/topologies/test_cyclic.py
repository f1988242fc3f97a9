"""Cyclic weight transfer: sites train in turn, pay for each visit, and see whole models."""

from pathlib import Path

import pytest
import torch

from securefl.channels.protocol import Seen
from securefl.errors import ScenarioError
from securefl.federation.topologies.cyclic import SEES
from securefl.files import read_lines
from securefl.privacy.chain import read_entries
from securefl.runs.cell import Cell
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.play import run_cell
from securefl.scenario.assemble.assemble import assemble, join
from securefl.scenario.assemble.parts import parts
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.federation.topologies.playing import played, weights
from tests.recorder import Recorder
from tests.runs.test_play import comparable, nothing, run_until_killed
from tests.scenario.texts import refusal
from tests.values import present

HEART = 'rounds = 3\ndata = { name = "heart" }\ntopology = "cyclic"\n'
SGD = 'training = { kind = "sgd", batch = 64, lr = 0.2 }\n'
DP = """
training = {{ batch = 64, lr = 0.2 }}
privacy = {{ noise = "{noise}", noise_multiplier = 2.0 }}
"""


def sgd(more: str = "") -> Scenario:
    return parse_scenario(HEART + SGD + more)


def dp(noise: str = "seeded", more: str = "") -> Scenario:
    return parse_scenario(HEART + DP.format(noise=noise) + more)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_site_trains_the_model_of_the_one_before(workers: int, tmp_path: Path) -> None:
    cell = played(sgd(), tmp_path / "cell", workers=workers)
    made = parts(sgd(), run="", ledgers=tmp_path / "none")
    x = assemble(sgd(), run="", ledgers=tmp_path / "none").start.weights
    for round in range(3):
        for client in range(4):
            x = x + made.trainers[client].fit(x, round=round).delta
    assert torch.equal(weights(cell).view(torch.int32), x.view(torch.int32))
    assert [record.survivors for record in cell.rounds()] == [(0, 1, 2, 3)] * 3


def test_parties_see_what_is_declared_and_a_sites_update_lies_between_two_models(
    tmp_path: Path,
) -> None:
    assembled = join(parts(sgd(), run="", ledgers=tmp_path))
    kept = Recorder()
    after = assembled.play(assembled.federation, assembled.start, kept).state
    by_party: dict[str, set[Seen]] = {}
    for one in kept.observations:
        by_party.setdefault(one.header.party, set()).add(one.header.kind)
    assert by_party.pop("network") == set(SEES["network"])
    assert by_party == {f"client {client}": set(SEES["client"]) for client in range(4)}
    models = [present(one.values) for one in kept.observations if one.header.party == "network"]
    updates = [
        present(one.values) for one in kept.observations if one.header.kind is Seen.OWN_UPDATE
    ]
    models.append(after.weights)
    for place, update in enumerate(updates):
        handed_on = models[place + 1] - models[place]
        torch.testing.assert_close(handed_on, update, rtol=0, atol=1e-6)


def test_the_transcript_of_a_run_has_what_is_declared(tmp_path: Path) -> None:
    cell = played(sgd(), tmp_path / "cell")
    seen = {
        (line["party"].split()[0], line["kind"])
        for line in read_lines(cell.folder / "transcript.jsonl")
    }
    assert seen == {(party, kind.value) for party, kinds in SEES.items() for kind in kinds}


def test_each_visit_is_paid_for_once(tmp_path: Path) -> None:
    cell = played(dp(), tmp_path / "cell")
    for client in range(4):
        entries = read_entries(cell.ledgers / f"{client}.jsonl")
        assert [entry["kind"] for entry in entries] == ["reserve", "settle"] * 3


def test_a_silent_site_is_skipped_and_a_late_one_pays_for_nothing_that_counts(
    tmp_path: Path,
) -> None:
    drop = "{ client = 1, round = 0, stage = 1 }"
    late = "{ client = 2, round = 1 }"
    more = f"simulate = {{ drop = [{drop}], late = [{late}] }}\n"
    cell = played(dp(more=more), tmp_path / "cell")
    records = cell.rounds()
    assert [record.survivors for record in records] == [(0, 2, 3), (0, 1, 3), (0, 1, 2, 3)]
    assert list(records[0].absent) == [1]
    paid = {
        client: [
            (entry["release"][2], entry["kind"])
            for entry in read_entries(cell.ledgers / f"{client}.jsonl")
        ]
        for client in (1, 2)
    }
    assert (0, "reserve") not in paid[1]
    assert (1, "reserve") in paid[2]
    assert (1, "settle") not in paid[2]


def test_too_few_visits_leave_the_model_as_it_was(tmp_path: Path) -> None:
    drops = ", ".join(f"{{ client = {client}, round = 1 }}" for client in (0, 1, 2))
    more = f'simulate = {{ drop = [{drops}] }}\nchannel = {{ kind = "plain", min_cohort = 2 }}\n'
    cell = played(sgd(more), tmp_path / "cell")
    records = cell.rounds()
    assert [record.abandoned for record in records] == [False, True, False]
    assert records[1].reason == "1 sites trained, it takes 2"
    assert records[1].accuracy == records[0].accuracy


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = Cell(tmp_path / "whole"), Cell(tmp_path / "killed")
    expected = run_cell(whole, dp(), on_round=nothing)
    run_until_killed(monkeypatch, killed, dp(), round=1)
    assert comparable(run_cell(killed, dp(), on_round=nothing)) == comparable(expected)
    assert torch.equal(weights(killed), weights(whole))


def test_under_fresh_noise_a_round_that_was_cut_short_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(tmp_path / "cell")
    run_until_killed(monkeypatch, cell, dp("system"), round=1)
    run_cell(cell, dp("system"), on_round=nothing)
    assert [record.abandoned for record in cell.rounds()] == [False, True, False]
    for client in range(4):
        entries = read_entries(cell.ledgers / f"{client}.jsonl")
        released = [entry["release"][2] for entry in entries if entry["kind"] == "reserve"]
        assert sorted(set(released)) == sorted(released)


def test_a_random_order_visits_each_site_once_a_round_and_changes(tmp_path: Path) -> None:
    scenario = sgd().resolved()["topology"] and parse_scenario(
        HEART.replace('"cyclic"', '{ kind = "cyclic", order = "random" }') + SGD
    )
    assembled = join(parts(scenario, run="", ledgers=tmp_path))
    orders = []
    state = assembled.start
    for _ in range(3):
        kept = Recorder()
        state = assembled.play(assembled.federation, state, kept).state
        orders.append(
            [one.header.party for one in kept.observations if one.header.kind is Seen.OWN_UPDATE]
        )
    assert all(sorted(order) == [f"client {client}" for client in range(4)] for order in orders)
    assert len({tuple(order) for order in orders}) > 1


REFUSED = [
    ('channel = { kind = "masked" }', "channel.kind = 'masked' hides updates from a server"),
    ('defense = { rule = "median" }', "defense.rule = 'median' does"),
    ('server = { step = "fedadam" }', "nobody takes server.step = 'fedadam'; remove it"),
    (
        'attack = { name = "sign_flip", scale = 2.0, clients = [0] }',
        "attack.name = 'sign_flip' changes rows on their way to one",
    ),
    (
        'training = { kind = "sgd" }\nweights = "reported"',
        "nobody is told weights = 'reported'; remove it",
    ),
    ("engine = { stack = 4 }", "engine.stack has no effect, as sites do not train from one model"),
    ('topology = "ring"', "topology.kind: there is no 'ring'; known: server, cyclic"),
    (
        'training = { kind = "sgd", algorithm = "scaffold" }',
        "training.algorithm = 'scaffold' needs one server, of whose model",
    ),
]


@pytest.mark.parametrize(("line", "sentence"), REFUSED)
def test_what_needs_a_server_is_refused(line: str, sentence: str) -> None:
    given = line if line.startswith("topology") else f'topology = "cyclic"\n{line}'
    assert sentence in refusal(given + "\n")


def test_between_sites_it_is_refused() -> None:
    with pytest.raises(ScenarioError, match="topology has no place between sites"):
        check_deployable(sgd())


def test_a_server_is_the_same_as_no_topology() -> None:
    assert parse_scenario('topology = "server"').resolved() == parse_scenario("").resolved()
