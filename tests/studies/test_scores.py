"""Scores and tables: from rows of results.csv to what a reader sees."""

import math
from collections.abc import Iterator

import pytest

from securefl.errors import RunFolderError
from securefl.studies.expand import rows
from securefl.studies.judges import Judges
from securefl.studies.questions import differences
from securefl.studies.scores import Scores, read_scores, scores
from securefl.studies.statistics import shares_error
from securefl.studies.study import Study, parse_study
from securefl.studies.tables import study_tables


def line(label: str, seed: int, metric: str, value: object, **facts: str) -> dict[str, str]:
    usual = {"part": "", "state": "done", "noise": "", "site": ""}
    return (
        {
            "label": label,
            "seed": str(seed),
            "metric": metric,
            "value": "" if value is None else str(value),
        }
        | usual
        | facts
    )


def grid(**by_row: list[float | None]) -> Scores:
    """Row -> accuracy a seed; underscores stand for spaces."""
    return scores(
        line(row.replace("_", " "), seed, "accuracy", value)
        for row, values in by_row.items()
        for seed, value in enumerate(values)
    )


def test_parts_of_a_row_become_one() -> None:
    found = scores(
        line("local", 0, metric, value, part=part, noise="seeded")
        for part, values in {"a": (100, 0.5, 1.0, 7, 1.0), "b": (300, 0.9, 3.0, 8, 5.0)}.items()
        for metric, value in zip(
            ("records", "accuracy", "epsilon", "bytes_up", "rmse"), values, strict=True
        )
    )
    assert found.of("local", "accuracy") == {0: pytest.approx(0.8)}
    assert found.of("local", "rmse") == {0: pytest.approx(4.0)}
    assert found.of("local", "epsilon") == {0: 3.0}
    assert found.of("local", "bytes_up") == {0: 15.0}
    assert found.of("local", "records") == {0: 400.0}
    assert found.seeded == {"local"}


def test_a_row_that_lacks_a_part_is_not_measured() -> None:
    found = scores([line("x", 0, "auc", 0.5, part="a"), line("x", 0, "auc", None, part="b")])
    assert found.of("x", "auc") == {0: None}
    assert found.of("x", "accuracy") == found.of("y", "auc") == {}


@pytest.mark.parametrize("state", ["failed", "new", "running"])
def test_a_row_with_a_part_that_has_not_ended_has_no_value_at_all(state: str) -> None:
    found = scores(
        [line("x", 0, "auc", 0.5, part="a"), line("x", 0, "", None, part="b", state=state)]
    )
    assert found.of("x", "auc") == {}
    assert found.states == {"x": ("done", state)}


def test_sites_do_not_count_and_states_do() -> None:
    found = scores(
        [
            line("x", 0, "accuracy", 0.5),
            line("x", 0, "accuracy", 0.1, site="va"),
            line("x", 1, "", None, state="failed"),
        ]
    )
    assert found.of("x", "accuracy") == {0: 0.5}
    assert found.states == {"x": ("done", "failed")}


def test_rows_are_compared_on_the_seeds_that_both_have() -> None:
    one = scores(
        line("a", seed, "accuracy", value) for seed, value in ((3, 0.9), (1, 0.5), (2, 0.7))
    )
    two = scores(
        line("a", seed, "accuracy", value) for seed, value in ((1, 0.4), (3, 0.7), (4, 0.0))
    )
    judges = Judges(records=100, train=300, idle=100, redrawn=True, same=False, classes=2)
    found = one.compare("a", "a", "accuracy", judges, than=two)
    assert found is not None
    assert found.n == 2
    assert found.mean == pytest.approx(0.15)
    assert found.error == pytest.approx(math.sqrt(0.005 * (1 / 2 + 1 / 3)))
    assert found.records_error == pytest.approx(shares_error(0.7, 0.55, 100))
    assert one.compare("a", "b", "accuracy", judges) is None


