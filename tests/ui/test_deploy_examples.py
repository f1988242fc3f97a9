"""examples/deploy: units and a compose file name commands that exist, and keep the agent inside."""

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from securefl.ui.cli import app
from tests.paths import ROOT

FOLDER = ROOT / "examples/deploy"
UNITS = sorted(FOLDER.glob("*.service"))
COMPOSE = (FOLDER / "compose.yaml").read_text(encoding="utf-8")


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path, encoding="utf-8")
    return parser


def parsed(words: list[str]) -> str:
    """Returns the name of the command that a command line runs; a wrong option raises."""
    command: Any = typer.main.get_command(app)
    context = command.make_context(words[0], words[1:])
    for depth, word in enumerate(words[1:], start=1):
        command = command.get_command(context, word)
        assert command is not None, f"there is no command {word}"
        context = command.make_context(word, words[depth + 1 :], parent=context)
        if not hasattr(command, "get_command"):
            return " ".join(words[1 : depth + 1])
    raise AssertionError(f"{words} ends in a group of commands")


def test_the_units_start_a_coordinator_and_a_site() -> None:
    started = [parsed(shlex.split(unit(path)["Service"]["ExecStart"])) for path in UNITS]
    assert started == ["coordinate start", "site start"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_gives_up_where_trying_again_cannot_help(path: Path) -> None:
    service = unit(path)["Service"]
    assert (service["Restart"], service["KillSignal"]) == ("on-failure", "SIGINT")
    assert {"2", "3"} <= set(service["RestartPreventExitStatus"].split())
    assert service["SuccessExitStatus"] == "130"


def test_the_sites_unit_reaches_one_address() -> None:
    service = unit(FOLDER / "securefl-site.service")["Service"]
    assert service["IPAddressDeny"] == "any"
    assert service["IPAddressAllow"].split() == ["localhost", "203.0.113.7"]


def test_the_composed_agent_is_on_the_inner_network_only() -> None:
    agent = COMPOSE.partition("  agent:\n")[2].partition("  door:\n")[0]
    (words,) = re.findall(r"command: (\[.*\])", agent)
    assert parsed(json.loads(words)) == "site start"
    assert re.findall(r"networks: (.*)", agent) == ["[inside]"]
    with pytest.raises(Exception, match="No such option"):
        parsed(["securefl", "site", "start", "site", "--listen", "localhost"])
    assert "ports:" not in COMPOSE
    assert "  inside: { internal: true }\n" in COMPOSE
