"""What a rebuild must not change: the names of the cells of every study, and the public names.

golden/cells.json was made on the code before the house was rebuilt. For each study it holds the
number of cells, and SHA-256 over their names in order, 16 hex digits. A change of either must be
deliberate: folders of earlier runs would start again.
"""

import hashlib
import importlib
import json

import pytest

from securefl.privacy.remember import fresh
from securefl.runs.names import cell_hash
from securefl.studies.expand import expand
from securefl.studies.find import shipped_studies
from securefl.studies.study import load_study
from tests.paths import ROOT

CELLS = json.loads((ROOT / "tests/golden/cells.json").read_text(encoding="utf-8"))
NAMES = json.loads((ROOT / "tests/golden/names.json").read_text(encoding="utf-8"))
FILES = {
    path.stem: path for path in (ROOT / "benchmarks/studies/tuning").glob("*.toml")
} | shipped_studies()


def test_every_study_is_looked_at() -> None:
    assert set(CELLS) == set(FILES)


@pytest.mark.parametrize("name", CELLS)
def test_the_cells_of_a_study_keep_their_names(name: str) -> None:
    study, _ = load_study(FILES[name])
    cells = expand(study, remember=fresh)
    names = "".join(cell_hash(planned.scenario) for planned in cells)
    assert {"cells": len(cells), "hash": hashlib.sha256(names.encode()).hexdigest()[:16]} == CELLS[
        name
    ]


@pytest.mark.parametrize("package", NAMES)
def test_public_names_stay(package: str) -> None:
    assert set(NAMES[package]) <= set(importlib.import_module(package).__all__)
