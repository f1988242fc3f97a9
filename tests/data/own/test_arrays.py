"""Somebody's .npz file: what is read, what is refused, and what a claim drops in silence."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from securefl.data import npz
from securefl.data.own.arrays import Arrays
from securefl.data.own.split import federated
from securefl.data.task import Task
from securefl.errors import DataError, ScenarioError
from tests.data.own.files import ArrayDict, plain, saved


def opened(tmp_path: Path, arrays: ArrayDict | None = None, **options: Any) -> Arrays:
    return Arrays(saved(tmp_path, plain() if arrays is None else arrays), **options)


# Good files


def test_a_small_file_is_read_record_by_record(tmp_path: Path) -> None:
    source = opened(tmp_path)
    assert source.task == Task(features=6, classes=3, image=(1, 2, 3))
    assert source.sites == ()
    records = source.read(claim=False)
    train = records.train
    assert records.task == source.task
    assert train.examples.features.shape == (6, 1, 2, 3)
    assert train.examples.features.dtype is torch.uint8
    assert train.examples.features[:, 0, 1, 2].tolist() == [0, 1, 2, 3, 4, 5]
    assert train.examples.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert train.examples.labels.dtype is torch.int64
    assert (train.sites, train.groups) == (None, None)
    assert (records.validation, records.test) == (None, None)


def test_all_three_splits_with_sites_and_groups_are_read(tmp_path: Path) -> None:
    arrays = plain()
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        arrays |= {
            f"{split}_images": np.full((count, 2, 3), count, dtype=np.uint8),
            f"{split}_labels": np.arange(count, dtype=np.uint8)[:, None] % 2,
            f"{split}_sites": np.array(["bern", "aarau", "chur"] * 2)[:count],
            f"{split}_groups": np.arange(count) + 100,
        }
    source = opened(tmp_path, arrays)
    assert source.sites == ("aarau", "bern", "chur")
    assert source.task.classes == 2
    records = source.read(claim=False)
    assert records.sites == source.sites
    for part, count in ((records.train, 6), (records.validation, 2), (records.test, 3)):
        assert part is not None
        assert part.examples.features.shape == (count, 1, 2, 3)
        assert int(part.examples.features.max()) == count
        assert part.examples.labels.tolist() == [0, 1, 0, 1, 0, 1][:count]
        assert part.sites is not None
        assert part.sites.tolist() == [1, 0, 2, 1, 0, 2][:count]
        assert part.groups == (b"100", b"101", b"102", b"103", b"104", b"105")[:count]


def test_features_become_float32(tmp_path: Path) -> None:
    features = np.array([[0.5, -2.0], [1e6, 3.0]], dtype=">f8")
    arrays = {"train_features": features, "train_labels": np.array([0, 1])}
    source = opened(tmp_path, arrays)
    assert source.task == Task(features=2, classes=2)
    read = source.read(claim=False).train.examples.features
    assert torch.equal(read, torch.tensor([[0.5, -2.0], [1e6, 3.0]]))
    whole = {"train_features": np.array([[3, 255]], np.uint8), "train_labels": np.array([0])}
    read = opened(tmp_path, whole).read(claim=False).train.examples.features
    assert torch.equal(read, torch.tensor([[3.0, 255.0]]))


def test_images_of_decimals_keep_their_values_and_sides(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(6, 2, 3, 3))
    read = opened(tmp_path, plain(train_images=pixels)).read(claim=False).train.examples.features
    assert read.dtype is torch.float32
    assert torch.equal(read, torch.from_numpy(pixels).float().permute(0, 3, 1, 2))


def test_sites_with_numbers_sort_by_value_and_bear_their_digits(tmp_path: Path) -> None:
    arrays = plain(train_sites=np.array([10, 9, 2, 2, 10, 9]))
    source = opened(tmp_path, arrays)
    assert source.sites == ("2", "9", "10")
    declared = opened(tmp_path, arrays, sites=["10", "2", "9", "33"])
    sites = declared.read(claim=False).train.sites
    assert sites is not None
    assert sites.tolist() == [0, 2, 1, 1, 0, 2]
    assert declared.sites == ("10", "2", "9", "33")


def test_several_labels_a_record(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 0, 1], [0, 0, 0, 0]])
    arrays = {"train_features": np.zeros((2, 5)), "train_labels": labels}
    source = opened(tmp_path, arrays)
    assert source.task == Task(features=5, classes=4, multilabel=True)
    # Their number is part of the file's form, so a claim needs no declaration.
    assert source.read(claim=True).train.examples.labels.tolist() == labels.tolist()
    assert opened(tmp_path, arrays, num_classes=4).task == source.task
    with pytest.raises(ScenarioError, match=r"num_classes is 3, and the records of .* have 4 labe"):
        _ = opened(tmp_path, arrays, num_classes=3).task


@pytest.mark.parametrize("kind", [np.bool_, np.int8, np.uint64, np.float32])
def test_labels_of_any_kind_of_number(tmp_path: Path, kind: type) -> None:
    arrays = plain(train_labels=np.array([0, 1, 1, 0, 1, 0]).astype(kind))
    source = opened(tmp_path, arrays)
    assert source.task.classes == 2
    assert source.read(claim=False).train.examples.labels.tolist() == [0, 1, 1, 0, 1, 0]


def test_one_label_in_a_file_still_makes_two_classes(tmp_path: Path) -> None:
    assert opened(tmp_path, plain(train_labels=np.zeros(6, int))).task.classes == 2
    assert opened(tmp_path, plain(records=0)).task.classes == 2


COUNTED: list[tuple[Any, str]] = [
    (
        [1, 2, 3, 1, 2, 3],
        r"xray\.npz: no record has label 0; classes are numbered from 0, and the lowest label is 1"
        r"; renumber them, or declare data\.num_classes if class 0 has no record$",
    ),
    ([2, 2, 2, 2, 2, 2], "no record has label 0; .* the lowest label is 2"),
    ([1, 2, -1, 1, 2, -3], r"xray\.npz: train_labels\[2\] is -1, not a whole number from 0$"),
    ([0, 1, 0, 1, 0, -1], r"train_labels\[5\] is -1, not a whole number from 0$"),
    ([0, np.nan, 1, 0, 1, 0], r"train_labels\[1\] is nan, not a whole number from 0$"),
    (
        [[0], [1.5], [1], [0], [1], [0]],
        r"\[1\] is 1.5, not .* from 0; declare data\.ranges of real",
    ),
]


@pytest.mark.parametrize(("labels", "message"), COUNTED)
def test_labels_that_cannot_be_counted_as_classes_are_refused_where_none_are_declared(
    tmp_path: Path, labels: Any, message: str
) -> None:
    source = opened(tmp_path, plain(train_labels=np.array(labels)))
    with pytest.raises(DataError, match=message):
        _ = source.task


def test_class_0_may_be_in_any_split_or_in_none_if_the_classes_are_declared(tmp_path: Path) -> None:
    shifted = plain(train_labels=np.array([1, 2, 1, 2, 1, 2]))
    assert opened(tmp_path, shifted, num_classes=3).read(claim=False).task.classes == 3
    test = {"test_images": np.zeros((1, 2, 3), np.uint8), "test_labels": np.array([0])}
    assert opened(tmp_path, shifted | test).task.classes == 3


def test_classes_and_sites_come_from_all_splits(tmp_path: Path) -> None:
    arrays = plain(
        train_sites=np.array(["b"] * 6),
        test_images=np.zeros((2, 2, 3), np.uint8),
        test_labels=np.array([8, 0]),
        test_sites=np.array(["b", "a"]),
    )
    source = opened(tmp_path, arrays)
    assert source.task.classes == 9
    assert source.sites == ("a", "b")


def test_a_declared_task_is_known_before_a_record_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(
        tmp_path, plain(train_sites=np.array(["a"] * 6)), num_classes=7, sites=["a", "b"]
    )
    monkeypatch.setattr(npz, "arrays", None)
    assert source.task == Task(features=6, classes=7, image=(1, 2, 3))
    assert source.sites == ("a", "b")


def test_keys_of_other_programs_are_ignored(tmp_path: Path) -> None:
    source = opened(tmp_path, plain(note=np.array(["made in May"]), train_masks=np.zeros(3)))
    assert len(source.read(claim=False).train.examples) == 6


# Bad files

ZEROS = np.zeros((2, 2, 3), np.uint8)
BAD: list[tuple[dict[str, NDArray[Any] | None], str]] = [
    ({"train_labels": None}, r"xray\.npz has no train_labels"),
    ({"train_images": None}, "needs train_images or train_features, .* it has train_labels"),
    ({"train_features": np.zeros((6, 2))}, "and one of them only; it has train_features, train_i"),
    ({"test_labels": np.zeros(2, int)}, "has no test_images"),
    ({"val_images": ZEROS}, "has no val_labels"),
    ({"train_site": np.zeros(6, int)}, "train_site is no key .*; did you mean train_sites?"),
    ({"test_image": ZEROS}, "test_image is no key of this layout; did you mean test_images?"),
    ({"train_labels": np.zeros(5, int)}, r"train_labels has shape \(5,\), .* has 6 records"),
    ({"train_sites": np.zeros(7, int)}, r"train_sites has shape \(7,\), and train_images has 6"),
    ({"train_groups": np.zeros((6, 1), int)}, r"train_groups has shape \(6, 1\), not \(records,\)"),
    ({"train_labels": np.array(list("abcabc"))}, "train_labels has type <U1, not numbers"),
    ({"train_labels": np.zeros((6, 2, 2), int)}, r"train_labels has shape \(6, 2, 2\), not"),
    ({"train_labels": np.zeros((6, 0), int)}, r"train_labels has shape \(6, 0\), not"),
    ({"train_sites": np.zeros(6)}, "train_sites has type float64, not text or whole numbers"),
    ({"train_groups": np.zeros(6, complex)}, "train_groups has type complex128, not text"),
    ({"train_images": np.zeros((6, 2, 3), int)}, "train_images has type int64, not uint8 or flo"),
    ({"train_images": np.zeros((6, 4))}, r"train_images has shape \(6, 4\), not \(records, heigh"),
    ({"train_images": np.zeros((6, 0, 2))}, r"train_images has shape \(6, 0, 2\), not"),
    ({"train_images": np.zeros(())}, r"train_labels has shape \(6,\), and train_images has no r"),
    (
        {"train_images": np.zeros((6, 3, 9, 9), np.uint8)},
        r"if axis 1 is channels, move it .* depth of a volume, set data\.channels = 1",
    ),
    ({"test_sites": np.zeros(2, int)}, "has no test_images"),
    (
        {"test_images": ZEROS, "test_labels": np.zeros(2, int), "test_sites": np.zeros(2, int)},
        "has test_sites and no train_sites",
    ),
    (
        {"test_images": np.zeros((2, 3, 3), np.uint8), "test_labels": np.zeros(2, int)},
        r"test_images has records \(3, 3\) of uint8, and train_images \(2, 3\) of uint8",
    ),
    (
        {"test_images": np.zeros((2, 2, 3)), "test_labels": np.zeros(2, int)},
        r"test_images has records \(2, 3\) of float64, and train_images \(2, 3\) of uint8",
    ),
    (
        {"test_images": ZEROS, "test_labels": np.zeros((2, 3), int)},
        r"test_labels has shape \(2, 3\), .* with as many labels as train_labels",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
@pytest.mark.parametrize("claim", [False, True])
def test_a_file_whose_form_is_wrong_is_refused_before_it_is_unpacked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, NDArray[Any] | None],
    message: str,
    claim: bool,
) -> None:
    source = opened(tmp_path, plain(changes), num_classes=3, sites=["0"])
    monkeypatch.setattr(npz, "arrays", None)
    with pytest.raises(DataError, match=message):
        source.read(claim=claim)


def test_features_need_two_axes(tmp_path: Path) -> None:
    for shape in ((6,), (6, 0), (6, 2, 2)):
        arrays = {"train_features": np.zeros(shape), "train_labels": np.zeros(6, int)}
        with pytest.raises(DataError, match=r"train_features has shape .*, not \(records, featur"):
            opened(tmp_path, arrays).read(claim=False)


RECORDS: list[tuple[dict[str, NDArray[Any] | None], str, list[int]]] = [
    (
        {"train_labels": np.array([0, 1, 3, 0, -1, 2])},
        r"train_labels\[2\] is 3, not a whole number from 0 to 2",
        [0, 1, 3, 5],
    ),
    (
        {"train_labels": np.array([0, 1, 1, 0, -1, 2], np.int8)},
        r"train_labels\[4\] is -1, not",
        [0, 1, 2, 3, 5],
    ),
    (
        {"train_labels": np.array([0, np.nan, 0.5, np.inf, 2.0, 1e300])},
        r"train_labels\[1\] is nan",
        [0, 4],
    ),
    (
        {"train_labels": np.array([0, 0.5, 0, 0, 0, 0])},
        r"train_labels\[1\] is 0.5",
        [0, 2, 3, 4, 5],
    ),
    (
        {"train_labels": np.array([2, 2**63, 2**64 - 1, 0, 0, 0], np.uint64)},
        r"train_labels\[1\] is 9223372036854775808",
        [0, 3, 4, 5],
    ),
    (
        {"train_sites": np.array(["a", "b", "?", "a", "b", "c"])},
        r"train_sites\[2\] is '\?', which is none of the sites 'a', 'b'",
        [0, 1, 3, 4],
    ),
    (
        {"train_sites": np.array([b"a", b"b", b"a", b"\xff", b"b", b"a"])},
        r"train_sites\[3\] is '\\\\xff', which is none",
        [0, 1, 2, 4, 5],
    ),
]


@pytest.mark.parametrize(("changes", "message", "good"), RECORDS)
def test_a_bad_record_is_refused_with_its_place_and_dropped_by_itself_under_a_claim(
    tmp_path: Path, changes: dict[str, NDArray[Any] | None], message: str, good: list[int]
) -> None:
    sites = ["a", "b"] if "train_sites" in changes else None
    source = opened(tmp_path, plain(changes), num_classes=3, sites=sites)
    with pytest.raises(DataError, match=message):
        source.read(claim=False)
    train = source.read(claim=True).train
    assert train.examples.features[:, 0, 0, 0].tolist() == good
    assert len(train.examples.labels) == len(good)
    assert train.sites is None or len(train.sites) == len(good)


def test_a_number_that_is_not_finite_becomes_zero_under_a_claim(tmp_path: Path) -> None:
    # 1e39 is beyond float32.
    features = np.array([[1.0, 2.0], [np.nan, 3.0], [-np.inf, 1e39], [2e6, -3e6]])
    arrays = {"train_features": features, "train_labels": np.array([0, 1, 1, 0])}
    source = opened(tmp_path, arrays, num_classes=2)
    with pytest.raises(DataError, match=r"train_features\[1\] holds a value that is not a finite"):
        source.read(claim=False)
    read = source.read(claim=True).train.examples.features
    assert read.tolist() == [[1, 2], [0, 3], [0, 0], [1e6, -1e6]]
    # Without a claim a large number stays as it is.
    arrays["train_features"] = features[[0, 3, 0, 3]]
    assert opened(tmp_path, arrays).read(claim=False).train.examples.features[1, 0] == 2e6


def test_a_bad_record_of_several_labels(tmp_path: Path) -> None:
    arrays = {
        "train_features": np.zeros((3, 1)),
        "train_labels": np.array([[0, 1], [1, 2], [1, 1]]),
    }
    source = opened(tmp_path, arrays)
    with pytest.raises(DataError, match=r"train_labels\[1\] is 2, not 0 or 1"):
        source.read(claim=False)
    assert source.read(claim=True).train.examples.labels.tolist() == [[0, 1], [1, 1]]


def test_dropped_records_take_their_sites_and_groups_along(tmp_path: Path) -> None:
    arrays = plain(
        train_labels=np.array([0, 9, 2, 0, 1, 2]),
        train_sites=np.array(list("abxabb")),
        train_groups=np.array(["p", "q", "r", "s", "t", ""]),
    )
    train = opened(tmp_path, arrays, num_classes=3, sites=["a", "b"]).read(claim=True).train
    assert train.examples.labels.tolist() == [0, 0, 1, 2]
    assert train.sites is not None
    assert train.sites.tolist() == [0, 0, 1, 1]
    assert train.groups == (b"p", b"s", b"t", b"")


def test_names_that_are_no_valid_unicode_are_names_too(tmp_path: Path) -> None:
    names = np.array(["\ud800", "a", "\udc80"] * 2)
    records = opened(tmp_path, plain(train_sites=names, train_groups=names)).read(claim=False)
    assert records.sites == ("a", "\ud800", "\udc80")
    assert records.train.groups is not None
    assert len(set(records.train.groups)) == 3
    for grouped in (records, replace(records, train=records.train._replace(groups=None))):
        data = federated(
            grouped,
            partition="natural",
            split_seed=0,
            test_share=0.5,
            test_on=None,
            fold=None,
            claim=True,
        )
        assert len(data.sites) == 3


def test_a_claim_needs_declared_constants(tmp_path: Path) -> None:
    arrays = plain(train_sites=np.array(["a"] * 6))
    with pytest.raises(ScenarioError, match=r"declared constants, .*: declare data\.num_classes"):
        opened(tmp_path, arrays, sites=["a"]).read(claim=True)
    with pytest.raises(ScenarioError, match=r"declare data\.sites, the names of the sites in ord"):
        opened(tmp_path, arrays, num_classes=3).read(claim=True)
    opened(tmp_path, arrays, num_classes=3, sites=["a"]).read(claim=True)
    with pytest.raises(ScenarioError, match=r"data\.sites has no effect: .* has no train_sites"):
        _ = opened(tmp_path, plain(), sites=["a"]).sites


def test_labels_and_sites_that_are_identifiers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the label 10000, and classes are whole numbers from"):
        _ = opened(tmp_path, plain(train_labels=np.array([0, 1, 2, 0, 1, 10_000]))).task
    assert (
        opened(tmp_path, plain(train_labels=np.array([0, 1, 2, 0, 1, 9999]))).task.classes == 10_000
    )
    many = plain(records=10_001, train_sites=np.arange(10_001))
    with pytest.raises(DataError, match="names 10001 sites, more than 10000; patients belong"):
        _ = opened(tmp_path, many).sites


def test_the_channel_argument_settles_what_the_last_axis_is(tmp_path: Path) -> None:
    pixels = np.zeros((6, 3, 9, 9), np.uint8)
    assert opened(tmp_path, plain(train_images=pixels), channels=1).task.image == (1, 3, 9, 9)
    with pytest.raises(DataError, match="so 1 channels, not 3"):
        _ = opened(tmp_path, plain(train_images=pixels), channels=3).task


def test_the_digest_follows_the_content_and_nothing_else(tmp_path: Path) -> None:
    key = bytes(32)
    first = opened(tmp_path).digest(key)
    assert len(bytes.fromhex(first)) == 16
    moved = saved(tmp_path, plain(), "moved.npz")
    assert Arrays(moved).digest(key) == first
    # Packed in another way, in another order.
    np.savez(moved, **dict(reversed(plain().items())))  # type: ignore[arg-type]
    assert Arrays(moved).digest(key) == first
    assert Arrays(saved(tmp_path, plain(note=np.zeros(3)))).digest(key) == first
    assert Arrays(moved).digest(b"k" * 32) != first
    changed = plain()
    changed["train_images"][5, 1, 2] += 1
    assert Arrays(saved(tmp_path, changed)).digest(key) != first
    relabelled = plain(train_labels=np.array([0, 1, 2, 0, 1, 1]))
    assert Arrays(saved(tmp_path, relabelled)).digest(key) != first
