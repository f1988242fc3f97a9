"""The code on docs/own-model.md and docs/plugins.md, word for word; commands: test_readme.py."""

import contextlib
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import securefl
from securefl.errors import ScenarioError
from securefl.scenario.plugins.entry_checks import PROVIDED_TO_ATTACKS
from securefl.scenario.plugins.trust import trust
from securefl.scenario.scenario import load_scenario, make_scenario
from securefl.ui.listing import listing
from tests.paths import ROOT
from tests.scenario.plugins.packages import install_example
from tests.ui.test_readme import blocks

MODEL = "docs/own-model.md"
PLUGINS = "docs/plugins.md"
NAMES = ("network", "mine", "wrong", "page")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A trusted folder on Python's path, whose modules are forgotten."""
    trust(tmp_path)
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(tmp_path):
        patch.syspath_prepend(tmp_path)
        yield tmp_path
    for name in NAMES:
        sys.modules.pop(name, None)


def run_tests(folder: Path, code: str) -> None:
    """Writes a block of tests to a file and calls each."""
    (folder / "page.py").write_text(code)
    importlib.invalidate_caches()
    module: ModuleType = importlib.import_module("page")
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_the_model_trains_plainly_with_group_norm_and_in_part(home: Path) -> None:
    function, weights, tests = blocks("python", MODEL)
    (home / "network.py").write_text(function)
    exec(compile(weights, "block", "exec"), {})  # noqa: S102
    plain, group, part = blocks("toml", MODEL)
    coordinates = {}
    for name, text in {"plain": plain, "group": group, "part": part}.items():
        (home / f"{name}.toml").write_text(text)
        scenario = load_scenario(home / f"{name}.toml", overrides=("rounds=2",))
        assert securefl.run(scenario, home / "runs" / name)["rounds"] == 2
        coordinates[name] = scenario.facts.coordinates
    # 15 x 32 + 32, batch norm with two statistics, and 32 + 1; then 16 wide; then the last layer.
    assert coordinates == {"plain": 512 + 4 * 32 + 33, "group": 256 + 2 * 16 + 17, "part": 17}
    run_tests(home, tests)
    with pytest.raises(ScenarioError, match=r'has a batch norm, .*"group"'):
        load_scenario(home / "group.toml", overrides=("model.batch_norm=",))


def test_the_plug_ins_of_the_page_run_together(home: Path) -> None:
    code, _, tests = blocks("python", PLUGINS)
    (home / "mine.py").write_text(code)
    (text,) = blocks("toml", PLUGINS)
    (home / "s.toml").write_text(text)
    scenario = load_scenario(home / "s.toml", overrides=("rounds=2",))
    assert securefl.run(scenario, home / "run")["rounds"] == 2
    run_tests(home, tests)


def quoted(page: str) -> list[str]:
    """What a page shows a command to print: lines indented by four spaces."""
    return re.findall(r"^    ((?:error: |midrange  ).*)$", (ROOT / page).read_text(), re.M)


def test_the_messages_on_the_page_are_the_real_ones(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, wrong, _ = blocks("python", PLUGINS)
    shape, changed, listed = quoted(PLUGINS)
    (home / "wrong.py").write_text(wrong)
    text = 'training = { kind = "sgd" }\ndefense = { rule = "python:wrong.py:rule" }\n'
    (home / "s.toml").write_text(text)
    with pytest.raises(ScenarioError) as refused:
        load_scenario(home / "s.toml")
    assert f"error: {refused.value}" == shape
    (home / "mine.py").write_text(code)
    (home / "s.toml").write_text(text.replace("wrong", "mine"))
    resolved = load_scenario(home / "s.toml").resolved()
    (home / "mine.py").write_text(code + "# changed\n")
    with pytest.raises(ScenarioError) as refused:
        make_scenario(resolved)
    assert f"error: {refused.value}" == changed
    install_example(home / "site", monkeypatch)
    assert listed in list(listing("rules", home))


def test_the_page_lists_what_a_run_provides_and_the_groups() -> None:
    text = (ROOT / PLUGINS).read_text()
    assert ", ".join(f"`{name}`" for name in PROVIDED_TO_ATTACKS) in text
    points = re.findall(r"^    (\[project.*\]\n    .*)$", text, re.M)
    example = (ROOT / "examples/plugin/pyproject.toml").read_text()
    assert points
    assert all(point.replace("\n    ", "\n") in example for point in points)
