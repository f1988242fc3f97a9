"""Code in files that a scenario names: which files are read, hashed and run."""

import re
import sys
from pathlib import Path

import pytest
import torch

from securefl.errors import ScenarioError
from securefl.scenario.plugins import snapshot as snapshots
from securefl.scenario.plugins.find import Group, find
from securefl.scenario.plugins.snapshot import snapshot
from securefl.scenario.plugins.trust import is_trusted, trust, trusted_folders

RULE = "def rule(rows):\n    return rows.mean(dim=0)\n"


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECUREFL_CONFIG", str(tmp_path / "settings"))


def written(folder: Path, **files: str) -> Path:
    """A trusted folder with Python files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    trust(folder)
    return folder


def result(folder: Path, name: str = "python:mine.py:rule") -> list[float]:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    values: list[float] = find(Group.RULES, name, folder).entry.function(rows).tolist()
    return values


# --- trust


def test_code_is_not_even_read_in_a_folder_that_nobody_trusts(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ScenarioError, match="its folder is not trusted: read both, then add --tr"):
        find(Group.RULES, "python:mine.py:rule", tmp_path)


def test_trust_holds_for_folders_below_and_is_remembered(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    trust(tmp_path / "a")
    trust(tmp_path / "a")
    assert trusted_folders() == ((tmp_path / "a").resolve(),)
    assert is_trusted(inner / "mine.py")
    assert not is_trusted(tmp_path / "mine.py")
    # Not a prefix of letters: another folder whose name goes on.
    assert not is_trusted(tmp_path / "ab" / "mine.py")


def test_a_link_out_of_a_trusted_folder_is_not_trusted(tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text(RULE)
    folder = written(tmp_path / "in", other=RULE)
    (folder / "mine.py").symlink_to(outside)
    with pytest.raises(ScenarioError, match="its folder is not trusted"):
        find(Group.RULES, "python:mine.py:rule", folder)
    with pytest.raises(ScenarioError, match="its folder is not trusted"):
        find(Group.RULES, "python:../outside.py:rule", folder)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from subprocess import run", "run"),
        ("from os import system as go", "go"),
        ("from torch import from_file", "from_file"),  # which says of no module that it is its own
        ("import helper", "helper"),
        ("", "__class__"),
    ],
)
def test_a_scenario_calls_only_what_a_trusted_file_defines(
    tmp_path: Path, line: str, name: str
) -> None:
    folder = written(tmp_path / "in", mine=f"{line}\n{RULE}", helper="")
    with pytest.raises(ScenarioError, match=r"only imports|has no|is no function"):
        find(Group.DATA, f"python:mine.py:{name}", folder)


def test_a_file_may_offer_what_its_neighbour_defines(tmp_path: Path) -> None:
    folder = written(tmp_path / "in", mine="from helper import rule\n", helper=RULE)
    assert result(folder) == [2.0, 3.0]


def test_a_link_that_changes_after_the_check_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path / "in", good=RULE)
    (tmp_path / "bad.py").write_text("raise SystemExit('it ran')")
    link = tmp_path / "mine.py"
    link.symlink_to(folder / "good.py")

    def swapped(file: Path) -> bool:
        answer = is_trusted(file)
        link.unlink()
        link.symlink_to(tmp_path / "bad.py")
        return answer

    monkeypatch.setattr(snapshots, "is_trusted", swapped)
    assert snapshot(link).modules["mine"].code == RULE.encode()


def test_a_folder_that_is_not_there_cannot_be_trusted(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="--trust: there is no folder"):
        trust(tmp_path / "nowhere")


def test_a_damaged_list_trusts_nothing(tmp_path: Path) -> None:
    folder = written(tmp_path / "in", mine=RULE)
    (tmp_path / "settings" / "trusted.json").write_text('{"folders": "/"}')
    assert trusted_folders() == ()
    assert not is_trusted(folder / "mine.py")


# --- files


def test_a_file_may_import_its_neighbours_and_packages(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        mine="from helper import double\nimport tools.means as means\n"
        "def rule(rows):\n    return double(means.mean(rows))\n",
        helper="def double(x):\n    return 2 * x\n",
    )
    (folder / "tools").mkdir()
    (folder / "tools" / "means.py").write_text(
        "from . import where\ndef mean(rows):\n    return rows.mean(dim=where.ROWS)\n"
    )
    (folder / "tools" / "where.py").write_text("ROWS = 0\n")
    assert result(folder) == [4.0, 6.0]
    taken = snapshot(folder / "mine.py")
    assert taken.files == ["helper.py", "mine.py", "tools/means.py", "tools/where.py"]


@pytest.mark.parametrize("changed", ["mine", "helper"])
def test_the_hash_covers_every_file_and_a_change_is_run(tmp_path: Path, changed: str) -> None:
    files = {
        "mine": "import helper\ndef rule(rows):\n    return rows.mean(dim=0) + helper.ADDED\n",
        "helper": "ADDED = 0.0\n",
    }
    folder = written(tmp_path, **files)
    before = find(Group.RULES, "python:mine.py:rule", folder).code
    assert result(folder) == [2.0, 3.0]
    (folder / f"{changed}.py").write_text(files[changed].replace("0.0", "1.0") + "# new\n")
    after = find(Group.RULES, "python:mine.py:rule", folder).code
    assert before is not None
    assert after is not None
    assert before.sha256 != after.sha256
    assert result(folder) == ([3.0, 4.0] if changed == "helper" else [2.0, 3.0])


def test_two_folders_with_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    text = "import helper\ndef rule(rows):\n    import helper as late\n    return late.add(rows)\n"
    helper = "def add(rows):\n    return rows.mean(dim=0) + {}\n"
    first = written(tmp_path / "a", mine=text, helper=helper.format(1))
    second = written(tmp_path / "b", mine=text, helper=helper.format(2))
    assert result(first) == [3.0, 4.0]
    assert result(second) == [4.0, 5.0]
    assert result(first) == [3.0, 4.0]
    assert "helper" not in sys.modules


def test_the_versions_of_imported_packages_are_noted(tmp_path: Path) -> None:
    folder = written(tmp_path, mine="import os\nimport numpy.linalg\nimport defenses\n" + RULE)
    code = find(Group.RULES, "python:mine.py:rule", folder).code
    assert code is not None
    assert list(code.packages) == ["numpy"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("python:nowhere.py:rule", RULE, "there is no file"),
        ("python:mine.py:rul", RULE, "did you mean 'rule'"),
        ("python:mine.py:rule", "def rule(rows:\n", r"mine.py, line 1: not valid Python"),
        ("python:mine.py:rule", "x = 1\x00", "not valid Python"),
        ("python:mine.py:rule", "1 / 0\n", r"ZeroDivisionError: .* \(mine.py, line 1\)"),
        ("python:mine.py:rule", "exit(0)\n", r"SystemExit: 0 \(mine.py, line 1\)"),
        ("python:mine.py:rule", "import gone\n", "ModuleNotFoundError: No module named 'gone'"),
        (
            "python:mine.py:rule",
            "rule = 3\n",
            "neither a function nor a RuleEntry, but of the type int",
        ),
        ("python:mine.py:rule", "class rule: ...\n", "neither a function nor a RuleEntry"),
        (
            "python:mine.py:rule",
            "import functools, torch\nrule = functools.partial(torch.mean)\n",
            "it does not show its parameters, as functions written in C",
        ),
        (
            "python:mine.py:rule",
            "from securefl.scenario import RuleEntry\nrule = RuleEntry(3)\n",
            "the function of its entry is no function, but of the type int",
        ),
        (
            "python:mine.py:rule",
            "from securefl.scenario import RuleEntry\nrule = RuleEntry(sum, minimum_rows=3)\n",
            "the minimum_rows of its entry is no function, but of the type int",
        ),
        ("python:mine.py:rule", "exit(3)\n", r"mine.py cannot be imported: SystemExit: 3"),
        ("python:os:system", RULE, r"code is named as python:FILE\.py:function"),
        ("python:mine.py", RULE, r"code is named as python:FILE\.py:function"),
    ],
)
def test_code_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    folder = written(tmp_path, mine=text)
    with pytest.raises(ScenarioError, match=sentence) as refused:
        find(Group.RULES, name, folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("AttackEntry()", "changes nothing: set rows, records or gradients of its entry"),
        ("AttackEntry(print, needs=('f', 'all'))", "needs 'all', which no run provides; .* f, n, "),
        ("AttackEntry(records=3)", "the records of its entry is no function"),
        ("RuleEntry(print)", "neither a function nor a AttackEntry"),
    ],
)
def test_an_attack_that_cannot_be_used_is_refused(
    tmp_path: Path, entry: str, sentence: str
) -> None:
    text = f"from securefl.scenario import AttackEntry, RuleEntry\nattack = {entry}\n"
    folder = written(tmp_path, mine=text)
    with pytest.raises(ScenarioError, match=sentence):
        find(Group.ATTACKS, "python:mine.py:attack", folder)


@pytest.mark.parametrize(
    ("group", "text", "sentence"),
    [
        (
            Group.RULES,
            "def plugin(rows, f): ...",
            "defense.rule python:mine.py:plugin: hyper-parameters of a rule are keyword-only and "
            "annotated, such as `def rule(rows, *, f: int)`; got f",
        ),
        (Group.RULES, "def plugin(rows, f: int = 1, *, g): ...", "f: int)`; got f, g"),
        (
            Group.RULES,
            "from securefl.scenario import RuleEntry\n"
            "def mean(rows, *, weights): ...\n"
            "plugin = RuleEntry(mean, weigh=lambda rows, f: f, weighted=True)",
            "f: int)`; got f",
        ),
        (
            Group.RULES,
            "from securefl.scenario import RuleEntry\n"
            "def mean(rows, *, f: int): ...\n"
            "plugin = RuleEntry(mean, choose=lambda squared, f: f)",
            "hyper-parameters of a choice of a rule are keyword-only and annotated, such as "
            "`def choose(squared, *, f: int)`; got f",
        ),
        (
            Group.PREFILTERS,
            "def plugin(rows, f, /): ...",
            "`def prefilter(rows, *, f: int)`; got f",
        ),
        (
            Group.STEPS,
            "def plugin(weights, estimate, state, lr): ...",
            "`def step(weights, estimate, state, *, lr: float)`; got lr",
        ),
        (
            Group.MODELS,
            "def plugin(task, width): ...",
            "`def model(task, *, width: int)`; got width",
        ),
        (
            Group.MODELS,
            "class plugin:\n    def __init__(self, task, *, width): ...",
            "of a model are keyword-only and annotated",
        ),
        (
            Group.ATTACKS,
            "def plugin(rows, f, scale): ...",
            "`def attack(rows, *, scale: float)`; got scale",
        ),
        (
            Group.ATTACKS,
            "from securefl.scenario import AttackEntry\n"
            "plugin = AttackEntry(records=lambda features, labels, share: 0)",
            "`def attack(features, labels, *, share: float)`; got share",
        ),
        (
            Group.ATTACKS,
            "from securefl.scenario import AttackEntry\n"
            "plugin = AttackEntry(gradients=lambda gradient, offset, scale: 0)",
            "`def attack(gradient, offset, *, scale: float)`; got scale",
        ),
        (
            Group.ATTACKS,
            "from securefl.scenario import AttackEntry\n"
            "plugin = AttackEntry(print, goal=lambda features, labels, target: 0)",
            "`def goal(features, labels, *, target: int)`; got target",
        ),
        (
            Group.ATTACKS,
            "from torch import Tensor\ndef plugin(rows, *, honest: Tensor): ...",
            "no run passes honest; an attack gets rows in its first argument, those of honest "
            "clients too with the entry AttackEntry(attack, sees=Sees.KNOWN), see docs/plugins.md",
        ),
        (Group.ATTACKS, "def plugin(rows, known_rows, *, f): ...", "no run passes known_rows; "),
    ],
)
def test_hyper_parameters_that_no_scenario_can_set_are_refused_when_the_code_is_loaded(
    tmp_path: Path, group: Group, text: str, sentence: str
) -> None:
    folder = written(tmp_path, mine=text)
    with pytest.raises(ScenarioError, match=re.escape(sentence)):
        find(group, "python:mine.py:plugin", folder)


@pytest.mark.parametrize(
    ("group", "text"),
    [
        (Group.RULES, "def plugin(rows, *others, f: int = 1, g=2, **more): ..."),
        (Group.ATTACKS, "def plugin(rows, *, f, generator, known: int = 2): ..."),
        (
            Group.MODELS,
            "from securefl.scenario import ModelEntry\n"
            "def net(task, *, generator): ...\n"
            "plugin = ModelEntry(net, provided=('generator',))",
        ),
        (
            Group.RULES,
            "from securefl.scenario import RuleEntry\n"
            "def mean(rows, weights): ...\n"
            "plugin = RuleEntry(mean, weighted=True)",
        ),
    ],
)
def test_parameters_that_a_run_provides_may_be_written_as_their_author_likes(
    tmp_path: Path, group: Group, text: str
) -> None:
    find(group, "python:mine.py:plugin", written(tmp_path, mine=text))


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("random", "shadows Python's own module 'random'"),
        ("numpy", "shadows the installed package 'numpy'"),
        ("attacks", "shadows the installed package 'attacks'"),
        ("no-name", "a module is called by letters"),
    ],
)
def test_a_file_that_hides_another_module_is_refused(
    tmp_path: Path, file: str, sentence: str
) -> None:
    folder = written(tmp_path, **{file: RULE}, mine=f"import {file}\n{RULE}")
    with pytest.raises(ScenarioError, match=sentence):
        find(Group.RULES, f"python:{file}.py:rule", folder)
    if file != "no-name":
        with pytest.raises(ScenarioError, match=sentence):
            find(Group.RULES, "python:mine.py:rule", folder)


def test_a_module_that_no_import_statement_names_is_not_found(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        mine=f"import importlib\nimportlib.import_module('helper')\n{RULE}",
        helper="X = 1\n",
    )
    with pytest.raises(ScenarioError, match="No module named 'helper'"):
        find(Group.RULES, "python:mine.py:rule", folder)
