"""The text above the tables is true of the study's data."""

import pytest

from securefl.studies.expand import rows
from securefl.studies.find import find_study
from securefl.studies.legend import legend
from securefl.studies.questions import differences
from securefl.studies.scores import scores
from securefl.studies.study import Study, load_study, parse_study

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


def lines_of(study: Study) -> list[str]:
    """The legend before any cell has run."""
    study_rows = list(rows(study))
    nothing = scores([])
    compared = differences(study, study_rows, nothing)
    return list(legend(study, study_rows, nothing, compared))


def legend_of(text: str) -> str:
    return "\n".join(lines_of(parse_study(text, name="study")))


def test_seeds_that_split_the_records_say_so_with_the_correction() -> None:
    text = legend_of(STUDY)
    sentence = "Every seed draws a new split of the same records, 490 to train and 250 to judge."
    assert f"- {sentence}" in text
    assert "s² (1/5 + 250/490)" in text
    assert "judged on the same" not in text


def test_seeds_that_keep_a_split_do_not() -> None:
    text = legend_of('seed_keys = ["seed"]\n' + STUDY)
    assert "new split" not in text
    assert "- All seeds train on the same records and are judged on the same ones (250)." in text
    assert "add the standard error that the test records leave" in text


def test_a_mark_is_explained_and_unmarked_is_not_equal() -> None:
    text = legend_of(STUDY)
    assert (
        "* marks 0 of 1 comparisons as beyond noise: paired t-tests with Holm's correction" in text
    )
    assert "correction over all of them" in text
    assert "Unmarked does not mean equal" in text
    assert (
        "No difference is marked that is smaller than the standard error of the test records"
        in text
    )
    within = legend_of(STUDY + '[table]\nsections = "rounds"\n')
    assert "within a question (the same rounds: 1 comparisons)" in within
    assert "Differences" not in legend_of(STUDY.partition("[compare]")[0])


def test_epsilons_of_other_places_and_units_name_their_adversary() -> None:
    assert "It holds with" not in legend_of(STUDY)
    records, _ = load_study(find_study("privacy-utility"))
    assert "It holds with" not in "\n".join(lines_of(records))
    study, _ = load_study(find_study("medical-privacy"))
    (line,) = [line for line in lines_of(study) if line.startswith("Epsilon is for")]
    assert line == (
        "Epsilon is for one training record. It holds with local noise against everybody else; "
        "with distributed noise against the server together with up to channel.corrupt clients of "
        "a sum; with central noise against those who see models only, not whoever opens the sum."
    )


def test_rows_without_a_claim_name_no_adversary() -> None:
    text = """
[[baseline]]
label = "none"
set = { "privacy.place" = "central", "privacy.epsilon" = "inf" }
"""
    assert "It holds with" not in legend_of(STUDY + text)
    clients = """
[[baseline]]
label = "clients"
set = { "privacy.unit" = "client" }
"""
    assert (
        "Epsilon is for everything that one client trains on. It holds with local noise against "
        "everybody else."
    ) in legend_of(STUDY + clients)


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("privacy-utility", {"Heart: every seed draws a new split", "digits: every seed draws a"}),
        ("robustness", {"Every seed draws a new split"}),
        ("backdoor", {"Every seed draws a new split"}),
        ("images", {"All seeds train on the same records"}),
        ("scanners", {"All seeds train on the same records"}),
        ("leave-one-hospital-out", {"Every seed draws which records train"}),
        (
            "poisoning",
            {
                "digits, IID and digits, Dirichlet .1: every seed draws a new split",
                "PneumoniaMNIST, IID and PneumoniaMNIST, Dirichlet .1: all seeds train",
            },
        ),
    ],
)
def test_each_shipped_study_says_what_is_true_of_its_data(name: str, starts: set[str]) -> None:
    study, _ = load_study(find_study(name))
    noise = [line for line in lines_of(study) if line.startswith("- ")]
    assert len(noise) == len(starts)
    for start in starts:
        assert any(line.startswith(f"- {start}") for line in noise)
