"""`model = "auto"`, `pooling = "auto"`, and runs of the model that the rule chooses for images."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import securefl
from securefl.learning.models.scattering import remembered
from securefl.learning.models.scattering.remembered import RowsByContent
from securefl.runs.names import cell_hash
from securefl.scenario import automatic
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.parts import parts
from securefl.scenario.assemble.public import public_parts
from securefl.scenario.assemble.site import site_parts
from securefl.scenario.automatic import POOLING_FROM, evidence_of, pooling_for
from securefl.scenario.scenario import Scenario, make_scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.data.own.files import saved
from tests.scenario.texts import SGD, refusal

SCHEMA = (
    '{ images = [8, 8], values = "bytes", num_classes = 2, sites = ["bern", "chur"], '
    'splits = ["train", "test"] }'
)
RULE = ((0.0, 1), (100.0, 3), (1000.0, 7))


@pytest.fixture
def rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule of round numbers, so that the tests do not depend on those that were measured."""
    monkeypatch.setattr(automatic, "POOLING_FROM", RULE)


def published(model: str, *, records: int = 50, epsilon: str = "1.0", clients: int = 2) -> Scenario:
    """A scenario on images of which nothing is read."""
    data = f'data = {{ name = "medmnist:breastmnist", clients = {clients} }}'
    privacy = f"privacy = {{ epsilon = {epsilon}, records = {[records] * clients} }}"
    return parse_scenario(f"{data}\n{privacy}\nmodel = {model}")


def chosen(scenario: Scenario) -> tuple[str, Any]:
    model = scenario.resolved()["model"]
    return model["name"], model.get("pooling")


def test_the_rule_ascends_and_begins_at_nothing() -> None:
    thresholds = [least for least, _ in POOLING_FROM]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] == 0
    assert [pooling for _, pooling in POOLING_FROM] == [1, 3, 7]


@pytest.mark.usefixtures("rule")
def test_a_grid_is_chosen_from_its_threshold_on() -> None:
    values = (0.0, 99.9, 100.0, 999.0, 1000.0, math.inf)
    assert [pooling_for(evidence) for evidence in values] == [1, 1, 3, 3, 7, 7]


def test_evidence_is_records_times_epsilon() -> None:
    assert evidence_of(546, 3.0) == 1638
    assert evidence_of(10, math.inf) == math.inf
    assert evidence_of(0, math.inf) == math.inf


@pytest.mark.usefixtures("rule")
@pytest.mark.parametrize("model", ['"auto"', '{ name = "scattering", pooling = "auto" }'])
@pytest.mark.parametrize(
    ("records", "epsilon", "pooling"),
    [(49, "1.0", 1), (50, "1.0", 3), (50, "9.9", 3), (50, "10.0", 7), (1, "inf", 7)],
    ids=str,
)
def test_records_of_all_clients_times_epsilon_choose_the_grid(
    model: str, records: int, epsilon: str, pooling: int
) -> None:
    scenario = published(model, records=records, epsilon=epsilon)
    assert chosen(scenario) == ("scattering", pooling)


def test_without_a_claim_the_finest_grid_is_chosen() -> None:
    scenario = parse_scenario(f'{SGD}model = "auto"\ndata = {{ name = "medmnist:breastmnist" }}')
    assert chosen(scenario) == ("scattering", 7)


@pytest.mark.usefixtures("rule")
def test_published_numbers_count_where_none_are_declared() -> None:
    # 546 training records in any partition: the sizes of one that is drawn are not public.
    data = 'data = { name = "medmnist:breastmnist", clients = 2, most = 20 }'
    assert chosen(parse_scenario(f'{data}\nmodel = "auto"\n{SGD}')) == ("scattering", 7)
    assert parse_scenario(f'{data}\nmodel = "auto"\n{SGD}').facts.evidence == math.inf
    claim = 'data = { name = "medmnist:breastmnist", clients = 2 }\nprivacy = { epsilon = 0.5 }'
    scenario = parse_scenario(f'{claim}\nmodel = "auto"')
    assert scenario.facts.evidence == 273
    assert chosen(scenario) == ("scattering", 3)


def test_records_that_are_no_images_get_logistic_regression() -> None:
    scenario = parse_scenario('model = "auto"\ndata = { name = "heart" }')
    assert chosen(scenario) == ("logistic", None)
    assert "model: auto chose logistic, since records are no images" in summary(scenario)


@pytest.mark.usefixtures("rule")
def test_a_cell_has_the_name_of_the_model_that_was_chosen() -> None:
    names = {
        cell_hash(published(model).resolved())
        for model in ('"auto"', '{ name = "scattering", pooling = "auto" }')
    }
    explicit = published('{ name = "scattering", pooling = 3, scales = 2, angles = 8 }')
    assert names == {cell_hash(explicit.resolved())}
    again = make_scenario(explicit.resolved())
    assert again.model.name == "scattering"
    assert cell_hash(again.resolved()) in names


