"""The versions of a model: their history is appended, chained, and never overwritten."""

import re
from pathlib import Path

import pytest

from securefl.errors import RunFolderError, ScenarioError
from securefl.runs.refining.series import REFUSED, RELEASED, RELEASES, ROLLED_BACK, Series
from tests.runs.refining.conftest import Copied


@pytest.fixture
def series(copied: Copied) -> Series:
    made = copied("plain")
    for version in (2, 3, 4):
        made.folder(version).mkdir(parents=True)
    return made


def test_without_a_decision_the_first_version_is_in_force(series: Series) -> None:
    assert series.released == 1
    assert series.history() == []
    assert series.ever_released == {1}
    assert series.decision(1) is None
    assert series.versions == [1, 2, 3, 4]


def test_the_last_release_is_in_force_and_a_refused_version_never_is(series: Series) -> None:
    series.decide(2, RELEASED, gate=None)
    series.decide(3, REFUSED, gate="auc >= 0.9")
    assert series.released == 2
    assert series.ever_released == {1, 2}
    assert [(line.version, line.kind) for line in series.history()] == [
        (2, "released"),
        (3, "refused"),
    ]
    again = Series(series.path).decision(3)
    assert again is not None
    assert again.facts == {"gate": "auc >= 0.9"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", again.at)


def test_rolling_back_goes_down_one_release_at_a_time(series: Series) -> None:
    series.decide(2, RELEASED)
    series.decide(3, REFUSED)
    series.decide(4, RELEASED)
    assert series.roll_back(None).version == 2  # 3 was never in force
    assert series.released == 2
    # 4 was in force before 2 is, and yet is no way back.
    assert series.roll_back(None).version == 1
    with pytest.raises(ScenarioError, match="no version before 1 was released"):
        series.roll_back(None)
    assert series.roll_back(4).version == 4
    assert series.released == 4
    assert [line.kind for line in series.history()][-3:] == [ROLLED_BACK] * 3
    first = series.decision(4)
    assert first is not None
    assert first.kind == RELEASED


@pytest.mark.parametrize(
    ("to", "sentence"),
    [
        (2, "version 2 is the released one already"),
        (3, "version 3 was never released; refine it further instead"),
        (9, "has no version 9; there are 1, 2, 3, 4"),
    ],
)
def test_only_another_version_that_was_released_is_rolled_back_to(
    series: Series, to: int, sentence: str
) -> None:
    series.decide(2, RELEASED)
    series.decide(3, REFUSED)
    with pytest.raises(ScenarioError, match=sentence):
        series.roll_back(to)
    assert len(series.history()) == 2


def test_a_line_that_a_crash_cut_short_counts_for_nothing_and_is_taken_away(
    series: Series,
) -> None:
    series.decide(2, RELEASED)
    file = series.path / RELEASES
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"version":3')
    assert series.released == 2
    series.decide(3, RELEASED)
    assert file.read_bytes().startswith(whole)
    assert series.released == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"refused"', b'"released"'),
        lambda data: b"\n".join(data.splitlines()[1:]) + b"\n",
        lambda data: b"{}\n" + data,
        lambda data: b"[]\n",
        lambda data: b"\xff\n",
    ],
    ids=["edited", "cut at the start", "begun otherwise", "a list", "no text"],
)
def test_an_edited_history_is_refused(series: Series, change: object) -> None:
    series.decide(2, REFUSED)
    series.decide(3, RELEASED)
    file = series.path / RELEASES
    assert callable(change)
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(RunFolderError, match="was edited or is damaged: its lines do not chain"):
        series.history()
    with pytest.raises(RunFolderError, match="its lines do not chain"):
        series.decide(4, RELEASED)


@pytest.mark.parametrize(
    ("plan", "is_noisy"),
    [
        ('{"asked": {"noise": 4.0}}', True),
        ('{"asked": {"noise": null}}', False),
        ('{"asked": null}', False),
        (None, False),
    ],
    ids=["noisy", "exact", "damaged", "none"],
)
def test_the_plan_says_whether_a_noisy_gate_decides(
    series: Series, plan: str | None, is_noisy: bool
) -> None:
    if plan is not None:
        (series.folder(2) / "plan.json").write_text(plan)
    assert series.has_noisy_gate(2) is is_noisy
    assert not series.has_noisy_gate(1)


def test_a_folder_that_is_no_run_has_no_versions(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="is not a run folder"):
        Series(tmp_path)
