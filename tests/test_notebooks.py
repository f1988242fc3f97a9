"""The notebooks of examples/: committed without outputs, and executed as they are."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.paths import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
EVERY_NOTEBOOK = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return cells


def test_there_are_three_notebooks_and_a_page_names_them() -> None:
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 3
    assert all(f"(../examples/{path.name})" in page for path in NOTEBOOKS)


@EVERY_NOTEBOOK
def test_a_notebook_has_no_outputs_and_its_code_compiles(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    for cell in cells(path):
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            compile("".join(cell["source"]), path.name, "exec")


@pytest.mark.slow
@EVERY_NOTEBOOK
def test_a_notebook_runs_from_its_committed_source(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path)
    execute = [sys.executable, "-m", "jupyter", "execute", path.name, "--output", "executed.ipynb"]
    done = subprocess.run(execute, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outputs = [
        output
        for cell in cells(tmp_path / "executed.ipynb")
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
    ]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    # A warning would be the first thing that a reader sees.
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []
