"""Hashes of code that lives in this process: what changes them, and what has none."""

import functools
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import nn

from securefl.scenario.entries import RuleEntry
from securefl.scenario.plugins.digest import code_digest

TEXT = """
import functools
import math
import torch
from dataclasses import dataclass
from torch import nn

SCALE = 1.0
DTYPE = torch.float32

def helper(rows):
    return SCALE * rows

def rule(rows, *, f: int = 1):
    return helper(rows).mean(dim=0).to(DTYPE)

def recursive(rows):
    return rows[0] if len(rows) < 2 else recursive(rows[1:]) + math.pi

def made(factor):
    return lambda rows: factor * rows.mean(dim=0)

first, second = lambda rows: rows[0] + 0, lambda rows: rows[1] + 0
doubled = made(2.0)

def inner(rows):
    return [helper(row) for row in rows][0]

@dataclass(frozen=True)
class Settings:
    low: float = 1.0
    high: float = 2.0

    def width(self):
        return self.high - self.low

SETTINGS = Settings(high=3.0)

def clamped(rows):
    return rows.clamp(SETTINGS.low, SETTINGS.high).mean(dim=0)

class Block(nn.Module):
    WIDTH = 4

    def forward(self, x):
        return x + self.WIDTH

class Net(nn.Module):
    def __init__(self, task):
        super().__init__()
        self.block = Block()

    @staticmethod
    def shift(x):
        return x + 1

    @property
    def wide(self):
        return self.block.WIDTH

half = functools.partial(rule, f=2)
"""
NAMES = ("rule", "recursive", "first", "second", "doubled", "inner", "clamped", "Net", "half")


def module(folder: Path, text: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "mine.py"
    file.write_text(text)
    values: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, str(file), "exec"), values)  # noqa: S102
    return values


def digests(folder: Path, text: str = TEXT) -> dict[str, str | None]:
    values = module(folder, text)
    return {name: code_digest(values[name]) for name in NAMES}


def test_the_same_code_has_the_same_hash_wherever_it_lies(tmp_path: Path) -> None:
    here = digests(tmp_path / "a")
    assert None not in here.values()
    assert here == digests(tmp_path / "b", "\n\n# above\n" + TEXT)
    # Also where two of them share a line.
    assert len(set(here.values())) == len(NAMES)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("SCALE = 1.0", "SCALE = 2.0", {"rule", "inner", "half"}),
        ("torch.float32\n", "torch.float64\n", {"rule", "half"}),
        ("return SCALE *", "return SCALE +", {"rule", "inner", "half"}),
        ("f: int = 1", "f: int = 2", {"rule", "half"}),
        ("math.pi", "math.e", {"recursive"}),
        ("math.pi", "torch.pi", {"recursive"}),
        ("rows[1] + 0", "rows[1] + 9", {"second"}),
        ("made(2.0)", "made(3.0)", {"doubled"}),
        ("(rule, f=2)", "(rule, f=3)", {"half"}),
        ("Settings(high=3.0)", "Settings(high=4.0)", {"clamped"}),
        ("low: float = 1.0", "low: float = 0.0", {"clamped"}),
        ("self.high - self.low", "self.low", {"clamped"}),
        ("WIDTH = 4", "WIDTH = 5", {"Net"}),
        ("x + self.WIDTH", "x - self.WIDTH", {"Net"}),
        ("return x + 1", "return x + 2", {"Net"}),
        ("return self.block.WIDTH", "return 0", {"Net"}),
        ("@staticmethod", "@classmethod", {"Net"}),
        ("Block(nn.Module)", "Block(nn.Identity)", {"Net"}),
    ],
)
def test_everything_of_the_authors_that_code_reads_counts(
    tmp_path: Path, before: str, after: str, changed: set[str]
) -> None:
    assert before in TEXT
    old, new = digests(tmp_path), digests(tmp_path, TEXT.replace(before, after))
    # Two lambdas on one line have one source: the other one counts as changed, too.
    changed = changed | ({"first"} if "second" in changed else set())
    assert {name for name in NAMES if old[name] != new[name]} == changed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("SCALE = 1.0", "SCALE = torch.ones(1)"),
        ("SCALE = 1.0", "SCALE = object()"),
        ("f: int = 1", "f=torch.ones(1)"),
    ],
)
def test_code_that_reads_a_value_nobody_can_describe_has_no_hash(
    tmp_path: Path, before: str, after: str
) -> None:
    assert digests(tmp_path, TEXT.replace(before, after))["rule"] is None


def test_code_without_a_source_has_no_hash() -> None:
    values: dict[str, Any] = {}
    exec("def rule(rows):\n    return rows[0]\n", values)  # noqa: S102
    assert code_digest(values["rule"]) is None
    assert code_digest(RuleEntry(values["rule"])) is None
    assert code_digest(functools.partial(values["rule"])) is None


def counting(rows: torch.Tensor) -> torch.Tensor:
    return rows[0].clone()


def test_a_file_that_was_edited_after_its_import_has_another_hash(tmp_path: Path) -> None:
    loaded = module(tmp_path, TEXT)
    (tmp_path / "mine.py").write_text(TEXT.replace("math.pi", "math.e"))
    edited = code_digest(loaded["recursive"])
    assert edited != code_digest(module(tmp_path, TEXT)["recursive"])
    assert edited != code_digest(module(tmp_path, TEXT.replace("math.pi", "math.e"))["recursive"])


def test_the_facts_of_an_entry_count() -> None:
    hashes = {
        code_digest(RuleEntry(counting)),
        code_digest(RuleEntry(counting, weighted=True)),
        code_digest(RuleEntry(counting, minimum_rows=lambda f: 2)),
        code_digest(RuleEntry(counting, minimum_rows=lambda f: 3)),
        code_digest(counting),
    }
    assert len(hashes - {None}) == 5


class Stateful:
    def rule(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[0].clone()


@pytest.mark.parametrize("value", [Stateful().rule, nn.Linear(1, 1).forward, [].append])
def test_a_method_that_is_bound_to_a_value_has_no_hash(value: Callable[..., Any]) -> None:
    assert code_digest(value) is None


@pytest.mark.parametrize("value", [nn.Linear, torch.mean, torch.nn.functional.relu, max])
def test_code_of_an_installed_package_is_named_and_not_read(value: Callable[..., Any]) -> None:
    assert code_digest(value) is not None


def test_the_order_of_a_set_changes_no_hash() -> None:
    def member(x: int) -> bool:
        return x in {0, 8}

    def with_set(values: list[int]) -> Any:
        consts = tuple(
            frozenset(values) if isinstance(constant, frozenset) else constant
            for constant in member.__code__.co_consts
        )
        assert any(isinstance(constant, frozenset) for constant in consts)
        code = member.__code__.replace(co_consts=consts)
        return FunctionType(code, member.__globals__, closure=member.__closure__)

    first, second, other = with_set([0, 8]), with_set([8, 0]), with_set([0, 9])
    assert str(frozenset([0, 8])) != str(frozenset([8, 0]))  # as in two processes
    assert code_digest(first) == code_digest(second) != code_digest(other)


def test_functions_that_call_each_other_without_end_have_no_hash(tmp_path: Path) -> None:
    chain = "def f0(rows):\n    return rows[0]\n" + "".join(
        f"def f{n}(rows):\n    return f{n - 1}(rows)\n" for n in range(1, 600)
    )
    assert code_digest(module(tmp_path, chain)["f599"]) is None
    assert code_digest(module(tmp_path, chain)["f9"]) is not None
