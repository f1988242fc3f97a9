"""What a coordinator and a site put up around themselves, with programs that only look like Flower.

tests/deploy has the same with Flower.
"""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from securefl.files import read_json, write_json
from securefl.runs.deployed.keys import node_key
from securefl.runs.flower import stage
from securefl.runs.flower.stage import coordinator_stage, free_port, site_stage
from securefl.runs.flower.supervision import below
from tests.runs.deployed.sites import federation

FLWR = """#!/bin/sh
echo "$*" >> "$HOME/asked"
echo "{\\"success\\": true, \\"node-id\\": \\"$(wc -l < "$HOME/asked")\\"}"
"""
LISTENS = f"""#!{sys.executable}
import socket, sys, time
port = int(sys.argv[sys.argv.index("--port") + 1])
listener = socket.create_server(("127.0.0.1", port))
time.sleep(60)
"""
SLEEPS = "#!/bin/sh\nexec sleep 60\n"


def services_in(site: Path) -> list[dict[str, Any]]:
    services: list[dict[str, Any]] = json.loads((site / "flower/services.json").read_text())
    return services


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        "flwr": FLWR,
        "flower-superlink": LISTENS,
        "flower-supernode": SLEEPS,
        "flower-superexec": SLEEPS,
        "python": SLEEPS,
    }
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def test_a_coordinator_registers_each_node_key_once(programs: Path, tmp_path: Path) -> None:
    federation(tmp_path)
    fed = tmp_path / "fed"
    before = set(below(os.getpid()))
    for _ in range(2):
        with coordinator_stage(programs, fed, ("127.0.0.1", free_port()), limit=10):
            values = read_json(fed / "flower.json")
            assert values["nodes"] == {str(site): site + 1 for site in range(4)}
            assert len(os.fsencode(values["socket"])) < 100
        assert not Path(values["socket"]).parent.exists()
        assert set(below(os.getpid())) <= before
    asked = (fed / "flower/asked").read_text().splitlines()
    assert len(asked) == 4
    assert all("supernode register" in line for line in asked)


def keys_of_services(folder: Path) -> list[Path]:
    """Returns the files of keys on the command lines of a folder's programs."""
    words = [word for service in services_in(folder) for word in service["command"]]
    return [Path(word) for word in words if word.endswith(("tls.pem", "node.ssh"))]


def test_open_keys_of_a_coordinator_lie_outside_its_folder_and_end_with_its_programs(
    programs: Path, tmp_path: Path
) -> None:
    federation(tmp_path)
    fed = tmp_path / "fed"
    (fed / "flower/tls/gate").mkdir(parents=True)
    (fed / "flower/tls/gate/tls.pem").write_text("of an earlier version")
    with coordinator_stage(programs, fed, ("127.0.0.1", free_port()), limit=10):
        keys = keys_of_services(fed)
        assert len(keys) == 2
        for path in keys:
            assert not path.is_relative_to(tmp_path)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert [load_pem_private_key(path.read_bytes(), None) for path in keys]
        assert not [*(fed / "flower").rglob("*.pem")]
    assert not [path for path in keys if path.exists()]


def test_what_a_killed_process_left_is_removed_at_the_next_start(
    programs: Path, tmp_path: Path
) -> None:
    federation(tmp_path)
    fed = tmp_path / "fed"
    killed = stage._runtime(fed / "flower")
    left = killed.__enter__()
    (left / "tls.pem").write_text("a key")
    with coordinator_stage(programs, fed, ("127.0.0.1", free_port()), limit=10):
        assert not left.exists()
        assert all(path.exists() for path in keys_of_services(fed))


def test_a_folder_that_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    home = tmp_path / "flower"
    home.mkdir()
    foreign, link = tmp_path / "records", tmp_path / "securefl-link"
    foreign.mkdir()
    link.symlink_to(foreign)
    for path in (foreign, link):
        write_json(home / "runtime.json", {"folder": str(path)})
        with stage._runtime(home):
            assert foreign.exists()
            assert path.exists()


def test_open_keys_lie_in_memory_or_in_the_sessions_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, session = tmp_path / "memory", tmp_path / "session"
    memory.mkdir()
    session.mkdir()
    monkeypatch.setattr(stage, "_MEMORY", memory)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert stage._volatile(is_shared=False) == memory
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    assert stage._volatile(is_shared=False) == session
    # Another account could not enter that one.
    assert stage._volatile(is_shared=True) == memory
    monkeypatch.setattr(stage, "_MEMORY", tmp_path / "none")
    assert stage._volatile(is_shared=True) is None


def test_a_supernode_gets_its_node_key_and_nothing_else_of_its_site(
    programs: Path, tmp_path: Path
) -> None:
    federation(tmp_path)
    site = tmp_path / "2"
    with site_stage(programs, site, ("127.0.0.1", 1)):
        (service,) = services_in(site)
        command = service["command"]
        home = Path(service["environment"]["HOME"])
        assert sorted(path.name for path in home.iterdir()) == ["ca.crt", "node.ssh"]
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert stat.S_IMODE((home / "node.ssh").stat().st_mode) == 0o600
        key = load_ssh_private_key((home / "node.ssh").read_bytes(), None)
        assert key.public_key() == node_key(site).public_key()
        assert str(site) not in " ".join(command)
        assert read_json(site / "flower.json") == {
            "socket": str(home.parent / "agent/agent"),
            "relay_user": None,
        }
    assert not home.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_supernode_of_another_account_owns_its_home_and_is_that_account(
    programs: Path, tmp_path: Path
) -> None:
    federation(tmp_path)
    with site_stage(programs, tmp_path / "0", ("127.0.0.1", 1), relay_user="nobody"):
        (service,) = services_in(tmp_path / "0")
        home = Path(service["environment"]["HOME"])
        assert service["user"] == "nobody"
        assert {path.stat().st_uid for path in (home, *home.iterdir())} == {65534}
        assert stat.S_IMODE(home.parent.stat().st_mode) == 0o711
