"""Model cards: every value comes from the run's files, and what is missing is not measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securefl.errors import ScenarioError
from securefl.runs import api
from securefl.runs.environment import code_hash
from securefl.runs.refining.gate import parse_gate
from securefl.runs.refining.plan import Asked
from securefl.runs.refining.refine import refine
from securefl.runs.refining.series import Series
from securefl.scenario.scenario import parse_scenario
from securefl.ui.cards.card import card_of
from securefl.ui.cards.intervals import auc_interval, wilson
from securefl.ui.cards.page import DIGITS, NOT_MEASURED, page
from tests.runs.refining.conftest import Copied, play
from tests.runs.refining.conftest import copied as copied
from tests.runs.refining.conftest import first_versions as first_versions
from tests.values import present


@pytest.fixture
def series(copied: Copied) -> Series:
    made = copied("claim")
    gate = parse_gate("accuracy >= previous - 0.9")
    asked = Asked({"share": 0.9}, ("privacy.epsilon=5.0",), gate, noise=4.0, records=250)
    refine(made, asked, play)
    return made


def test_a_card_repeats_the_numbers_of_the_run_and_adds_intervals(series: Series) -> None:
    card = card_of(series, 1)
    metrics = present(series.cell(1).cell.metrics())
    accuracy, records = present(metrics["accuracy"]), metrics["records"]
    assert card["metrics"]["records"] == records == 250
    assert card["metrics"]["accuracy"] == {
        "value": accuracy,
        "interval": list(present(wilson(accuracy, records))),
    }
    largest = round(present(metrics["majority"]) * records)
    assert card["metrics"]["auc"]["interval"] == list(
        present(auc_interval(present(metrics["auc"]), largest, records - largest))
    )
    assert card["metrics"]["balanced_accuracy"]["interval"] is None
    # One class alone is there: no AUC, and none is made up.
    assert "auc" not in card["sites"]["switzerland"]
    assert card["code"]["code"] == code_hash()
    assert card["run"] == series.cell(1).cell.hash
    assert card["data"]["declared_records"] == series.cell(1).scenario["privacy"]["records"]


def test_a_card_says_what_each_client_spent_and_has_left(series: Series) -> None:
    claim = card_of(series, 2)["privacy"]
    epsilons = present(series.cell(2).cell.metrics())["epsilons"]
    assert claim["budget"] == 5.0
    for client, cost in claim["clients"].items():
        assert cost == {"spent": epsilons[client], "left": 5.0 - epsilons[client]}


def test_a_card_has_the_lineage_and_who_is_in_force(series: Series) -> None:
    second = card_of(series, 2)
    assert (second["version"], second["starts_from"], second["in_force"]) == (2, 1, True)
    assert second["decision"]["kind"] == "released"
    assert second["decision"]["gate"] == "accuracy >= previous - 0.9"
    series.roll_back(None)
    first = card_of(series, 1)
    assert (first["in_force"], first["decision"]) == (True, None)
    assert [kind for _, _, kind in first["history"]] == ["released", "rolled back"]
    assert "Later versions of this model have spent more" in page(first)
    assert not card_of(series, 2)["in_force"]


def test_a_card_says_who_could_see_what(series: Series) -> None:
    seen = card_of(series, 2)["who_saw"]
    assert seen["server: the server, honest but curious"] == [
        "global model",
        "update in the clear",
        "final model",
    ]
    assert any(who.startswith("outsider: ") for who in seen)


def test_a_page_has_a_part_for_each_question_and_no_word_of_a_machine(series: Series) -> None:
    text = page(card_of(series, 2))
    for head in ("Quality on", "Privacy", "Who could see what", "Limits", "How it was made"):
        assert f"\n## {head}" in text
    assert "In force. It was released by the gate" in text
    assert "noisy difference" in text
    first = page(card_of(series, 1))
    # Noise is fresh: the figure itself is another in each run.
    accuracy = card_of(series, 1)["sites"]["switzerland"]["accuracy"]["value"]
    assert 0 < accuracy <= 1
    assert f"| switzerland | 15 | {accuracy:.{DIGITS}f} (" in first
    assert NOT_MEASURED in first
    assert str(series.path.parent) not in text
    assert str(series.path.parent) not in json.dumps(card_of(series, 2))


def numbers(value: object) -> Iterator[float]:
    """Yields all numbers in nested JSON."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int | float):
        yield value


