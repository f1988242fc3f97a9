"""Whole runs through CKKS: the results of plain and masked, all observations, no secret on disk."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from securefl import vector
from securefl.channels.ckks.cipher import KeyHolder
from securefl.channels.ckks.wire import CIPHERTEXT_BYTES
from securefl.channels.protocol import UNWATCHED, Observer, Seen
from securefl.errors import RunFailed, ScenarioError
from securefl.federation import engine
from securefl.federation.values import Played
from securefl.runs.api import run
from securefl.runs.folder import RunFolder
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.medmnist_files import official
from tests.recorder import Recorder

HEART = """
seed = 1
rounds = 3
data = { name = "heart", partition = "natural" }
training = { kind = "dp_sgd", batch = 32, epochs = 1, lr = 0.5, clip = 1.0 }
privacy = { epsilon = 8.0, delta = 1e-5, noise = "seeded" }
"""
BREAST = """
seed = 1
rounds = 2
data = { name = "medmnist:breastmnist", partition = "dirichlet", clients = 5, minimum = 20 }
weights = "reported"
model = { name = "cnn", channels = [8, 16] }
training = { kind = "sgd", batch = 32, epochs = 1, lr = 0.1 }
"""


def test_three_updates_make_a_round_unless_declared_and_one_never_does() -> None:
    assert parse_scenario(HEART, overrides=("channel.kind=ckks",)).facts.min_cohort == 3
    assert (
        parse_scenario(
            HEART, overrides=("channel.kind=ckks", "channel.min_cohort=2")
        ).facts.min_cohort
        == 2
    )
    with pytest.raises(ScenarioError, match="min_cohort must be at least 2 with ckks"):
        parse_scenario(HEART, overrides=("channel.kind=ckks", "channel.min_cohort=1"))
    with pytest.raises(
        ScenarioError, match=r"channel\.kind = 'ckks' needs 3 clients or more in a round, and"
    ):
        parse_scenario(HEART, overrides=("channel.kind=ckks", "cohort.size=2"))


def play(scenario: Scenario, folder: Path, observer: Observer = UNWATCHED) -> list[Played]:
    assembled = assemble(scenario, run="r", ledgers=folder)
    return list(
        engine.run(assembled.federation, assembled.start, rounds=scenario.rounds, observer=observer)
    )


def assert_the_channels_agree(text: str, folder: Path) -> dict[str, list[Played]]:
    """After one round the models differ by the channels' own bounds, later by less than 1e-4."""
    counts = ("channel.reveal_counts=true",) if "reported" in text else ()
    scenarios = {
        "plain": parse_scenario(text),
        "ckks": parse_scenario(text, overrides=("channel.kind=ckks",)),
        "masked": parse_scenario(
            text, overrides=("channel.kind=masked", "channel.ring=64", *counts)
        ),
    }
    played = {kind: play(scenario, folder / kind) for kind, scenario in scenarios.items()}
    for kind in ("ckks", "masked"):
        first = (played[kind][0].state.weights - played["plain"][0].state.weights).abs().max()
        agreed, clients = scenarios[kind].facts.terms, scenarios[kind].clients
        least = agreed.max_weight if kind == "ckks" else 1  # all weights together are no less
        bound = (
            agreed.error_bound(clients, least)
            if kind == "ckks"
            else clients * agreed.code.bound(clients)
        )
        float32 = 4 * 2.0**-23  # of weights up to 4, added to the update and rounded
        assert float(first) <= bound + float32
        apart = [
            (played_round.state.weights - plain_round.state.weights).abs().max()
            for played_round, plain_round in zip(played[kind], played["plain"], strict=True)
        ]
        assert float(max(apart)) < 1e-4
    return played


def test_ckks_masked_and_plain_give_the_same_model_on_heart(tmp_path: Path) -> None:
    assert_the_channels_agree(HEART, tmp_path)


