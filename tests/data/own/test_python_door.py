"""What a user's function may return, and one sentence for everything else."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from securefl.data.own.python_door import Returned
from securefl.data.own.records import Records
from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.errors import DataError, ScenarioError

X = np.arange(8.0).reshape(4, 2)
Y = np.array([0, 1, 1, 0])


def returned(value: object, **options: Any) -> Returned:
    return Returned(value, name="python:mine.py:load", **options)


def read(value: object, *, claim: bool = False, **options: Any) -> Records:
    return returned(value, **options).read(claim=claim)


class Listed(Dataset[Any]):
    """A Dataset of items in a list; counts how often each is read."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.reads.append(index)
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return item


# Good values


def test_a_list_of_arrays_and_of_tensors() -> None:
    second = (torch.tensor([[9, 8]]), torch.tensor([[1]]))
    source = returned([(X, Y), second])
    assert source.task == Task(features=2, classes=2)
    assert source.sites == ("site-0", "site-1")
    records = source.read(claim=False)
    assert records.sites == source.sites
    train = records.train
    assert train.examples.features.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [9, 8]]
    assert train.examples.features.dtype is torch.float32
    assert train.examples.labels.tolist() == [0, 1, 1, 0, 1]
    assert train.sites is not None
    assert train.sites.tolist() == [0, 0, 0, 0, 1]
    assert train.sites.dtype is torch.int64
    assert (train.groups, records.validation, records.test) == (None, None, None)


def test_a_mapping_names_the_sites_and_pairs_bring_test_records() -> None:
    pair = ((X, [0, 1, 1, 2]), (X[:2], [1, 1]))
    source = returned({"bern": pair, 7: pair})
    assert source.sites == ("bern", "7")
    assert source.task.classes == 3
    test = source.read(claim=False).test
    assert test is not None
    assert test.examples.features.tolist() == [[0, 1], [2, 3]] * 2
    assert test.sites is not None
    assert test.sites.tolist() == [0, 0, 1, 1]


def test_declared_sites_name_a_list_and_order_a_mapping() -> None:
    assert read([(X, Y)] * 2, sites=["b", "a"]).sites == ("b", "a")
    records = read({"a": (X, Y), "b": (X[:1], Y[:1])}, sites=["b", "none", "a"])
    assert records.sites == ("b", "none", "a")
    assert records.train.sites is not None
    assert records.train.sites.tolist() == [0, 2, 2, 2, 2]


def test_images_come_in_torchs_order_and_bytes_stay_bytes() -> None:
    pixels = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)
    source = returned([(pixels, [0, 1])])
    assert source.task.image == (3, 2, 2)
    assert torch.equal(source.read(claim=False).train.examples.features, pixels)
    grey = returned([(pixels[:, 0], [0, 1])])
    assert grey.task.image == (1, 2, 2)
    assert returned([(pixels[:, :2], [0, 1])], channels=2).task.image == (2, 2, 2)


def test_labels_that_cannot_be_counted_as_classes_are_refused_where_none_are_declared() -> None:
    with pytest.raises(DataError, match=r"load: no record has label 0; .* the lowest label is 1;"):
        _ = returned([(X, Y + 1), (X, Y + 2)]).task
    assert returned([(X, Y + 1), (X, Y)]).task.classes == 3
    with pytest.raises(
        DataError, match=r"site 'site-1', training labels\[0\] is -1, not a whole number from 0$"
    ):
        _ = returned([(X, Y), (X, Y - 1)]).task
    bad = Listed([(torch.zeros(2), 0), (torch.zeros(2), "ill"), (torch.zeros(2), -1)])
    with pytest.raises(DataError, match="record 1: labels have type <U3, not numbers"):
        _ = returned([bad]).task


def test_several_labels_and_declared_classes() -> None:
    labels = [[0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 1]]
    source = returned([(X, labels)])
    assert source.task == Task(features=2, classes=3, multilabel=True)
    assert source.read(claim=False).train.examples.labels.tolist() == labels
    assert returned([(X, Y)], num_classes=9).task.classes == 9


def test_a_dataset_is_read_once_and_in_order() -> None:
    dataset = Listed([(torch.tensor([1.0, index]), index % 2) for index in range(5)])
    source = returned([dataset])
    assert dataset.reads == [0, 1, 2, 3, 4]
    records = source.read(claim=False)
    source.digest(bytes(32))
    assert dataset.reads == [0, 1, 2, 3, 4]
    assert records.train.examples.features[:, 1].tolist() == [0, 1, 2, 3, 4]
    assert records.train.examples.labels.tolist() == [0, 1, 0, 1, 0]


