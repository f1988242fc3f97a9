"""What a source says of its form, before a record is read, is what its records then have."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from securefl.data.own.arrays import Arrays
from securefl.data.own.folder import Folder
from securefl.data.own.python_door import Returned
from securefl.data.own.records import Source
from securefl.data.task import Examples, FederatedData, Site, Task
from tests.data.own.files import ArrayDict, picture, plain, saved
from tests.data.own.tables import declared, source

TEST: ArrayDict = {"test_images": np.zeros((2, 2, 3), dtype=np.uint8), "test_labels": np.arange(2)}
GROUPS: ArrayDict = {"train_groups": np.arange(6), "test_groups": np.arange(6, 8)}
PAIR = (np.zeros((4, 2)), np.arange(4) % 2)


def images(*splits: str) -> Callable[[Path], Source]:
    """Returns what makes a folder with these splits; one without splits has sites at the top."""

    def make(folder: Path) -> Source:
        for split in splits:
            for place in ("a/x", "a/y"):
                picture(folder / "scans" / split / place / "1.png")
        return Folder(folder / "scans", size=4, channels=1)

    return make


def federation(test: int) -> FederatedData:
    examples = Examples(torch.zeros(4, 2), torch.arange(4) % 2)
    common = Examples(torch.zeros(test, 2), torch.zeros(test, dtype=torch.int64))
    return FederatedData(Task(2, 2), (Site("a", examples, None),), common)


@pytest.mark.parametrize(
    ("make", "has_test", "grouped"),
    [
        (lambda f: Arrays(saved(f, plain())), False, False),
        (lambda f: Arrays(saved(f, plain(TEST))), True, False),
        (lambda f: Arrays(saved(f, plain(train_groups=np.arange(6)))), False, True),
        (lambda f: Arrays(saved(f, plain({**TEST, **GROUPS}))), True, True),
        (lambda f: source(f), True, True),
        (lambda f: source(f, schema=declared(group=None)), True, False),
        (lambda f: source(f, schema=declared(split=None)), False, True),
        (
            lambda f: source(
                f,
                "p1,north,30,1,1,0,train,",
                "p2,south,40,1,1,0,validation,",
                schema=declared(splits=["train", "validation"]),
            ),
            False,
            True,
        ),
        (images(""), False, False),
        (images("train", "val"), False, False),
        (images("train", "test"), True, False),
        (lambda f: Returned([PAIR], name="load"), False, False),
        (lambda f: Returned([(PAIR, PAIR)], name="load"), True, False),
        (lambda f: Returned(federation(2), name="load"), True, False),
        (lambda f: Returned(federation(0), name="load"), False, False),
    ],
)
def test_the_form_is_that_of_the_records(
    tmp_path: Path, make: Callable[[Path], Source], has_test: bool, grouped: bool
) -> None:
    made = make(tmp_path)
    assert (made.has_test, made.grouped) == (has_test, grouped)
    records = made.read(claim=False)
    assert (records.test is not None, records.train.groups is not None) == (has_test, grouped)
