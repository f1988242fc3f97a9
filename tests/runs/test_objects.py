"""Objects in the place of names: run here, known again by their code, refused anywhere else."""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import securefl
from securefl.data.task import Task
from securefl.errors import PluginError, ScenarioError, SecureflError
from securefl.runs.cell import Cell, CellState
from securefl.runs.folder import RunFolder
from securefl.runs.given import Given
from securefl.runs.pool import Finished, Job, play
from securefl.scenario import own_data
from securefl.scenario.assemble.data import load_data
from securefl.scenario.entries import AttackEntry, ModelEntry, RuleEntry
from securefl.scenario.plugins import find, objects
from tests.workers import forked_workers

QUICK: dict[str, Any] = {"rounds": 2, "training": {"kind": "sgd"}}
ATTACKED = {**QUICK, "attack": {"clients": [0]}}


def average(rows: Tensor, *, factor: float = 1.0) -> Tensor:
    return factor * rows.mean(dim=0)


def flipped(rows: Tensor, *, f: int, scale: float = 1.0) -> Tensor:
    return -scale * rows[:f]


class Net(nn.Module):
    def __init__(self, task: Task, *, width: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(task.features, width), nn.BatchNorm1d(width), nn.Linear(width, task.outputs)
        )

    def forward(self, records: Tensor) -> Tensor:
        outputs: Tensor = self.layers(records)
        return outputs


def line(task: Task, *, bias: bool = True) -> nn.Module:
    return nn.Linear(task.features, task.outputs, bias=bias)


def hidden() -> Callable[..., Tensor]:
    """A rule whose source nobody can find."""
    values: dict[str, Any] = {}
    exec("def rule(rows):\n    return rows.mean(dim=0)\n", values)  # noqa: S102
    rule: Callable[..., Tensor] = values["rule"]
    return rule