def test_datasets_as_other_libraries_make_them() -> None:
    # FLamby: decimals of shape (1,) as labels; torchvision: pictures of Pillow's, colours last.
    flamby = TensorDataset(torch.ones(3, 13), torch.tensor([[0.0], [1.0], [1.0]]))
    assert read([(flamby, flamby)]).train.examples.labels.tolist() == [0, 1, 1]
    picture = Image.new("RGB", (4, 2), (10, 20, 30))
    torchvision = Listed([(picture, 1), (picture, np.int64(0))])
    features = read({"a": torchvision}).train.examples.features
    assert features.shape == (2, 3, 2, 4)
    assert features[1, :, 0, 0].tolist() == [10, 20, 30]
    grey = Listed([(picture.convert("L"), torch.tensor(0))])
    assert read([grey]).train.examples.features.shape == (1, 1, 2, 4)


def test_our_own_value_passes_and_its_task_is_the_declared_one() -> None:
    examples = Examples(torch.from_numpy(X).float(), torch.from_numpy(Y))
    task = Task(features=2, classes=5)
    sites = (Site("b", examples, examples), Site("a", examples, examples))
    records = read(FederatedData(task, sites, examples))
    assert (records.task, records.sites) == (task, ("b", "a"))
    assert records.test is not None
    assert records.test.sites is not None
    assert records.test.sites.tolist() == [0] * 4 + [1] * 4
    shared = (Site("b", examples, None), Site("a", examples, examples))
    common = read(FederatedData(task, shared, Examples(examples.features[:1], examples.labels[:1])))
    assert common.test is not None
    assert common.test.sites is None
    assert len(common.test.examples) == 1
    none = Examples(examples.features[:0], examples.labels[:0])
    assert read(FederatedData(task, (Site("b", examples, None),), none)).test is None
    assert read(FederatedData(task, sites, examples), claim=True, sites=["b", "a"]).task == task
    # Eight rows of four pixels in two channels: a shape that could also have its channels last.
    image = Task(features=64, classes=2, image=(2, 8, 4))
    pixels = Examples(torch.zeros(4, 2, 8, 4, dtype=torch.uint8), examples.labels)
    assert read(FederatedData(image, (Site("b", pixels, None),), pixels)).task == image


def test_special_tensors_are_numbers_too() -> None:
    weights = torch.ones(4, 2, dtype=torch.bfloat16, requires_grad=True)
    assert read([(weights, Y)]).train.examples.features.tolist() == [[1, 1]] * 4
    turned = np.asfortranarray(X)[::-1]
    assert read([(turned, Y)]).train.examples.features[0].tolist() == [6, 7]


def test_what_the_function_returned_is_not_written_into() -> None:
    features = np.array([[np.nan], [3e6]], dtype=np.float32)
    read([(features, [0, 1])], claim=True, sites=["a"], num_classes=2)
    assert np.isnan(features[0, 0])
    assert features[1, 0] == 3e6


def test_sites_without_a_record_are_fine() -> None:
    empty = Listed([])
    records = read([(X, Y), empty, (X[:0], Y[:0])])
    assert records.train.sites is not None
    assert records.train.sites.tolist() == [0] * 4
    pixels = np.zeros((1, 3, 2, 2), np.uint8)
    with_images = read([empty, (pixels, [[0, 1, 1]])]).train.examples
    assert with_images.features.dtype is torch.uint8
    assert with_images.labels.tolist() == [[0, 1, 1]]


# Bad values


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        while True:
            yield 0, 0


