"""docs/cli.md: every command and every option, from the command line itself."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from securefl.ui.cli import COMMANDS
from securefl.ui.page import page
from tests.paths import ROOT


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m securefl.ui.page > docs/cli.md"


def test_every_command_has_a_section_in_the_order_of_help() -> None:
    sections = re.findall(r"^## securefl (\S+)$", page(), re.M)
    names = [command.__name__.replace("_", "-") for command in COMMANDS]
    assert sections[: len(names)] == names
    groups = ["coordinate", "data", "deploy", "keys", "labels", "privacy", "site"]
    assert sections[len(names) :] == groups
    assert "## securefl site start\n" in page()


def section(name: str) -> str:
    return page().split(f"## securefl {name}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_a_section_has_a_row_for_each_parameter_of_its_command(command: Callable[..., Any]) -> None:
    parameters = inspect.signature(command).parameters
    rows = re.findall(r"^\| `", section(command.__name__.replace("_", "-")), re.M)
    assert len(rows) == len(parameters)


def test_a_row_says_what_an_option_takes_and_its_default() -> None:
    assert "\n\nRun a scenario; the same command again resumes it" in page()
    assert "| `--set KEY.PATH=VALUE` | Override one value. |\n" in section("run")
    row = "| `--jobs <int range>` | Shadows trained at once. [default: 2; x>=1] |\n"
    assert row in section("audit")
    # A bar would end the cell.
    assert "`--display <rich/plain/json/none>`" in section("run")
