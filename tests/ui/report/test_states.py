"""What a page says first: each state other than done, in words, before any number."""

from pathlib import Path

import pytest

from securefl.files import read_json, write_json
from securefl.runs.environment import code_hash
from securefl.runs.folder import Request, RunFolder
from securefl.ui.report import write_report
from securefl.ui.report.looks import groups_of, looks_at
from securefl.ui.report.states import Notice, notices
from tests.ui.report.folders import CLAIM, Made, claimed, made
from tests.ui.report.reading import read

FAILED = {"state": "failed", "run": "r", "round": 2, "reason": "no client was left"}
RUNNING = {"state": "running", "run": "r", "round": 3}
SPENT = {"state": "out of budget", "run": "r", "reason": "client 0: release 3 would exceed it"}
ONE_SEED = "One seed: there are no error bars, and small differences may be chance."


def notices_of(folder: Path) -> list[Notice]:
    run = RunFolder.open(folder)
    request = run.request()
    groups = groups_of(looks_at(run, request))
    return notices(request, groups, read_json(folder / "env.json"))


def said(folder: Path) -> list[str]:
    return [notice.text for notice in notices_of(folder)]


@pytest.mark.parametrize(
    ("cell", "verdict", "notice"),
    [
        (Made("a", status=FAILED, metrics=None), "The run failed.", "The run failed. The same"),
        (
            Made("a", status=RUNNING, metrics=None),
            "The run began and did not end.",
            "The run began and did not end: still running, hung or interrupted.",
        ),
        (
            Made("a", overrides=CLAIM, status=SPENT, metrics=claimed()),
            "The run ran out of the privacy budget.",
            "The run ran out of the privacy budget, and ended with the last good model.",
        ),
        (Made("a", status=None), "The run did not begin.", "Nothing has run yet."),
    ],
    ids=["failed", "interrupted", "out of budget", "new"],
)
def test_a_state_other_than_done_is_the_first_thing_a_page_says(
    tmp_path: Path, cell: Made, verdict: str, notice: str
) -> None:
    folder = made(tmp_path / "run", [cell])
    text = read(write_report(folder).read_text(encoding="utf-8")).text
    assert text.index(verdict) < text.index(notice) < text.index("What was run")
    assert text.index(verdict) < text.index(
        "privacy is claimed" if not cell.overrides else "claims"
    )


def test_a_done_run_of_several_seeds_has_nothing_to_say_first(tmp_path: Path) -> None:
    assert said(made(tmp_path / "run", [Made("a", 0), Made("a", 1)])) == []


def test_one_seed_has_no_error_bars_and_says_so(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("a", 0), Made("b", 0)])
    assert said(folder) == [ONE_SEED]
    page = read(write_report(folder).read_text(encoding="utf-8"))
    assert "±" not in "".join(page.tables["table-rows"][1])
    assert said(made(tmp_path / "more", [Made("a", 0), Made("b", 0), Made("b", 1)])) == []


def test_failures_come_first_with_each_reason_once_and_its_round(tmp_path: Path) -> None:
    cells = [Made("a", seed, status=FAILED, metrics=None) for seed in range(3)]
    folder = made(tmp_path / "run", [Made("b", 0, metrics={"abandoned": 1}), *cells])
    first, second = notices_of(folder)
    assert first.text == "3 of 4 cells failed. The same command tries again."
    assert first.reasons == ["“a” and 2 more: no client was left (in round 3)"]
    assert second.text.startswith("1 of 4 rounds was abandoned")


def test_a_cell_that_did_not_end_names_its_round(tmp_path: Path) -> None:
    (first,) = notices_of(made(tmp_path / "one", [Made("a", status=RUNNING, metrics=None)]))
    assert first.reasons == ["in round 4 of 4"]
    opened = {"state": "running", "run": "r"}
    cells = [Made("a", 0, status=RUNNING, metrics=None), Made("a", 1, status=opened, metrics=None)]
    (first,) = notices_of(made(tmp_path / "two", cells))
    assert first.reasons == ["“a”: in round 4 of 4", "“a”: before its first round"]


def test_only_some_reasons_are_listed(tmp_path: Path) -> None:
    cells = [
        Made("a", seed, status={**FAILED, "reason": f"reason {seed}"}, metrics=None)
        for seed in range(7)
    ]
    first, *_ = notices_of(made(tmp_path / "run", cells))
    assert len(first.reasons) == 6
    assert first.reasons[-1] == "and 2 other reasons, in the table"


def test_a_half_finished_study_says_how_far_it_is(tmp_path: Path) -> None:
    cells = [Made("a", 0), Made("a", 1, status=None), Made("b", 0, status=None)]
    folder = made(tmp_path / "run", cells, study="s", text="title = 's'\n")
    assert said(folder) == [
        "The study is unfinished: 1 of 3 cells ended, and 2 did not begin. Rows without all their "
        "seeds may change."
    ]


def test_a_cell_that_two_rows_share_is_counted_once(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("a", status=FAILED, metrics=None)])
    content = read_json(folder / "resolved.json")
    content["uses"].append({**content["uses"][0], "label": "b"})
    write_json(folder / "resolved.json", content)
    assert said(folder)[0] == "The run failed. The same command tries again."


def test_an_empty_folder_says_that_it_is_empty(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", Request("", {}, ()))
    assert said(tmp_path / "run") == ["The folder is empty: no run was asked of it."]
    text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "The folder is empty" in text


def test_another_version_of_the_code_is_named(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("a", 0), Made("a", 1)])
    environment = read_json(folder / "env.json")
    write_json(folder / "env.json", {**environment, "code": "0123456789abcdef"})
    (other,) = said(folder)
    assert other == (
        "The results were made by another version of the code (0123456789abcdef) than this page "
        f"({code_hash()})."
    )
    write_json(folder / "env.json", {**environment, "resumed_under": [{"code": "0123"}]})
    (several,) = said(folder)
    codes = ", ".join(sorted(["0123", code_hash()]))
    assert several.startswith(f"The results were made by 2 versions of the code: {codes}.")


def test_cells_of_a_study_name_their_own_version(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("a", 0), Made("a", 1)], study="s", text="title = 's'\n")
    environment = read_json(folder / "env.json")
    write_json(folder / "env.json", {**environment, "code": "of the first start"})
    assert said(folder) == []
    content = read_json(folder / "resolved.json")
    content["uses"][0]["code"] = "0123"
    write_json(folder / "resolved.json", content)
    (several,) = said(folder)
    assert several.startswith("The results were made by 2 versions of the code: 0123, ")
    content["uses"][1]["code"] = "0123"
    write_json(folder / "resolved.json", content)
    (other,) = said(folder)
    assert other.endswith(f"than this page ({code_hash()}). The same command would make new ones.")