EXAMPLES = Examples(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64))
BAD: list[tuple[object, str]] = [
    (None, "python:mine.py:load returned None, not a list of sites or a mapping from names to"),
    (3, "returned a value of type int, not a list"),
    (iter([(X, Y)]), "returned a value of type list_iterator, not a list"),
    (X, "returned a value of type ndarray, not a list"),
    ([], "returned no site"),
    ({}, "returned no site"),
    ((X, Y), r"returned one site by itself; return a list of sites, \[site\]"),
    (Listed([]), "returned one site by itself"),
    ([(X, Y), None], "site 'site-1' is None, not a pair"),
    ({"a": {"x": X, "y": Y}}, "site 'a' is of type dict, not a pair"),
    ([(X, Y, Y)], r"site 'site-0' is of type tuple, not a pair \(features, labels\) of arrays, a"),
    ([((X, Y), X)], "site 'site-0' is of type tuple, not a pair"),
    ([([[1, 2]], [0])], "site 'site-0' is of type tuple, not a pair"),
    (
        [(X, Y), ((X, Y), (X, Y))],
        "site 'site-0' has no test records and others have; give them to all sites or to none",
    ),
    ([Endless()], "training records are a Dataset without a length; give one with __len__"),
    ([(X, Y[:3])], "site 'site-0', training: 4 features and 3 labels"),
    ([(X[:, 0], Y)], r"training features have shape \(4,\), not \(records, features\) or that"),
    ([(X, np.zeros((4, 1, 1)))], r"training labels have shape \(4, 1, 1\), not \(records,\) or"),
    ([(X, np.zeros((4, 0)))], r"training labels have shape \(4, 0\), not"),
    ([(X.astype(str), Y)], "training features have type <U32, not numbers"),
    ([(X, list("abca"))], "training labels have type <U1, not numbers"),
    ([(X, [[0], [1, 2], [0], [0]])], "training labels cannot be read as an array: .*inhomogeneous"),
    ([(X.astype(object), Y)], "training features are Python objects or ragged: give numbers, eac"),
    ([(X.astype(complex), Y)], "training features have type complex128"),
    ([(torch.eye(4).to_sparse(), Y)], "training features cannot be read as an array"),
    ([(np.zeros((4, 2, 2), int), Y)], "images have type int64, not uint8 or float"),
    ([(np.zeros((4, 9, 9, 3)), Y)], "channels come before the sides"),
    ([(X[:, :0], Y)], r"training features has shape \(4, 0\)"),
    (
        [(X, Y), (X[:, :1], Y)],
        r"site 'site-1', training records have shape \(1,\) and type float64, and .* site 'site-0'",
    ),
    ([(np.zeros((4, 2, 2)), Y), (np.zeros((4, 2, 2), np.uint8), Y)], "shape .* and type uint8"),
    ([(X, Y), (X, np.zeros((4, 2)))], "site 'site-1', training records have 2 labels each, and"),
    ([((X, Y), (X[:, :1], Y))], "site 'site-0', test records have shape"),
    ([Listed([])], "returned no record"),
    ([Listed([{"image": 1}])], r"record 0: is of type dict, not a pair \(features, label\)"),
    ([Listed([(1.0, 1)])], "record 0: features are a single number; give a vector or an image"),
    (
        FederatedData(Task(2, 2), (Site("a", EXAMPLES, None), Site("a", EXAMPLES, None)), EXAMPLES),
        "returned 2 sites of the name 'a'",
    ),
    ({1: (X, Y), "1": (X, Y)}, "returned 2 sites of the name '1'"),
    (
        FederatedData(Task(3, 2), (Site("a", EXAMPLES, None),), EXAMPLES),
        r"returned Task\(features=3.*, and its records fit Task\(features=2",
    ),
]


@pytest.mark.parametrize(("value", "message"), BAD)
def test_a_value_of_the_wrong_kind_is_refused_in_one_sentence(value: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        read(value)
    assert str(refusal.value).startswith("python:mine.py:load")
    assert "\n" not in str(refusal.value)


def test_declarations_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"returned 1 sites, and data\.sites names 2"):
        read([(X, Y)], sites=["a", "b"])
    with pytest.raises(DataError, match=r"returned the site 'c', which is not in data\.sites"):
        read({"a": (X, Y), "c": (X, Y)}, sites=["a"])
    with pytest.raises(
        DataError, match=r"records of 3 classes and of 2: data\.num_classes, the la"
    ):
        read(FederatedData(Task(2, 2), (Site("a", EXAMPLES, None),), EXAMPLES), num_classes=3)
    with pytest.raises(DataError, match="records of 4 classes and of 2"):
        read([(X, np.zeros((4, 2)))], num_classes=4)


def test_a_claim_needs_declared_constants() -> None:
    with pytest.raises(ScenarioError, match=r"declare data\.sites, the names of the sites in ord"):
        read([(X, Y)], claim=True, num_classes=2)
    with pytest.raises(ScenarioError, match=r"declare data\.num_classes, the number of classes"):
        read([(X, Y)], claim=True, sites=["a"])
    assert read([(X, np.zeros((4, 2)))], claim=True, sites=["a"]).task.classes == 2


