"""Threat models: the tables agree with the transcripts of real runs, by party and channel."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from securefl.audit.inquiry import Inquiry
from securefl.audit.threats import ANSWERS, FINAL, OPENED, SERVER, THREATS, adversaries_in, threat
from securefl.channels.protocol import Seen
from securefl.errors import ScenarioError
from securefl.federation import engine
from securefl.federation.values import Played
from securefl.scenario import catalog
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.ui.listing import listing

NOISES = {
    "without noise": "training.kind = 'sgd'",
    "local noise": "privacy = { epsilon = 8.0, noise = 'seeded' }",
}
CHANNELS = tuple(catalog.CHANNELS)


@cache
def played(channel: str, noise: str) -> Played:
    """One round of four hospitals."""
    scenario = parse_scenario(f"rounds = 1\nchannel.kind = '{channel}'\n{NOISES[noise]}")
    with TemporaryDirectory() as ledgers:
        federation = assemble(scenario, run="test", ledgers=Path(ledgers))
        (round,) = engine.run(federation.federation, federation.start, rounds=1)
    return round


def kinds(round: Played, party: str) -> set[str]:
    return {seen.kind for seen in round.observed if seen.party == party}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("channel", CHANNELS)
def test_every_party_sees_what_the_catalog_says_and_no_party_is_forgotten(
    channel: str, noise: str
) -> None:
    round, sees = played(channel, noise), catalog.CHANNELS[channel].sees
    assert {seen.party for seen in round.observed} == {
        "server",
        "network",
        *(f"client {c}" for c in range(4)),
    }
    assert kinds(round, "server") == set(sees["server"])
    assert kinds(round, "network") == set(sees["network"])
    assert all(kinds(round, f"client {client}") == set(sees["client"]) for client in range(4))


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("name", adversaries_in(SERVER))
def test_an_adversary_sees_what_its_parties_see(name: str, channel: str, noise: str) -> None:
    model, round = THREATS[name], played(channel, noise)
    seen = {kind for party in model.parties((1, 3)) for kind in kinds(round, party)}
    assert set(model.sees(channel)) - {FINAL, ANSWERS, OPENED} == seen


TOPOLOGIES = {
    "cyclic": 'data.name = "heart"\ntopology = "cyclic"',
    "peer": 'topology = { kind = "peer", graph = "ring" }',
    "hierarchical": 'topology = { kind = "hierarchical", regions = [[0, 1, 2], [3, 4, 5]] }',
}
SETTINGS = [("cyclic", "plain"), ("peer", "plain"), ("hierarchical", "plain")]
SETTINGS += [("hierarchical", "masked")]


@cache
def played_in(topology: str, channel: str) -> tuple[Scenario, Played]:
    """One round of a few clients in a topology."""
    data = 'data = { name = "heart", partition = "iid", clients = 6 }\n'
    text = TOPOLOGIES[topology]
    scenario = parse_scenario(
        f"rounds = 1\ntraining.kind = 'sgd'\nchannel.kind = '{channel}'\n"
        + ("" if "data" in text else data)
        + text
    )
    with TemporaryDirectory() as ledgers:
        made = assemble(scenario, run="test", ledgers=Path(ledgers))
        (round,) = engine.run(made.federation, made.start, rounds=1, play=made.play)
    return scenario, round


@pytest.mark.parametrize(("topology", "channel"), SETTINGS)
def test_in_a_topology_an_adversary_sees_what_its_parties_see(topology: str, channel: str) -> None:
    scenario, round = played_in(topology, channel)
    names = adversaries_in(topology)
    assert set(names) > {"network", "outsider", "outsider-weights"}
    for name in names:
        inquiry = Inquiry(scenario, name)
        seen = {kind for party in inquiry.parties for kind in kinds(round, party)}
        said = THREATS[name].sees(channel, topology=scenario.facts.topology)
        assert set(said) - {FINAL, ANSWERS} == seen, name
        assert bool(seen) == inquiry.sees_updates


def test_weights_that_clients_report_under_masks_are_seen_by_server_and_network() -> None:
    text = (
        "rounds = 1\nweights = 'reported'\ntraining.kind = 'sgd'\n"
        "channel = { kind = 'masked', reveal_counts = true }"
    )
    with TemporaryDirectory() as ledgers:
        made = assemble(parse_scenario(text), run="test", ledgers=Path(ledgers))
        (round,) = engine.run(made.federation, made.start, rounds=1)
    weights = [
        (seen.party, *seen.about) for seen in round.observed if seen.kind == Seen.REPORTED_WEIGHT
    ]
    assert weights == [(party, client) for client in range(4) for party in ("server", "network")]
    for name in adversaries_in(SERVER):
        model = THREATS[name]
        seen = {kind for party in model.parties((1, 3)) for kind in kinds(round, party)}
        assert set(model.sees("masked", reported=True)) - {FINAL, ANSWERS, OPENED} == seen, name
    assert "; with channel.reveal_counts: reported weight" in "\n".join(listing("threats", Path()))


CHOICE = """
rounds = 1
data = { name = "heart", partition = "iid", clients = 5 }
training.kind = "sgd"
weights = "equal"
channel = { kind = "masked", sketch = 16 }
defense.rule = { name = "dnc", f = 1 }
"""


@cache
def chosen() -> Played:
    """One round of five clients, of which a rule chooses those in the sum."""
    with TemporaryDirectory() as ledgers:
        scenario = parse_scenario(CHOICE)
        made = assemble(scenario, run="test", ledgers=Path(ledgers))
        (round,) = engine.run(made.federation, made.start, rounds=1)
    return round


@pytest.mark.parametrize("name", adversaries_in(SERVER))
def test_where_a_rule_chooses_clients_an_adversary_sees_what_its_parties_see(name: str) -> None:
    model, round = THREATS[name], chosen()
    assert not round.record.abandoned
    seen = {kind for party in model.parties((1, 3)) for kind in kinds(round, party)}
    assert set(model.sees("masked", choice=True)) - {FINAL, ANSWERS, OPENED} == seen


def test_distances_are_of_all_updates_and_the_sum_of_those_that_were_chosen() -> None:
    round = chosen()
    about = {seen.kind: seen for seen in round.observed if seen.party == "server"}
    assert about[Seen.DISTANCES].about == (0, 1, 2, 3, 4)
    assert about[Seen.DISTANCES].shape == (5, 5)
    survivors = round.record.survivors
    assert len(survivors) == 4
    assert about[Seen.SUM_OF_UPDATES].about == about[Seen.CHOSEN_CLIENTS].about == survivors
    by = {seen.about for seen in round.observed if seen.kind == Seen.SKETCH_SHARES}
    assert by == {(client,) for client in range(5)}
    assert "; with channel.sketch: sealed shares of sketches, signed acceptances of" in "\n".join(
        listing("threats", Path())
    )


@pytest.mark.parametrize("channel", CHANNELS)
def test_clients_see_their_own_update_and_nobody_elses(channel: str) -> None:
    own = [
        seen for seen in played(channel, "without noise").observed if seen.kind == Seen.OWN_UPDATE
    ]
    assert [(seen.party, seen.about) for seen in own] == [(f"client {c}", (c,)) for c in range(4)]


def test_an_adversary_is_the_parties_that_its_name_says() -> None:
    assert THREATS["server"].parties((1,)) == {"server"}
    assert THREATS["clients"].parties((1, 2)) == {"client 1", "client 2"}
    assert THREATS["server+clients"].parties((2,)) == {"server", "client 2"}
    assert THREATS["network"].parties((1,)) == {"network"}
    assert THREATS["outsider"].parties((1,)) == frozenset()


def test_only_a_key_under_encryption_opens_updates() -> None:
    opening = {
        (name, channel)
        for name in adversaries_in(SERVER)
        for channel in CHANNELS
        if OPENED in THREATS[name].sees(channel)
    }
    assert opening == {("server+key-holder", "ckks")}


def test_the_server_of_ciphertexts_ends_without_a_model_and_outsiders_with_what_is_published() -> (
    None
):
    assert [THREATS["server"].ends_with(channel) for channel in CHANNELS] == [FINAL, FINAL, ""]
    assert [THREATS["network"].ends_with(channel) for channel in CHANNELS] == [FINAL, FINAL, ""]
    assert {THREATS["outsider"].ends_with(channel) for channel in CHANNELS} == {ANSWERS}
    assert {THREATS["outsider-weights"].ends_with(channel) for channel in CHANNELS} == {FINAL}
    assert {THREATS["clients"].ends_with(channel) for channel in CHANNELS} == {FINAL}


def test_an_unknown_adversary_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ScenarioError, match="there is no 'spy'; known are server, malicious-server, clients"
    ):
        threat("spy")
