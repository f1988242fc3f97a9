"""All of Flower on one machine: a SuperLink behind its gate, and a SuperNode for each site."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from securefl.errors import RunFailed
from securefl.files import write_atomic
from securefl.runs.deployed.certificates import CA_CERTIFICATE, TLS_CERTIFICATE, Authority
from securefl.runs.deployed.charter import CHARTER, Charter
from securefl.runs.deployed.keys import TLS_KEY, node_key, node_key_of
from securefl.runs.flower import ends, supervision
from securefl.runs.flower.commands import HOST, Flower
from securefl.runs.flower.supervision import Service

_NODE_KEY = "node.ssh"
_SECONDS_TO_START = 90.0
_SECONDS_TO_END = 30.0
_BYTES_AROUND_AN_ENVELOPE = 1_000_000  # of Flower's request


@contextmanager
def flower_on_stage(
    programs: Path,
    out: Path,
    address: tuple[str, int],
    coordinator: Path,
    sites: Mapping[int, Path],
    *,
    limit: int,
) -> Iterator[None]:
    """Runs Flower's programs for a coordinator and its sites, whose folders say how to reach them.

    Args:
        programs: the `bin` folder of Flower's environment.
        out: gets Flower's own files.
        address: of the gate.
        coordinator: its folder, with the charter and the TLS key that the gate uses.
        sites: site -> its folder.
        limit: most bytes of an envelope.

    Raises:
        RunFailed: the SuperLink does not start.
        ScenarioError: `programs` lacks one.
    """
    # A socket's path may have 107 bytes at most.
    sockets = Path(tempfile.mkdtemp(prefix="securefl-"))
    supervisors: list[subprocess.Popen[bytes]] = []
    try:
        superlink = Flower(programs.absolute(), (out / "superlink").absolute())
        superlink.check()
        port = free_ports(1)[0]
        services = _superlink(superlink, port, address, coordinator.absolute(), limit)
        supervisors.append(supervision.started(services, superlink.home))
        wait_for(port)
        nodes = {site: superlink.register(key) for site, key in _public_keys(coordinator, out)}
        ends.write_coordinator(coordinator, sockets / "coordinator" / "relay", superlink, nodes)
        for site, folder in sites.items():
            agent = sockets / str(site) / "agent"
            ends.write_site(folder, agent)
            node = Flower(superlink.programs, (out / "nodes" / str(site)).absolute())
            service = _supernode(node, address, folder.absolute(), agent)
            supervisors.append(supervision.started([service], node.home))
        yield
    finally:
        _end(supervisors)
        for secret in (*out.rglob(_NODE_KEY), *out.rglob(TLS_KEY)):
            secret.unlink()
        shutil.rmtree(sockets, ignore_errors=True)


def _superlink(
    flower: Flower, port: int, gate: tuple[str, int], folder: Path, limit: int
) -> list[Service]:
    """Returns SuperLink and gate, which talk over TLS of their own."""
    inside = flower.home / "tls"
    inside.mkdir(parents=True, mode=0o700)
    Authority.generate().certify_server(inside, HOST)
    ca = inside / CA_CERTIFICATE
    flower.connect(port, ca)
    bytes_of_a_request = limit + _BYTES_AROUND_AN_ENVELOPE
    commands = {
        "superlink": flower.superlink(
            port, ca=ca, certificate=inside / TLS_CERTIFICATE, key=inside / TLS_KEY
        ),
        "gate": flower.gate(gate, port, tls=folder, ca=ca, limit=bytes_of_a_request),
    }
    return [Service(name, words, flower.environment) for name, words in commands.items()]


def _supernode(flower: Flower, gate: tuple[str, int], folder: Path, agent: Path) -> Service:
    flower.home.mkdir(parents=True, mode=0o700)
    key = flower.home / _NODE_KEY
    private = node_key(folder).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),  # Flower asks for no passphrase
    )
    write_atomic(key, private, secret=True)
    port = free_ports(1)[0]
    command = flower.supernode(gate, port, ca=folder / CA_CERTIFICATE, key=key, agent=agent)
    return Service("supernode", command, flower.environment)


def _public_keys(coordinator: Path, out: Path) -> Iterator[tuple[int, Path]]:
    """Yields the charter's node keys, each in a file that Flower reads."""
    charter = Charter.read(coordinator / CHARTER)
    for site, member in charter.roster.items():
        path = (out / "superlink" / f"{site}.pub").absolute()
        public = node_key_of(member.node).public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        write_atomic(path, public)
        yield int(site), path


def _end(supervisors: list[subprocess.Popen[bytes]]) -> None:
    for supervisor in supervisors:
        supervisor.terminate()
    for supervisor in supervisors:
        with suppress(subprocess.TimeoutExpired):
            supervisor.wait(_SECONDS_TO_END)
        supervisor.kill()
        supervisor.wait()


def wait_for(port: int) -> None:
    """Returns once somebody listens at a port of this machine. Raises RunFailed."""
    end = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1.0).close()
        except OSError:
            if time.monotonic() > end:
                raise RunFailed("Flower does not start; see its logs") from None
            time.sleep(0.1)
        else:
            return


def free_ports(count: int) -> list[int]:
    """Returns ports of this machine that nobody listens at."""
    listeners = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