def test_a_bad_record_of_arrays_is_refused_with_its_place_and_handled_under_a_claim() -> None:
    bad = X.copy()
    bad[2, 1] = np.nan
    declared: dict[str, Any] = {"sites": ["a"], "num_classes": 2}
    with pytest.raises(DataError, match=r"site 'a', training features\[2\] holds a value that is"):
        read([(bad, Y)], **declared)
    assert read([(bad, Y)], claim=True, **declared).train.examples.features[2].tolist() == [4, 0]
    pair = ((X, Y), (X, [0, 1, 0, 7]))
    with pytest.raises(DataError, match=r"site 'a', test labels\[3\] is 7, not a whole number fro"):
        read([pair], **declared)
    test = read([pair], claim=True, **declared).test
    assert test is not None
    assert test.examples.labels.tolist() == [0, 1, 0]
    assert test.sites is not None
    assert test.sites.tolist() == [0, 0, 0]


GOOD: tuple[Tensor, int] = (torch.tensor([1.0, 2.0]), 1)
FAULTS: list[tuple[object, str]] = [
    (ValueError("cannot decode"), "training record 2 raised ValueError: cannot decode"),
    (KeyError("age"), "training record 2 raised KeyError: 'age'"),
    (
        (torch.zeros(3), 1),
        r"record 2 has features \(3,\) and label \(\), and most records have \(2,",
    ),
    ((torch.zeros(2), [1, 0]), r"record 2 has features \(2,\) and label \(2,\)"),
    ((torch.zeros(2),), "training record 2: is of type tuple, not a pair"),
    ((None, 1), "record 2: features are Python objects"),
    ((torch.zeros(2), "ill"), "record 2: labels have type <U3, not numbers"),
]


@pytest.mark.parametrize(("item", "message"), FAULTS)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_bad_record_of_a_dataset_is_named(item: object, message: str, place: int) -> None:
    items: list[Any] = [GOOD] * 4
    items.insert(place, item)
    declared: dict[str, Any] = {"sites": ["a"], "num_classes": 2}
    with pytest.raises(DataError, match=message.replace("record 2", f"record {place}")):
        read([Listed(items)], **declared)


def test_the_first_of_several_bad_records_is_named() -> None:
    items = [GOOD, (torch.zeros(3), 1), GOOD, ValueError("late"), GOOD]
    with pytest.raises(DataError, match=r"record 1 has features \(3,\)"):
        read([Listed(items)])
    with pytest.raises(DataError, match="record 1 raised ValueError: late"):
        read([Listed(items[::-1])])


@pytest.mark.parametrize("items", [[GOOD], [GOOD, (torch.zeros(3), 1)], [ValueError("bad")]])
def test_under_a_claim_no_vote_of_records_decides_the_form_of_one(items: list[Any]) -> None:
    value = {"a": (X, Y), "b": Listed(items)}
    with pytest.raises(ScenarioError, match="site 'b', training records are a Dataset"):
        read(value, claim=True, sites=["a", "b"], num_classes=2)


def test_under_a_claim_a_site_that_is_not_declared_is_dropped() -> None:
    value = {"a": (X, Y), "c": (X, Y)}
    records = read(value, claim=True, sites=["b", "a"], num_classes=2)
    assert records.train.sites is not None
    assert records.train.sites.tolist() == [1] * 4


def test_the_digest_follows_names_and_values() -> None:
    key = bytes(32)

    def digest(value: object, **options: Any) -> str:
        return returned(value, **options).digest(key)

    first = digest({"a": (X, Y)})
    assert digest({"a": (torch.from_numpy(X.copy()), Y.tolist())}) == first
    assert digest([(X, Y)], sites=["a"]) == first
    assert digest({"a": (X.astype(">f8"), Y)}) == first
    other = {
        first,
        digest({"b": (X, Y)}),
        digest({"a": (X[::-1], Y)}),
        digest({"a": (X, 1 - Y)}),
        digest({"a": (X[:3], Y[:3])}),
        digest({"a": ((X, Y), (X, Y))}),
        digest({"a": ((X, Y), (X, 1 - Y))}),
        digest({"a": (X, Y), "b": (X, Y)}),
        digest({"b": (X, Y), "a": (X, Y)}),
        returned({"a": (X, Y)}).digest(b"k" * 32),
        digest(FederatedData(Task(2, 2), (Site("a", EXAMPLES, None),), EXAMPLES)),
    }
    assert len(other) == 11