def test_a_file_without_results_is_refused(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "results.csv"
    with pytest.raises(RunFolderError, match="cannot read"):
        read_scores(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(RunFolderError, match=r"cannot read .*'label'"):
        read_scores(path)


STUDY = """\
seeds = 5
metrics = ["accuracy", "auc"]
[base]
training = { kind = "sgd" }
[axes]
"defense.rule" = ["mean", "median"]
[axes.lie]
none = {}
loud = { attack = { name = "sign_flip", scale = 5.0, clients = [0] } }
[[baseline]]
label = "pooled"
cross = ["defense.rule"]
"""


def cells(text: str) -> Iterator[list[str]]:
    """The cells of the tables' lines."""
    for written in text.splitlines():
        if written.startswith("| "):
            yield [part.strip() for part in written.strip("|").split("|")]


def made(extra: str) -> Study:
    return parse_study(STUDY + extra, name="study")


def all_scores() -> Scores:
    found = {
        "mean, none": [0.9, 0.8, 0.85, 0.85, 0.85],
        "mean, loud": [0.3, 0.2, 0.1, 0.2, 0.2],
        "median, none": [0.9, 0.8, 0.85, 0.85, 0.85],
        "median, loud": [0.8, 0.7, 0.6, 0.7, 0.65],
        "pooled (mean)": [0.95] * 5,
        "pooled (median)": [0.5] * 5,
    }
    return scores(
        line(row, seed, "accuracy", values[seed])
        for row, values in found.items()
        for seed in range(5)
    )


def test_a_long_table_has_a_line_a_row_and_differences_where_there_is_a_reference() -> None:
    text = study_tables(made('[compare]\nreference = { "defense.rule" = "mean" }\n'), all_scores())
    head, *lines = cells(text)
    assert head == ["", "accuracy", "AUC", "epsilon", "difference in accuracy"]
    table = {one[0]: one[1:] for one in lines}
    assert table["mean, none"] == ["0.850 ± 0.016", "missing", "none", ""]
    assert table["median, none"] == ["0.850 ± 0.016", "missing", "none", "+0.000 [+0.000, +0.000]"]
    assert table["median, loud"] == [
        "0.690 ± 0.033",
        "missing",
        "none",
        "+0.490 [+0.438, +0.542] *",
    ]
    # By hand: differences .5, .5, .5, .5, .45 have s^2 = .0005. Times 1/5 + 250/490, the root of
    # it times 2.776 is .0523.
    assert text.splitlines()[2] == "5 seeds; mean ± standard error over seeds."


def test_nothing_is_marked_on_fewer_seeds_than_the_study_has() -> None:
    extra = '[compare]\nreference = { "defense.rule" = "mean" }\n'
    more = parse_study(STUDY.replace("seeds = 5", "seeds = 6") + extra, name="study")
    told = {one[0]: one[-1] for one in cells(study_tables(more, all_scores()))}
    assert told["median, loud"] == "+0.490 [+0.438, +0.542] (n=5)"
    few = parse_study(STUDY.replace("seeds = 5", "seeds = 4") + extra, name="study")
    found = scores(
        line(row, seed, "accuracy", value)
        for row, values in {
            "mean, loud": (0.1, 0.2, 0.1, 0.2),
            "median, loud": (0.8, 0.9, 0.81, 0.9),
        }.items()
        for seed, value in enumerate(values)
    )
    text = study_tables(few, found)
    assert {one[0]: one[-1] for one in cells(text)}["median, loud"] == "+0.703 [+0.689, +0.716]"
    assert "4 seeds; mean ± standard error over seeds. Fewer than 5 seeds rank nothing." in text


def test_a_baseline_can_be_the_reference_on_the_axes_it_is_crossed_with() -> None:
    study = made('[compare]\nbaseline = "pooled"\n')
    found = differences(study, list(rows(study)), all_scores()).comparisons
    assert {row: None if one is None else round(one.mean, 3) for row, one in found.items()} == {
        "mean, none": -0.1,
        "mean, loud": -0.75,
        "median, none": 0.35,
        "median, loud": 0.19,
    }


def test_a_wide_table_sets_levels_side_by_side_and_baselines_before_them() -> None:
    study = made('[compare]\nreference = { "defense.rule" = "mean" }\n[table]\ncolumns = "lie"\n')
    shown = list(cells(study_tables(study, all_scores())))
    assert shown == [
        ["accuracy", "pooled", "lie none", "lie loud"],
        ["mean", "0.950 ± 0.000", "0.850 ± 0.016", "0.200 ± 0.032"],
        ["median", "0.500 ± 0.000", "0.850 ± 0.016", "0.690 ± 0.033"],
        ["difference in accuracy", "lie none", "lie loud"],
        ["median", "+0.000 [+0.000, +0.000]", "+0.490 [+0.438, +0.542] *"],
    ]


def test_baselines_of_a_wide_table_are_under_their_own_level_or_apart() -> None:
    extra = (
        '[[baseline]]\nlabel = "alone"\n[[baseline]]\nlabel = "central"\ncross = { lie = "loud" }\n'
        '[table]\ncolumns = "lie"\n'
    )
    found = scores(line(row, 0, "accuracy", 0.25) for row in ("alone", "central (loud)"))
    shown = list(cells(study_tables(made(extra), found)))
    assert shown[0] == ["accuracy", "pooled", "lie none", "lie loud"]
    assert shown[3:] == [
        ["central", "", "", "0.250"],
        ["", "accuracy", "AUC", "epsilon"],
        ["alone", "0.250", "missing", "none"],
    ]


def test_sections_part_the_rows_and_leave_their_level_out_of_the_labels() -> None:
    extra = '[[baseline]]\nlabel = "alone"\n[table]\nsections = "defense.rule"\n'
    text = study_tables(made(extra), all_scores())
    assert [part for part in text.splitlines() if part.startswith("## ")] == [
        "## mean",
        "## median",
        "## Baselines",
    ]
    assert [one[0] for one in cells(text)] == ["", "none", "loud", "pooled"] * 2 + ["", "alone"]


def test_gaps_and_failures_are_shown() -> None:
    study = made('[table]\ncolumns = "lie"\n[[exclude]]\n"defense.rule" = "median"\nlie = "none"\n')
    found = scores(
        [
            *(line("mean, none", seed, "accuracy", 0.5) for seed in range(2)),
            line("mean, none", 2, "", None, state="failed"),
            line("mean, loud", 0, "", None, state="failed"),
            line("median, loud", 0, "accuracy", 0.5),
            line("median, loud", 1, "", None, state="new"),
            line("pooled (mean)", 0, "accuracy", None),
        ]
    )
    assert list(cells(study_tables(study, found)))[1:] == [
        ["mean", "not measured", "0.500 ± 0.000 (1 failed)", "failed (1)"],
        ["median", "missing", "", "0.500 (n=1)"],
    ]


def test_a_run_that_its_budget_ended_is_marked() -> None:
    study = parse_study("seeds = 2\n[base]\n", name="study")
    found = scores(line("study", seed, "accuracy", 0.5, state="out of budget") for seed in range(2))
    assert list(cells(study_tables(study, found)))[1][1] == "0.500 ± 0.000 (2 out of budget)"
    assert list(cells(study_tables(study, scores([line("study", 0, "", None, state="new")]))))[1][
        1:
    ] == [
        "missing",
        "missing",
        "missing",
        "",
    ]


def test_seeded_noise_is_marked_next_to_its_epsilon() -> None:
    study = parse_study("seeds = 1\n[base]\n[axes]\nrounds = [1, 2]\n", name="study")
    found = scores(
        [
            line("rounds 1", 0, "epsilon", 7.987, noise="seeded"),
            line("rounds 2", 0, "epsilon", 2.0, noise="system"),
        ]
    )
    shown = {one[0]: one[4] for one in cells(study_tables(study, found))}
    assert shown == {"": "epsilon", "rounds 1": "7.99 (seeded)", "rounds 2": "2.00"}
    assert "Noise is seeded" in study_tables(study, found)


QUESTIONS = """\
seeds = 5
metrics = ["accuracy"]
[base]
training = { kind = "sgd" }
[axes]
"defense.rule" = ["mean", "median"]
"training.lr" = [0.1, 0.2, 0.3]
[[baseline]]
label = "pooled"
[compare]
baseline = "pooled"
"""


def by_rule(spread: float) -> Scores:
    """A loss of .24 that varies, beside five rows that lose nothing."""
    losses = {
        f"{rule}, lr {rate}": 0.0 for rule in ("mean", "median") for rate in ("0.1", "0.2", "0.3")
    }
    losses["median, lr 0.2"] = 0.24
    away = (-1, 1, 0, 2, -2)
    rows = {
        row: [0.8 - loss + (spread if loss else 0.02) * step for step in away]
        for row, loss in losses.items()
    } | {"pooled": [0.8] * 5}
    return scores(
        line(row, seed, "accuracy", values[seed])
        for row, values in rows.items()
        for seed in range(5)
    )


def test_a_loss_of_24_points_is_marked_within_its_question_and_not_among_all() -> None:
    # p = .0103: below .05 / 3 in a question of three comparisons, above .05 / 6 over all six.
    together, apart = (
        parse_study(QUESTIONS + extra, name="study")
        for extra in ("", 'question = ["defense.rule"]\n')
    )
    found = differences(together, list(rows(together)), by_rule(0.04))
    assert found.marked == set()
    assert found.questions == {(): tuple(found.comparisons)}
    told = differences(apart, list(rows(apart)), by_rule(0.04))
    assert told.marked == {"median, lr 0.2"}
    assert {question: len(members) for question, members in told.questions.items()} == {
        ("mean",): 3,
        ("median",): 3,
    }
    comparison = told.comparisons["median, lr 0.2"]
    assert comparison is not None
    assert comparison.p is not None
    assert 0.05 / 6 < comparison.p < 0.05 / 3


def test_a_section_is_a_question_unless_the_study_says_otherwise() -> None:
    study = parse_study(QUESTIONS + '[table]\nsections = "training.lr"\n', name="study")
    assert study.question == ("training.lr",)
    named = parse_study(
        QUESTIONS + 'question = ["defense.rule"]\n[table]\nsections = "training.lr"\n', name="study"
    )
    assert named.question == ("defense.rule",)
    assert set(differences(study, list(rows(study)), by_rule(0.01)).questions) == {
        ("0.1",),
        ("0.2",),
        ("0.3",),
    }


def test_two_test_images_of_156_never_earn_a_star_in_a_table() -> None:
    text = """\
seeds = 5
metrics = ["accuracy"]
[base]
data = { name = "medmnist:breastmnist", clients = 5 }
model = "cnn"
training = { kind = "sgd" }
[axes.how]
federated = {}
broken = { rounds = 1 }
[[baseline]]
label = "pooled"
[compare]
baseline = "pooled"
"""
    away = (0, 0.1, 0, -0.1, 0)  # of an image: runs all but agree
    images = {"pooled": 128, "federated": 126, "broken": 90}
    found = scores(
        line(row, seed, "accuracy", (count + (0 if row == "pooled" else step)) / 156)
        for row, count in images.items()
        for seed, step in enumerate(away)
    )
    study = parse_study(text, name="study")
    told = differences(study, list(rows(study)), found)
    assert told.marked == {"broken"}
    two = told.comparisons["federated"]
    assert two is not None
    assert two.low is not None
    assert two.high is not None
    assert two.mean == pytest.approx(-2 / 156)
    assert two.low < -0.09 < 0.06 < two.high  # the interval says what 156 images leave open


ERRORS = """\
seeds = 2
[base]
training = { kind = "sgd" }
[axes]
"defense.rule" = ["mean", "median"]
[compare]
reference = { "defense.rule" = "mean" }
"""


def stays() -> Scores:
    """Two rows, each with errors in units of its own size."""
    values = {"rmse": (12.0, 14.0), "mae": (8.0, 8.5), "r2": (0.5, 0.25), "accuracy": (None, None)}
    return scores(
        line(row, seed, metric, None if value is None else value * factor)
        for row, factor in (("mean", 1.0), ("median", 1.5))
        for metric, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    )


def test_a_study_that_names_no_metrics_shows_the_errors_of_real_targets() -> None:
    study = parse_study(ERRORS, name="study")
    text = study_tables(study, stays())
    head, mean, median = cells(text)
    assert head == ["", "RMSE", "MAE", "R2", "epsilon", "difference in RMSE"]
    assert mean[1:5] == ["13.00 ± 1.00", "8.250 ± 0.250", "0.375 ± 0.125", "none"]
    assert median[1] == "19.50 ± 1.50"
    # Differences 6 and 7: half of the 95 % interval is 12.7 times their error of about .6.
    assert median[5].startswith("+6.50 [")
    assert "Differences in RMSE from mean" in text


def test_a_study_that_names_metrics_shows_those() -> None:
    study = parse_study(f'metrics = ["accuracy", "r2"]\n{ERRORS}', name="study")
    head, mean, _ = cells(study_tables(study, stays()))
    assert head[1:3] == ["accuracy", "R2"]
    assert mean[1:3] == ["not measured", "0.375 ± 0.125"]
    both = scores([line("mean", 0, "rmse", 1.0), line("median", 0, "accuracy", 0.5)])
    head, *_ = cells(study_tables(parse_study(ERRORS, name="study"), both))
    assert head[1:4] == ["accuracy", "bal. acc.", "AUC"]


def test_a_row_whose_sites_have_no_test_records_has_no_auc_within_sites() -> None:
    study = parse_study(
        """seeds = 1
metrics = ["auc", "auc_within_sites"]
[axes]
"training.lr" = [0.1, 0.2, 0.3]
""",
        name="study",
    )
    parts = {"a": (100, 0.9), "b": (300, 0.5)}
    found = scores(
        [
            line("lr 0.1", 0, "auc", 0.7),
            *(
                line("lr 0.2", 0, metric, value, part=part)
                for part, (records, auc) in parts.items()
                for metric, value in (
                    ("records", records),
                    ("auc", auc),
                    ("auc_within_sites", auc),
                )
            ),
        ]
    )
    table = {row[0]: row[1:] for row in cells(study_tables(study, found))}
    assert table[""] == ["AUC", "AUC within sites", "epsilon"]
    assert table["lr 0.1"][:2] == ["0.700", "-"]
    # A mean over parts is weighted by their records, as the AUC is.
    assert table["lr 0.2"][:2] == ["0.600", "0.600"]
    assert table["lr 0.3"][:2] == ["missing", "missing"]
