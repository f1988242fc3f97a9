"""An agent behind Flower's link answers through a file, and reaches no machine."""

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from securefl.files import write_json
from securefl.runs.flower import ends
from securefl.runs.flower.network import leave_network
from securefl.runs.flower.sockets import receive, send


def in_a_child(act: Callable[[], bool]) -> int:
    """The exit code of a forked process: 0 if an act holds there. This one keeps its network."""
    if (child := os.fork()) == 0:
        code = 1
        with suppress(Exception):
            code = 0 if act() else 2
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_permitted() -> bool:
    return in_a_child(leave_network) == 0


def test_an_agent_answers_its_relay_and_reaches_no_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_permitted():
        pytest.skip("this account may not leave the network")
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    agent = Path("folder") / "agent"
    write_json(tmp_path / "flower.json", {"socket": str(agent), "relay_user": None})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5.0).close()

        def reaches(data: bytes) -> bytes:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5.0).close()
            except OSError:
                return data + b" nobody"
            return data + b" a machine"

        def act() -> bool:
            answered = threading.Event()
            answers: list[bytes] = []

            def ask() -> None:
                with socket.socket(socket.AF_UNIX) as relay:
                    while relay.connect_ex(str(agent)):
                        time.sleep(0.01)
                    send(relay, 0, 7, [b"reaches"])
                    frame = receive(relay, 100)
                    answers.append(b"" if frame is None else bytes(frame.data))
                answered.set()

            asking = threading.Thread(target=ask, daemon=True)
            asking.start()
            ends.serve_site(tmp_path, reaches, answered.is_set, limit=100)
            return answers == [b"reaches nobody"]

        assert in_a_child(act) == 0
