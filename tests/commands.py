"""The command line in this process: a process of its own pays two to three seconds of imports."""

import contextlib
import io
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

import pytest

from securefl.ui.main import main

QUICK = """
rounds = 3
training = { kind = "sgd" }
"""


class Done(NamedTuple):
    """What a command left behind: its exit code, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def call(*arguments: str | Path, cwd: Path) -> Done:
    """Run `securefl ARGUMENTS` in a folder."""
    out, err, before = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGINT)
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["securefl", *map(str, arguments)])
        patch.setitem(os.environ, "NO_COLOR", "1")
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except Exception:
            traceback.print_exc(file=err)
            code = 1
        finally:
            signal.signal(signal.SIGINT, before)
    return Done(code, out.getvalue(), err.getvalue())


def scenario_file(folder: Path, text: str) -> Path:
    """A file with a scenario."""
    path = folder / "s.toml"
    path.write_text(text)
    return path


def refused(done: Done, code: int, sentence: str) -> None:
    """Asserts that a command ended with an exit code and one sentence, which holds these words."""
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr + done.stdout
