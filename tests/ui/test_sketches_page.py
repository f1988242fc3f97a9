"""docs/sketches.md: its scenario and the lines of `validate` word for word, and its tests."""

import ast
import re
from pathlib import Path

from securefl.scenario.scenario import parse_scenario
from securefl.scenario.sketches import needed_clients, numbers_of
from tests.commands import call, scenario_file
from tests.paths import ROOT
from tests.ui.test_readme import blocks

PAGE = "docs/sketches.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


def test_validate_says_of_the_scenario_what_the_page_says(tmp_path: Path) -> None:
    (scenario,) = blocks("toml", PAGE)
    done = call("validate", scenario_file(tmp_path, scenario), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = [line.strip() for line in TEXT.splitlines() if line.startswith("    ")]
    assert len(shown) == 2
    assert set(shown) <= set(done.stdout.splitlines())
    assert numbers_of(parse_scenario(scenario).facts).chosen == 16


def test_the_page_counts_the_clients_that_a_round_needs() -> None:
    needed = [needed_clients(corrupt=number, liars=number) for number in (1, 2, 3, 4)]
    assert needed == [5, 9, 13, 17]
    assert "With c = f these are 5, 9,\n13 and 17 clients for 1, 2, 3 and 4." in TEXT


def test_the_page_claims_no_review_and_names_tests_that_exist() -> None:
    assert "has not been reviewed" in TEXT
    assert not re.search(r"\b(first|proven|novel)\b", TEXT)
    named = set(re.findall(r"`(test_\w+?)`", TEXT))
    defined = {
        node.name
        for source in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert len(named) == 5
    assert named <= defined
