"""UCI Heart Disease through `table` gives the numbers of the data set that we ship."""

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

import securefl
from securefl.scenario.scenario import parse_scenario
from tests.paths import ROOT

EXAMPLE = ROOT / "examples/heart"
OURS = 'name = "heart"'
THEIRS = 'name = "table", path = "visits.csv", schema = "visits.toml"'
SEEDED = """
training = { kind = "dp_sgd", batch = 32 }
privacy = { epsilon = 8, noise = "seeded", records = [200, 173, 31, 86] }
"""


def metrics(folder: Path, data: str, training: str, name: str) -> Any:
    text = f'rounds = 3\nseed = 5\nweights = "equal"\ndata = {{ {data} }}\n{training}'
    result = securefl.run(parse_scenario(text, folder=folder), folder / name)
    # As text, so that numbers that are nearly equal differ.
    return json.dumps({**result, "seconds": None})


@pytest.mark.parametrize("training", ['training = { kind = "sgd" }', SEEDED])
@pytest.mark.parametrize("split_seed", [0, 3])
def test_a_scenario_on_the_table_gives_the_metrics_of_heart_digit_for_digit(
    tmp_path: Path, training: str, split_seed: int
) -> None:
    make_visits = runpy.run_path(str(EXAMPLE / "make_visits.py"))["make_visits"]
    make_visits(tmp_path / "visits.csv", split_seed=split_seed)
    shutil.copy(EXAMPLE / "visits.toml", tmp_path)
    ours = metrics(tmp_path, f"{OURS}, split_seed = {split_seed}", training, "ours")
    assert metrics(tmp_path, THEIRS, training, "theirs") == ours
    other = metrics(tmp_path, f"{OURS}, split_seed = 9", training, "other")
    assert other != ours
