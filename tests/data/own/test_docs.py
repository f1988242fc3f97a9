"""The Python on docs/own-data.md, with small fakes of the libraries that it imports."""

import re
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from securefl.data.own.python_door import Returned
from tests.paths import ROOT

PAGE = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.S | re.M)


class Slides(Dataset[Any]):
    """A torchvision data set: pictures of Pillow's and numbers, changed by a transform."""

    def __init__(self, root: str, *, split: str, transform: Any, download: bool) -> None:
        self.length = {"train": 3, "test": 2}[split]
        self.transform = transform

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.transform(Image.new("RGB", (9, 9), (index, 0, 0))), index % 2


class ToTensor:
    def __call__(self, picture: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


class FedHeartDisease(Dataset[Any]):
    """A FLamby data set: decimals of shape (1,) as labels."""

    def __init__(self, *, center: int, train: bool) -> None:
        self.length = 4 if train else 1
        self.center = center

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return torch.full((13,), float(self.center)), torch.tensor([float(index % 2)])


def load_dataset(repository: str, *, split: str) -> dict[str, list[Any]]:
    pictures = [Image.new("RGB", (100, 80), (grey,) * 3) for grey in (0, 9, 255)]
    return {"image": pictures, "label": [0, 2, 1]}


FAKES: dict[str, dict[str, Any]] = {
    "torchvision": {},
    "torchvision.datasets": {"PCAM": Slides},
    "torchvision.transforms": {"ToTensor": ToTensor},
    "datasets": {"load_dataset": load_dataset},
    "flamby": {},
    "flamby.datasets": {},
    "flamby.datasets.fed_heart_disease": {"FedHeartDisease": FedHeartDisease},
}


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, members in FAKES.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)


def loaded(block: str) -> Returned:
    names: dict[str, Any] = {}
    exec(compile(block, "own-data.md", "exec"), names)  # noqa: S102
    return Returned(names["load"](), name="python:own-data.md:load")


@pytest.mark.parametrize(
    ("library", "image", "sites", "classes", "train", "test", "highest"),
    [
        ("torchvision", (3, 9, 9), ("camelyon",), 2, 3, 2, 2 / 255),
        ("datasets", (1, 64, 64), ("all",), 3, 3, None, 255),
        ("flamby", (), ("site-0", "site-1", "site-2", "site-3"), 2, 16, 4, 3),
    ],
)
def test_each_library_passes_through_the_door_in_less_than_ten_lines(
    library: str,
    image: tuple[int, ...],
    sites: tuple[str, ...],
    classes: int,
    train: int,
    test: int | None,
    highest: float,
) -> None:
    (block,) = [block for block in BLOCKS if f"from {library}" in block]
    assert len([line for line in block.splitlines() if line]) < 10
    source = loaded(block)
    assert (source.task.image, source.task.classes, source.sites) == (image, classes, sites)
    records = source.read(claim=False)
    assert len(records.train.examples) == train
    assert (None if records.test is None else len(records.test.examples)) == test
    assert float(records.train.examples.features.max()) == pytest.approx(highest)
