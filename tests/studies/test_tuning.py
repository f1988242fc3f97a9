"""A tuning study chooses for each seed the best level of that seed alone."""

from collections.abc import Mapping

from securefl.studies.scores import Scores, scores
from securefl.studies.study import parse_study
from securefl.studies.tuning import chosen, chosen_table

STUDY = """\
seeds = 3
metrics = ["accuracy"]
[base]
training = { kind = "sgd" }
[axes]
"training.lr" = [0.1, 1.0]
"defense.rule" = ["mean", "median"]
[table]
columns = "training.lr"
"""
VALUES = {
    "lr 0.1, mean": (0.9, 0.5, 0.8000004),
    "lr 1, mean": (0.1, 0.6, 0.8000001),
    "lr 0.1, median": (0.8, 0.8, None),
    "lr 1, median": (0.80001, 0.8, 0.1),
}


def scored(metric: str, by_row: Mapping[str, tuple[float | None, ...]]) -> Scores:
    return scores(
        {
            "label": row,
            "seed": str(seed),
            "part": "",
            "state": "done",
            "noise": "",
            "site": "",
            "metric": metric,
            "value": "" if value is None else str(value),
        }
        for row, values in by_row.items()
        for seed, value in enumerate(values)
    )


def test_each_seed_chooses_by_itself_and_ties_go_to_the_smaller_rate() -> None:
    found = scored("accuracy", VALUES)
    study = parse_study(STUDY, name="study")
    assert chosen(study, found) == {
        ("", "mean"): ("0.1", "1", "0.1"),
        ("", "median"): ("0.1", "0.1", "1"),
    }
    assert "| mean | 0.1 | 1 | 0.1 |" in chosen_table(study, found)
    sections = parse_study(STUDY + 'sections = "defense.rule"\n', name="study")
    assert set(chosen(sections, found)) == {("mean", "study"), ("median", "study")}


def test_the_smallest_error_and_the_largest_r2_are_chosen() -> None:
    errors = scored(
        "rmse",
        {
            "lr 0.1, mean": (2e-6, 2.00004e-6, None),
            "lr 1, mean": (1e-6, 2.00001e-6, 3.0),
            "lr 0.1, median": (9.0, 8.0, 7.0),
            "lr 1, median": (1.0, 9.0, 7.01),
        },
    )
    study = parse_study(STUDY.replace("accuracy", "rmse"), name="study")
    assert chosen(study, errors) == {
        ("", "mean"): ("1", "0.1", "1"),
        ("", "median"): ("1", "0.1", "0.1"),
    }
    r2 = scored("r2", {"lr 0.1, mean": (-5.0, None, 0.5), "lr 1, mean": (-7.0, -9.0, 0.6)})
    study = parse_study(STUDY.replace("accuracy", "r2"), name="study")
    assert chosen(study, r2)["", "mean"] == ("0.1", "1", "1")
