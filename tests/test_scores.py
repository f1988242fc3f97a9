"""Scores and tables: from rows of results.csv to what a reader sees.

Mutants that die here: parts averaged without weights; epsilon averaged; a missing part skipped; seeds paired by place;
the reference compared with itself; failed cells dropped; the mark left out of the seeded epsilon; gaps shifted.
"""

from collections.abc import Iterator

import pytest

from benchmarks.expand import rows
from benchmarks.scores import Scores, read_scores, scores
from benchmarks.study import Study, parse_study
from benchmarks.tables import differences, study_tables
from securefl.errors import RunFolderError


def line(label: str, seed: int, metric: str, value: object, **facts: str) -> dict[str, str]:
    usual = {"part": "", "state": "done", "noise": "", "site": ""}
    return (
        {"label": label, "seed": str(seed), "metric": metric, "value": "" if value is None else str(value)}
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
        for part, values in {"a": (100, 0.5, 1.0, 7), "b": (300, 0.9, 3.0, 8)}.items()
        for metric, value in zip(("records", "accuracy", "epsilon", "bytes_up"), values, strict=True)
    )
    assert found.of("local", "accuracy") == {0: pytest.approx(0.8)}
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
    found = scores([line("x", 0, "auc", 0.5, part="a"), line("x", 0, "", None, part="b", state=state)])
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
    one = scores(line("a", seed, "accuracy", value) for seed, value in ((3, 0.9), (1, 0.5), (2, 0.7)))
    two = scores(line("a", seed, "accuracy", value) for seed, value in ((1, 0.4), (3, 0.7), (4, 0.0)))
    found = one.compare("a", "a", "accuracy", than=two)
    assert found is not None
    assert found.n == 2
    assert found.mean == pytest.approx(0.15)
    assert one.compare("a", "b", "accuracy") is None


def test_a_file_that_is_no_results_is_told(tmp_path: object) -> None:
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
    return scores(line(row, seed, "accuracy", values[seed]) for row, values in found.items() for seed in range(5))


def test_a_long_table_has_a_line_a_row_and_differences_where_there_is_a_reference() -> None:
    text = study_tables(made('[compare]\nreference = { "defense.rule" = "mean" }\n'), all_scores())
    head, *lines = cells(text)
    assert head == ["", "accuracy", "AUC", "epsilon", "difference in accuracy"]
    table = {one[0]: one[1:] for one in lines}
    assert table["mean, none"] == ["0.850 ± 0.016", "missing", "none", ""]
    assert table["median, none"] == ["0.850 ± 0.016", "missing", "none", "+0.000 [+0.000, +0.000]"]
    assert table["median, loud"] == ["0.690 ± 0.033", "missing", "none", "+0.490 [+0.460, +0.500] *"]
    assert text.splitlines()[2] == "5 seeds; mean ± standard error."
    assert "* marks what is beyond noise, 1 of 2 comparisons" in text


def test_nothing_is_marked_on_fewer_seeds_than_the_study_has() -> None:
    extra = '[compare]\nreference = { "defense.rule" = "mean" }\n'
    more = parse_study(STUDY.replace("seeds = 5", "seeds = 6") + extra, name="study")
    told = {one[0]: one[-1] for one in cells(study_tables(more, all_scores()))}
    assert told["median, loud"] == "+0.490 [+0.460, +0.500] (n=5)"
    few = parse_study(STUDY.replace("seeds = 5", "seeds = 4") + extra, name="study")
    found = scores(
        line(row, seed, "accuracy", value)
        for row, values in {"mean, loud": (0.1, 0.2, 0.1, 0.2), "median, loud": (0.8, 0.9, 0.81, 0.9)}.items()
        for seed, value in enumerate(values)
    )
    text = study_tables(few, found)
    assert {one[0]: one[-1] for one in cells(text)}["median, loud"] == "+0.703 [+0.700, +0.710]"
    assert "4 seeds; mean ± standard error. Fewer than 5 seeds rank nothing." in text


def test_a_baseline_can_be_the_reference_on_the_axes_it_is_crossed_with() -> None:
    study = made('[compare]\nbaseline = "pooled"\n')
    found = differences(study, list(rows(study)), all_scores()).found
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
        ["median", "+0.000 [+0.000, +0.000]", "+0.490 [+0.460, +0.500] *"],
    ]


def test_baselines_of_a_wide_table_stand_under_their_own_level_or_apart() -> None:
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
    assert [part for part in text.splitlines() if part.startswith("## ")] == ["## mean", "## median", "## Baselines"]
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
    assert list(cells(study_tables(study, scores([line("study", 0, "", None, state="new")]))))[1][1:] == [
        "missing",
        "missing",
        "missing",
        "",
    ]


def test_seeded_noise_is_marked_beside_its_epsilon() -> None:
    study = parse_study("seeds = 1\n[base]\n[axes]\nrounds = [1, 2]\n", name="study")
    found = scores(
        [line("rounds 1", 0, "epsilon", 7.987, noise="seeded"), line("rounds 2", 0, "epsilon", 2.0, noise="system")]
    )
    shown = {one[0]: one[4] for one in cells(study_tables(study, found))}
    assert shown == {"": "epsilon", "rounds 1": "7.99 (seeded)", "rounds 2": "2.00"}
    assert "Noise is seeded" in study_tables(study, found)
