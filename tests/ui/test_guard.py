"""An error is one sentence, which wraps between words on a terminal and nowhere else."""

import os

import pytest

from securefl.ui.guard import print_error

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
