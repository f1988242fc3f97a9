"""Validation records are others than those that train, whatever is declared of them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from securefl.errors import ScenarioError
from securefl.runs.refining import validation
from securefl.runs.refining.gate import parse_gate
from securefl.runs.refining.plan import Asked, new_records
from securefl.runs.refining.refine import refine
from securefl.scenario.scenario import Scenario
from tests.runs.refining.conftest import play
from tests.runs.refining.test_own_records import CLAIM, PLAIN, month, series
from tests.runs.refining.test_own_records import home as home
from tests.values import present

GATE = parse_gate("auc >= 0.1")


def declared_public(folder: Path, path: str) -> dict[str, object]:
    """Returns the table [data] of a validation file that is declared public."""
    file = folder / "validation.toml"
    file.write_text(
        f'data = {{ name = "arrays", path = "{path}", partition = "natural", '
        "test_share = 0.5, public = true }\n"
    )
    return new_records(file)


def itself(file: Path, other: Path) -> None:
    other.with_name("elsewhere.npz").symlink_to(file)


def copied_file(file: Path, other: Path) -> None:
    shutil.copy(file, other)


def linked(file: Path, other: Path) -> None:
    os.link(file, other)


def packed_anew(file: Path, other: Path) -> None:
    """The same arrays in other bytes."""
    with np.load(file) as arrays:
        np.savez_compressed(other, **arrays)


@pytest.mark.parametrize("month_name", ["january", "february"])
@pytest.mark.parametrize(
    "again", [itself, copied_file, linked, packed_anew], ids=lambda again: again.__name__
)
def test_records_that_train_judge_no_version_under_another_name(
    home: Path, month_name: str, again: Callable[[Path, Path], None]
) -> None:
    made = series(home, PLAIN)
    again(home / f"{month_name}.npz", home / "elsewhere.npz")
    number = {"january": 1, "february": 2}[month_name]
    asked = Asked(
        new_records(home / "february.npz"), (), GATE, declared_public(home, "elsewhere.npz")
    )
    with pytest.raises(
        ScenarioError, match=f"its records are the ones that train version {number}"
    ):
        refine(made, asked, play)
    assert made.versions == [1]


def test_an_unpaid_gate_on_the_training_file_is_refused_under_a_claim(home: Path) -> None:
    made = series(home, CLAIM)
    asked = Asked(
        new_records(home / "february.npz"),
        ("privacy.epsilon=6.0",),
        GATE,
        declared_public(home, "february.npz"),
    )
    with pytest.raises(ScenarioError, match=r"ones that train version 2, .* name others"):
        refine(made, asked, play)
    assert made.versions == [1]


def test_records_of_a_version_that_is_not_in_force_or_are_gone_since_are_refused(
    home: Path,
) -> None:
    made = series(home, PLAIN)
    refine(made, Asked(new_records(home / "february.npz")), play)
    made.roll_back(1)
    month(home, "march", seed=7)
    packed_anew(home / "february.npz", home / "kept.npz")
    (home / "february.npz").unlink()
    asked = Asked(new_records(home / "march.npz"), (), GATE, declared_public(home, "kept.npz"))
    with pytest.raises(ScenarioError, match="its records are the ones that train version 2"):
        refine(made, asked, play)
    # Other records in the place of those that trained.
    month(home, "february", seed=8)
    asked = Asked(new_records(home / "march.npz"), (), GATE, declared_public(home, "february.npz"))
    with pytest.raises(ScenarioError, match="its records are the ones that train version 2"):
        refine(made, asked, play)


def test_a_file_that_is_replaced_during_training_judges_nothing(home: Path) -> None:
    made = series(home, PLAIN)

    def replaces(scenario: Scenario, folder: Path, text: str) -> None:
        play(scenario, folder, text)
        shutil.copy(home / "february.npz", home / "public.npz")

    asked = Asked(new_records(home / "february.npz"), (), GATE, declared_public(home, "public.npz"))
    with pytest.raises(ScenarioError, match="its records are the ones that train version 2"):
        refine(made, asked, replaces)
    assert made.released == 1


def test_other_records_of_the_same_size_judge(home: Path) -> None:
    sizes = {(home / f"{name}.npz").stat().st_size for name in ("january", "february", "public")}
    assert len(sizes) == 1
    made = series(home, PLAIN)
    asked = Asked(new_records(home / "february.npz"), (), GATE, declared_public(home, "public.npz"))
    assert refine(made, asked, play).judged["records"] == "validation"


def place(folder: Path, path: str) -> validation._Place:
    return present(validation._place({"folder": str(folder), "data": {"path": path}}))


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_one_file_of_a_pattern_is_enough(tmp_path: Path) -> None:
    written(tmp_path, {"a.csv": b"a", "b.csv": b"b", "c.txt": b"b", "d.txt": b"d", "e.txt": b""})
    pattern = place(tmp_path, "*.csv")
    assert pattern.files == (tmp_path / "a.csv", tmp_path / "b.csv")
    for name, is_same in (("b.csv", True), ("c.txt", True), ("d.txt", False), ("e.txt", False)):
        assert validation._is_same(pattern, place(tmp_path, name)) is is_same
        assert validation._is_same(place(tmp_path, name), pattern) is is_same


def test_folders_are_compared_as_a_whole_so_that_no_single_image_is_asked_for(
    tmp_path: Path,
) -> None:
    images = {"a/no/1.png": b"1", "a/yes/2.png": b"2", "b/no/3.png": b"3"}
    written(tmp_path / "train", images)
    moved = {f"x/{number}.png": content for number, content in enumerate(images.values())}
    written(tmp_path / "moved", moved)
    written(tmp_path / "some", {"a/no/1.png": b"1", "a/yes/2.png": b"2"})
    written(tmp_path / "other", {**images, "b/no/3.png": b"4"})
    train = place(tmp_path, "train")
    assert train.is_folder
    for name, is_same in (("train", True), ("moved", True), ("some", False), ("other", False)):
        assert validation._is_same(train, place(tmp_path, name)) is is_same
    assert validation._is_same(train, place(tmp_path / "train", "../train/a/../"))
    # The very files of a site, by another way to them.
    assert validation._is_same(train, place(tmp_path, "train/a"))


def test_empty_folders_have_no_records_in_common(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert not validation._is_same(place(tmp_path, "one"), place(tmp_path, "two"))


def test_a_file_that_is_gone_is_known_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert validation._is_same(place(tmp_path, "gone.csv"), place(tmp_path, "link/gone.csv"))
    assert not validation._is_same(place(tmp_path, "gone.csv"), place(tmp_path, "other.csv"))


def test_published_records_lie_nowhere() -> None:
    assert validation._place({"folder": "/x", "data": {"name": "heart"}}) is None
    assert not validation._is_same(None, None)
