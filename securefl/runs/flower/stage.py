"""Flower next to a coordinator, and next to a site: its programs run as long as a `with` block."""

import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from securefl.errors import RunFailed
from securefl.files import read_json, write_atomic, write_json
from securefl.runs.deployed.certificates import CA_CERTIFICATE, TLS_CERTIFICATE, Authority
from securefl.runs.deployed.charter import CHARTER, Charter
from securefl.runs.deployed.keys import TLS_KEY, node_key, node_key_of, read_private, write_private
from securefl.runs.flower import ends, supervision
from securefl.runs.flower.commands import HOST, Flower, check_programs
from securefl.runs.flower.sockets import user_id
from securefl.runs.flower.supervision import Service

HOME = "flower"  # in the folder of a coordinator or a site
_INSIDE = "tls"  # between SuperLink and gate, made at each start
_RUNTIME = "runtime.json"  # names the folder of the last start
_PREFIX = "securefl-"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own in there
_NODES = "nodes.json"
_NODE_KEY = "node.ssh"
_SECONDS_TO_START = 90.0
_SECONDS_TO_END = 30.0
_SECONDS_TO_DELIVER = 20.0  # the last reply, which a SuperNode passes on by and by
_BYTES_AROUND_AN_ENVELOPE = 1_000_000  # of Flower's request


@contextmanager
def coordinator_stage(
    programs: Path, folder: Path, address: tuple[str, int], *, limit: int
) -> Iterator[None]:
    """Runs a SuperLink behind its gate, with the keys of the charter's sites registered.

    Args:
        programs: the `bin` folder of Flower's environment.
        folder: the coordinator's, which keeps Flower's database from one start to the next.
        address: that the gate listens at.
        limit: most bytes of an envelope.

    Raises:
        RunFailed: the SuperLink does not start, or takes no key.
        ScenarioError: `programs` lacks one.
    """
    check_programs(programs)
    folder = folder.absolute()
    flower = Flower(programs.absolute(), folder / HOME)
    port = free_port()
    with _runtime(flower.home) as runtime:
        # Earlier versions kept open keys there, and a killed one left them.
        shutil.rmtree(flower.home / _INSIDE, ignore_errors=True)
        services = _superlink(flower, port, address, folder, runtime / _INSIDE, limit)
        with _supervised(services, flower.home):
            _wait_for(port)
            nodes = _registered(flower, Charter.read(folder / CHARTER))
            ends.write_coordinator(folder, runtime / "coordinator" / "relay", flower, nodes)
            yield


@contextmanager
def site_stage(
    programs: Path, folder: Path, gate: tuple[str, int], *, relay_user: str | None = None
) -> Iterator[None]:
    """Runs a SuperNode next to a site's agent.

    Args:
        programs: the `bin` folder of Flower's environment.
        folder: the site's, into which the SuperNode does not see.
        gate: the coordinator's address.
        relay_user: the account that the SuperNode runs under; None for this one.

    Raises:
        ScenarioError: `programs` lacks one, or there is no such account.
    """
    check_programs(programs)
    folder = folder.absolute()
    relay = None if relay_user is None else user_id(relay_user)
    with _runtime(folder / HOME, is_shared=relay is not None) as runtime:
        flower = Flower(programs.absolute(), runtime / "home")
        agent = runtime / "agent" / "agent"
        ends.write_site(folder, agent, relay_user=relay_user)
        _write_node_files(flower.home, folder, relay)
        command = flower.supernode(
            gate,
            free_port(),
            ca=flower.home / CA_CERTIFICATE,
            key=flower.home / _NODE_KEY,
            agent=agent,
        )
        service = Service("supernode", command, flower.environment, relay_user)
        with _supervised([service], folder / HOME):
            yield


def serve_site(
    programs: Path,
    gate: tuple[str, int],
    folder: Path,
    answer: Callable[[bytes], bytes | None],
    is_finished: Callable[[], bool],
    *,
    limit: int,
    relay_user: str | None = None,
) -> None:
    """Runs a SuperNode and answers what it brings, until the run is over; see `site_stage`."""
    with site_stage(programs, folder, gate, relay_user=relay_user):
        ends.serve_site(folder, answer, is_finished, limit=limit)
        time.sleep(_SECONDS_TO_DELIVER)


