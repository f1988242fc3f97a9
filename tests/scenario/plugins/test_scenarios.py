"""Scenarios that name code of others: checked, run, resumed, and never with changed code."""

import json
from pathlib import Path

import pytest

import securefl
from securefl.errors import PluginError, ScenarioError
from securefl.runs.folder import RunFolder
from securefl.runs.names import cell_hash
from securefl.scenario.plugins.trust import trust
from securefl.scenario.scenario import Scenario, load_scenario, make_scenario
from securefl.scenario.summary import summary
from securefl.studies.study import parse_study

CODE = """
from torch import nn
from securefl.scenario import RuleEntry

def rule(rows, *, f: int = 1):
    return rows.mean(dim=0)

many = RuleEntry(rule, minimum_rows=lambda f: 3 * f + 2)
odd = RuleEntry(rule, minimum_rows=lambda f: 1 / (f - 1))

def late(rows, *, calls=[]):
    calls.append(1)
    return rows.mean(dim=0) if len(calls) < 3 else rows[0]

def leaving(rows):
    raise SystemExit(3)

class Fragile(nn.Linear):
    def forward(self, x):
        if len(x) == 13:
            raise RuntimeError("an odd batch")
        return super().forward(x)

def fragile(task):
    return Fragile(task.features, task.outputs)

def attack(rows, *, f, scale: float = 2.0):
    return -scale * rows[:f]

def step(weights, estimate, state, *, lr: float = 1.0):
    return weights + lr * estimate, {}

def mix(rows):
    return rows / 2
"""
SCENARIO = """
rounds = 2
data = { name = "heart" }
training = { kind = "sgd" }
defense = { rule = { name = "python:code/mine.py:rule", f = 1 } }
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").write_text(CODE)
    (tmp_path / "s.toml").write_text(SCENARIO)
    trust(tmp_path)
    return tmp_path


def scenario(home: Path, *overrides: str) -> Scenario:
    return load_scenario(home / "s.toml", overrides=overrides)


def test_a_plugin_gives_what_the_same_rule_of_ours_gives(home: Path) -> None:
    everything = (
        "server.step=python:code/mine.py:step",
        'defense.prefilters=["python:code/mine.py:mix"]',
        'attack={name="python:code/mine.py:attack", clients=[0], scale=2.0}',
    )
    theirs = securefl.run(scenario(home, *everything), home / "theirs")
    ours = securefl.run(
        scenario(
            home,
            "defense.rule=mean",
            "weights=equal",
            "server.lr=0.5",
            'attack={name="sign_flip", clients=[0], scale=2.0}',
        ),
        home / "ours",
    )
    assert theirs["accuracy"] == ours["accuracy"]
    assert theirs["auc"] == ours["auc"]


def test_the_folder_of_a_run_names_the_code_and_no_path(home: Path) -> None:
    securefl.run(scenario(home), home / "runs" / "r")
    text = (home / "runs" / "r" / "resolved.json").read_text()
    assert str(home) not in text
    ((_, values, cell),) = RunFolder.open(home / "runs" / "r").cells()
    assert values["code"]["code/mine.py"]["files"] == ["mine.py"]
    assert json.loads(text)["cells"][cell.hash]["folder"] == ".."
    # Both move together.
    moved = home.with_name("moved")
    home.rename(moved)
    trust(moved)
    ((_, values, _),) = RunFolder.open(moved / "runs" / "r").cells()
    assert make_scenario(dict(values)).home == moved


def test_a_cell_is_named_by_its_code_and_not_by_its_place(home: Path, tmp_path: Path) -> None:
    name = cell_hash(scenario(home).resolved())
    other = tmp_path / "other"
    (other / "code").mkdir(parents=True)
    (other / "code" / "mine.py").write_text(CODE)
    (other / "s.toml").write_text(SCENARIO)
    trust(other)
    assert cell_hash(scenario(other).resolved()) == name
    (home / "code" / "mine.py").write_text(CODE + "# changed\n")
    assert cell_hash(scenario(home).resolved()) != name


def test_a_run_does_not_go_on_with_changed_code(home: Path) -> None:
    resolved = scenario(home).resolved()
    securefl.run(make_scenario(resolved), home / "r")
    (home / "code" / "mine.py").write_text(CODE + "# changed\n")
    with pytest.raises(ScenarioError, match=r"code/mine\.py is not the code .* a file was changed"):
        make_scenario(resolved)
    with pytest.raises(ScenarioError, match=r"another scenario: code/mine\.py was changed since"):
        securefl.run(scenario(home), home / "r")


def test_a_fault_in_the_middle_fails_the_cell_as_the_plugins(home: Path) -> None:
    with pytest.raises(PluginError, match=r"rule python:code/mine\.py:late returned a view"):
        securefl.run(scenario(home, "defense.rule=python:code/mine.py:late"), home / "r")
    ((_, _, cell),) = RunFolder.open(home / "r").cells()
    assert cell.status().reason == (
        "defense.rule python:code/mine.py:late returned a view of its input; return a copy"
    )


def test_a_model_that_fails_in_the_middle_is_told_as_its_authors_fault(home: Path) -> None:
    with pytest.raises(
        PluginError, match=r"raised RuntimeError: an odd batch \(mine\.py, line 21\)"
    ):
        securefl.run(scenario(home, "model=python:code/mine.py:fragile"), home / "r")
    ((_, _, cell),) = RunFolder.open(home / "r").cells()
    reason = cell.status().reason
    assert reason is not None
    assert reason.startswith("code that the scenario names raised RuntimeError")
    assert "\n" not in reason


def test_a_fault_of_ours_is_not_blamed_on_others(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **parameters: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("securefl.runs.play.parts", broken)
    with pytest.raises(RuntimeError, match=r"^ours$"):
        securefl.run(scenario(home), home / "r")


def test_code_that_exits_does_not_end_the_process(home: Path) -> None:
    with pytest.raises(ScenarioError, match=r"leaving raised SystemExit: 3 \(mine\.py, line"):
        scenario(home, "defense.rule=python:code/mine.py:leaving")


MODEL = """
from torch import nn

