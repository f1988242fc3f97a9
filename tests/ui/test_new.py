"""`securefl new`: what it writes passes its own test, and its scenario is valid and runs."""

import importlib
import sys
from pathlib import Path

import pytest

from securefl.errors import ScenarioError
from securefl.ui.commands.completion import complete_plugin
from securefl.ui.names import PLUGINS
from securefl.ui.new import STARTERS, write_plugin
from tests.commands import call, refused

SMALL = ("--set", "rounds=2", "--out", "run")


@pytest.mark.parametrize("kind", PLUGINS)
def test_what_it_writes_passes_its_test_and_runs(kind: str, tmp_path: Path) -> None:
    name = f"my_{kind}"
    done = call("new", kind, name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, *commands = done.stdout.splitlines()
    assert first == f"wrote {name}.py, test_{name}.py, {name}.toml; try:"
    assert [line.strip() for line in commands] == [
        f"python -m pytest test_{name}.py",
        f"securefl validate {name}.toml --trust .",
        f"securefl run {name}.toml --trust .",
    ]
    assert outcome_of(tmp_path, name) == pytest.ExitCode.OK
    for command in commands[1:]:
        options = SMALL if " run " in command else ()
        ran = call(*command.split()[1:], *options, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
    assert "NAME" not in "".join(path.read_text() for path in tmp_path.glob(f"*{name}*"))


def outcome_of(folder: Path, name: str) -> int:
    """Runs the test of a plug-in in this process, and forgets its modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        options = ["-q", "--rootdir", str(folder), "-p", "no:cacheprovider", "-p", "no:timeout"]
        try:
            return pytest.main([*options, str(folder / f"test_{name}.py")])
        finally:
            for module in (name, f"test_{name}"):
                sys.modules.pop(module, None)
            importlib.invalidate_caches()


def test_it_replaces_nothing_and_writes_all_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("rounds = 1")
    refused(call("new", "rule", "mine", cwd=tmp_path), 2, "mine.toml exists; choose another name")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
    (tmp_path / "link.py").symlink_to(tmp_path / "nowhere.py")
    refused(call("new", "rule", "link", cwd=tmp_path), 2, "link.py exists")


def test_it_writes_into_another_folder(tmp_path: Path) -> None:
    done = call("new", "rule", "mine", "--to", "a/b", cwd=tmp_path)
    assert "securefl run a/b/mine.toml --trust a/b" in done.stdout
    assert len(list((tmp_path / "a/b").iterdir())) == 3
    (tmp_path / "file").write_text("")
    refused(call("new", "rule", "x", "--to", "file", cwd=tmp_path), 2, "cannot write to file")


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("rules", "mine", "there is no 'rules'; known: rule, attack, model, data"),
        ("rule", "my-rule", "'my-rule' is no name of a Python module: use letters, digits and _"),
        ("rule", "../mine", "is no name of a Python module"),
        ("rule", "lambda", "is no name of a Python module"),
        ("rule", "größe", "is no name of a Python module"),
        ("rule", "random", "random.py shadows Python's own module 'random'; rename it"),
        ("rule", "numpy", "numpy.py shadows the installed package 'numpy'; rename it"),
    ],
)
def test_a_name_that_cannot_be_used(kind: str, name: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        write_plugin(kind, name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_there_is_a_starter_for_every_kind_and_the_shell_offers_them() -> None:
    files = {f"{kind}{end}" for kind in PLUGINS for end in (".py.txt", "_test.py.txt", ".toml.txt")}
    assert {path.name for path in STARTERS.iterdir()} == files
    assert complete_plugin("") == list(PLUGINS)
    assert complete_plugin("da") == ["data"]
