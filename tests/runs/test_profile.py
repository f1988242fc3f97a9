"""A run that is profiled plays as any other, and says what its rounds cost by stages."""

import csv
import json
from pathlib import Path

import pytest

from securefl.errors import RunFolderError
from securefl.federation.profile import Profile
from securefl.runs.api import run
from securefl.runs.cell import Cell
from securefl.runs.folder import RunFolder
from securefl.runs.stopwatch import Stopwatch
from securefl.runs.timings import Timings
from tests.commands import call

SCENARIO = """
rounds = 2
data = { name = "heart" }
training = { epochs = 1, batch = 64 }
privacy = { epsilon = 8.0, noise = "seeded" }
channel = { kind = "masked" }
simulate = { drop = [{ client = 3, round = 1, stage = 2 }] }
"""
STAGES = {
    *("load model", "pay", "train", "settle", "channel, clients", "channel, server"),
    *("rule", "step", "evaluate"),
}


def rounds(folder: Path) -> list[dict[str, object]]:
    ((_, _, cell),) = RunFolder.open(folder).cells()
    # Ledgers are named by the run, which is named at random.
    return [{**record.to_json(), "seconds": None, "ledger_heads": None} for record in cell.rounds()]


def test_a_profile_changes_nothing_and_has_all_bytes(tmp_path: Path) -> None:
    profile = Profile()
    usual = run(SCENARIO, tmp_path / "usual")
    result = run(SCENARIO, tmp_path / "profiled", profile=profile)
    assert rounds(tmp_path / "profiled") == rounds(tmp_path / "usual")
    assert {**result.metrics, "seconds": None} == {**usual.metrics, "seconds": None}
    assert set(profile.costs) == STAGES
    carried = sum(cost.bytes for cost in profile.costs.values())
    assert carried == result.metrics["bytes_up"] + result.metrics["bytes_down"]
    assert all(cost.wall > 0 for cost in profile.costs.values())


def test_the_stages_are_in_the_timings_of_the_folder(tmp_path: Path) -> None:
    profile = Profile()
    run(SCENARIO, tmp_path / "run", profile=profile)
    with (tmp_path / "run" / "timings.csv").open() as file:
        rows = {row["stage"]: row for row in csv.DictReader(file)}
    assert set(rows) == STAGES | {"set_up", "rounds", "total"}
    assert int(rows["load model"]["bytes"]) == profile.costs["load model"].bytes
    assert rows["pay"]["bytes"] == rows["total"]["bytes"] == ""
    assert float(rows["train"]["cpu_seconds"]) == profile.costs["train"].cpu
    in_stages = sum(float(rows[stage]["wall_seconds"]) for stage in STAGES)
    assert in_stages <= float(rows["rounds"]["wall_seconds"])


def test_profiles_of_several_starts_add_up(tmp_path: Path) -> None:
    cell = Cell(tmp_path)
    for _ in range(2):
        profile = Profile()
        with profile.stage("train") as cost:
            cost.bytes += 5
        with profile.stage("rule"):
            pass
        with Stopwatch(cell) as watch:
            watch.add(profile)
    assert cell.timings().carried == {"train": 5 + 5}
    assert list(cell.timings().stages) == ["train", "rule", "total"]


def test_timings_without_bytes_have_no_table_of_them(tmp_path: Path) -> None:
    cell = Cell(tmp_path)
    cell.note_timings(Timings(1, {"total": (1.0, 0.5)}))
    assert "carried" not in (tmp_path / "timings.json").read_text()
    assert cell.timings() == Timings(1, {"total": (1.0, 0.5)})
    (tmp_path / "timings.json").write_text('{"starts": 1, "stages": {}, "carried": {"train": []}}')
    with pytest.raises(RunFolderError, match="damaged: it holds no timings"):
        cell.timings()


def test_the_command_shows_stages_and_an_ended_run_has_none(
    tmp_path: Path,
) -> None:
    file = tmp_path / "s.toml"
    file.write_text(SCENARIO)
    command = ("run", str(file), "--out", str(tmp_path / "run"), "--profile", "--display")
    done = call(*command, "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    (stages,) = [line["stages"] for line in lines if "stages" in line]
    assert set(stages) == STAGES
    walls = [stage["wall"] for stage in stages.values()]
    assert walls == sorted(walls, reverse=True)
    again = call(*command, "plain", cwd=tmp_path)
    assert "no round was played, so that there is nothing to profile" in again.stdout