def test_ckks_masked_and_plain_give_the_same_model_on_breastmnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official("breastmnist", monkeypatch)
    played = assert_the_channels_agree(BREAST, tmp_path)
    observed = {
        kind: {(o.party, o.kind) for o in rounds[0].observed} for kind, rounds in played.items()
    }
    models = {
        (f"client {client}", kind) for client in range(5) for kind in ("global model", "own update")
    }
    outside = {
        (party, kind)
        for party in ("server", "network")
        for kind in ("global model", "update in the clear")
    }
    assert observed["plain"] == models | outside
    assert observed["ckks"] == (
        models
        | {(f"client {client}", "opened sum") for client in range(5)}
        | {
            (party, kind)
            for party in ("server", "network")
            for kind in ("encrypted update", "encrypted sum")
        }
    )
    assert ("server", "sum of updates") in observed["masked"]
    assert not any("clear" in kind or "opened" in kind for _, kind in observed["masked"])


def test_key_holders_see_the_opened_sum_with_its_values_and_everyone_else_ciphertexts(
    tmp_path: Path,
) -> None:
    recorder = Recorder()
    scenario = parse_scenario(HEART, overrides=("channel.kind=ckks", "rounds=1"))
    played = play(scenario, tmp_path, recorder)
    opened = [o for o in recorder.observations if o.kind == Seen.OPENED_SUM]
    assert [o.party for o in opened] == [f"client {client}" for client in range(4)]
    assert recorder.observations[0].kind == Seen.GLOBAL_MODEL
    start = recorder.observations[0].values
    assert start is not None
    for o in opened:
        assert o.about == (0, 1, 2, 3)
        assert o.values is not None
        assert torch.allclose(start + o.values, played[0].state.weights, atol=1e-6)
    outside = [o for o in recorder.observations if o.party in ("server", "network")]
    assert len(outside) == 2 * (4 + 1)
    assert all(o.values is None for o in outside)


