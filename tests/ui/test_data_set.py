"""`securefl ls data NAME`: facts, published figures and a preview of public images."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from securefl.data import medmnist
from securefl.data.medmnist_info import Splits
from securefl.scenario import catalog
from securefl.ui.data_set import Images, first_images
from securefl.ui.figures import draw_images
from tests.commands import call, refused
from tests.medmnist_files import arrays_of, official, source_of, written

IMAGE = "{http://www.w3.org/2000/svg}image"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Returns a function that makes a data set of twenty training records and returns its name."""
    monkeypatch.setenv("SECUREFL_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def make(image: tuple[int, ...], *, classes: int = 2, multilabel: bool = False) -> str:
        source = source_of(image=image, classes=classes, multilabel=multilabel)
        source = replace(source, records=Splits(20, 2, 4))
        arrays = arrays_of(source)
        if len(image) == 4:
            # Every voxel differs, so that each plane is another one.
            arrays["train_images"][0] = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
        source = written(tmp_path, source, arrays)
        entry = replace(
            catalog.DATA["medmnist:breastmnist"],
            load=lambda partition, split_seed, size, test_on: medmnist.load_medmnist(
                source, partition=partition, test_on=test_on
            ),
            fetch=lambda size, on_bytes: medmnist.fetch(source, on_bytes=on_bytes),
            task=lambda size: source.task,
        )
        monkeypatch.setitem(catalog.DATA, "tiny", entry)
        return "tiny"

    return make


def images_in(path: Path) -> int:
    return len(list(ElementTree.parse(path).iter(IMAGE)))  # noqa: S314  # our own file


def test_a_set_is_shown_with_modality_task_splits_and_published_figures(tmp_path: Path) -> None:
    done = call("ls", "data", "medmnist:breastmnist", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("medmnist:breastmnist      images 1 x 28 x 28, 2 classes, 546 ")
    assert lines[1:13] == [
        "modality                  breast ultrasound",
        "task                      binary-class",
        "splits                    train 546, val 78, test 156",
        "published, without DP, pooled, BatchNorm (Yang et al. 2023):",
        "ResNet-18 (28)            AUC 0.901, accuracy 0.863",
        "ResNet-18 (224)           AUC 0.891, accuracy 0.833",
        "ResNet-50 (28)            AUC 0.857, accuracy 0.812",
        "ResNet-50 (224)           AUC 0.866, accuracy 0.842",
        "published, without DP, pooled, AutoML (Yang et al. 2023):",
        "auto-sklearn              AUC 0.836, accuracy 0.803",
        "AutoKeras                 AUC 0.871, accuracy 0.831",
        "Google AutoML Vision      AUC 0.919, accuracy 0.861",
    ]
    assert lines[13].startswith("published, without DP, pooled, means over the twelve 2-D sets; ")
    assert lines[16] == (
        "ResNet-18                 AUC 0.909 (28), 0.925 (64), 0.939 (128), 0.945 (224)"
    )


def test_a_volume_has_no_means_over_flat_images(tmp_path: Path) -> None:
    shown = call("ls", "data", "medmnist:adrenalmnist3d", cwd=tmp_path).stdout
    assert "ResNet-18 + ACS           AUC 0.839, accuracy 0.754" in shown.splitlines()
    assert "2-D sets" not in shown


def test_a_set_without_published_figures_is_one_line(tmp_path: Path) -> None:
    (line,) = call("ls", "data", "heart", cwd=tmp_path).stdout.splitlines()
    assert line in call("ls", "data", cwd=tmp_path).stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rules", "krum"], "ls: 'rules' takes no name; remove 'krum'"),
        (["data", "hart"], "there is no public data set 'hart'; `securefl ls data` lists them"),
        (["data", "octmnist"], "no public data set 'octmnist'; write medmnist:octmnist"),
        (["data", "table"], "there is no public data set 'table'"),
        (["data", "--preview", "p.svg"], "--preview draws one data set: securefl ls data NAME"),
        (["runs", "x", "--preview", "p.svg"], "--preview draws one data set"),
        (["data", "heart", "--preview", "p.svg"], "and the records of 'heart' are numbers"),
        (["data", "heart", "--preview", "p.txt"], "--preview takes a file that ends in .svg"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_words_without_effect_are_refused(words: list[str], sentence: str, tmp_path: Path) -> None:
    refused(call("ls", *words, cwd=tmp_path), 2, sentence)
    assert not (tmp_path / "p.svg").exists()


@pytest.mark.parametrize("image", [(1, 28, 28), (3, 28, 28)], ids=["grey", "colour"])
def test_a_preview_has_sixteen_images(
    tiny: Callable[..., str], image: tuple[int, ...], tmp_path: Path
) -> None:
    done = call("ls", "data", tiny(image), "--preview", "p.svg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "wrote p.svg"
    assert images_in(tmp_path / "p.svg") == 16


def test_a_preview_shows_the_first_training_images_in_order(tiny: Callable[..., str]) -> None:
    images = first_images(tiny((1, 28, 28)))
    # The first pixel of record i is i, of 255; classes take turns.
    first_pixels = [round((float(pixels[0, 0, 0]) + 1) * 127.5) for pixels in images.pixels]
    assert first_pixels == list(range(16))
    assert images.labels[:3] == ("class 0", "class 1", "class 0")
    assert images.title == "tiny: the first 16 training images, CC BY 4.0"


def test_an_image_of_several_classes_names_them(tiny: Callable[..., str]) -> None:
    images = first_images(tiny((1, 28, 28), classes=3, multilabel=True))
    assert images.labels[:4] == ("no class", "classes 0", "classes 1", "classes 0, 1")


def test_a_volume_is_shown_in_three_planes_through_its_middle(
    tiny: Callable[..., str], tmp_path: Path
) -> None:
    name = tiny((1, 3, 3, 3))
    images = first_images(name)
    # Voxel (i, j, k) holds 9 i + 3 j + k; the middle index is 1.
    values = [((pixels[0] + 1) * 127.5).round().int().tolist() for pixels in images.pixels]
    assert values == [
        [[9, 10, 11], [12, 13, 14], [15, 16, 17]],
        [[3, 4, 5], [12, 13, 14], [21, 22, 23]],
        [[1, 4, 7], [10, 13, 16], [19, 22, 25]],
    ]
    assert call("ls", "data", name, "--preview", "p.svg", cwd=tmp_path).returncode == 0
    assert images_in(tmp_path / "p.svg") == 3


def test_a_row_that_is_not_full_leaves_gaps(tmp_path: Path) -> None:
    images = Images("$five$", ("a",) * 5, (torch.zeros(1, 4, 4),) * 5)
    draw_images(tmp_path / "five.svg", images)
    assert images_in(tmp_path / "five.svg") == 5


def test_a_preview_that_cannot_be_written_is_one_sentence(
    tiny: Callable[..., str], tmp_path: Path
) -> None:
    done = call("ls", "data", tiny((1, 28, 28)), "--preview", "no/p.svg", cwd=tmp_path)
    refused(done, 2, "cannot write no/p.svg")


def test_a_published_file_is_previewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official("breastmnist", monkeypatch)
    done = call("ls", "data", "medmnist:breastmnist", "--preview", "p.svg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert images_in(tmp_path / "p.svg") == 16
