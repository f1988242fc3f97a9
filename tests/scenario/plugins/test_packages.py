"""What installed packages register: listed, used by name, recorded, and never another version."""

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import torch

from securefl.errors import ScenarioError
from securefl.runs.api import run
from securefl.scenario.plugins.find import TABLES, Group, find, installed
from securefl.scenario.plugins.packages import registered
from securefl.scenario.scenario import load_scenario, make_scenario
from securefl.ui.listing import listing
from tests.commands import call
from tests.paths import ROOT
from tests.scenario.plugins.packages import (
    EXAMPLE,
    MODULE,
    forget_example,
    install_example,
    write_metadata,
)

SCENARIO = EXAMPLE / "scenario.toml"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_example(tmp_path / "site", monkeypatch)
    return tmp_path / "site"


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("kind", "name"), [("rules", "midrange"), ("attacks", "crowd"), ("models", "bottleneck")]
)
def test_ls_names_the_package_without_importing_it(kind: str, name: str, tmp_path: Path) -> None:
    done = call("ls", kind, cwd=tmp_path)
    assert f"{name:<23} from the package securefl-midrange 1.0\n" in done.stdout
    assert MODULE not in sys.modules
    # Ours come first, and theirs is the only line more.
    assert len(done.stdout.splitlines()) == len(TABLES[Group(kind)]) + 1


def test_no_package_takes_a_name_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_metadata(tmp_path, "bold", "2.0", {"securefl.rules": {"krum": "bold:krum"}})
    monkeypatch.syspath_prepend(tmp_path)
    assert "krum" not in installed(Group.RULES)
    assert find(Group.RULES, "krum", tmp_path).origin == ""
    shown = [line for line in listing("rules", tmp_path) if line.startswith("krum ")]
    assert shown[1].endswith("from the package bold 2.0, hidden by ours of this name")


def test_a_name_of_two_packages_is_refused(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_metadata(tmp_path / "more", "bold", "2.0", {"securefl.rules": {"midrange": "bold:rule"}})
    monkeypatch.syspath_prepend(tmp_path / "more")
    assert [entry.package for entry in registered("rules")] == ["bold", "securefl-midrange"]
    with pytest.raises(ScenarioError, match="midrange is registered by bold and securefl-midrange"):
        find(Group.RULES, "midrange", tmp_path)


def test_a_package_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_metadata(tmp_path, "gone", "2.0", {"securefl.steps": {"late": "gone.steps:late"}})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ScenarioError, match="late of gone cannot be imported: ModuleNotFoundError"):
        find(Group.STEPS, "late", tmp_path)


def test_a_fault_of_a_package_has_its_file_and_line(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = site / MODULE / "rules.py"
    file.write_text(file.read_text().replace(" / 2", " / None"))
    forget_example(monkeypatch)
    with pytest.raises(
        ScenarioError, match=r"midrange raised TypeError: .* \(rules\.py, line 19\)"
    ):
        load_scenario(SCENARIO)


@pytest.mark.usefixtures("site")
def test_a_scenario_uses_their_names_and_notes_the_version(tmp_path: Path) -> None:
    scenario = load_scenario(SCENARIO, overrides=("rounds=2",))
    metrics = run(scenario, tmp_path / "run")
    assert metrics["rounds"] == 2
    (cell,) = json.loads((tmp_path / "run/resolved.json").read_text())["cells"].values()
    assert cell["code"]["securefl-midrange"]["version"] == "1.0"
    with pytest.raises(ScenarioError, match="there is no 'midrang', did you mean 'midrange'"):
        load_scenario(SCENARIO, overrides=("defense.rule.name=midrang",))
    with pytest.raises(ScenarioError, match="midrange with f=5 needs 11 rows"):
        load_scenario(SCENARIO, overrides=("defense.rule.f=5",))


def test_a_run_does_not_go_on_with_another_version(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = load_scenario(SCENARIO).resolved()
    make_scenario(resolved)
    install_example(site, monkeypatch, version="1.1")
    with pytest.raises(ScenarioError, match=r"securefl-midrange is not .* 1\.0 before, 1\.1 now"):
        make_scenario(resolved)
    shutil.rmtree(site)
    forget_example(monkeypatch)
    with pytest.raises(ScenarioError, match="there is no 'midrange'"):
        make_scenario(resolved)


def test_the_rule_of_the_example_is_right(site: Path) -> None:
    rule: Any = find(Group.RULES, "midrange", site).entry.function
    rows = torch.tensor([[99.0], [2.0], [3.0], [10.0], [1.0]])
    assert rule(rows, f=1).tolist() == [6.0]


@pytest.mark.slow
def test_the_example_is_installed_in_an_environment_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "source"  # building leaves folders behind
    shutil.copytree(EXAMPLE, source)
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env/bin/python"
    (site,) = (tmp_path / "env").glob("lib/*/site-packages")
    # It sees what this environment has, and no network is needed.
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "outer.pth").write_text(f"import site; site.addsitedir({packages!r})\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    options = ["--no-index", "--no-deps", "--no-build-isolation", str(source)]
    subprocess.run([*pip, *options], check=True, capture_output=True)

    def spoken(*command: str) -> str:
        done = subprocess.run(
            [python, *command], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    main = ("-m", "securefl.ui.main")
    assert "midrange                from the package securefl-midrange 1.0" in spoken(
        *main, "ls", "rules"
    )
    shutil.copy(SCENARIO, tmp_path)
    spoken(*main, "run", "scenario.toml", "--out", "run")
    assert "securefl-midrange" in (tmp_path / "run/resolved.json").read_text()
    shutil.copy(EXAMPLE / "test_midrange.py", tmp_path)
    assert "5 passed" in spoken("-m", "pytest", "-q", "test_midrange.py")
    assert str(ROOT) not in (tmp_path / "run/resolved.json").read_text()
