"""What holds in every topology of the catalog, whoever hands models to whom."""

from pathlib import Path

import pytest
import torch

from securefl.channels.protocol import Seen
from securefl.files import read_lines
from securefl.privacy.chain import read_entries
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.play import run_cell
from securefl.scenario import catalog
from securefl.scenario.assemble.plays import PLAYS
from securefl.scenario.checks.topology import CHECKS
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary
from securefl.scenario.topology_words import _WORDS
from tests.federation.topologies.playing import played
from tests.runs.test_play import comparable, nothing, run_until_killed
from tests.scenario.texts import refusal
from tests.ui.test_readme import blocks

TABLES = {
    "cyclic": '"cyclic"',
    "peer": '{ kind = "peer", graph = "ring" }',
    "hierarchical": '{ kind = "hierarchical", regions = [[0, 1], [2, 3]], inner_rounds = 2 }',
    "fedbuff": '{ kind = "fedbuff", buffer = 2, concurrency = 3, max_updates = 6 }',
}


def scenario(kind: str, noise: str = "seeded", more: str = "") -> Scenario:
    return parse_scenario(
        f'rounds = 3\ndata = {{ name = "heart" }}\ntopology = {TABLES[kind]}\n'
        "training = { batch = 64, lr = 0.2 }\n"
        f'privacy = {{ noise = "{noise}", noise_multiplier = 2.0 }}\n{more}'
    )


def booked(cell: Cell, client: int, kind: str) -> list[int]:
    """The numbers of a client's trainings in entries of a kind; none where it never trained."""
    file = cell.ledgers / f"{client}.jsonl"
    entries = read_entries(file) if file.exists() else []
    return [entry["release"][2] for entry in entries if entry["kind"] == kind]


def test_every_topology_of_the_catalog_is_played_here_and_has_its_parts() -> None:
    assert set(TABLES) == set(catalog.TOPOLOGIES) == set(PLAYS) == set(CHECKS) == set(_WORDS)


@pytest.mark.parametrize("kind", TABLES)
def test_a_killed_run_goes_on_bit_for_bit(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = Cell(tmp_path / "whole"), Cell(tmp_path / "killed")
    expected = run_cell(whole, scenario(kind), on_round=nothing)
    run_until_killed(monkeypatch, killed, scenario(kind), round=1)
    assert comparable(run_cell(killed, scenario(kind), on_round=nothing)) == comparable(expected)
    one, other = (load_checkpoint(cell.checkpoint).state.weights for cell in (whole, killed))
    assert torch.equal(one.view(torch.int32), other.view(torch.int32))


@pytest.mark.parametrize("kind", TABLES)
def test_workers_change_no_byte(kind: str, tmp_path: Path) -> None:
    one, two = (played(scenario(kind), tmp_path / str(n), workers=n) for n in (1, 2))
    weights = [load_checkpoint(cell.checkpoint).state.weights for cell in (one, two)]
    assert torch.equal(weights[0].view(torch.int32), weights[1].view(torch.int32))
    transcripts = [(cell.folder / "transcript.jsonl").read_bytes() for cell in (one, two)]
    assert transcripts[0] == transcripts[1]


@pytest.mark.parametrize("kind", TABLES)
def test_each_training_is_paid_for_once_and_no_client_trains_more_often_than_declared(
    kind: str, tmp_path: Path
) -> None:
    given = scenario(kind)
    cell = played(given, tmp_path / "cell")
    for client in range(4):
        numbers = booked(cell, client, "reserve")
        assert len(set(numbers)) == len(numbers) <= given.facts.trainings
        # An update on its way, which only a server without lockstep has, is paid and not settled.
        settled = booked(cell, client, "settle")
        counted = sum(record.survivors.count(client) for record in cell.rounds())
        assert len(settled) == counted * max(1, len(given.facts.numbers_of(0)))
        assert set(settled) <= set(numbers)
        assert kind == "fedbuff" or settled == numbers


@pytest.mark.parametrize("kind", TABLES)
def test_under_fresh_noise_a_kill_releases_nothing_twice(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(tmp_path / "cell")
    run_until_killed(monkeypatch, cell, scenario(kind, "system"), round=1)
    run_cell(cell, scenario(kind, "system"), on_round=nothing)
    for client in range(4):
        numbers = booked(cell, client, "reserve")
        assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("kind", TABLES)
def test_the_transcript_shows_each_party_what_is_declared(kind: str, tmp_path: Path) -> None:
    cell = played(scenario(kind), tmp_path / "cell")
    seen: dict[str, set[str]] = {}
    for line in read_lines(cell.folder / "transcript.jsonl"):
        seen.setdefault(line["party"].split()[0], set()).add(line["kind"])
    declared = {party: set(kinds) for party, kinds in catalog.TOPOLOGIES[kind].sees.items()}
    if kind == "hierarchical":  # inside a region its channel shows what it always shows
        plain = catalog.CHANNELS["plain"].sees
        declared["region"] |= {*plain["server"]}
        declared["client"] = {*plain["client"]}
    assert seen == declared
    assert set(seen) <= {"server", "network", "client", "region", "top"}
    assert all(Seen(kind) for kinds in seen.values() for kind in kinds)


@pytest.mark.parametrize("kind", TABLES)
def test_calibrated_noise_lasts_for_every_training(kind: str, tmp_path: Path) -> None:
    given = parse_scenario(
        f'rounds = 3\ndata = {{ name = "heart" }}\ntopology = {TABLES[kind]}\n'
        "training = { batch = 64, lr = 0.2 }\nprivacy = { epsilon = 8.0, noise = 'seeded' }\n"
    )
    cell = Cell(tmp_path / "cell")
    metrics = run_cell(cell, given, on_round=nothing)
    for client, epsilon in metrics["epsilons"].items():
        spent = len(booked(cell, int(client), "reserve")) / given.facts.trainings
        assert epsilon <= 8.0
        # Who trained as often as allowed has spent the budget, and nobody much less of it before.
        assert epsilon > 7.8 or spent < 1


@pytest.mark.parametrize("kind", TABLES)
def test_a_summary_names_the_topology_and_between_sites_it_is_refused(kind: str) -> None:
    assert f"\n{kind}: " in summary(scenario(kind))
    with pytest.raises(Exception, match="topology has no place between sites"):
        check_deployable(scenario(kind))


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("algorithm", ["scaffold", "feddyn", "fednova", "ditto"])
def test_algorithms_that_need_one_server_in_lockstep_are_refused(kind: str, algorithm: str) -> None:
    keys = {"feddyn": ", alpha = 0.1", "ditto": ", lam = 0.1"}.get(algorithm, "")
    given = (
        f'rounds = 3\ndata = {{ name = "heart" }}\ntopology = {TABLES[kind]}\n'
        f'training = {{ kind = "sgd", algorithm = "{algorithm}"{keys} }}\n'
    )
    assert f"training.algorithm = '{algorithm}'" in refusal(given)


def test_the_table_of_a_server_is_the_same_as_no_topology() -> None:
    table = parse_scenario('topology = { kind = "server" }').resolved()
    assert table == parse_scenario("").resolved()
    with_more = refusal('topology = { kind = "server", buffer = 2 }\n')
    assert "topology.buffer has no effect with a server; remove it" in with_more


@pytest.mark.parametrize("kind", TABLES)
def test_a_summary_speaks_of_a_server_where_there_is_one(kind: str) -> None:
    said = summary(scenario(kind))
    assert ("the server sees" in said) is (kind == "fedbuff")
    assert ("the server of a region" in said) is (kind == "hierarchical")
    assert (", server fedavg" in said) is (kind in ("fedbuff", "hierarchical"))


def test_each_scenario_on_the_page_is_one_and_every_topology_is_among_them() -> None:
    shown = [parse_scenario(block) for block in blocks("toml", "docs/topologies.md")]
    kinds = {one.topology.kind for one in shown if one.topology is not None}
    assert kinds == set(catalog.TOPOLOGIES)