@pytest.mark.usefixtures("rule")
def test_a_summary_says_what_was_chosen_and_by_which_numbers() -> None:
    text = summary(published('"auto"', records=600))
    assert "scattering, dp_sgd" in text.splitlines()[0]
    line = "model: auto chose scattering with pooling = 7, for 1,200 = training records of all"
    assert f"{line} clients x epsilon" in text
    assert "auto" not in summary(published('{ name = "scattering", pooling = 3 }'))
    endless = summary(published('"auto"', epsilon="inf"))
    assert "pooling = 7, without a bound on epsilon" in endless


def test_a_summary_says_how_much_memory_many_features_take() -> None:
    # By hand: 89,996 records x 3 x 3,969 numbers of 4 bytes.
    data = 'data = { name = "medmnist:pathmnist" }'
    fine = parse_scenario(f'{SGD}{data}\nmodel = {{ name = "scattering", pooling = 7 }}')
    words = "scattering: the features of 89,996 training records take 4.3 GB; a smaller"
    assert words in summary(fine)
    coarse = parse_scenario(f'{SGD}{data}\nmodel = {{ name = "scattering", pooling = 3 }}')
    assert "the features of" not in summary(coarse)


REFUSED = [
    ('model = { name = "scattering", pooling = 2 }', "scattering takes 1, 3, 7 or 'auto', got 2"),
    ('model = { name = "scattering", pooling = "all" }', "takes 1, 3, 7 or 'auto', got 'all'"),
    ('model = { name = "scattering", scales = 1.5, pooling = "auto" }', "must be an integer"),
    ('model = { name = "scattering", width = 2 }', "scattering takes scales, angles, pooling"),
    (
        'model = { name = "auto", width = 2 }',
        "scattering takes scales, angles, pooling, prior, got",
    ),
    ('model = { name = "cnn", pooling = "auto" }', "cnn takes channels, got 'pooling'"),
    ('model = "automatic"', "there is no 'automatic'"),
]


