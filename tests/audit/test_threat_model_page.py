"""Every test that two pages name exists, and `ls threats` prints every party."""

import ast
import re

from securefl.audit.threats import SERVER, THREATS, adversaries_in
from securefl.scenario import catalog
from securefl.ui.listing import listing
from tests.paths import ROOT

PAGE = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
DEPLOYED = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(test_\w+?)`", PAGE + DEPLOYED))


def defined() -> set[str]:
    """Names of all test functions."""
    return {
        node.name
        for source in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_test_that_the_pages_name_exists() -> None:
    assert len(NAMED) > 25
    assert sorted(NAMED - defined()) == []


def test_every_line_of_the_table_of_attacks_names_a_test() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and "| test" not in line]
    assert len(lines) == 13 + 20 + 18 + 10 + 11 + 8 + 4 + 4 + 7 + 6
    assert all(re.search(r"`test_\w+`", line) for line in lines)


def test_ls_threats_has_a_line_for_every_party_of_every_channel() -> None:
    lines = list(listing("threats", ROOT))
    said = sum(
        len(entry.threats) + len(entry.choice_threats) for entry in catalog.CHANNELS.values()
    )
    # With a server a line a channel. In topologies one, or for "region" and "network" two, of
    # which regions have the channel inside them.
    in_topologies = {"neighbour": 1, "next-site": 1, "region": 2, "top": 1, "network": 4}
    in_topologies |= {"outsider": 3, "outsider-weights": 3}
    with_server = len(adversaries_in(SERVER)) * len(catalog.CHANNELS)
    assert len(lines) == len(THREATS) + with_server + sum(in_topologies.values()) + 1 + said
    assert "    hierarchical, masked: global model, own update, public keys" in "\n".join(lines)
    assert any(
        "masked" in line and "n - 1 colluding clients" in line and "exactly" in line
        for line in lines
    )
    assert any(
        line.startswith("    plain    server: ") and "every update" in line for line in lines
    )