@pytest.fixture
def another_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What begins another process, as far as objects are concerned."""
    number = count()

    def begin() -> None:
        monkeypatch.setattr(objects, "_held", {})
        monkeypatch.setattr(objects, "_THIS_PROCESS", f"{objects.ONLY_HERE}{next(number)}")
        monkeypatch.setattr(find, "_loaded", {})

    begin()
    return begin


# --- what runs


def test_objects_give_what_the_same_names_of_ours_give(tmp_path: Path) -> None:
    theirs = securefl.run(ATTACKED, tmp_path / "theirs", rule=average, attack=flipped)
    attack = {"name": "sign_flip", "scale": 1.0, "clients": [0]}
    ours = securefl.run({**QUICK, "attack": attack, "weights": "equal"}, tmp_path / "ours")
    assert theirs["auc"] == ours["auc"]


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        (average, 1.0),
        (RuleEntry(average), 1.0),
        (partial(average, factor=0.5), 0.5),
        (lambda rows: rows.mean(dim=0), None),
    ],
)
def test_a_rule_is_a_function_or_an_entry_and_its_parameters_are_written_down(
    tmp_path: Path, given: object, parameter: float | None
) -> None:
    result = securefl.run(QUICK, tmp_path / "run", rule=given)
    rule = result.scenario.resolved()["defense"]["rule"]
    assert rule["name"].startswith("object:")
    assert rule.get("factor") == parameter


@pytest.mark.parametrize("given", [Net, line, ModelEntry(line)])
def test_a_model_is_a_class_or_a_function_called_with_the_task(
    tmp_path: Path, given: object
) -> None:
    model = securefl.run(QUICK, tmp_path / "run", model=given).model()
    assert isinstance(model, Net if given is Net else nn.Linear)


def test_further_keys_of_the_table_are_parameters_of_the_object(tmp_path: Path) -> None:
    scenario = {**ATTACKED, "model": {"width": 5}, "defense": {"rule": {"factor": 0.5}}}
    scenario["attack"] = {"clients": [0], "scale": 2.0}
    result = securefl.run(
        scenario,
        tmp_path / "run",
        model=Net,
        rule=average,
        attack=AttackEntry(flipped, needs=("f",)),
    )
    resolved = result.scenario.resolved()
    assert resolved["model"]["width"] == 5
    assert resolved["defense"]["rule"]["factor"] == 0.5
    assert resolved["attack"]["scale"] == 2.0
    assert result.model().get_parameter("layers.0.weight").shape[0] == 5
    with pytest.raises(ScenarioError, match=r"object:Net-\w+ takes width, got 'depth'"):
        securefl.run({**QUICK, "model": {"depth": 5}}, tmp_path / "no", model=Net)


def test_a_fault_of_an_object_is_named_with_its_line(tmp_path: Path) -> None:
    def raising(rows: Tensor) -> Tensor:
        if rows.any():  # not when it is tried on zeros, before the run
            raise RuntimeError("no luck")
        return rows[0].clone()

    first = raising.__code__.co_firstlineno
    words = (
        rf"rule object:raising-\w+ raised RuntimeError: no luck \(test_objects.py, line {first + 2}"
    )
    with pytest.raises(PluginError, match=words):
        securefl.run(QUICK, tmp_path / "run", rule=raising)


# --- how a scenario is given


TEXT = 'rounds = 2\ntraining = { kind = "sgd" }\n'


def test_a_scenario_is_checked_a_file_text_or_a_dict(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TEXT)
    given: list[Given] = [securefl.parse_scenario(TEXT), file, str(file), TEXT, QUICK]
    results = [
        securefl.run(scenario, str(tmp_path / f"{place}"), rule=average)
        for place, scenario in enumerate(given)
    ]
    names = {RunFolder.open(result.folder).cells()[0].cell.hash for result in results}
    assert len(names) == 1
    texts = [(result.folder / "scenario.toml").read_text() for result in results]
    assert texts[1].startswith(TEXT)
    assert "# --set defense.rule.name=object:average-" in texts[1]
    assert securefl.parse_scenario(texts[4]).rounds == 2


def test_relative_paths_start_at_the_scenarios_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TEXT)
    result = securefl.run(tmp_path / "mine.toml", tmp_path / "run", rule=average)
    assert result.scenario.home == tmp_path
    # A checked scenario keeps its folder when it gets an object.
    again = securefl.run(result.scenario, tmp_path / "again", model=line)
    assert again.scenario.home == tmp_path


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("nowhere.toml", "cannot read nowhere.toml: No such file"),
        ("rounds = ", "not valid TOML"),
        ("[base]", "this is a study"),
        (
            {"defense": {"rule": average}},
            r"defense\.rule is a function, which no scenario can hold",
        ),
    ],
)
def test_what_is_no_scenario_is_refused(tmp_path: Path, given: Any, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        securefl.run(given, tmp_path / "run", rule=average)
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff")
    with pytest.raises(ScenarioError, match="not UTF-8 text"):
        securefl.run(tmp_path / "mine.toml", tmp_path / "run")


# --- what is refused


@pytest.mark.parametrize(
    ("scenario", "given", "sentence"),
    [
        ({"defense": {"rule": "median"}}, {"rule": average}, "names 'median' in defense.rule"),
        ({"model": {"name": "mlp"}}, {"model": Net}, "names 'mlp' in model; remove one"),
        ({"data": {"name": "digits"}}, {"data": []}, "names 'digits' in data"),
        (
            {"attack": {"name": "sign_flip", "clients": [0]}},
            {"attack": flipped},
            "names 'sign_flip' in attack",
        ),
        ({}, {"attack": flipped}, r"put attack = \{ clients = \[0\] \}"),
        ({}, {"model": nn.Linear(1, 1)}, "got a finished Linear"),
        ({}, {"rule": "median"}, "rule= takes a function, a class or an entry, got a str"),
        ({}, {"attack": RuleEntry(average)}, "put attack"),
        ({"attack": {"clients": [0]}}, {"attack": RuleEntry(average)}, "nor a AttackEntry"),
        ({}, {"rule": Net}, "neither a function nor a RuleEntry, but of the type type"),
    ],
)
def test_an_object_in_a_place_that_it_cannot_take_is_refused(
    tmp_path: Path, scenario: dict[str, Any], given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        securefl.run({**QUICK, **scenario}, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_the_default_that_a_scenario_spells_out_gives_way(tmp_path: Path) -> None:
    spelt = {**QUICK, "defense": {"rule": "mean"}, "model": {"name": "logistic"}}
    result = securefl.run(securefl.parse_scenario(TEXT), tmp_path / "a", rule=average, model=line)
    again = securefl.run(spelt, tmp_path / "b", rule=average, model=line)
    assert result.scenario.resolved() == again.scenario.resolved()


# --- other processes


def test_a_run_goes_on_in_another_process_with_the_same_code_and_no_other(
    tmp_path: Path, another_process: Callable[[], None]
) -> None:
    before = securefl.run(QUICK, tmp_path / "run", rule=average)
    another_process()
    assert securefl.run(QUICK, tmp_path / "run", rule=average) == before
    with pytest.raises(ScenarioError, match="holds a run of another scenario"):
        securefl.run(QUICK, tmp_path / "run", rule=lambda rows: rows.mean(dim=0))


def test_a_run_without_a_source_never_goes_on_in_another_process(
    tmp_path: Path, another_process: Callable[[], None]
) -> None:
    rule = hidden()
    before = securefl.run(QUICK, tmp_path / "run", rule=rule)
    # Here it is known: the same object.
    assert securefl.run(QUICK, tmp_path / "run", rule=rule) == before
    with pytest.raises(ScenarioError, match="holds a run of another scenario"):
        securefl.run(QUICK, tmp_path / "run", rule=hidden())
    another_process()
    sentence = r"was run in another process with object:rule-\d+, .* python:FILE\.py:function"
    for code in (rule, hidden(), average, None):
        with pytest.raises(ScenarioError, match=sentence):
            securefl.run(QUICK, tmp_path / "run", rule=code)


def test_a_name_of_another_process_is_refused_in_one_sentence(
    another_process: Callable[[], None],
) -> None:
    with pytest.raises(ScenarioError, match=r"object:average-1 is an object of another .* process"):
        securefl.parse_scenario('defense = { rule = "object:average-1" }')


def test_a_worker_says_to_use_a_reference(tmp_path: Path) -> None:
    result = securefl.run(QUICK, tmp_path / "run", rule=average)
    with forked_workers():
        job = Job(Cell(tmp_path / "cell"), result.scenario.resolved())
        (end,) = [
            event for event in play([job], workers=1, limit=60) if isinstance(event, Finished)
        ]
    assert end.state is CellState.FAILED
    assert "what workers and later commands are to find is named as python:FILE.py:" in end.reason


def test_a_study_takes_references_only() -> None:
    with pytest.raises(ScenarioError, match=r'base\.defense\.rule .* "python:FILE\.py:function"'):
        securefl.study({"base": {"defense": {"rule": average}}})


def test_names_differ_where_code_does_and_are_kept_for_one_object() -> None:
    rules = [hidden(), hidden()]
    names = [objects.hold(rule, kind="rule") for rule in rules]
    assert len(set(names)) == 2
    assert [objects.hold(rule, kind="rule") for rule in rules] == names
    assert objects.hold(average, kind="rule") == objects.hold(average, kind="rule")
    assert objects.hold(partial(average, factor=2.0), kind="rule") != objects.hold(
        partial(average, factor=3.0), kind="rule"
    )


def test_records_have_names_of_their_own() -> None:
    sites = [(torch.zeros(3, 2), torch.zeros(3))]
    name = objects.hold_records(sites)
    assert objects.hold_records(sites) == name
    assert objects.hold_records(list(sites)) != name
    assert objects.held(name).value is sites


# --- records


def sites(shift: float = 0.0) -> list[tuple[Tensor, Tensor]]:
    """Three sites with forty records each."""
    stream = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    return [
        (torch.randn(40, 3, generator=stream) + labels[:, None] + shift, labels) for _ in range(3)
    ]


OWN = {**QUICK, "data": {"test_share": 0.3}}


def test_records_are_sites_of_arrays_or_a_federation_of_ours(tmp_path: Path) -> None:
    ours = load_data(securefl.parse_scenario(""))
    for place, data in enumerate((sites(), {"bern": sites()[0], "chur": sites()[1]}, ours)):
        result = securefl.run(OWN if data is not ours else QUICK, tmp_path / f"{place}", data=data)
        assert len(result["sites"]) == len(result.rounds[0].cohort)
        assert result.model()(torch.zeros(1, result.scenario.facts.task.features)).shape == (1, 1)
    assert set(result["sites"]) == {site.name for site in ours.sites}


def test_our_own_records_given_back_are_what_their_name_stands_for(tmp_path: Path) -> None:
    text = TEXT + 'weights = "reported"\n'
    data = load_data(securefl.parse_scenario(text))
    assert securefl.run(text, tmp_path / "a", data=data) == {
        **securefl.run(text, tmp_path / "b"),
        "seconds": pytest.approx(0, abs=60),
    }


def test_a_run_on_given_records_goes_on_in_another_process_while_they_are_the_same(
    tmp_path: Path, another_process: Callable[[], None]
) -> None:
    before = securefl.run(OWN, tmp_path / "run", data=sites())
    assert before.scenario.data.name == "object:data-1"
    # Another object with the same content, in the same process and in a later one.
    assert securefl.run(OWN, tmp_path / "run", data=sites()) == before
    another_process()
    own_data.forget("object:data-1")
    assert securefl.run(OWN, tmp_path / "run", data=sites()) == before
    with pytest.raises(ScenarioError, match="holds a run of another scenario"):
        securefl.run(OWN, tmp_path / "run", data=sites(shift=1.0))


def test_records_that_were_changed_in_place_are_other_records(tmp_path: Path) -> None:
    data = sites()
    securefl.run(OWN, tmp_path / "run", data=data)
    data[0][0][0] += 1.0
    with pytest.raises(ScenarioError, match="holds a run of another scenario"):
        securefl.run(OWN, tmp_path / "run", data=data)


def test_training_goes_on_from_a_run_on_the_same_records(tmp_path: Path) -> None:
    securefl.run(OWN, tmp_path / "first", data=sites())
    goes_on = {**OWN, "init_from": tmp_path / "first"}
    assert securefl.run(goes_on, tmp_path / "second", data=sites())["rounds"] == 2
    with pytest.raises(ScenarioError, match=r"has data\.(digest|name) = "):
        securefl.run(goes_on, tmp_path / "third", data=sites(shift=1.0))


def test_a_claim_on_given_records_needs_what_a_function_needs(tmp_path: Path) -> None:
    claim: dict[str, Any] = {
        "rounds": 1,
        "training": {"kind": "dp_sgd", "batch": 8},
        "privacy": {"records": [28, 28, 28], "noise": "seeded"},
        "data": {"test_share": 0.3, "num_classes": 2, "sites": ["bern", "chur", "wil"]},
    }
    with pytest.raises(ScenarioError, match=r"declare data\.per_record = true"):
        securefl.run(claim, tmp_path / "run", data=sites())
    claim["data"] = {**OWN["data"], "num_classes": 2, "per_record": True}
    with pytest.raises(ScenarioError, match=r"declare data\.sites"):
        securefl.run(claim, tmp_path / "run", data=sites())
    claim["data"] = {**claim["data"], "sites": ["bern", "chur", "wil"]}
    assert securefl.run(claim, tmp_path / "run", data=sites())["epsilon"] <= 8.0


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (3, "returned a value of type int, not a list of sites"),
        ([], "returned no site"),
        ([(torch.zeros(3, 2), torch.zeros(4))], "object:data-"),
    ],
)
def test_what_is_no_site_is_refused_before_there_is_a_folder(
    tmp_path: Path, data: object, sentence: str
) -> None:
    with pytest.raises(SecureflError, match=sentence):
        securefl.run(OWN, tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()


def test_records_that_do_not_fit_the_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"object:data-\d+: got an unexpected .* 'nonsense'"):
        securefl.run({**OWN, "data": {"nonsense": 1}}, tmp_path / "run", data=sites())
