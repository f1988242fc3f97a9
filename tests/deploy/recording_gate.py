"""The gate, which also keeps all bodies that pass, in the folder of its log."""

import importlib.util
import ssl
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "securefl/runs/flower/gate.py"
BODIES = "bodies.bin"


def main(arguments: list[str]) -> None:
    """Serves like the gate."""
    spec = importlib.util.spec_from_file_location("gate", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    gate: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gate)
    forward = gate.forward
    lock = threading.Lock()

    def recorded(context: ssl.SSLContext, port: int) -> Callable[..., Any]:
        ask = forward(context, port)

        def noted(path: str, headers: Any, body: bytes) -> Any:
            answer = ask(path, headers, body)
            with lock, Path(BODIES).open("ab") as file:
                file.write(body)
                file.write(answer[2])
            return answer

        return noted

    gate.forward = recorded
    gate.main(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
