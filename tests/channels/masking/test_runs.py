"""Whole runs through the masked channel equal plain runs over the same survivors.

Clients drop out at every stage, and packets are forged.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from securefl.channels.protocol import UNWATCHED, ChannelServer, Observer, Packet
from securefl.federation import engine
from securefl.federation.values import Federation, Played
from securefl.runs.api import run
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.assemble.trainers import stream_for
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.recorder import Recorder

HEART = """
seed = 1
rounds = 7
data = { name = "heart", partition = "natural" }
training = { kind = "dp_sgd", batch = 32, epochs = 1, lr = 0.5, clip = 1.0 }
privacy = { epsilon = 8.0, delta = 1e-5, noise = "seeded" }
"""
DIGITS = """
seed = 2
rounds = 7
data = { name = "digits", partition = "iid", clients = 10 }
model = { name = "mlp", hidden = [32] }
training = { kind = "sgd", batch = 16, epochs = 1, lr = 0.3 }
"""
DECLARED = 'privacy = { epsilon = inf, noise = "seeded" }\n'
MASKED = ("channel.kind=masked", "channel.ring=64")


def drops(*failures: tuple[int, int, int]) -> str:
    """Returns simulate.drop for triples (client, round, stage)."""
    tables = [f"{{ client = {c}, round = {r}, stage = {s} }}" for c, r, s in failures]
    return f"simulate.drop=[{', '.join(tables)}]"


def play(scenario: Scenario, folder: Path, observer: Observer = UNWATCHED) -> list[Played]:
    assembled = assemble(scenario, run="r", ledgers=folder)
    return list(
        engine.run(assembled.federation, assembled.start, rounds=scenario.rounds, observer=observer)
    )


def weights(played: list[Played]) -> Tensor:
    return torch.stack([round.state.weights for round in played])


ONE_A_ROUND = [(1, 1, 1), (2, 2, 2), (3, 3, 3), (0, 4, 4), (1, 5, 5)]  # client, round, stage
MANY = [
    (c, r, s) for r, s in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 5)) for c in (r, r + 1, r + 2)
] + [
    (0, 6, 1),
    (1, 6, 2),
    (2, 6, 3),
    (3, 6, 4),
]


@pytest.mark.parametrize(
    ("text", "failures", "ring", "apart"),
    [
        (HEART, ONE_A_ROUND, 64, 2e-6),  # float32 rounding of seven rounds
        (HEART, ONE_A_ROUND, 32, 2e-6),
        (DIGITS, MANY, 64, 2e-6),
        (DIGITS, MANY, 32, 2e-5),  # an error of 2e-8 a round, and what training makes of it
        (DIGITS + 'weights = "reported"', MANY, 64, 2e-6),
    ],
)
def test_a_masked_run_with_dropouts_at_every_stage_is_plain_over_the_reported_survivors(
    text: str, failures: list[tuple[int, int, int]], ring: int, apart: float, tmp_path: Path
) -> None:
    meant = ("channel.reveal_counts=true",) if "reported" in text else ()
    overrides = ("channel.kind=masked", f"channel.ring={ring}", drops(*failures), *meant)
    masked = play(parse_scenario(text, overrides=overrides), tmp_path / "masked")
    everyone = set(masked[0].record.cohort)
    for client, round, stage in failures:
        assert (client in masked[round].record.survivors) == (stage > 3)
    missing = [(c, p.record.round, 1) for p in masked for c in everyone - set(p.record.survivors)]
    plain = play(parse_scenario(text, overrides=(drops(*missing),)), tmp_path / "plain")
    assert [p.record.survivors for p in masked] == [p.record.survivors for p in plain]
    assert not any(p.record.abandoned for p in masked)
    assert torch.allclose(weights(masked), weights(plain), rtol=0, atol=apart)
    assert [p.record.accuracy for p in masked] == [p.record.accuracy for p in plain]


def test_one_round_differs_from_plain_by_no_more_than_the_channels_bound(tmp_path: Path) -> None:
    for ring in (16, 32):
        overrides = (*MASKED, f"channel.ring={ring}", "rounds=1")
        scenario = parse_scenario(DIGITS, overrides=overrides)
        (masked,) = play(scenario, tmp_path / "m")
        (plain,) = play(parse_scenario(DIGITS, overrides=("rounds=1",)), tmp_path / "p")
        code, public = scenario.facts.terms.code, [126] * 7 + [125] * 3
        bound = code.bound(10) * max(public) / sum(public)
        error = float((masked.state.weights - plain.state.weights).abs().max())
        assert error <= bound + 1e-6
        if ring == 16:
            assert error > bound / 50  # the bound is not idle


def test_clients_of_a_lost_block_are_recorded_as_absent(tmp_path: Path) -> None:
    seeded = ("rounds=1", "data.clients=130", "channel.kind=masked", "channel.secrets=seeded")
    scenario = parse_scenario(DIGITS, overrides=seeded)
    beacon = assemble(scenario, run="r", ledgers=tmp_path).federation.server._terms  # type: ignore[attr-defined]
    lost, opened = beacon.blocks(tuple(range(130)))
    silent = drops(*((client, 0, 3) for client in lost[:40]))
    (played,) = play(parse_scenario(DIGITS, overrides=(*seeded, silent)), tmp_path)
    assert played.record.survivors == opened
    assert set(played.record.absent) == set(lost)
    assert {played.record.absent[client] for client in lost[40:]} == {
        "lost with its block, of which too few were left"
    }


def test_a_round_with_too_many_dropouts_is_abandoned_and_the_run_goes_on(tmp_path: Path) -> None:
    played = play(parse_scenario(HEART, overrides=(*MASKED, drops((0, 2, 3), (1, 2, 3)))), tmp_path)
    assert [p.record.abandoned for p in played] == [round == 2 for round in range(7)]
    assert "2 of 4 clients answered stage 3, a sum takes 3" in played[2].record.reason
    assert torch.equal(played[2].state.weights, played[1].state.weights)


@dataclass
class Harassed:
    """A server that gets a forged packet before every honest one."""

    inner: ChannelServer
    forged: int = 0

    def absorb(self, client: int, message: Packet) -> bool:
        packet = bytes(message)
        for bad in (
            packet[:-1] + bytes([packet[-1] ^ 1]),
            bytes(len(packet)),
            packet[:26] + packet[25:],
            b"",
        ):
            assert not self.inner.absorb(client, bad)
            self.forged += 1
        return self.inner.absorb(client, message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_forged_packets_stop_no_round_and_change_nothing(tmp_path: Path) -> None:
    scenario = parse_scenario(HEART, overrides=("rounds=3", *MASKED))
    undisturbed = play(scenario, tmp_path / "a")
    assembled = assemble(scenario, run="r", ledgers=tmp_path / "b")
    server = Harassed(assembled.federation.server)
    federation = Federation(**{**vars(assembled.federation), "server": server})
    disturbed = list(engine.run(federation, assembled.start, rounds=3))
    assert server.forged == 3 * 5 * 4 * 4
    assert torch.equal(weights(disturbed), weights(undisturbed))


@pytest.mark.parametrize("text", [HEART, DIGITS])
def test_keys_are_fresh_and_a_seeded_run_gives_the_same_model_again(
    text: str, tmp_path: Path
) -> None:
    scenario = parse_scenario(text, overrides=("rounds=2", "channel.kind=masked"))
    assert torch.equal(
        weights(play(scenario, tmp_path / "a")), weights(play(scenario, tmp_path / "b"))
    )


def test_the_server_is_recorded_to_see_sums_and_never_one_update(tmp_path: Path) -> None:
    recorder = Recorder()
    play(
        parse_scenario(DIGITS, overrides=("rounds=1", *MASKED, drops((3, 0, 4), (5, 0, 3)))),
        tmp_path,
        recorder,
    )
    observed = [o for o in recorder.observations if o.party == "server"]
    kinds = {
        o.kind: sorted({c for x in observed if x.kind == o.kind for c in x.about}) for o in observed
    }
    everyone, survivors = list(range(10)), [c for c in range(10) if c != 5]
    answering = [c for c in survivors if c != 3]
    assert kinds == {
        "global model": [],
        "public keys": everyone,
        "sealed shares": everyone,
        "masked update": survivors,
        "signed survivor set": answering,
        "shares of survivors' seeds and of dropped clients' keys": answering,
        "sum of updates": survivors,
    }
    with_values = [o for o in observed if o.values is not None and o.kind != "global model"]
    assert [o.about for o in with_values] == [tuple(survivors)]


def test_a_sign_flip_through_masks_is_clipped_and_cannot_be_told_from_the_sum(
    tmp_path: Path,
) -> None:
    attack = ("attack.name=sign_flip", "attack.scale=5.0", "attack.clients=[0]")
    wide = ("rounds=2", *MASKED, "channel.clip=100.0")
    masked = play(parse_scenario(DIGITS, overrides=(*wide, *attack)), tmp_path / "m")
    plain = play(parse_scenario(DIGITS, overrides=("rounds=2", *attack)), tmp_path / "p")
    assert torch.allclose(weights(masked), weights(plain), rtol=0, atol=1e-6)
    clipped = play(
        parse_scenario(DIGITS, overrides=("rounds=1", *MASKED, "channel.clip=0.001")),
        tmp_path / "c",
    )
    start = assemble(parse_scenario(DIGITS), run="r", ledgers=tmp_path / "d").start.weights
    assert float((clipped[0].state.weights - start).abs().max()) <= 0.001 + 1e-6


def test_a_client_that_misses_the_set_up_is_left_out_of_the_session_and_recorded(
    tmp_path: Path,
) -> None:
    scenario = parse_scenario(DIGITS, overrides=("rounds=2", *MASKED, "simulate.missing=[3]"))
    metrics = run(scenario, tmp_path / "run")
    assert metrics["left_out"] == {"3": "no commitment in attempt 0"}
    played = play(scenario, tmp_path / "ledgers")
    assert all(p.record.cohort == p.record.survivors == (0, 1, 2, 4, 5, 6, 7, 8, 9) for p in played)
    silent = drops((3, 0, 1), (3, 1, 1))
    plain = play(parse_scenario(DIGITS, overrides=("rounds=2", silent)), tmp_path / "plain")
    assert torch.allclose(weights(played), weights(plain), rtol=0, atol=1e-6)


def test_no_key_reaches_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []

    def recorded(size: int) -> bytes:
        drawn.append(os.urandom(size))
        return drawn[-1]

    monkeypatch.setattr("securefl.channels.masking.keys.secrets.token_bytes", recorded)
    run(parse_scenario(HEART, overrides=("rounds=2", *MASKED, drops((1, 1, 4)))), tmp_path / "run")
    keys = [
        secret for secret in drawn if len(secret) == 32
    ]  # shorter ones are ids and nonces, which may be seen
    assert len(keys) >= 2 * 4 * 3
    for path in (tmp_path / "run").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not [
            secret for secret in keys if secret in content or secret.hex().encode() in content
        ], path
    names = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert names <= {
        "scenario.toml", "resolved.json", "env.json", "status.json", "rounds.jsonl", "metrics.json",
        "transcript.jsonl", "model.safetensors", "results.csv", "results.sqlite", "timings.csv",
        "timings.json", "lock", ".lock",
        *(f"{client}.jsonl" for client in range(4)),
    }  # fmt: skip
    (transcript,) = (tmp_path / "run").rglob("transcript.jsonl")
    for line in transcript.read_text().splitlines():
        assert "values" not in json.loads(line)


# More clients than one sum takes: they are dealt into two blocks.
TWO_BLOCKS = ("data.clients=130", "channel.kind=masked")


def deal(scenario: Scenario, folder: Path) -> tuple[tuple[int, ...], ...]:
    """Returns the blocks of a first round, as the set-up of this assembly deals them."""
    server = assemble(scenario, run="r", ledgers=folder).federation.server
    blocks: tuple[tuple[int, ...], ...] = server._terms.blocks(tuple(range(130)))  # type: ignore[attr-defined]
    return blocks


@pytest.mark.parametrize("text", [DIGITS, DIGITS.replace("sgd", "dp_sgd") + DECLARED])
def test_the_set_up_draws_from_the_system_unless_the_scenario_asks_for_the_seed(
    text: str, tmp_path: Path
) -> None:
    usual = parse_scenario(text, overrides=TWO_BLOCKS)
    assert usual.repeatable
    assert usual.resolved()["channel"]["secrets"] == "system"
    assert deal(usual, tmp_path / "a") != deal(usual, tmp_path / "b")
    assert "set-up" not in summary(usual)


def test_a_seeded_set_up_deals_by_the_seed_and_says_so(tmp_path: Path) -> None:
    seeded = parse_scenario(DIGITS, overrides=(*TWO_BLOCKS, "channel.secrets=seeded"))
    assert seeded.resolved()["channel"]["secrets"] == "seeded"
    dealt = deal(seeded, tmp_path / "c")
    assert dealt == deal(seeded, tmp_path / "d")
    assert "SEEDED set-up: the seed tells beforehand which clients are summed together" in summary(
        seeded
    )
    another = parse_scenario(DIGITS, overrides=(*TWO_BLOCKS, "channel.secrets=seeded", "seed=3"))
    assert deal(another, tmp_path / "e") != dealt


def test_the_members_secrets_come_from_the_system_also_where_updates_are_rounded_by_the_seed() -> (
    None
):
    scenario = parse_scenario(DIGITS, overrides=MASKED)
    streams = stream_for(scenario)
    assert streams("rounding", 1, 0).bytes(32) == stream_for(scenario)("rounding", 1, 0).bytes(32)
    assert streams("set-up", 1, 0).bytes(32) != stream_for(scenario)("set-up", 1, 0).bytes(32)


def test_a_scenario_that_shows_record_counts_says_so() -> None:
    shown = parse_scenario(
        DIGITS + 'weights = "reported"', overrides=(*MASKED, "channel.reveal_counts=true")
    )
    assert "the server sees each client's exact record count (channel.reveal_counts)" in summary(
        shown
    )
    assert "record count" not in summary(parse_scenario(DIGITS, overrides=MASKED))


def test_what_validation_sketches_has_the_models_own_coordinates(tmp_path: Path) -> None:
    scenario = parse_scenario(DIGITS, overrides=MASKED)
    assert scenario.facts.terms.d == len(
        assemble(scenario, run="r", ledgers=tmp_path).start.weights
    )
