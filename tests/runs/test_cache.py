"""The cache: computed once for all processes, for everything that the value depends on."""

import subprocess
import sys
from pathlib import Path

import pytest

from securefl.errors import BudgetExceeded
from securefl.files import read_json, write_json
from securefl.privacy.remember import fresh
from securefl.runs.cache import Cache, user_cache
from securefl.runs.cell import Cell
from securefl.runs.play import run_cell
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import parse_scenario
from tests.values import present


def counted(cache: Cache, calls: list[int]) -> int:
    def make() -> int:
        calls.append(1)
        return 40 + len(calls)

    return int(cache.remember("answer", {"a": 1}, make))


def test_a_value_is_computed_once(tmp_path: Path) -> None:
    calls: list[int] = []
    assert [counted(Cache(tmp_path), calls) for _ in range(3)] == [41, 41, 41]
    assert calls == [1]


def test_kinds_and_keys_do_not_meet(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.remember("a", {"x": 1}, lambda: "one") == "one"
    assert cache.remember("b", {"x": 1}, lambda: "two") == "two"
    assert cache.remember("a", {"x": 2}, lambda: "three") == "three"
    assert cache.remember("a", {"x": 1}, lambda: "four") == "one"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"key": "other", "value": 3}', '{"key": "{\\"a\\": 1}"}']
)
def test_a_value_that_is_damaged_or_of_another_key_is_computed_again(
    tmp_path: Path, content: str
) -> None:
    calls: list[int] = []
    counted(Cache(tmp_path), calls)
    (path,) = tmp_path.glob("answer/*.json")
    path.write_text(content)
    assert counted(Cache(tmp_path), calls) == 42
    assert counted(Cache(tmp_path), calls) == 42


def test_a_computation_that_raises_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        Cache(tmp_path).remember("answer", {"a": 1}, lambda: 1 // 0)
    assert counted(Cache(tmp_path), []) == 41


def test_a_folder_that_cannot_be_written_costs_the_computation_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    calls: list[int] = []
    cache = Cache(tmp_path / "file")
    assert [counted(cache, calls) for _ in range(2)] == [41, 42]
    assert fresh("answer", {}, lambda: 7) == 7


def test_two_processes_that_want_a_value_compute_it_once(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from securefl.runs.cache import Cache\n"
        "folder = Path(sys.argv[1])\n"
        "def make():\n"
        "    with (folder / 'calls').open('a') as file: file.write('x')\n"
        "    time.sleep(1.0); return 5\n"
        "print(Cache(folder).remember('slow', {'k': 1}, make))\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in both] == ["5", "5"]
    assert (tmp_path / "calls").read_text() == "x"


def test_the_environment_says_where_the_accounts_cache_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECUREFL_CACHE", str(tmp_path))
    assert user_cache().folder == tmp_path
    monkeypatch.delenv("SECUREFL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert user_cache().folder == Path("/somewhere/securefl")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/x")
    assert user_cache().folder == Path("/home/x/.cache/securefl")


DP = parse_scenario('rounds = 3\nprivacy = { noise = "seeded" }')


def test_calibrated_noise_is_found_again_and_depends_on_the_claim(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assemble(DP, run="x", ledgers=tmp_path / "l", remember=cache.remember)
    stored = {path: read_json(path)["value"] for path in tmp_path.glob("noise/*.json")}
    assert len(stored) == 4
    assemble(DP, run="x", ledgers=tmp_path / "l", remember=cache.remember)
    assert {path: read_json(path)["value"] for path in tmp_path.glob("noise/*.json")} == stored
    other = parse_scenario('rounds = 3\nprivacy = { noise = "seeded", epsilon = 7.0 }')
    assemble(other, run="x", ledgers=tmp_path / "m", remember=cache.remember)
    assert len(list(tmp_path.glob("noise/*.json"))) == 8


def test_noise_that_was_made_smaller_in_the_cache_meets_the_ledger(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assemble(DP, run="x", ledgers=tmp_path / "l", remember=cache.remember)
    for path in tmp_path.glob("noise/*.json"):
        found = read_json(path)
        write_json(path, found | {"value": 0.5 * found["value"]})
    cell = Cell(tmp_path / "cell")
    with pytest.raises(BudgetExceeded, match="would exceed epsilon 8"):
        run_cell(cell, DP, on_round=lambda record: None, remember=cache.remember)
    metrics = cell.metrics()
    assert metrics is not None
    assert present(metrics["epsilon"]) <= 8.0