@pytest.mark.parametrize("is_decided", [True, False])
def test_no_exact_figure_of_the_records_lies_beside_what_a_noisy_gate_paid_for(
    series: Series, is_decided: bool
) -> None:
    if not is_decided:
        (series.path / "releases.jsonl").unlink()
    card = card_of(series, 2)
    judged = json.loads((series.folder(2) / "judged.json").read_text())
    metrics = present(series.cell(2).cell.metrics())
    figures = [metrics, *metrics["sites"].values()]
    exact = {
        value
        for found in figures
        for name in ("accuracy", "balanced_accuracy", "auc", "majority")
        if isinstance(value := found.get(name), float) and 0 < value < 1
    }
    assert len(exact) >= 8
    assert (card["metrics"], card["sites"], judged) == ({}, {}, {"records": "test"})
    assert not exact & set(numbers(card))
    text = page(card)
    assert "Left out: a noisy gate decided" in text
    assert "The files of the run still have them." in text
    for words in ("test records at", "| site |", "Intervals are"):
        assert words not in text
        assert words in page(card_of(series, 1))


def test_a_run_without_a_claim_and_without_versions_has_a_card_too(copied: Copied) -> None:
    made = copied("plain")
    card: dict[str, Any] = card_of(made, 1)
    assert card["privacy"] is None
    text = page(card)
    assert "\nNo claim.\n" in text
    assert "The first version, released without a gate." in text
    assert "- Declared records a site: none" in text


def test_a_run_that_did_not_end_has_no_card(copied: Copied) -> None:
    made = copied("plain")
    (made.cell(1).cell.folder / "metrics.json").unlink()
    with pytest.raises(ScenarioError, match="did not end, so that there is nothing to say"):
        card_of(made, 1)
    with pytest.raises(ScenarioError, match="has no version 2; there are 1"):
        card_of(made, 2)


IMAGES = """
rounds = 1
training = { kind = "sgd" }
model = { name = "logistic" }

[data]
name = "arrays"
path = "images.npz"
partition = "natural"
test_share = 0.5
harmonise = [{ name = "window", low = 0, high = 100 }, { name = "zscore" }]
"""


def imaged(folder: Path, labels: list[Any]) -> Series:
    """Runs on images of one site, with these labels."""
    shape = (len(labels), 3, 3)
    images = np.random.default_rng(0).integers(0, 255, size=shape, dtype=np.uint8)
    sites = np.array(["bern"] * len(labels))
    path = folder / "images.npz"
    np.savez(path, train_images=images, train_labels=np.array(labels), train_sites=sites)
    api.run(parse_scenario(IMAGES, folder=folder), folder / "run", text=IMAGES)
    return Series(folder / "run")


def intervals(card: dict[str, Any], name: str) -> list[Any]:
    """Returns the intervals of a metric, of all records and of each site."""
    return [figures[name]["interval"] for figures in (card["metrics"], *card["sites"].values())]


def test_a_card_names_the_steps_before_the_model(tmp_path: Path) -> None:
    card = card_of(imaged(tmp_path, [0, 1] * 20), 1)
    steps = "window (low = 0.0, high = 100.0), zscore"
    assert f"\n- Steps of data.harmonise before the model: {steps}\n" in page(card)
    assert None not in intervals(card, "accuracy") + intervals(card, "auc")


def test_a_card_without_steps_says_nothing_of_them(copied: Copied) -> None:
    assert "harmonise" not in page(card_of(copied("plain"), 1))


def test_the_mean_over_several_labels_has_no_interval(tmp_path: Path) -> None:
    card = card_of(imaged(tmp_path, [[0, 1], [1, 0], [1, 1], [0, 0]] * 10), 1)
    assert card["metrics"]["accuracy"]["value"] > 0
    assert set(intervals(card, "accuracy") + intervals(card, "auc")) == {None}


def test_where_the_task_can_no_longer_be_told_there_is_no_interval(tmp_path: Path) -> None:
    made = imaged(tmp_path, [0, 1] * 20)
    (tmp_path / "images.npz").unlink()
    card = card_of(made, 1)
    assert set(intervals(card, "accuracy") + intervals(card, "auc")) == {None}