def test_the_transcript_on_disk_says_what_each_party_saw_and_no_value(tmp_path: Path) -> None:
    run(parse_scenario(HEART, overrides=("channel.kind=ckks", "rounds=1")), tmp_path / "run")
    (path,) = (tmp_path / "run").rglob("transcript.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(set(line) == {"round", "party", "kind", "about", "shape", "bytes"} for line in lines)
    entries = {(line["party"], line["kind"], tuple(line["shape"])) for line in lines}
    clients, outside = [f"client {client}" for client in range(4)], ("server", "network")
    assert entries == (
        {(party, kind, (1,)) for party in outside for kind in ("encrypted update", "encrypted sum")}
        | {
            (party, kind, shape)
            for party in clients
            for kind, shape in (
                ("global model", (16,)),
                ("own update", (16,)),
                ("opened sum", (16,)),
            )
        }
    )
    updates = [
        line for line in lines if line["party"] == "server" and line["kind"] == "encrypted update"
    ]
    assert [line["about"] for line in updates] == [[0], [1], [2], [3]]
    assert all(line["bytes"] > CIPHERTEXT_BYTES for line in updates)


@pytest.mark.parametrize("stage", [1, 2])
def test_a_client_that_drops_out_before_or_after_its_upload(stage: int, tmp_path: Path) -> None:
    drop = f"simulate.drop=[{{ client = 2, round = 1, stage = {stage} }}]"
    ckks = play(parse_scenario(HEART, overrides=("channel.kind=ckks", drop)), tmp_path / "ckks")
    assert ckks[1].record.survivors == ((0, 1, 3) if stage == 1 else (0, 1, 2, 3))
    assert list(ckks[1].record.absent) == [2]
    assert [o.party for o in ckks[1].observed if o.kind == "opened sum"] == [
        "client 0",
        "client 1",
        "client 3",
    ]
    overrides = (drop,) if stage == 1 else ()
    plain = play(parse_scenario(HEART, overrides=overrides), tmp_path / "plain")
    assert torch.allclose(ckks[2].state.weights, plain[2].state.weights, atol=1e-5)


def test_a_run_in_which_no_sum_is_ever_opened_fails(tmp_path: Path) -> None:
    drops = ", ".join(f"{{ client = {client}, round = 0, stage = 2 }}" for client in range(4))
    with pytest.raises(RunFailed, match="round 0: no clients left: dropped at stage 2"):
        play(
            parse_scenario(
                HEART, overrides=("channel.kind=ckks", f"simulate.drop=[{drops}]", "rounds=1")
            ),
            tmp_path,
        )


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[KeyHolder]:
    """Records every generated key."""
    generated: list[KeyHolder] = []
    generate: Callable[[], KeyHolder] = KeyHolder.generate

    def recorded() -> KeyHolder:
        generated.append(generate())
        return generated[-1]

    monkeypatch.setattr(KeyHolder, "generate", staticmethod(recorded))
    return generated


def test_no_key_and_no_ciphertext_is_ever_in_a_run_folder(
    tmp_path: Path, keys: list[KeyHolder]
) -> None:
    run(parse_scenario(HEART, overrides=("channel.kind=ckks",)), tmp_path / "run")
    (key,) = keys
    secret = key.to_bytes()
    written = b"".join(
        file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()
    )
    pieces = [secret[at : at + 16] for at in range(100, len(secret) - 16, 997)]
    for form in (
        lambda piece: piece,
        lambda piece: piece.hex().encode(),
        lambda piece: repr(piece)[2:-1].encode(),
    ):
        assert not any(form(piece) in written for piece in pieces)
    assert key.key_id.hex().encode() not in written
    transcripts = list((tmp_path / "run").rglob("transcript.jsonl"))
    assert transcripts
    kinds = {json.loads(line)["kind"] for line in transcripts[0].read_text().splitlines()}
    assert kinds == {
        "global model",
        "own update",
        "encrypted update",
        "encrypted sum",
        "opened sum",
    }


def test_no_repr_of_a_federation_shows_a_secret_of_its_key_holders(
    tmp_path: Path, keys: list[KeyHolder]
) -> None:
    assembled = assemble(
        parse_scenario(HEART, overrides=("channel.kind=ckks",)), run="r", ledgers=tmp_path
    )
    secret = keys[0].to_bytes()
    for form in (repr(secret[200:232])[2:-1], secret[200:232].hex()):
        assert form not in repr(assembled)


def test_a_resumed_run_makes_a_new_key_and_ends_with_the_same_metrics(
    tmp_path: Path, keys: list[KeyHolder]
) -> None:
    text = parse_scenario(HEART, overrides=("channel.kind=ckks",))
    whole = run(text, tmp_path / "whole")

    def stop(record: object) -> None:
        if getattr(record, "round", 0) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(text, tmp_path / "cut", on_round=stop)
    again = run(text, tmp_path / "cut")
    assert len({key.key_id for key in keys}) == 3
    for name in ("accuracy", "auc", "epsilon", "rounds", "abandoned"):
        assert again[name] == pytest.approx(whole[name], abs=1e-9)


def test_the_model_of_a_ckks_run_is_not_handed_to_a_server(tmp_path: Path) -> None:
    quick = ("rounds=1", "channel.kind=ckks")
    run(parse_scenario(HEART, overrides=quick), tmp_path / "first")
    later = f'init_from = "{tmp_path / "first"}"\n{HEART}'.replace(
        "epsilon = 8.0", "epsilon = 20.0"
    )
    for kind in ("plain", "masked"):
        with pytest.raises(
            ScenarioError,
            match=r"whose model only key holders may see.*continue with channel\.kind",
        ):
            run(
                parse_scenario(later, overrides=("rounds=1", f"channel.kind={kind}")),
                tmp_path / kind,
            )
    run(parse_scenario(later, overrides=quick), tmp_path / "ckks")


def test_a_run_that_goes_on_names_its_model_by_the_new_session_and_not_by_its_weights(
    tmp_path: Path,
) -> None:
    scenario = parse_scenario(HEART, overrides=("channel.kind=ckks", "rounds=1"))
    run(scenario, tmp_path / "run")
    ((_, _, cell),) = RunFolder.open(tmp_path / "run").cells()
    assembled = assemble(scenario, run="r", ledgers=tmp_path / "ledgers")
    state = cell.last_good(assembled.start, vector.shapes(assembled.model))
    assert not torch.equal(state.weights, assembled.start.weights)
    assert assembled.federation.name_of(state) == assembled.start.name != b""
