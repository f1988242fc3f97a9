"""The command lines of Flower 1.42's programs, and the environment that keeps them to themselves.

Nothing here imports Flower: its programs have an environment of their own, whose folder of programs
a user names with `--flower`.
"""

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securefl.errors import RunFailed, ScenarioError

HOST = "127.0.0.1"  # of all that only this machine may reach
CONNECTION = "deployment"  # the SuperLink's name in Flower's configuration
_HERE = Path(__file__).parent
_RELAY = _HERE / "relay"
_GATE = _HERE / "gate.py"
_PROGRAMS = ("flwr", "flower-superlink", "flower-supernode", "flower-superexec", "python")
_SECONDS_OF_A_COMMAND = 60.0
_SECONDS_BETWEEN_TASKS = "0.5"


def check_programs(folder: Path) -> None:
    """Raises ScenarioError: a folder lacks one of Flower's programs."""
    missing = [name for name in _PROGRAMS if not (folder / name).exists()]
    if missing:
        raise ScenarioError(
            f"{folder} has no {' and no '.join(missing)}; install flwr==1.42.0 in an environment "
            "of its own and name its bin folder with --flower"
        )


@dataclass(frozen=True)
class Flower:
    """An installation of Flower, and the folder that one party's programs keep their files in.

    Args:
        programs: the `bin` folder of Flower's environment.
        home: for apps, configuration and logs; not shared between parties.
    """

    programs: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of Flower's programs: nothing is reported or looked up outside."""
        return {
            "PATH": f"{self.programs}{os.pathsep}{os.defpath}",
            "HOME": str(self.home),
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": _SECONDS_BETWEEN_TASKS,
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def superlink(self, port: int, *, ca: Path, certificate: Path, key: Path) -> list[str]:
        """Returns the SuperLink's command line; only this machine reaches its port."""
        return [
            str(self.programs / "flower-superlink"),
            *("--host", HOST, "--port", str(port)),
            *("--ssl-ca-certfile", str(ca)),
            *("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
            *("--database", str(self.home / "state.db")),
        ]

    def gate(
        self, address: tuple[str, int], superlink: int, *, tls: Path, ca: Path, limit: int
    ) -> list[str]:
        """Returns the gate's command line.

        Args:
            address: that sites connect to.
            superlink: its port on this machine.
            tls: the folder of the gate's certificate and key.
            ca: that certified the SuperLink.
            limit: most bytes of a request.
        """
        host, port = address
        return [
            *(str(self.programs / "python"), str(_GATE), host, str(port)),
            *(str(tls / "tls.crt"), str(tls / "tls.pem")),
            *(str(superlink), str(ca), str(limit)),
        ]

    def supernode(
        self, address: tuple[str, int], port: int, *, ca: Path, key: Path, agent: Path
    ) -> list[str]:
        """Returns a SuperNode's command line.

        Args:
            address: of the coordinator's gate.
            port: of this machine, for the app's processes.
            ca: that certified the gate.
            key: the SuperNode's own P-384 key.
            agent: the socket of the site's agent.
        """
        host, gate = address
        return [
            str(self.programs / "flower-supernode"),
            *("--superlink", f"{host}:{gate}", "--root-certificates", str(ca)),
            *("--auth-supernode-private-key", str(key)),
            *("--host", HOST, "--port", str(port)),
            *("--node-config", f"agent={_quoted(str(agent))}"),
        ]

    def connect(self, port: int, ca: Path) -> None:
        """Writes the configuration with which `flwr` finds the SuperLink."""
        self.home.mkdir(parents=True, exist_ok=True)
        text = (
            f"[superlink]\ndefault = {_quoted(CONNECTION)}\n\n[superlink.{CONNECTION}]\n"
            f"address = {_quoted(f'{HOST}:{port}')}\nroot-certificates = {_quoted(str(ca))}\n"
        )
        (self.home / "config.toml").write_text(text, encoding="utf-8")

    def register(self, public_key: Path) -> int:
        """Registers a SuperNode's key and returns its node. Raises RunFailed."""
        answer = self._asked("supernode", "register", str(public_key), CONNECTION)
        return int(answer["node-id"])

    def submit(self, coordinator: Path, nodes: Mapping[int, int]) -> None:
        """Asks the SuperLink to start the relay. Raises RunFailed.

        Args:
            coordinator: the socket that the relay connects to.
            nodes: site -> its SuperNode's node.
        """
        pairs = ",".join(f"{site}:{node}" for site, node in nodes.items())
        config = f"coordinator={_quoted(str(coordinator))} nodes={_quoted(pairs)}"
        self._asked("run", str(_RELAY), CONNECTION, "-c", config)

    def _asked(self, *words: str) -> dict[str, Any]:
        """Runs a `flwr` command; returns what it says in JSON."""
        command = [str(self.programs / "flwr"), *words, "--format", "json"]
        try:
            done = subprocess.run(  # noqa: S603 - a program the user named, and words of our own
                command,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=_SECONDS_OF_A_COMMAND,
            )
            answer = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            answer = {}
        if not isinstance(answer, dict) or not answer.get("success"):
            raise RunFailed(f"flwr failed: {shlex.join(('flwr', *words[:2]))}")
        return answer


def _quoted(text: str) -> str:
    """Returns a TOML string. Raises ScenarioError: Flower could not read it back."""
    if any(sign in text for sign in "\"\\\n'"):
        raise ScenarioError(f"Flower takes no path with quotes or backslashes: {text}")
    return f'"{text}"'
