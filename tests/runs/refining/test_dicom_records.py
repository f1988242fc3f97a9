"""A later version on DICOM files of another month, whose labels lie in a file of their own."""

from pathlib import Path

import numpy as np
import pytest

from securefl.errors import ScenarioError
from securefl.runs.refining.plan import Asked, new_records
from securefl.runs.refining.refine import refine
from securefl.scenario.assemble.data import load_data
from securefl.scenario.scenario import make_scenario
from tests.data.dicom.files import dicom, labels
from tests.runs.refining.conftest import play
from tests.runs.refining.test_own_records import series

SCHEMA = """
by = "series"
label = { column = "label", classes = { well = ["0"], ill = ["1"] } }
sites = ["bern"]
modality = "CT"
size = [4, 4]
window = [0, 255]
"""
TEXT = """
rounds = 1
training = { kind = "sgd" }
model = { name = "logistic" }

[data]
name = "dicom"
path = "sites"
labels = "labels.csv"
schema = "ct.toml"
test_share = 0.3
public = true
"""
SERIES = 12


def month(root: Path, *, first_label: int, grey: int) -> None:
    """Writes a month of images with the same identifiers as any other, and their labels."""
    lines = {}
    for index in range(SERIES):
        image = np.full((4, 4), grey + index, np.uint8)
        uid = f"1.{index}"
        dicom(
            root / f"sites/bern/{index:02}.dcm", image, series=uid, study=uid, patient=f"P{index}"
        )
        lines[uid] = (index + first_label) % 2
    labels(root, lines)
    (root / "ct.toml").write_text(SCHEMA)


def test_a_later_month_has_labels_of_its_own(tmp_path: Path) -> None:
    # Every series has the opposite label in February: with January's all of them would be wrong.
    month(tmp_path, first_label=0, grey=10)
    february = tmp_path / "february"
    month(february, first_label=1, grey=100)
    made = series(tmp_path, TEXT)
    with pytest.raises(ScenarioError, match=r"--data: new files need data\.labels, also where"):
        refine(made, Asked(new_records(february / "sites")), play)
    file = february / "new.toml"
    file.write_text('data = { path = "sites", labels = "labels.csv", schema = "ct.toml" }\n')
    assert refine(made, Asked(new_records(file)), play).version == 2
    resolved = made.cell(2).scenario
    assert resolved["data"]["labels"] == "february/labels.csv"
    data = load_data(make_scenario(dict(resolved)))
    (site,) = data.sites
    for examples in (site.train, data.test):
        greys = examples.features.reshape(len(examples), -1)[:, 0].round().long()
        assert len(greys) > 0
        assert examples.labels.tolist() == ((greys - 100 + 1) % 2).tolist()
