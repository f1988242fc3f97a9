"""Text that is handed on: without folders of a machine, hosts and tracebacks."""

import pytest

from securefl.ui.report.sharing import named, reason_in_short, shareable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot read /home/jane/data/heart.csv: denied", "cannot read …/heart.csv: denied"),
        ("path = '/home/Jane Doe/a b.csv'", "path = '…/a b.csv'"),
        ('path = "~/records.parquet"', 'path = "…/records.parquet"'),
        ("see ~/records/notes.txt", "see …/notes.txt"),
        ('"C:\\\\Users\\\\jane\\\\x.csv"', '"…/x.csv"'),
        ("C:\\Users\\jane\\x.csv", "…/x.csv"),
        ("(/srv/site-7/a/b.toml)", "(…/b.toml)"),
        ("rule python:/home/Jane Doe/own.py:rule", "rule python:…/own.py:rule"),
        ("https://hospital.example:8443/rounds/3", "https://…/rounds/3"),
        ("no answer from 10.1.2.3:8443", "no answer from …"),
        # What looks a little like a path and is none stays as it is.
        ("1/2 of the records, and/or 0.5", "1/2 of the records, and/or 0.5"),
        ("data/heart.csv", "data/heart.csv"),
        ("../data/heart.csv", "../data/heart.csv"),
        ("version 1.2.3", "version 1.2.3"),
        ("a / b", "a / b"),
        ("§ ±0.5, ü", "§ ±0.5, ü"),
    ],
)
def test_only_the_last_part_of_a_path_is_shown(text: str, shown: str) -> None:
    assert shareable(text) == shown


def test_of_a_traceback_only_the_kind_of_the_error_is_shown() -> None:
    trace = (
        'Traceback (most recent call last):\n  File "/home/jane/x.py", line 3, in f\n'
        "    raise ValueError(record)\nsecurefl.errors.DataError: record 17: age 93\n"
    )
    assert reason_in_short(trace) == (
        "an error inside the program (securefl.errors.DataError); status.json of the cell says "
        "where"
    )
    # Under a claim, a failure keeps the places alone.
    places = '  File "/home/jane/x.py", line 3, in f\n    g()\nKeyError, whose words a claim keeps'
    assert reason_in_short(places).startswith("an error inside the program (KeyError);")


def test_another_reason_is_one_line() -> None:
    assert reason_in_short("no client\n was left\n") == "no client was left"
    assert reason_in_short("") == ""


def test_a_name_in_a_sentence_keeps_its_direction_to_itself() -> None:
    assert named("plain") == "“plain”"
    assert named("שלם") == "“\u2068שלם\u2069”"
    assert named("a\u202eb\u2066") == "“ab”"
    assert named("/home/jane/x.csv") == "“…/x.csv”"