def _superlink(
    flower: Flower, port: int, gate: tuple[str, int], folder: Path, inside: Path, limit: int
) -> list[Service]:
    """Returns SuperLink and gate, which talk over TLS of their own with keys in `inside`."""
    inside.mkdir(mode=0o700)
    Authority.generate().certify_server(inside, HOST)
    ca = inside / CA_CERTIFICATE
    outside = inside / "gate"
    outside.mkdir(mode=0o700)
    # Without its passphrase, which the gate could not ask for. No backup of `folder` has this copy.
    write_private(outside / TLS_KEY, read_private(folder / TLS_KEY))
    shutil.copyfile(folder / TLS_CERTIFICATE, outside / TLS_CERTIFICATE)
    flower.connect(port, ca)
    bytes_of_a_request = limit + _BYTES_AROUND_AN_ENVELOPE
    commands = {
        "superlink": flower.superlink(
            port, ca=ca, certificate=inside / TLS_CERTIFICATE, key=inside / TLS_KEY
        ),
        "gate": flower.gate(gate, port, tls=outside, ca=ca, limit=bytes_of_a_request),
    }
    return [Service(name, words, flower.environment) for name, words in commands.items()]


def _write_node_files(home: Path, folder: Path, relay: int | None) -> None:
    """Gives the SuperNode a home with what it needs of its site: the CA, and the node key."""
    home.mkdir(mode=0o700)
    private = node_key(folder).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),  # Flower asks for no passphrase
    )
    write_atomic(home / _NODE_KEY, private, secret=True)
    shutil.copyfile(folder / CA_CERTIFICATE, home / CA_CERTIFICATE)
    if relay is not None:
        for path in (home, *home.iterdir()):
            os.chown(path, relay, -1)


def _registered(flower: Flower, charter: Charter) -> dict[int, int]:
    """Returns the node of each site; Flower's database has a key once, from the first start on."""
    path = flower.home / _NODES
    known: dict[str, int] = read_json(path) if path.exists() else {}
    for site, member in charter.roster.items():
        if member.node not in known:
            file = flower.home / f"{site}.pub"
            public = node_key_of(member.node).public_bytes(
                serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
            )
            write_atomic(file, public)
            known[member.node] = flower.register(file)
            write_json(path, known)
    return {int(site): known[member.node] for site, member in charter.roster.items()}


@contextmanager
def _runtime(home: Path, *, is_shared: bool = False) -> Iterator[Path]:
    """Makes a folder for sockets, whose paths may have 107 bytes at most, and for open keys.

    Args:
        home: where its name is kept: the next start removes what a killed process left.
        is_shared: whether another account must reach its sockets.
    """
    home.mkdir(parents=True, exist_ok=True)
    _remove_remains(home / _RUNTIME)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_volatile(is_shared=is_shared)))
    try:
        write_json(home / _RUNTIME, {"folder": str(folder)})
        if is_shared:
            folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _volatile(*, is_shared: bool) -> Path | None:
    """Returns a folder that is in memory; None for the folder of temporary files.

    That of a session is closed to other accounts.
    """
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and not is_shared and _is_own(Path(session)):
        return Path(session)
    return _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else None


def _remove_remains(record: Path) -> None:
    """Removes the folder that a killed process has left, if it is one of ours."""
    if record.exists():
        folder = Path(str(read_json(record).get("folder", "")))
        if folder.name.startswith(_PREFIX) and _is_own(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_own(folder: Path) -> bool:
    """Whether a path is a folder of this account, and no link to one."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


@contextmanager
def _supervised(services: Sequence[Service], logs: Path) -> Iterator[None]:
    """Keeps services running, and leaves none of their processes behind."""
    with ExitStack() as stack:
        supervisor = supervision.started(services, logs)
        stack.callback(_end, supervisor)
        yield


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    supervisor.terminate()
    with suppress(subprocess.TimeoutExpired):
        supervisor.wait(_SECONDS_TO_END)
    supervisor.kill()
    supervisor.wait()


def _wait_for(port: int) -> None:
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


def free_port() -> int:
    """Returns a port of this machine that nobody listens at."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
