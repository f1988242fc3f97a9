"""Bad input of people's own records: one sentence, the right exit code, and nothing half-made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from securefl.scenario import own_data
from securefl.scenario.plugins.trust import trust
from tests.commands import Done, call, refused, scenario_file
from tests.data.own.files import picture

ARRAYS = 'name = "arrays", path = "own.npz", test_share = 0.3'
TABLE = 'name = "table", path = "visits.csv", schema = "visits.toml", test_share = 0.3'
FOLDER = 'name = "folder", path = "scans", size = 8, channels = 1, test_share = 0.3'
FUNCTION = 'name = "python:mine.py:load", test_share = 0.3'
SCHEMA = """
label = { column = "ill", classes = [[0], [1]] }
site = "hospital"
sites = ["a", "b"]
columns = [{ name = "age", range = [20, 90] }]
"""
NAMES = "age,hospital,ill\n"
ROWS = "".join(f"{30 + i},{'ab'[i % 2]},{i // 2 % 2}\n" for i in range(24))
RAGGED = """
from torch.utils.data import Dataset

class Scans(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return np.zeros((1, 2, 2 + (index == 2))), index % 2
"""


class Case(NamedTuple):
    """A mistake.

    Attributes:
        data: the table [data].
        make: writes the files.
        code: exit code of `run` and of `data check`.
        sentence: words of the refusal.
        early: whether `validate` refuses, too: it looks at what the form of a file shows.
        table: `data check` counts what is in a table, and says the sentence below the counts.
    """

    data: str
    make: Callable[[Path], object]
    code: int
    sentence: str
    early: bool = True
    table: bool = False


def arrays(folder: Path, **changes: Any) -> None:
    values = {
        "train_features": np.arange(48.0).reshape(24, 2),
        "train_labels": np.arange(24) // 2 % 2,
        "train_sites": np.array(["a", "b"] * 12),
        **changes,
    }
    np.savez(folder / "own.npz", allow_pickle=True, **values)


def cut(folder: Path) -> None:
    arrays(folder)
    path = folder / "own.npz"
    path.write_bytes(path.read_bytes()[:-100])


def table(folder: Path, text: str | bytes = NAMES + ROWS, *, schema: str = SCHEMA) -> None:
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "visits.csv").write_bytes(content)
    (folder / "visits.toml").write_text(schema)


def parquet(folder: Path) -> None:
    table(folder)
    (folder / "visits.csv").rename(folder / "visits.parquet")


def scans(folder: Path) -> None:
    for place in ("a/x/1", "a/y/2", "b/x/1", "b/y/1"):
        picture(folder / f"scans/{place}.png")
    (folder / "scans/b/y/1.png").write_bytes(b"no picture")


def function(folder: Path, body: str, head: str = "") -> None:
    (folder / "mine.py").write_text(f"import numpy as np\n{head}\ndef load():\n    {body}\n")
    trust(folder)


def named_as_a_standard_module(folder: Path) -> None:
    function(folder, "return 3")
    (folder / "mine.py").rename(folder / "json.py")


def not_finite() -> Any:
    features = np.arange(48.0).reshape(24, 2)
    features[3, 1] = np.nan
    return features


def nothing(folder: Path) -> None:
    """Writes no file."""


CASES = {
    "missing file": Case(ARRAYS, nothing, 1, "there is no file"),
    "missing folder": Case(FOLDER, nothing, 1, "there is no folder"),
    "missing table": Case(TABLE, lambda f: (f / "visits.toml").write_text(SCHEMA), 1, "visits.csv"),
    "missing schema": Case(TABLE, lambda f: (f / "visits.csv").write_text(NAMES), 2, "cannot read"),
    "damaged file": Case(ARRAYS, cut, 1, "is damaged, or no .npz file"),
    "file that is text": Case(
        ARRAYS, lambda f: (f / "own.npz").write_text("x"), 1, "is damaged, or no .npz file"
    ),
    "damaged image": Case(FOLDER, scans, 1, "cannot read the image", early=False),
    "pickled array": Case(
        ARRAYS,
        lambda f: arrays(f, train_features=np.array([[1], [2, 3]] * 12, dtype=object)),
        1,
        "train_features is an array of Python objects, which are never loaded",
    ),
    "ragged images": Case(
        FUNCTION,
        lambda f: function(f, "return [Scans()]", RAGGED),
        1,
        "training record 2 has features (1, 2, 3)",
    ),
    "labels out of range": Case(
        f"{ARRAYS}, num_classes = 2",
        lambda f: arrays(f, train_labels=np.arange(24) % 3),
        1,
        "train_labels[2] is 2, not a whole number from 0 to 1",
        early=False,
    ),
    "label of no class": Case(
        TABLE,
        lambda f: table(f, f"{NAMES}{ROWS}33,a,2\n"),
        1,
        "visits.csv, line 26: column 'ill' is in no declared class",
        early=False,
        table=True,
    ),
    "site with one class": Case(
        ARRAYS,
        lambda f: arrays(f, train_labels=np.arange(24) % 2),
        1,
        "has training records of one class only",
        early=False,
    ),
    "site without a record": Case(
        f'{ARRAYS}, sites = ["a", "b", "c"]',
        arrays,
        1,
        "has no training record",
        early=False,
    ),
    "not a number": Case(
        ARRAYS,
        lambda f: arrays(f, train_features=not_finite()),
        1,
        "train_features[3] holds a value that is not a finite number",
        early=False,
    ),
    "reversed range": Case(
        TABLE,
        lambda f: table(f, schema=SCHEMA.replace("[20, 90]", "[90, 20]")),
        2,
        "a range goes from low to high, as in [20, 90]",
    ),
    "reversed range of targets": Case(
        f"{ARRAYS}, ranges = [[40, 0]]",
        lambda f: arrays(f, train_labels=np.arange(24.0)),
        2,
        "data.ranges: a target needs a finite range with low < high",
    ),
    "duplicate column": Case(
        TABLE,
        lambda f: table(f, "age,hospital,ill,age\n"),
        1,
        "has 2 columns with the name 'age'",
    ),
    "misspelt column": Case(
        TABLE,
        lambda f: table(f, "agee,hospital,ill\n"),
        1,
        "visits.csv has no column 'age'; did you mean 'agee'?",
    ),
    "unknown encoding": Case(
        TABLE,
        lambda f: table(f, (NAMES + ROWS).encode("utf-16")),
        1,
        "is not UTF-8 text",
    ),
    "another encoding in a record": Case(
        TABLE,
        lambda f: table(f, f"{NAMES}{ROWS}33,\xe4,0\n".encode("latin-1")),
        1,
        "line 26: column 'hospital' is not UTF-8 text",
        early=False,
        table=True,
    ),
    "parquet that is csv": Case(
        TABLE.replace("visits.csv", "visits.parquet"),
        parquet,
        1,
        "is not a Parquet file; if it is text, let its name end in .csv",
    ),
    "no test records": Case(
        ARRAYS.replace(", test_share = 0.3", ""), arrays, 2, "set data.test_share"
    ),
    "value of the wrong kind": Case(
        FUNCTION, lambda f: function(f, "return 3"), 1, "returned a value of type int, not a list"
    ),
    "loader that ends the process": Case(
        FUNCTION, lambda f: function(f, "raise SystemExit(3)"), 1, "raised SystemExit: 3 (mine.py"
    ),
    "loader that is not there": Case(FUNCTION, trust, 2, "there is no file"),
    "loader with a syntax error": Case(
        FUNCTION, lambda f: function(f, "return ("), 2, "mine.py, line 4: not valid Python"
    ),
    "loader that shadows a standard module": Case(
        FUNCTION.replace("mine.py", "json.py"),
        named_as_a_standard_module,
        2,
        "json.py shadows Python's own module 'json'; rename it",
    ),
    "near miss of a published set": Case(
        'name = "breastmnist"', nothing, 2, "did you mean 'medmnist:breastmnist'?"
    ),
    "near miss of a form": Case('name = "tabel"', nothing, 2, "did you mean 'table'?"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_records_are_one_sentence_and_leave_no_folder(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    case.make(tmp_path)
    text = f'rounds = 1\ntraining = {{ kind = "sgd" }}\ndata = {{ {case.data} }}\n'
    scenario_file(tmp_path, text)
    before = sorted(tmp_path.rglob("*"))
    refused(call("run", "s.toml", "--out", "r", cwd=tmp_path), case.code, case.sentence)
    assert sorted(tmp_path.rglob("*")) == before
    checked = call("data", "check", "s.toml", cwd=tmp_path)
    if case.table or "site" in name:
        assert case.code == checked.returncode
        assert case.sentence in checked.stdout
    else:
        refused(checked, case.code, case.sentence)
    validated = call("validate", "s.toml", cwd=tmp_path)
    if case.early:
        refused(validated, case.code, case.sentence)
    else:
        assert validated.returncode == 0, validated.stderr


def test_a_loader_that_hangs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_data, "LOADER_SECONDS", 0.05)
    function(tmp_path, "time.sleep(5)", "import time")
    scenario_file(tmp_path, f"data = {{ {FUNCTION} }}")
    for command in (
        ("run", "s.toml", "--out", "r"),
        ("validate", "s.toml"),
        ("data", "check", "s.toml"),
    ):
        done: Done = call(*command, cwd=tmp_path)
        refused(done, 1, "python:mine.py:load did not return within 0.05 s")
    assert not (tmp_path / "r").exists()
