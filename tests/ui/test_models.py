"""`securefl ls models NAME`: the parameters of a model, and its size."""

from pathlib import Path

import pytest

from tests.commands import call, refused


def test_a_model_is_described_with_its_sizes(tmp_path: Path) -> None:
    done = call("ls", "models", "vgg16", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "vgg16                   Returns VGG-16 with group norm, for 2-D images; small ones are "
        "enlarged.",
        "    width = 64",
        "    dropout = 0.5",
        "    enlarge = None",
        "    1 x 28 x 28, 2 classes: 134,271,937 parameters, whose gradients take 537.1 MB a "
        "record",
        "    vgg16: images are enlarged 3 times, from 28 x 28 to 84 x 84 pixels, since its first "
        "layers are too coarse for them",
        "    3 x 224 x 224, 1000 classes: 138,365,992 parameters, whose gradients take 553.5 MB a "
        "record",
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("resnet18", "1 x 28 x 28 x 28, 2 classes, convolution = acs: 11,168,193 parameters"),
        ("resnet50", "1 x 28 x 28 x 28, 2 classes, convolution = 3d: "),
        ("mlp", "1 x 28 x 28, 2 classes: 25,153 parameters"),
    ],
)
def test_every_model_has_sizes(name: str, line: str, tmp_path: Path) -> None:
    assert line in call("ls", "models", name, cwd=tmp_path).stdout


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = call("ls", "models", "vgg19", cwd=tmp_path)
    refused(done, 2, "ls models: there is no 'vgg19', did you mean 'vgg16'? known: logistic, mlp")
    refused(call("ls", "models", "xyz", cwd=tmp_path), 2, "there is no 'xyz'; known: logistic, mlp")
