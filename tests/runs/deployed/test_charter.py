"""The charter: the same digest everywhere, and only scenarios that run between sites."""

from dataclasses import replace
from pathlib import Path

import pytest

from securefl.errors import ScenarioError
from securefl.runs.deployed.charter import Charter, check_deployable, envelope_limit
from securefl.scenario.scenario import parse_scenario
from tests.runs.deployed.parties import MASKED, SGD

CHARTER = Charter("run", SGD, ("rounds=1",), "00" * 32, {"0": "11" * 32}, 60.0)


def test_a_charter_comes_back_from_its_file_with_its_digest(tmp_path: Path) -> None:
    CHARTER.write(tmp_path / "charter.json")
    again = Charter.read(tmp_path / "charter.json")
    assert (again, again.digest) == (CHARTER, CHARTER.digest)
    assert again.scenario().rounds == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(CHARTER, run="other"),
        replace(CHARTER, text=SGD + MASKED),
        replace(CHARTER, overrides=()),
        replace(CHARTER, server="22" * 32),
        replace(CHARTER, roster={"0": "22" * 32}),
        replace(CHARTER, deadline=61.0),
    ],
)
def test_every_term_changes_the_digest(other: Charter) -> None:
    assert other.digest != CHARTER.digest


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
    monkeypatch.setattr(type(scenario.facts), "reads_files", True)
    with pytest.raises(ScenarioError, match="files of your own"):
        check_deployable(scenario)


def test_numbers_that_only_records_could_tell_have_to_be_declared() -> None:
    text = SGD.replace('"natural"', '"dirichlet", clients = 4').replace("equal", "declared")
    with pytest.raises(ScenarioError, match=r"declare privacy\.records"):
        replace(CHARTER, text=text).scenario()


def test_an_envelope_has_room_for_a_model_or_an_upload_of_any_ring() -> None:
    scenario = parse_scenario(SGD)
    assert envelope_limit(scenario) >= 16 * scenario.facts.coordinates + 4 * 4096
