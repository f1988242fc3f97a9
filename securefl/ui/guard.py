"""What happens to an error: one sentence, and the exit code that it carries."""

import itertools
import json
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable
from types import FrameType

from securefl.errors import Interrupted, SecureflError

EXIT_CODE_OF_AN_INTERRUPT = 130  # as shells report a process that SIGINT ended


def guarded(command: Callable[[], object]) -> None:
    """Runs a command; an error ends the process with one sentence and its exit code."""
    signal.signal(signal.SIGINT, _interrupt)
    try:
        command()
    except SecureflError as error:
        print_error(f"error: {error}")
        if _wants_json(sys.argv[1:]):
            facts = {"event": "error", "error": str(error), "exit": error.exit_code}
            print(json.dumps(facts), flush=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone, as in `securefl ls data | head`. Results on disk are
        # complete. Python flushes standard output once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Interrupted:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        if _wants_json(sys.argv[1:]):
            facts = {"event": "interrupted", "exit": EXIT_CODE_OF_AN_INTERRUPT}
            print(json.dumps(facts), flush=True)
        sys.exit(EXIT_CODE_OF_AN_INTERRUPT)


def print_error(sentences: str) -> None:
    """Prints sentences to standard error, one a line; long ones wrap on a terminal."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        sentences = "\n".join(_wrapped(line, width) for line in sentences.splitlines())
    print(sentences, file=sys.stderr)


def _wrapped(line: str, width: int) -> str:
    return textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)


def _wants_json(arguments: list[str]) -> bool:
    """Whether `--display json` was given, in either spelling, or `--json`.

    Read from the arguments themselves: an error may come before typer has parsed them.
    """
    if "--json" in arguments or "--display=json" in arguments:
        return True
    return ("--display", "json") in itertools.pairwise(arguments)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted
