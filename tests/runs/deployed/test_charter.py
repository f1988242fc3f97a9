"""The charter: the same digest everywhere, and only scenarios that run between sites."""

import datetime
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.errors import RunFailed, RunFolderError, ScenarioError
from securefl.runs.deployed.charter import (
    SESSIONS_OF_BLOCKS,
    Charter,
    Shared,
    envelope_limit,
    layout_of,
    model_of,
)
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.deployed.documents import moment_of
from securefl.scenario.assemble.public import public_parts
from securefl.scenario.scenario import parse_scenario
from tests.runs.deployed.parties import MASKED, SGD, charter_of

SERVER = Ed25519PrivateKey.generate()
SITES = [Ed25519PrivateKey.generate() for _ in range(4)]


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


CHARTER = charter_of(
    SGD,
    keys={site: public(key) for site, key in enumerate(SITES)},
    server=public(SERVER),
    overrides=("rounds=1",),
)


def changed(place: str, value: object) -> bytes:
    """Returns the charter's JSON with another value at a place such as roster.0.name."""
    values = CHARTER.model_dump()
    table = values
    *path, last = place.split(".")
    for key in path:
        table = table[key]
    table[last] = value
    return json.dumps(values).encode()


def test_a_charter_comes_back_from_its_file_with_its_digest(tmp_path: Path) -> None:
    CHARTER.write(tmp_path / "charter.json")
    again = Charter.read(tmp_path / "charter.json")
    assert (again, again.digest) == (CHARTER, CHARTER.digest)
    assert again.scenario().rounds == 1
    assert again.keys == {site: public(key) for site, key in enumerate(SITES)}
    assert again.server_key == public(SERVER)


def test_neither_spaces_nor_the_order_of_keys_change_the_digest() -> None:
    values = dict(reversed(CHARTER.model_dump().items()))
    again = Charter.parse(json.dumps(values, indent=7).encode(), "here")
    assert again.digest == CHARTER.digest


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("epoch", 2),
        ("run", "1" * 16),
        ("valid_from", "2020-01-01T00:00:00Z"),
        ("valid_until", "2099-01-01T00:00:00Z"),
        ("host", "example.org"),
        ("port", 2),
        ("server", "22" * 32),
        ("roster.0.name", "zurich"),
        ("roster.0.key", "22" * 32),
        ("roster.0.node", "03" + "1" * 96),
        ("roster.0.certificate", "x"),
        ("shared.text", SGD + MASKED),
        ("shared.overrides", []),
        ("data_schema", f"sha256:{'1' * 64}"),
        ("layout", "sha256:" + "0" * 64),
        ("model", "sha256:" + "0" * 64),
        ("origin", "sha256:" + "0" * 64),
        ("code", "0" * 16),
        ("deadline", 61.0),
    ],
)
def test_every_term_changes_the_digest(place: str, value: object) -> None:
    assert Charter.parse(changed(place, value), "here").digest != CHARTER.digest


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("version", 2, "version: input should be less than or equal to 1"),
        ("epoch", 0, "epoch: input should be greater than or equal to 1"),
        ("epoch", "1", "epoch: input should be a valid integer"),
        ("epoch", True, "epoch: input should be a valid integer, got true"),
        ("port", 65536, "port: input should be less"),
        ("host", "a b", "host: string should match"),
        ("run", "0" * 16 + "\n", "run: string should match"),
        ("server", "22" * 33, "server: string should match"),
        ("roster.0.name", "../x", r"roster\.0\.name: string should match"),
        ("roster.0.node", "04" + "1" * 96, r"roster\.0\.node: string should match"),
        ("roster.0.extra", 1, r"unknown key 'roster\.0\.extra'"),
        ("roster.x", {"name": "x"}, "roster"),
        ("roster.4096", {"name": "x"}, "roster"),
        ("extra", 1, "unknown key 'extra'"),
        ("rounds", 1_000_001, "rounds: input should be less"),
        ("numbers", 3, "numbers is not twice rounds"),
        ("valid_from", "2099-01-01T00:00:00Z", "valid_from is not before valid_until"),
        ("valid_from", "yesterday", "does not match format"),
        ("valid_from", "\u0662026-01-01T00:00:00Z", "written with the digits 0 to 9"),
        ("deadline", 0.0, "deadline: input should be greater than 0"),
        ("shared.text", "x" * ((1 << 18) + 1), "text: string should have at most 262144"),
        ("shared.overrides", ["x"] * 257, "overrides: list should have at most 256"),
        ("roster.0.name", "site-1", "2 sites have the name site-1"),
        ("roster.0.key", public(SITES[1]).hex(), "2 sites have the Ed25519 key"),
        ("roster.0.key", public(SERVER).hex(), "a site has the coordinator's key"),
        ("roster.0.node", f"02{1:096x}", "2 sites have the node key"),
    ],
)
def test_a_charter_is_read_strictly(place: str, value: object, reason: str) -> None:
    with pytest.raises(RunFolderError, match=f"here is no charter of version 1: .*{reason}") as e:
        Charter.parse(changed(place, value), "here")
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 400


