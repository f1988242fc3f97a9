"""Published figures in the tables of a study, and rows that run only where that is asked for."""

import re

import pytest

from securefl.errors import ScenarioError
from securefl.privacy.remember import fresh
from securefl.studies.expand import expand, long_rows, rows
from securefl.studies.find import find_study
from securefl.studies.legend import legend
from securefl.studies.published import published_rows
from securefl.studies.questions import differences
from securefl.studies.running import rows_to_skip
from securefl.studies.scores import scores
from securefl.studies.study import load_study, parse_study
from securefl.studies.tables import study_tables
from tests.studies.test_scores import cells, line

TWO_SETS = """\
seeds = 1
metrics = ["auc", "majority", "accuracy"]
[base]
training = { kind = "sgd" }
[axes.data]
BreastMNIST = { "data.name" = "medmnist:breastmnist" }
digits = { "data.name" = "digits" }
"""
PUBLISHED = "[table]\npublished = true\n"
RATES = """\
seeds = 2
metrics = ["accuracy"]
[base]
rounds = 1
training = { kind = "sgd" }
[axes]
"training.lr" = [0.1, 0.2]
[[override]]
when = { "training.lr" = 0.2 }
long = true
[[baseline]]
label = "pooled"
set = { "data.partition" = "pooled" }
long = true
"""


def test_published_rows_follow_ours_with_values_under_their_own_metrics() -> None:
    study = parse_study(TWO_SETS + PUBLISHED + 'sections = "data"\n', name="study")
    found = scores([line("BreastMNIST", 0, "auc", 0.5)])
    shown = list(cells(study_tables(study, found)))
    assert shown[0] == ["", "AUC", "majority", "accuracy", "epsilon"]
    assert shown[1][0] == "study"
    published = "published, without DP, pooled, BatchNorm"
    assert shown[2] == [f"ResNet-18 (28), {published}", "0.901", "", "0.863", "none"]
    assert shown[8] == [
        "Google AutoML Vision, published, without DP, pooled, AutoML",
        "0.919",
        "",
        "0.861",
        "none",
    ]
    # Nothing is published about digits: the heading and our row are all.
    assert len(shown[9:]) == 2


def test_a_table_of_several_sets_names_the_set_of_each_published_row() -> None:
    study = parse_study(TWO_SETS + PUBLISHED, name="study")
    labels = [label for label, *_ in published_rows(study, list(rows(study)), ["auc"])]
    assert len(labels) == 7
    assert labels[0] == "BreastMNIST, ResNet-18 (28), published, without DP, pooled, BatchNorm"


def test_published_rows_have_no_difference() -> None:
    text = TWO_SETS + PUBLISHED + '[compare]\nreference = { data = "digits" }\n'
    study = parse_study(text.replace('["auc", "majority", "accuracy"]', '["auc"]'), name="study")
    *_, last = cells(study_tables(study, scores([])))
    assert last[1:] == ["0.919", "none", ""]


def test_the_legend_names_the_source_only_where_something_is_published() -> None:
    for text, expected in ((TWO_SETS + PUBLISHED, True), (TWO_SETS, False)):
        shown = study_tables(parse_study(text, name="study"), scores([]))
        assert (
            "as printed in Yang et al. (MedMNIST v2, Scientific Data 2023)" in shown
        ) is expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            TWO_SETS.replace('"auc", "majority", "accuracy"', '"epsilon"') + PUBLISHED,
            "table.published shows accuracy and auc: add one to metrics",
        ),
        (
            TWO_SETS + PUBLISHED + 'columns = "data"\n',
            "published needs one row a line: remove columns",
        ),
        (
            "seeds = 1\n" + PUBLISHED,
            "table.published has no effect: nothing is published here about the study's data sets",
        ),
    ],
    ids=["metrics", "columns", "sets"],
)
def test_published_figures_that_cannot_be_shown_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(sentence)):
        expand(parse_study(text, name="study"), remember=fresh)


