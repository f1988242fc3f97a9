"""An error is one sentence, which wraps between words on a terminal and nowhere else."""

import json
import os
import signal

import pytest

from securefl.errors import Interrupted
from securefl.ui.guard import guarded, print_error

SENTENCE = "error: there is no list 'nonsense'; known: rules, prefilters, attacks, data, models"


def test_a_long_error_wraps_between_words_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setitem(os.environ, "COLUMNS", "50")
    print_error(SENTENCE)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= 50
    assert " ".join(lines) == SENTENCE


def test_an_error_in_a_log_file_stays_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(os.environ, "COLUMNS", "50")
    print_error(SENTENCE)
    assert capsys.readouterr().err == f"{SENTENCE}\n"


def test_on_a_terminal_each_mistake_keeps_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    print_error("unknown key 'rouns'\nunknown key 'privasy'")
    assert capsys.readouterr().err.splitlines() == [
        "unknown key 'rouns'",
        "unknown key 'privasy'",
    ]


def test_an_interrupt_is_an_event_for_a_program_that_reads_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise Interrupted

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("sys.argv", ["securefl", "bench", "robustness", "--display", "json"])
    with pytest.raises(SystemExit, match="130"):
        guarded(interrupted)
    signal.signal(signal.SIGINT, before)
    assert json.loads(capsys.readouterr().out) == {"event": "interrupted", "exit": 130}