passes = []

class Picky(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(width, 1)

    def forward(self, x):
        passes.append(1)
        if len(passes) % 40 == 0:  # more than the checks need
            raise ValueError(f"found {x.min()}")
        return self.layer(x)

def build(task):
    return Picky(task.features)
"""


@pytest.mark.parametrize("kind", ["sgd", "dp_sgd"])
def test_a_model_that_raises_in_training_is_blamed_and_quotes_no_record_under_a_claim(
    home: Path, kind: str
) -> None:
    (home / "code" / "picky.py").write_text(MODEL)
    made = scenario(
        home, "model=python:code/picky.py:build", "defense.rule=mean", f"training.kind={kind}"
    )
    with pytest.raises(PluginError, match=r"raised ValueError.* \(picky.py, line 14\)$") as failed:
        securefl.run(made, home / "picky")
    status = next((home / "picky").glob("cells/*/status.json")).read_text()
    assert json.loads(status)["reason"] == str(failed.value)
    assert ("found" in status) is (kind == "sgd")


def test_metrics_name_the_layers_of_which_every_gradient_was_written_down(home: Path) -> None:
    keys = ("defense.rule=mean", "training.kind=dp_sgd", "privacy={epsilon = 8.0}")
    usual = securefl.run(scenario(home, "model=logistic", *keys), home / "usual")
    assert "written_gradients" not in usual.metrics
    made = scenario(home, "model=python:code/mine.py:fragile", *keys)
    assert securefl.run(made, home / "fragile").metrics["written_gradients"] == ["Fragile"]


def test_validate_says_what_it_assumes_of_a_bare_function(home: Path) -> None:
    sentence = "python:code/mine.py:rule: its author exports a bare function, taken to need one row"
    assert sentence in summary(scenario(home))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("defense.rule.g=1", "python:code/mine.py:rule takes f, got 'g'"),
        # The default f of the function is 1.
        ("defense.rule=python:code/mine.py:many", "many with f=1 needs 5 rows"),
        ("defense.rule=python:code/mine.py:odd", r"odd raised ZeroDivisionError: .*mine.py, line"),
        ("defense.rule.f=0.5", "f of python:code/mine.py:rule must be an integer"),
        ("defense.rule=python:code/mine.py:rulee", "did you mean 'rule'"),
        ("defense.rule=medain", "there is no 'medain', did you mean 'median'"),
        ("channel.kind=masked", "of the one sum that masked reveals would be the mean"),
    ],
)
def test_a_plugins_parameters_and_rows_are_checked_like_ours(
    home: Path, override: str, sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        scenario(home, override)


PARAMETERS = """
from __future__ import annotations
from collections.abc import Sequence

def rule(rows, *, way: str = "mean", twice: bool = False, at: Sequence[float] = (0.5,),
         deep: dict = {"a": 1}, seen=[], names: list[str] | None = None):
    return rows.mean(dim=0) * (2 if twice else 1)
"""


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("way=3", "way of .* must be a word, got 3"),
        ("twice=1", "twice of .* must be true or false, got 1"),
        ("at=[0.5, true]", "at of .* must be a list of finite numbers"),
        ("names=[1]", "names of .* must be a list of words"),
        ("deep={a=2}", "deep of .* cannot be set, since no TOML value is a dict"),
        ("seen=[1]", "the parameter seen of .* has no annotation"),
    ],
)
def test_parameters_may_be_words_truths_and_lists(home: Path, override: str, sentence: str) -> None:
    (home / "code" / "mine.py").write_text(PARAMETERS)
    good = ("defense.rule.way=median", "defense.rule.twice=true", "defense.rule.at=[0.1, 1]")
    made = scenario(home, "defense.rule.f=")
    values = made.resolved()["defense"]["rule"]
    assert values == {**values, "way": "mean", "twice": False, "at": [0.5]}
    assert "deep" not in values
    assert make_scenario(made.resolved()).resolved() == made.resolved()
    assert scenario(home, "defense.rule.f=", *good).facts.rule.parameters["twice"] is True
    with pytest.raises(ScenarioError, match=sentence):
        scenario(home, "defense.rule.f=", f"defense.rule.{override}")


def test_a_strangers_scenario_cannot_call_trusted_code(home: Path) -> None:
    stranger = home.with_name(f"{home.name} stranger")
    stranger.mkdir()
    text = SCENARIO.replace("python:code/", f"python:../{home.name}/code/")
    (stranger / "s.toml").write_text(text)
    with pytest.raises(ScenarioError, match="the scenario calls code, and its folder is not tru"):
        load_scenario(stranger / "s.toml")
    (stranger / "s.toml").write_text(f'folder = "{home}"\n{SCENARIO}')
    with pytest.raises(ScenarioError, match="folder is filled in: remove it"):
        load_scenario(stranger / "s.toml")
    with pytest.raises(ScenarioError, match="folder is filled in: remove it"):
        parse_study(f'[base]\nfolder = "{home}"\n', name="theirs", folder=stranger)
