"""Every rule, attack, model and source of ours keeps to the contracts that plug-ins have."""

from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from securefl.data.own.arrays import Arrays
from securefl.data.own.folder import Folder
from securefl.data.task import Task
from securefl.scenario import catalog
from securefl.scenario.entries import ModelEntry
from securefl.testing import check_attack, check_data, check_model, check_rule, check_source
from tests.data.own.files import picture, plain, saved
from tests.data.own.tables import declared, source

RULES: dict[str, dict[str, Any]] = {
    # Its last choice goes by f = 2 by one neighbour: two rows that are each other's nearest tie.
    "bulyan": {"rows": 15, "f": 3},
    "multi_krum": {"parameters": {"m": 3}},
    "centered_clipping": {"parameters": {"radius": 0.5}},
}
BACKDOOR = {"target": 1}
ATTACKS: dict[str, dict[str, Any]] = {
    "sign_flip": {"scale": 2.0},
    "gaussian": {"std": 1.0},
    "inner_product": {"scale": 1.0},
    "targeted_label_flip": {"source": 0, "target": 1},
    "backdoor": BACKDOOR,
    "distributed_backdoor": BACKDOOR,
    "model_replacement": {**BACKDOOR, "boost": 3.0},
    "constrain_and_scale": {**BACKDOOR, "boost": 3.0, "anchor": 0.5},
}
# Networks for images, with parameters that make them small.
OF_IMAGES: dict[str, dict[str, Any]] = {
    "scattering": {"pooling": 1},
    "cnn": {},
    "resnet18": {"width": 4},
    "resnet50": {"width": 4},
    "vgg16": {"width": 2},
    "alexnet": {"width": 2},
    "densenet121": {"width": 2},
    "efficientnet_b4": {"width": 4},
    "vit": {"width": 12},
}
TABLE = Task(features=6, classes=3)
IMAGES = Task(features=2 * 8 * 8, classes=2, image=(2, 8, 8))
TARGETS = Task(features=6, targets=((0.0, 1.0),))


OF_SERVERS = [name for name, entry in catalog.RULES.items() if not entry.for_peers_only]


@pytest.mark.parametrize("name", OF_SERVERS)
def test_a_rule_of_ours_keeps_the_contract(name: str) -> None:
    check_rule(catalog.RULES[name], **RULES.get(name, {}))


def test_dnc_at_once_keeps_the_contract() -> None:
    check_rule(catalog.RULES["dnc"], parameters={"at_once": True})


@pytest.mark.parametrize("name", catalog.ATTACKS)
def test_an_attack_of_ours_keeps_the_contract(name: str) -> None:
    check_attack(catalog.ATTACKS[name], parameters=ATTACKS.get(name))


def models() -> Iterator[Any]:
    """Every model with the tasks that it takes, with and without noise."""
    for name, private in product(catalog.MODELS, (False, True)):
        for task in (IMAGES,) if name in OF_IMAGES else (TABLE, IMAGES, TARGETS):
            yield pytest.param(name, private, task)


@pytest.mark.parametrize(("name", "private", "task"), list(models()))
def test_a_model_of_ours_keeps_the_contract(name: str, private: bool, task: Task) -> None:
    def build(task: Task) -> nn.Module:
        parameters = OF_IMAGES.get(name, {})
        return catalog.MODELS[name].function(task, generator=torch.default_generator, **parameters)

    check_model(ModelEntry(build), task=task, private=private)


@pytest.mark.parametrize("claim", [False, True])
def test_a_source_of_ours_keeps_the_contract(claim: bool, tmp_path: Path) -> None:
    file = saved(tmp_path, plain({"train_sites": np.arange(12) % 3}, records=12))
    arrays = partial(Arrays, file, num_classes=3, sites=["0", "1", "2"])
    for index in range(8):
        place = f"scans/{'ab'[index % 2]}/{'cd'[index // 4]}"
        picture(tmp_path / place / f"{index}.png", grey=20 * index)
    names = {"sites": ["a", "b"], "classes": ["c", "d"]}
    images = partial(Folder, tmp_path / "scans", size=4, channels=1, **names)
    visits = [
        f"p{index // 2},north,{20 + index},{index % 2},1,{index % 3},,x" for index in range(12)
    ]
    table = partial(source, tmp_path, *visits, schema=declared(split=None))
    for opened in (arrays, images, table):
        check_source(opened, claim=claim)


def test_a_function_that_returns_records_keeps_the_contract() -> None:
    features = torch.arange(24.0).reshape(12, 2)
    check_data(lambda: {"a": (features, torch.arange(12) % 2)}, num_classes=2, sites=["a"])
    check_data(lambda: [(features, features[:, 0])], ranges=[[0.0, 30.0]])
