"""What stands above the tables is true of the study's data."""

import pytest

from securefl.studies.expand import rows
from securefl.studies.find import find_study
from securefl.studies.legend import legend
from securefl.studies.questions import differences
from securefl.studies.scores import scores
from securefl.studies.study import load_study, parse_study

STUDY = """\
seeds = 5
metrics = ["accuracy"]
[base]
training = { kind = "sgd" }
[axes]
rounds = [1, 2]
[compare]
reference = { rounds = "1" }
"""


def told(text: str) -> str:
    study = parse_study(text, name="study")
    known, found = list(rows(study)), scores([])
    return "\n".join(legend(study, known, found, differences(study, known, found)))


def test_seeds_that_split_records_anew_say_so_with_the_correction() -> None:
    text = told(STUDY)
    assert "- Every seed splits the same records anew, 490 to train and 250 to judge." in text
    assert "s² (1/5 + 250/490)" in text
    assert "judged on the same" not in text


def test_seeds_that_keep_a_split_do_not() -> None:
    text = told('seed_keys = ["seed"]\n' + STUDY)
    assert "anew" not in text
    assert "- All seeds train on the same records and are judged on the same ones (250)." in text
    assert "add the standard error that the test records leave" in text


def test_a_mark_is_explained_and_unmarked_is_not_equal() -> None:
    text = told(STUDY)
    assert "0 of 1 comparisons: paired t-tests with Holm's correction over all of them" in text
    assert "Unmarked does not mean equal" in text
    assert (
        "Nothing is marked that is smaller than the standard error of the test records themselves"
        in text
    )
    within = told(STUDY + '[table]\nsections = "rounds"\n')
    assert "within a question (the same rounds: 1 comparisons)" in within
    assert "Differences" not in told(STUDY.partition("[compare]")[0])


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("privacy-utility", {"Heart: every seed splits", "digits: every seed splits"}),
        ("robustness", {"Every seed splits"}),
        ("backdoor", {"Every seed splits"}),
        ("images", {"All seeds train on the same records"}),
        ("leave-one-hospital-out", {"Every seed draws anew which records train"}),
        (
            "poisoning",
            {
                "digits, IID and digits, Dirichlet .1: every seed splits",
                "PneumoniaMNIST, IID and PneumoniaMNIST, Dirichlet .1: all seeds train",
            },
        ),
    ],
)
def test_each_shipped_study_says_what_is_true_of_its_data(name: str, lines: set[str]) -> None:
    study, _ = load_study(find_study(name))
    known, found = list(rows(study)), scores([])
    noise = [
        line
        for line in legend(study, known, found, differences(study, known, found))
        if line.startswith("- ")
    ]
    assert len(noise) == len(lines)
    assert all(any(line.startswith(f"- {start}") for line in noise) for start in lines)
