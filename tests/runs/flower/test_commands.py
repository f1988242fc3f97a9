"""Command lines of Flower's programs: on this machine only, and quiet."""

import json
import stat
import tomllib
from pathlib import Path

import pytest

from securefl.errors import RunFailed, ScenarioError
from securefl.runs.flower.commands import Flower, check_programs

SAYS = """#!/bin/sh
printf '%s\\n' "$@" > "$HOME/words"
env > "$HOME/environment"
cat "$HOME/answer"
"""


@pytest.fixture
def flower(tmp_path: Path) -> Flower:
    """A Flower whose `flwr` notes its words, and says what the file `answer` says."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("flwr", "flower-superlink", "flower-supernode", "flower-superexec", "python"):
        (programs / name).write_text(SAYS)
        (programs / name).chmod(stat.S_IRWXU)
    (tmp_path / "home").mkdir()
    return Flower(programs, tmp_path / "home")


def says(flower: Flower, answer: object) -> None:
    (flower.home / "answer").write_text(json.dumps(answer))


def after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def test_the_superlink_listens_on_this_machine_and_asks_for_keys(flower: Flower) -> None:
    words = flower.superlink(1234, ca=Path("ca"), certificate=Path("crt"), key=Path("key"))
    assert (after(words, "--host"), after(words, "--port")) == ("127.0.0.1", "1234")
    assert "--enable-supernode-auth" in words
    assert "--disable-runtime-dependency-installation" in words
    assert "--insecure" not in words
    assert after(words, "--database") == str(flower.home / "state.db")


def test_a_supernode_knows_the_gate_its_key_and_its_agents_socket(flower: Flower) -> None:
    words = flower.supernode(
        ("10.0.0.1", 443), 99, ca=Path("ca"), key=Path("node.pem"), agent=Path("/run/a gent")
    )
    assert after(words, "--superlink") == "10.0.0.1:443"
    assert after(words, "--root-certificates") == "ca"
    assert after(words, "--auth-supernode-private-key") == "node.pem"
    assert (after(words, "--host"), after(words, "--port")) == ("127.0.0.1", "99")
    assert after(words, "--node-config") == 'agent="/run/a gent"'
    assert not {"--insecure", "--allow-runtime-dependency-installation"} & set(words)


def test_the_gate_is_a_program_of_flowers_python(flower: Flower) -> None:
    words = flower.gate(("0.0.0.0", 443), 1234, tls=Path("tls"), ca=Path("ca"), limit=5)  # noqa: S104
    assert words[0] == str(flower.programs / "python")
    assert Path(words[1]).name == "gate.py"
    assert Path(words[1]).exists()
    assert words[2:] == ["0.0.0.0", "443", "tls/tls.crt", "tls/tls.pem", "1234", "ca", "5"]  # noqa: S104


def test_the_environment_is_ours_alone_and_nothing_leaves(
    flower: Flower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://elsewhere")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    environment = flower.environment
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert environment["FLWR_HOME"] == environment["HOME"] == str(flower.home)
    assert environment["PATH"].startswith(f"{flower.programs}:")
    assert not {"HTTPS_PROXY", "PYTHONPATH"} & environment.keys()


def test_flwr_finds_the_superlink_in_its_configuration(flower: Flower) -> None:
    flower.connect(1234, Path("/a/ca.crt"))
    config = tomllib.loads((flower.home / "config.toml").read_text())
    expected = {"address": "127.0.0.1:1234", "root-certificates": "/a/ca.crt"}
    assert config["superlink"]["deployment"] == expected


def test_a_key_is_registered_and_gives_a_node(flower: Flower) -> None:
    says(flower, {"success": True, "node-id": 2**63 + 1})
    assert flower.register(Path("node.pub")) == 2**63 + 1
    words = (flower.home / "words").read_text().splitlines()
    assert words == ["supernode", "register", "node.pub", "deployment", "--format", "json"]
    environment = (flower.home / "environment").read_text()
    assert "FLWR_TELEMETRY_ENABLED=0" in environment
    assert "PYTEST" not in environment


def test_the_relay_is_submitted_with_its_socket_and_nodes(flower: Flower) -> None:
    says(flower, {"success": True, "run-id": "1"})
    flower.submit(Path("/run/c"), {0: 11, 1: 12})
    words = (flower.home / "words").read_text().splitlines()
    assert words[0] == "run"
    assert Path(words[1], "relay.py").exists()
    assert after(words, "-c") == 'coordinator="/run/c" nodes="0:11,1:12"'


@pytest.mark.parametrize("answer", [{"success": False}, {}, [], "no"])
def test_a_command_that_fails_is_named(answer: object, flower: Flower) -> None:
    says(flower, answer)
    with pytest.raises(RunFailed, match="flwr failed: flwr supernode register"):
        flower.register(Path("node.pub"))


def test_an_answer_that_is_no_json_is_a_failure(flower: Flower) -> None:
    (flower.home / "answer").write_text("Traceback")
    with pytest.raises(RunFailed, match="flwr failed: flwr run"):
        flower.submit(Path("/run/c"), {})


def test_a_path_that_flower_cannot_read_is_refused(flower: Flower) -> None:
    with pytest.raises(ScenarioError, match="no path with quotes"):
        flower.submit(Path('/run/"c'), {})


def test_a_folder_without_flower_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"has no flwr and no flower-superlink .*install flwr"):
        check_programs(tmp_path)