def test_a_missing_key_and_bytes_that_are_no_json_are_refused() -> None:
    values = CHARTER.model_dump()
    del values["data_schema"]
    for data in (
        json.dumps(values).encode(),
        b"",
        b"[]",
        b"\xff",
        b"{" * 100_000,
        b'{"epoch": NaN}',
    ):
        with pytest.raises(RunFolderError, match="here is no charter of version 1"):
            Charter.parse(data, "here")


def test_sites_are_numbered_from_zero_on() -> None:
    roster = CHARTER.model_dump()["roster"]
    roster["5"] = roster.pop("3")
    with pytest.raises(RunFolderError, match="not numbered from 0 on"):
        Charter.parse(changed("roster", roster), "here")


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "charter.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RunFolderError, match="larger than 4194304 bytes"):
        Charter.read(path)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"cannot read .*charter\.json: No such file"):
        Charter.read(tmp_path / "charter.json")


def test_a_fingerprint_is_half_the_digest_in_groups_of_four() -> None:
    assert CHARTER.fingerprint.replace(" ", "") == CHARTER.digest.hex()[:32]
    assert CHARTER.fingerprint.count(" ") == 7


@pytest.mark.parametrize("days", [-1, 2])
def test_a_clock_outside_the_validity_is_refused(days: int) -> None:
    now = moment_of(CHARTER.valid_from)
    CHARTER.check_clock(now)
    with pytest.raises(RunFailed, match=r"this machine's clock says .*; the charter is valid from"):
        CHARTER.check_clock(now + datetime.timedelta(days=days))


@pytest.mark.parametrize("key", ["code", "layout", "model"])
def test_another_code_layout_or_first_model_is_refused(key: str) -> None:
    public = public_parts(CHARTER.scenario(), run=CHARTER.run)
    CHARTER.check_public(public)
    other = CHARTER.model_copy(update={key: "0"})
    with pytest.raises(RunFolderError, match=f"the charter names {key} 0, here it is"):
        other.check_public(public)


def test_the_first_models_hash_depends_on_the_seed_and_the_layouts_does_not() -> None:
    first, second = (
        public_parts(parse_scenario(SGD, overrides=(f"seed={seed}",)), run="") for seed in (1, 2)
    )
    assert layout_of(first) == layout_of(second)
    # Heart's model starts from zeros, whatever the seed.
    second.model.get_parameter(next(iter(dict(second.model.named_parameters())))).data += 1
    assert model_of(first) != model_of(second)


def test_a_scenario_of_other_sites_or_rounds_is_not_the_charters() -> None:
    other = CHARTER.model_copy(update={"rounds": 2})
    with pytest.raises(ScenarioError, match="names 4 sites and 2 rounds, its scenario 4 and 1"):
        other.scenario()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            "attack = { name = 'sign_flip', scale = 2.0, clients = [0] }",
            "attack has no place",
        ),
        ("simulate = { late = [{ client = 0, round = 0 }] }", "simulate plays faults"),
        ("engine = { stack = 'auto' }", "engine has no place"),
        ("channel = { kind = 'ckks' }", "'ckks' does not run between sites yet"),
        ("init_from = 'runs/a'", "init_from has no place"),
    ],
)
def test_what_does_not_run_between_sites_is_refused(more: str, reason: str) -> None:
    with pytest.raises(ScenarioError, match=reason):
        check_deployable(parse_scenario(SGD + more))


def test_labels_are_not_changed_between_sites() -> None:
    text = SGD.replace('partition = "natural"', "label_noise = 0.1")
    with pytest.raises(ScenarioError, match=r"data\.label_noise changes records"):
        check_deployable(parse_scenario(text))


def test_files_of_a_user_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = parse_scenario(SGD)
    monkeypatch.setattr(type(scenario.facts), "code", {"mine.py": "0" * 16})
    with pytest.raises(ScenarioError, match="files of your own code or weights"):
        check_deployable(scenario)


def test_numbers_that_only_records_could_tell_have_to_be_declared() -> None:
    text = SGD.replace('"natural"', '"dirichlet", clients = 4').replace("equal", "declared")
    with pytest.raises(ScenarioError, match=r"declare privacy\.records"):
        Shared(text=text, overrides=()).scenario()


def test_an_envelope_has_room_for_a_model_or_an_upload_of_any_ring() -> None:
    scenario = parse_scenario(SGD)
    assert envelope_limit(scenario) >= 16 * scenario.facts.coordinates + 4 * 4096


def test_where_sites_are_dealt_into_blocks_an_epoch_has_few_sessions() -> None:
    charter = charter_of(SGD.replace("rounds = 2", "rounds = 90"), keys=CHARTER.keys)
    assert charter.sessions == charter.numbers == 180
    member = charter.roster["0"]
    crowd = charter.model_copy(update={"roster": {str(site): member for site in range(129)}})
    assert crowd.sessions == SESSIONS_OF_BLOCKS < crowd.numbers


def test_where_sites_are_dealt_into_groups_an_epoch_has_few_sessions() -> None:
    text = SGD.replace("rounds = 2", "rounds = 90")
    text = text.replace('"natural"', '"iid", clients = 9')
    text += 'channel = { kind = "masked", groups = 3 }\ndefense = { rule = "median" }\n'
    keys = {site: Ed25519PrivateKey.generate().public_key().public_bytes_raw() for site in range(9)}
    charter = charter_of(text, keys=keys)
    assert charter.sessions == SESSIONS_OF_BLOCKS < charter.numbers == 180
