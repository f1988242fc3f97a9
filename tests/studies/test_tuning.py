"""A tuning study chooses for each seed the best level of that seed alone."""

from securefl.studies.scores import scores
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


def test_each_seed_chooses_by_itself_and_ties_go_to_the_smaller_rate() -> None:
    found = scores(
        {
            "label": row,
            "seed": str(seed),
            "part": "",
            "state": "done",
            "noise": "",
            "site": "",
            "metric": "accuracy",
            "value": "" if value is None else str(value),
        }
        for row, values in VALUES.items()
        for seed, value in enumerate(values)
    )
    study = parse_study(STUDY, name="study")
    assert chosen(study, found) == {
        ("", "mean"): ("0.1", "1", "0.1"),
        ("", "median"): ("0.1", "0.1", "1"),
    }
    assert "| mean | 0.1 | 1 | 0.1 |" in chosen_table(study, found)
    sections = parse_study(STUDY + 'sections = "defense.rule"\n', name="study")
    assert set(chosen(sections, found)) == {("mean", "study"), ("median", "study")}
