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
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from securefl.files import read_json
from securefl.runs.deployed.keys import node_key
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
            tls = [fed / "flower/tls/tls.pem", fed / "flower/tls/gate/tls.pem"]
            assert [stat.S_IMODE(path.stat().st_mode) for path in tls] == [0o600, 0o600]
            assert len(os.fsencode(values["socket"])) < 100
        assert not Path(values["socket"]).parent.exists()
        assert not (fed / "flower/tls").exists()
        assert set(below(os.getpid())) <= before
    asked = (fed / "flower/asked").read_text().splitlines()
    assert len(asked) == 4
    assert all("supernode register" in line for line in asked)


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
