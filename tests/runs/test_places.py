"""A chain of runs: its claim holds against nobody whom the noise of an earlier run fails."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

from securefl.audit.lint import examine
from securefl.errors import ScenarioError
from securefl.privacy.chain import read_entries
from securefl.privacy.events import SampledGaussian, event_from_json
from securefl.runs import api
from securefl.runs.folder import RunFolder
from securefl.runs.origin import origin_of
from securefl.runs.refining.series import Series
from securefl.scenario.scenario import parse_scenario
from securefl.ui.cards.card import card_of
from securefl.ui.cards.page import page
from tests.commands import call, refused
from tests.values import present

TEXT = """
rounds = 2
data = { name = "heart" }
training = { kind = "clipped_gradient", lr = 0.5 }
privacy = { place = "PLACE", epsilon = EPSILON, delta = 1e-5 }
"""
WORDS = {
    "local": "privacy.place = 'local'",
    "one": "privacy.place = 'distributed' and channel.corrupt = 1",
    "two": "privacy.place = 'distributed' and channel.corrupt = 2",
    "central": "privacy.place = 'central' (sums opened by the server)",
    "keys": "privacy.place = 'central' (sums opened by the key holders)",
}
Play = Callable[[str], Path]


def text_of(name: str, epsilon: float = 3.0) -> str:
    place = {"one": "distributed", "two": "distributed", "keys": "central"}.get(name, name)
    text = TEXT.replace("PLACE", place).replace("EPSILON", str(epsilon))
    if name == "keys":
        return f'{text}channel = {{ kind = "ckks" }}\n'
    if place != "distributed":
        return text
    return f'{text}channel = {{ kind = "masked", corrupt = {["one", "two"].index(name) + 1} }}\n'


def after(folder: Path, name: str, epsilon: float = 5.0) -> str:
    return f'init_from = "{folder}"\n{text_of(name, epsilon)}'


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Returns the folder of a run with noise of a place, which is played once."""
    home = tmp_path_factory.mktemp("places")

    def play(name: str) -> Path:
        if not (home / name).exists():
            api.run(parse_scenario(text_of(name)), home / name, text=text_of(name))
        return home / name

    return play


@pytest.mark.parametrize(
    ("before", "now"),
    [
        *(("central", "local"), ("central", "one"), ("one", "central"), ("one", "two")),
        *(("one", "local"), ("two", "local"), ("central", "keys")),
    ],
)
def test_a_run_that_claims_more_than_the_one_before_is_refused(
    played: Play, tmp_path: Path, before: str, now: str
) -> None:
    scenario = parse_scenario(after(played(before), now))
    with pytest.raises(ScenarioError) as refusal:
        origin_of(scenario)
    assert f"has {WORDS[before]}, here it is {WORDS[now]}: the claim" in str(refusal.value)
    assert f"; set {WORDS[before]} here, too, or train a new model" in str(refusal.value)
    with pytest.raises(ScenarioError, match="does not hold against all"):
        api.run(scenario, tmp_path / "later")
    assert not (tmp_path / "later").exists()


@pytest.mark.parametrize(
    ("before", "now"),
    [
        *(("local", "central"), ("local", "one"), ("two", "one"), ("one", "one")),
        *(("central", "central"), ("keys", "keys"), ("local", "keys")),
    ],
)
def test_a_run_that_claims_no_more_than_the_one_before_goes_on(
    played: Play, before: str, now: str
) -> None:
    assert origin_of(parse_scenario(after(played(before), now))) is not None


def test_a_third_run_hears_of_the_place_of_the_first(played: Play, tmp_path: Path) -> None:
    second = after(played("local"), "central")
    api.run(parse_scenario(second), tmp_path / "second", text=second)
    (verdict,) = examine(tmp_path / "second")
    assert verdict.findings == []
    with pytest.raises(ScenarioError, match=r"'central' \(sums opened by the server\), here it is"):
        origin_of(parse_scenario(after(tmp_path / "second", "local", 7.0)))


def test_a_refusal_is_one_sentence_with_code_two(played: Play, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(after(played("central"), "local"))
    for command in (("validate", "s.toml"), ("run", "s.toml", "--out", "later")):
        refused(call(*command, cwd=tmp_path), 2, "the noise of the earlier one does not hold")
    assert not (tmp_path / "later").exists()


def test_ledgers_tell_the_place_though_the_scenario_was_edited(tmp_path: Path) -> None:
    text = text_of("central")
    api.run(parse_scenario(text), tmp_path / "first", text=text)
    file = tmp_path / "first/resolved.json"
    held = json.loads(file.read_text())
    (cell,) = held["cells"].values()
    cell["privacy"]["place"] = "local"
    file.write_text(json.dumps(held))
    with pytest.raises(ScenarioError, match=r"'central' \(sums opened by the server\), here it is"):
        origin_of(parse_scenario(after(tmp_path / "first", "local")))
    (verdict,) = examine(tmp_path / "first")
    messages = {finding.name: finding.message for finding in verdict.findings}
    assert "kept at place privacy.place = 'central' (sums opened" in messages["ledger-edited"]


def test_a_ledger_shows_that_the_channel_was_edited(played: Play, tmp_path: Path) -> None:
    copytree(played("keys"), tmp_path / "run")
    (verdict,) = examine(tmp_path / "run")
    assert verdict.findings == []
    file = tmp_path / "run/resolved.json"
    held = json.loads(file.read_text())
    (cell,) = held["cells"].values()
    cell["channel"]["kind"] = "plain"
    file.write_text(json.dumps(held))
    (verdict,) = examine(tmp_path / "run")
    messages = {finding.name: finding.message for finding in verdict.findings}
    assert "at place privacy.place = 'central' (sums opened by the key" in messages["ledger-edited"]


def test_the_scenario_tells_the_place_where_ledgers_do_not(tmp_path: Path) -> None:
    text = text_of("local")
    api.run(parse_scenario(text), tmp_path / "first", text=text)
    file = tmp_path / "first/resolved.json"
    file.write_text(file.read_text().replace('"place": "local"', '"place": "central"'))
    with pytest.raises(ScenarioError, match=r"'central' \(sums opened by the server\), here it is"):
        origin_of(parse_scenario(after(tmp_path / "first", "local")))


def test_validate_names_the_noise_that_the_run_adds_on_top_of_earlier_ones(
    played: Play, tmp_path: Path
) -> None:
    text = after(played("central"), "central")
    (tmp_path / "s.toml").write_text(text)
    said = call("validate", "s.toml", cwd=tmp_path).stdout
    api.run(parse_scenario(text), tmp_path / "later", text=text)
    ((_, _, cell),) = RunFolder.open(tmp_path / "later").cells()
    (event,) = {
        event_from_json(entry["event"])
        for file in cell.ledgers.iterdir()
        for entry in read_entries(file)
        if entry["event"]
    }
    assert isinstance(event, SampledGaussian)
    assert f"noise: multiplier {event.noise_multiplier:g} of each sum that is opened" in said
    (tmp_path / "alone.toml").write_text(text_of("central", 5.0))
    alone = call("validate", "alone.toml", cwd=tmp_path).stdout
    assert f"noise: multiplier {event.noise_multiplier:g} of" not in alone


def test_metrics_of_noise_in_shares_have_what_the_claim_rests_on(played: Play) -> None:
    ((_, _, shares),) = RunFolder.open(played("one")).cells()
    metrics = present(shares.metrics())
    assert (metrics["place"], metrics["corrupt"], metrics["n_min"]) == ("distributed", 1, 2)
    for name in ("local", "central"):
        ((_, _, cell),) = RunFolder.open(played(name)).cells()
        assert not {"corrupt", "n_min"} & set(present(cell.metrics()))


def page_of(folder: Path) -> str:
    """Returns the card of a run as a page."""
    return page(card_of(Series(folder), 1))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "one",
            "The claim holds against the server together with up to 1 client of a sum. Every sum "
            "has the noise of 2 honest clients or more.",
        ),
        (
            "central",
            "The claim holds against those who see models only, and NOT against the server, which "
            "sees every update without noise.",
        ),
        (
            "keys",
            "The claim holds against those who get a model and no key, and can change no "
            "ciphertext, and NOT against the key holders, who open the sum and add the noise, nor "
            "against whoever changes ciphertexts, as the server could.",
        ),
    ],
)
def test_a_card_says_whom_a_claim_holds_against(played: Play, name: str, words: str) -> None:
    assert f"\n{words}\n" in page_of(played(name))


def test_a_card_of_local_noise_has_nothing_to_add(played: Play) -> None:
    assert "The claim holds" not in page_of(played("local"))