@pytest.mark.parametrize(("line", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_what_no_model_takes_is_refused(line: str, sentence: str) -> None:
    text = f'{SGD}data = {{ name = "medmnist:breastmnist" }}\n{line}'
    assert sentence in refusal(text)


@pytest.mark.parametrize("model", ['"scattering"', '{ name = "scattering", pooling = "auto" }'])
def test_scattering_on_tables_is_refused_with_the_way_out(model: str) -> None:
    sentence = refusal(f'{SGD}data = {{ name = "digits" }}\nmodel = {model}')
    assert "scattering takes images, these records are 64 numbers; use logistic or mlp" in sentence


def test_only_the_head_has_weights() -> None:
    text = f'{SGD}data = {{ name = "medmnist:breastmnist" }}\nmodel = "auto"'
    assert {*parse_scenario(text).facts.model.state_dict()} == {"head.weight", "head.bias"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the images of two sites: stripes down or across, under noise."""
    monkeypatch.setattr(remembered, "_ROWS", RowsByContent(2**20))
    (tmp_path / "sites").mkdir()
    waves = 60 * np.cos(2.2 * np.arange(8))
    for index, site in enumerate(("bern", "chur")):
        random = np.random.default_rng(index)
        values: dict[str, Any] = {}
        for split, records in (("train", 20), ("test", 10)):
            labels = np.arange(records) % 2
            stripes = np.where(labels[:, None, None] == 0, waves[:, None], waves)
            noise = random.normal(0, 20, (records, 8, 8))
            values[f"{split}_images"] = (128 + stripes + noise).clip(0, 255).astype(np.uint8)
            values[f"{split}_labels"] = labels
        saved(tmp_path / "sites", values, f"{site}.npz")
    return tmp_path


def own(folder: Path, *lines: str, training: str = SGD, rounds: int = 2) -> Scenario:
    data = f'data = {{ name = "arrays", path = "sites/*.npz", schema = {SCHEMA} }}'
    text = "\n".join([f"rounds = {rounds}", data, training, *lines])
    return parse_scenario(text, folder=folder)


LEARNS = 'training = { kind = "sgd", batch = 5, lr = 4.0 }'


def test_small_images_get_the_finest_grid_that_they_have_places_for(folder: Path) -> None:
    # 8 pixels have 2 places: a grid of 3 does not fit.
    assert chosen(own(folder, 'model = "auto"')) == ("scattering", 1)


def test_a_run_learns_and_keeps_what_was_chosen(folder: Path, tmp_path: Path) -> None:
    scenario = own(folder, 'model = "auto"', 'weights = "equal"', training=LEARNS)
    result = securefl.run(scenario, tmp_path / "run")
    assert result["accuracy"] > 0.9
    resolved = json.loads((tmp_path / "run" / "resolved.json").read_text())
    assert '"pooling": 1' in json.dumps(resolved)
    # The model that a run gives takes images.
    data = load_data(scenario)
    images = data.task.inputs(data.test.features)
    answers = data.task.probabilities(result.model()(images).detach()).argmax(dim=1)
    right = float((answers == data.test.labels).double().mean())
    assert right == pytest.approx(result["accuracy"])
    # Features of records are as private as these, and nowhere in the folder.
    width = 81
    assert all(path.stat().st_size < 4 * width * 20 for path in (tmp_path / "run").rglob("*.saf*"))


def test_features_of_a_record_are_computed_once_in_a_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    rows = RowsByContent.of

    def counting(self: RowsByContent, recipe: Any, task: Any, records: torch.Tensor) -> Any:
        before = len(self)
        result = rows(self, recipe, task, records)
        computed.append(len(self) - before)
        return result

    monkeypatch.setattr(RowsByContent, "of", counting)
    scenario = own(folder, 'model = "auto"', 'weights = "equal"', training=LEARNS, rounds=3)
    securefl.run(scenario, tmp_path / "run")
    # 40 training and 20 test records, and nothing in later rounds.
    assert sum(computed) == 60


@pytest.mark.parametrize(
    "attack",
    ['{ name = "label_flip", clients = [0] }', '{ name = "backdoor", clients = [0], target = 1 }'],
    ids=["labels", "pixels"],
)
def test_poison_comes_before_the_features(folder: Path, attack: str, tmp_path: Path) -> None:
    lines = ('model = "auto"', 'weights = "equal"')
    honest = parts(own(folder, *lines), run="a", ledgers=tmp_path / "a")
    attacked = parts(own(folder, *lines, f"attack = {attack}"), run="b", ledgers=tmp_path / "b")
    clean, corrupt = honest.local, attacked.local
    task, model = corrupt.task, attacked.model
    rows = model.get_submodule("features")(task.inputs(corrupt.examples[0].features))
    assert torch.equal(corrupt.prepared[0].features, rows)
    changed = not torch.equal(corrupt.prepared[0].features, clean.prepared[0].features)
    assert changed is ("backdoor" in attack)
    assert torch.equal(corrupt.prepared[1].features, clean.prepared[1].features)
    if not changed:
        assert not torch.equal(corrupt.prepared[0].labels, clean.prepared[0].labels)


def test_the_success_of_a_backdoor_is_measured_on_pixels(folder: Path, tmp_path: Path) -> None:
    attack = 'attack = { name = "backdoor", clients = [0], target = 1 }'
    scenario = own(folder, 'model = "auto"', 'weights = "equal"', attack, training=LEARNS)
    result = securefl.run(scenario, tmp_path / "run")
    assert 0 <= result["attack_success"] <= 1


def test_a_site_by_itself_trains_as_in_a_simulation(folder: Path, tmp_path: Path) -> None:
    scenario = own(folder, 'model = "auto"', 'weights = "equal"', training=LEARNS)
    together = parts(scenario, run="run", ledgers=tmp_path / "all")
    weights = torch.zeros(82)
    for site, records in enumerate(load_data(scenario).sites):
        public = public_parts(scenario, run="run")
        alone = site_parts(public, site, records.train, ledger=None)
        expected = together.trainers[site].fit(weights, round=0).delta
        assert torch.equal(alone.trainer.fit(weights, round=0).delta, expected)
        assert bool(expected.any())


def test_noise_of_dp_sgd_goes_to_the_head(folder: Path, tmp_path: Path) -> None:
    privacy = 'privacy = { epsilon = 8.0, delta = 1e-3, noise = "seeded", records = [20, 20] }'
    training = 'training = { kind = "dp_sgd", batch = 10, lr = 1.0 }'
    scenario = own(folder, 'model = "auto"', privacy, training=training)
    made = parts(scenario, run="run", ledgers=tmp_path / "ledgers")
    trained = made.trainers[0].fit(torch.zeros(82), round=0)
    assert trained.spent is not None
    assert trained.delta.shape == (82,)
    assert int((trained.delta != 0).sum()) == 82
    result = securefl.run(scenario, tmp_path / "run")
    assert result["epsilon"] == pytest.approx(8.0, abs=0.1)


def test_scattering_by_its_name_alone_takes_the_finest_grid() -> None:
    assert chosen(published('"scattering"', epsilon="0.5")) == ("scattering", 7)
