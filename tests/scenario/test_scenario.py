"""Scenarios: which are accepted, what their defaults promise, and how a file is read."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from securefl.errors import ScenarioError
from securefl.scenario.declaration import Declaration
from securefl.scenario.scenario import Scenario, load_scenario, parse_scenario
from tests.scenario.texts import AS_BUILT, DIGITS, HEART, NOT_DEALT, PLAIN_STEPS, SGD, refusal

NOT_MASKED = dict.fromkeys(
    (
        "ring",
        "clip",
        "rounding",
        "corrupt",
        "max_weight",
        "secrets",
        "reveal_counts",
        "groups",
        "regroup",
        "sketch",
    )
)


def test_the_first_scenario_of_the_design_is_accepted() -> None:
    scenario = parse_scenario(HEART)
    assert (scenario.seed, scenario.rounds, scenario.clients, scenario.cohort_size) == (1, 20, 4, 4)
    assert scenario.site_records == (200, 173, 31, 86)
    assert scenario.claims_dp
    assert not scenario.repeatable
    assert scenario.attack is not None
    assert (scenario.attack.name, scenario.attack.clients) == ("sign_flip", (0,))
    assert scenario.attack.parameters == {"scale": 5.0}
    assert scenario.channel.min_cohort == 3


def test_the_second_scenario_of_the_design_is_accepted() -> None:
    scenario = parse_scenario(DIGITS)
    assert (scenario.seed, scenario.rounds, scenario.clients, scenario.cohort_size) == (
        2,
        40,
        10,
        10,
    )
    assert scenario.site_records == (126,) * 7 + (125,) * 3
    assert scenario.model.parameters == {"hidden": [32]}
    assert scenario.privacy is None
    assert not scenario.claims_dp
    assert scenario.repeatable
    (drop,) = scenario.simulate.drop
    assert (drop.client, drop.round, drop.stage) == (3, 2, 3)


def test_an_empty_scenario_is_valid_and_its_defaults_are_the_safe_ones() -> None:
    scenario = parse_scenario("")
    assert scenario.resolved() == {
        "seed": 0,
        "rounds": 20,
        "data": {
            "name": "heart",
            "partition": "natural",
            "clients": 4,
            "split_seed": 0,
            **NOT_DEALT,
        },
        "model": {"name": "logistic", **AS_BUILT},
        "training": {
            "kind": "dp_sgd",
            "batch": 32,
            "epochs": 1,
            "lr": 0.5,
            "clip": 1.0,
            **PLAIN_STEPS,
        },
        "privacy": {
            "unit": "example",
            "place": "local",
            "epsilon": 8.0,
            "delta": 1e-5,
            "noise": "system",
            "noise_multiplier": None,
            "records": [200, 173, 31, 86],
        },
        "practice": {
            "sampling": "poisson",
            "normaliser": "declared",
            "batches": "all",
            "statistics": "public",
            "layers": ["Linear"],
        },
        "topology": None,
        "cohort": {"size": 4},
        "weights": "declared",
        "init_from": None,
        "folder": None,
        "code": None,
        "channel": {"kind": "plain", "min_cohort": 1, **NOT_MASKED},
        "simulate": {
            "drop": [],
            "late": [],
            "missing": [],
            "speed": None,
            "scanners": None,
            "lie": None,
        },
        "defense": {"prefilters": [], "rule": {"name": "mean"}},
        "attack": None,
        "server": {"step": "fedavg", "lr": 1.0},
        "rehearsal": None,
        "engine": None,
        "evaluate": None,
        "refine": None,
    }
    assert scenario.claims_dp


def test_a_scenario_cannot_be_changed() -> None:
    scenario = parse_scenario("")
    with pytest.raises(ValidationError, match="Instance is frozen"):
        scenario.seed = 3


@pytest.mark.parametrize(
    ("text", "claims", "repeatable"),
    [
        ("", True, False),
        ('privacy = { noise = "seeded" }', True, True),
        ("privacy = { epsilon = inf }", False, False),
        ('privacy = { epsilon = "inf" }', False, False),
        (SGD, False, True),
        (SGD + "privacy = { epsilon = inf }", False, True),
    ],
)
def test_only_a_finite_epsilon_claims_dp_and_only_system_noise_cannot_be_repeated(
    text: str, claims: bool, repeatable: bool
) -> None:
    scenario = parse_scenario(text)
    assert scenario.claims_dp is claims
    assert scenario.repeatable is repeatable


def test_dp_sgd_without_a_privacy_table_gets_the_default_claim() -> None:
    for text in ("", "training = { lr = 1 }", 'training = { kind = "dp_sgd" }'):
        privacy = parse_scenario(text).privacy
        assert privacy is not None
        assert privacy.epsilon == 8.0
    assert parse_scenario(SGD).privacy is None


def test_a_scenario_is_loaded_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(HEART + "# größer\n", encoding="utf-8")
    assert (
        load_scenario(path, overrides=("seed=9",)).resolved()
        == parse_scenario(HEART, overrides=("seed=9",)).resolved()
    )


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# gr\xf6\xdfer\n")
    for path, why in (
        (tmp_path / "none.toml", "No such file"),
        (tmp_path, "Is a directory"),
        (latin, "not UTF-8 text"),
    ):
        with pytest.raises(ScenarioError, match=f"cannot read .*{path.name}: {why}") as refused:
            load_scenario(path)
        assert refused.value.exit_code == 2
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["seed == 1", "seed = 1\nseed = 2"])
def test_what_is_no_toml_is_refused(text: str) -> None:
    assert "the scenario is not valid TOML: " in refusal(text)


def test_a_study_is_not_taken_for_a_scenario() -> None:
    assert refusal("seeds = 5").startswith("this is a study, not a scenario: use securefl bench")
    assert refusal("[axes]").startswith("this is a study")


def test_the_schema_takes_what_scenarios_take() -> None:
    schema = Declaration.model_json_schema()
    assert set(schema["properties"]) == set(Scenario.model_fields)
    assert schema["properties"]["model"]["anyOf"][0] == {"type": "string"}
    assert schema["$defs"]["Privacy"]["properties"]["epsilon"]["exclusiveMinimum"] == 0


def test_a_text_full_of_mistakes_is_refused_in_a_hundred_lines() -> None:
    with pytest.raises(ScenarioError, match="unknown key 'k0'") as refused:
        parse_scenario("\n".join(f"k{number} = 1" for number in range(3000)))
    lines = str(refused.value).splitlines()
    assert len(lines) == 101
    assert lines[-1] == "the scenario has 2900 more mistakes"
    assert len(refusal(f'seed = "{"x" * 9999}"')) < 700
