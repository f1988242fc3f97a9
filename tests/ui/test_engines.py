"""`securefl bench --engine`: a study gives the same results wherever its cells run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from securefl.errors import ScenarioError
from securefl.files import read_json
from securefl.runs.cluster import remote
from securefl.runs.engines import Engine, EngineName, engine
from securefl.runs.folder import RunFolder
from securefl.ui.bench import Options, bench
from securefl.ui.styles import Style
from tests.clusters import Here, workers_of_nodes
from tests.commands import call

STUDY = """
seeds = 2
[base]
rounds = 2
training = { kind = "sgd" }
[axes]
"training.lr" = [0.1, 0.2]
"""
ELSEWHERE = Options(engine=EngineName.RAY, address="10.0.0.5:6379")


@pytest.fixture(autouse=True, scope="module")
def quick_workers() -> Iterator[None]:
    with workers_of_nodes():
        yield


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Here:
    """Stands in for a cluster of two CPUs at any address."""
    here = Here()

    @contextmanager
    def fake(name: EngineName, address: str | None, jobs: int | None) -> Iterator[Engine]:
        assert (name, address, jobs) == (EngineName.RAY, ELSEWHERE.address, None)
        yield Engine(partial(remote.play, cluster=here), 2)

    monkeypatch.setattr("securefl.ui.bench.engine", fake)
    return here


def run(folder: Path, options: Options) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "study.toml").write_text(STUDY)
    bench(str(folder / "study.toml"), folder / "run", options, Style.NONE)
    return folder / "run"


def test_a_study_on_a_cluster_gives_the_bytes_that_it_gives_here(
    tmp_path: Path, cluster: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = run(tmp_path / "there", ELSEWHERE)
    assert len(cluster.orders) == 4
    monkeypatch.undo()
    here = run(tmp_path / "here", Options(jobs=1))
    for name in ("results.csv", "tables.md", "resolved.json", "env.json"):
        assert (there / name).read_bytes() == (here / name).read_bytes()
    cells = sorted(path.name for path in (here / "cells").iterdir())
    assert sorted(path.name for path in (there / "cells").iterdir()) == cells
    assert read_json(there / "cells" / cells[0] / "status.json")["state"] == "done"


def test_a_cluster_runs_what_this_machine_left(tmp_path: Path, cluster: Here) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("securefl.ui.bench.engine", engine)
        run(tmp_path, Options(jobs=1, max_cells=3))
    run(tmp_path, ELSEWHERE)
    assert len(cluster.orders) == 1
    assert cells_begun_once(tmp_path / "run") == 4


def test_this_machine_runs_what_a_cluster_left(
    tmp_path: Path, cluster: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, replace(ELSEWHERE, max_cells=3))
    monkeypatch.undo()
    run(tmp_path, Options(jobs=1))
    assert len(cluster.orders) == 3
    assert cells_begun_once(tmp_path / "run") == 4


def cells_begun_once(out: Path) -> int:
    return sum(cell.timings().starts == 1 for _, _, cell in RunFolder.open(out).cells())


def test_a_study_that_has_ended_needs_no_cluster(tmp_path: Path) -> None:
    out = run(tmp_path, Options(jobs=1))
    (out / "tables.md").unlink()
    run(tmp_path, Options(engine=EngineName.RAY, address="127.0.0.1:9"))
    assert (out / "tables.md").exists()


def test_an_engine_that_cannot_start_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ScenarioError, match=r"pip install 'securefl\[ray\]'"):
        run(tmp_path, ELSEWHERE)
    assert not (tmp_path / "run").exists()


def test_an_address_alone_is_refused_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    done = call("bench", "study.toml", "--address=auto", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: --address is that of a cluster: add --engine ray\n"
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]