def test_long_rows_are_those_of_overrides_and_baselines_that_say_so() -> None:
    study = parse_study(RATES, name="study")
    assert long_rows(study) == {"lr 0.2", "pooled"}
    assert rows_to_skip(study, long=False) == {"lr 0.2", "pooled"}
    assert rows_to_skip(study, long=True) == frozenset()


def test_an_override_of_other_rows_makes_none_long() -> None:
    text = RATES.replace("long = true", "set = { rounds = 2 }", 1)
    assert long_rows(parse_study(text, name="study")) == {"pooled"}


def test_long_rows_of_a_study_without_any_cannot_be_asked_for() -> None:
    study = parse_study("seeds = 1", name="quick")
    with pytest.raises(ScenarioError, match="--long has no effect: no row of 'quick' is long"):
        rows_to_skip(study, long=True)
    assert rows_to_skip(study, long=False) == frozenset()


def test_a_long_row_says_not_run_until_it_has_run() -> None:
    study = parse_study(RATES, name="study")
    ours = [line("lr 0.1", seed, "accuracy", 0.5) for seed in range(2)]
    new = [line(label, 0, "", None, state="new") for label in ("lr 0.2", "pooled")]
    for lines in (ours, [*ours, *new]):
        text = study_tables(study, scores(lines))
        assert {label: value for label, value, *_ in cells(text)} == {
            "": "accuracy",
            "lr 0.1": "0.500 ± 0.000",
            "lr 0.2": "not run",
            "pooled": "not run",
        }
        assert "Rows that say 'not run' take hours; `securefl bench study --long` runs them" in text


def test_a_long_row_that_has_run_or_failed_shows_that() -> None:
    study = parse_study(RATES, name="study")
    done = [line("lr 0.2", seed, "accuracy", 0.5) for seed in range(2)]
    failed = [line("pooled", 0, "", None, state="failed")]
    text = study_tables(study, scores([*done, *failed]))
    shown = {label: value for label, value, *_ in cells(text)}
    # Nobody asked for a row to be skipped that is not long.
    assert shown["lr 0.1"] == "missing"
    assert shown["lr 0.2"] == "0.500 ± 0.000"
    assert shown["pooled"] == "failed (1)"
    assert "not run" not in text


def test_the_legend_of_a_study_without_long_rows_speaks_of_none() -> None:
    study = parse_study("seeds = 1", name="study")
    study_rows = list(rows(study))
    nothing = scores([])
    compared = differences(study, study_rows, nothing)
    assert "--long" not in "\n".join(legend(study, study_rows, nothing, compared))


def test_the_shipped_study_follows_the_published_recipe() -> None:
    study, _ = load_study(find_study("published"))
    planned = expand(study, remember=fresh)
    assert {plan.seed for plan in planned} == {0, 1, 2}
    for plan in planned:
        training = plan.scenario["training"]
        # Yang et al. 2023: Adam, .001, 100 epochs, a tenth after 50 and after 75.
        assert (training["kind"], training["optimizer"]) == ("sgd", "adam")
        assert (training["lr"], training["step_factor"]) == (0.001, 0.1)
        assert plan.scenario["rounds"] * training["epochs"] == 100
        assert [at * training["epochs"] for at in training["step_at"]] == [50, 75]
        assert plan.scenario["data"]["partition"] == "pooled"
        model = plan.scenario["model"]
        volumes = plan.scenario["data"]["name"] == "medmnist:adrenalmnist3d"
        assert model["convolution"] == ("acs" if volumes else "2d")
        # Their scripts for images take batches of 128; those for volumes, of 32.
        assert training["batch"] == (32 if volumes else 128)
        assert model["norm"] == ("batch" if "BatchNorm" in plan.row else "group")
        assert model["width"] == (16 if "width 16" in plan.row else 64)
    # What a CPU can check within minutes is not long.
    assert {row.label for row in rows(study)} - long_rows(study) == {
        "BreastMNIST, width 16, BatchNorm",
        "BreastMNIST, width 16, GroupNorm",
    }
    assert len(long_rows(study)) == 6
