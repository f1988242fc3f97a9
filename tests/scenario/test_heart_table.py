"""UCI Heart Disease through `table` gives the numbers of the data set that we ship."""

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

import securefl
from securefl.errors import NotReady
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.site_data import check_site_data, read_site_data
from securefl.scenario.scenario import parse_scenario
from securefl.scenario.shared import check_own_data
from tests.paths import ROOT
from tests.values import present

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


def test_hospitals_with_a_file_each_have_the_records_of_heart(tmp_path: Path) -> None:
    make_hospitals = runpy.run_path(str(EXAMPLE / "make_visits.py"))["make_hospitals"]
    make_hospitals(tmp_path / "sites", split_seed=0)
    text = (EXAMPLE / "hospitals.toml").read_text(encoding="utf-8")
    shared = parse_scenario(text)
    check_own_data(shared)
    heart = load_data(parse_scenario('data = { name = "heart" }'))
    for site, theirs in enumerate(heart.sites):
        path = tmp_path / f"sites/{theirs.name}.csv"
        ours = read_site_data(shared, site, [path])
        assert ours.train.features.equal(theirs.train.features)
        assert ours.train.labels.equal(theirs.train.labels)
        assert present(ours.test).features.equal(present(theirs.test).features)
    # One cholesterol of 603 is clamped in every run, which a person at the site may want to know.
    sentence = r"hungarian\.csv, line 244: column 'chol' is outside its declared range"
    with pytest.raises(NotReady, match=sentence):
        check_site_data(shared, 1, [tmp_path / "sites/hungarian.csv"])
