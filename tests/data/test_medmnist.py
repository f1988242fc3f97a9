"""MedMNIST: the package's table, files good and bad, and metrics against medmnist's Evaluator."""

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from securefl.data import download, medmnist
from securefl.data.medmnist import load_medmnist
from securefl.data.medmnist_info import Source, Splits, names, sizes, source
from securefl.data.task import FederatedData, Task
from securefl.errors import DataError, ScenarioError
from securefl.learning.evaluate import measure, predict
from securefl.scenario.scenario import parse_scenario
from tests.medmnist_files import arrays_of, official, source_of, written

OFFICIAL = ("breastmnist", "pneumoniamnist", "retinamnist", "adrenalmnist3d")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns an empty SECUREFL_DATA, next to an empty home."""
    (tmp_path / "data").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("SECUREFL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "data"


def load(wanted: Source, *, test_on: str = "test") -> FederatedData:
    return load_medmnist(wanted, partition="pooled", test_on=test_on)


# The table


def test_the_table_equals_the_table_that_the_package_would_give() -> None:
    from medmnist.info import INFO

    assert set(names()) == set(INFO)
    assert len(names()) == 18
    for name, facts in INFO.items():
        for size in sizes(name):
            entry = source(name, size)
            suffix = "" if size == 28 else f"_{size}"
            assert (entry.url, entry.md5) == (facts[f"url{suffix}"], facts[f"MD5{suffix}"])
            assert entry.records._asdict() == facts["n_samples"]
            assert entry.task.image[0] == facts["n_channels"]
            assert entry.task.classes == len(facts["label"])
            assert entry.task.multilabel == facts["task"].startswith("multi-label")
            assert entry.ordinal == (facts["task"] == "ordinal-regression")
            assert (entry.task.outputs == 1) == (facts["task"] == "binary-class")
            assert entry.license == facts["license"]


def test_shapes_files_and_sizes_by_hand() -> None:
    assert sizes("pathmnist") == (28, 64, 128, 224)
    assert sizes("organmnist3d") == (28, 64)
    path = source("pathmnist", 224)
    assert path.file == "pathmnist_224.npz"
    assert path.task == Task(features=150_528, classes=9, image=(3, 224, 224))
    assert path.shapes()["train_images"] == (89_996, 224, 224, 3)
    assert path.shapes()["test_labels"] == (7180, 1)
    solid = source("organmnist3d", 64)
    assert solid.task.image == (1, 64, 64, 64)
    assert solid.shapes()["val_images"] == (161, 64, 64, 64)
    chest = source("chestmnist")
    assert chest.file == "chestmnist.npz"
    assert chest.task.multilabel
    assert chest.shapes()["train_labels"] == (78_468, 14)
    assert chest.max_bytes == 112_120 * 784 + 112_120 * 14 * 8 + 2**20


def test_a_package_without_its_table_is_a_data_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from securefl.data import medmnist_info

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    (tmp_path / "info.py").write_text("DATA = {}\n")
    monkeypatch.setattr(medmnist_info, "find_spec", lambda name: Spec)
    with pytest.raises(DataError, match="has no table INFO: install medmnist 3"):
        medmnist_info._table.__wrapped__()
    monkeypatch.setattr(medmnist_info, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="medmnist is not installed"):
        medmnist_info._table.__wrapped__()


# Good files


@pytest.mark.parametrize(
    "wanted",
    [
        source_of(),
        source_of(image=(3, 28, 28), classes=5),
        source_of(image=(1, 28, 28, 28), classes=3),
        source_of(image=(3, 64, 64), classes=4, size=64),
        source_of(image=(1, 28, 28), classes=3, multilabel=True),
    ],
    ids=["grey", "colour", "solid", "64 pixels", "several labels"],
)
def test_a_file_of_any_kind_is_read_record_by_record(folder: Path, wanted: Source) -> None:
    wanted = written(folder, wanted)
    data = load(wanted)
    (site,) = data.sites
    arrays = arrays_of(wanted)
    for split, part in (("train", site.train), ("test", data.test)):
        count = getattr(wanted.records, split)
        assert part.features.shape == (count, *wanted.task.image)
        assert part.features.dtype is torch.uint8
        assert part.features.flatten(1)[:, 0].tolist() == list(range(count))
        expected = arrays[f"{split}_labels"]
        if not wanted.task.multilabel:
            expected = expected[:, 0]
        assert part.labels.tolist() == expected.tolist()
        assert part.labels.dtype is torch.int64
    assert data.task == wanted.task
    assert len(load(wanted, test_on="validation").test) == 2


def test_colours_come_first_and_every_pixel_keeps_its_place(folder: Path) -> None:
    wanted = source_of(image=(3, 28, 28))
    arrays = arrays_of(wanted)
    arrays["train_images"] = np.random.default_rng(0).integers(
        0, 256, (6, 28, 28, 3), dtype=np.uint8
    )
    features = load(written(folder, wanted, arrays)).sites[0].train.features
    assert features[4, 2, 20, 9] == arrays["train_images"][4, 20, 9, 2]
    assert torch.equal(features, torch.from_numpy(arrays["train_images"]).permute(0, 3, 1, 2))


def test_a_model_reads_bytes_scaled_from_minus_one_to_one_and_numbers_as_they_are() -> None:
    task = Task(features=4, classes=2, image=(1, 2, 2))
    read = task.inputs(torch.tensor([[[[0, 51], [204, 255]]]], dtype=torch.uint8))
    assert read.flatten().tolist() == pytest.approx([-1.0, -0.6, 0.6, 1.0])
    numbers = torch.tensor([[0.25, 300.0]])
    assert torch.equal(Task(features=2, classes=2).inputs(numbers), numbers)


def test_the_home_folder_is_looked_in_after_the_named_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path.home() / ".medmnist"
    home.mkdir()
    wanted = written(home, source_of())
    assert medmnist.fetch(wanted) == home / "tinymnist.npz"
    here = written(folder, source_of())
    assert medmnist.fetch(here) == folder / "tinymnist.npz"
    monkeypatch.delenv("SECUREFL_DATA")
    assert medmnist.fetch(wanted) == home / "tinymnist.npz"


def test_a_file_that_was_replaced_is_read_again(folder: Path) -> None:
    first = written(folder, source_of())
    assert load(first).test.features[0, 0, 0, 1] == 7
    arrays = arrays_of(first)
    arrays["test_images"] += 1
    second = written(folder, source_of(), arrays)
    assert load(second).test.features[0, 0, 0, 1] == 8


# Bad files


def test_a_wrong_or_truncated_file_is_named_with_both_sums_and_left_alone(folder: Path) -> None:
    wanted = written(folder, source_of())
    path = folder / wanted.file
    whole = path.read_bytes()
    for bad in (whole[:-1], whole + b"x", b"", whole[:50] + b"?" + whole[51:]):
        path.write_bytes(bad)
        md5 = hashlib.md5(bad, usedforsecurity=False).hexdigest()
        message = rf"tinymnist\.npz is not the published file: its MD5 is {md5}, not {wanted.md5}"
        with pytest.raises(DataError, match=message):
            load(wanted)
        assert path.read_bytes() == bad
        # Nothing was downloaded instead.
        assert not list(Path.home().iterdir())


def without(key: str) -> Callable[[dict[str, NDArray[Any]]], None]:
    def change(arrays: dict[str, NDArray[Any]]) -> None:
        del arrays[key]

    return change


def instead(key: str, array: NDArray[Any]) -> Callable[[dict[str, NDArray[Any]]], None]:
    def change(arrays: dict[str, NDArray[Any]]) -> None:
        arrays[key] = array

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("val_labels"), r"tinymnist\.npz has no val_labels"),
        (without("train_images"), r"tinymnist\.npz has no train_images"),
        (
            instead("test_images", np.zeros((4, 28, 27), np.uint8)),
            r"test_images has shape \(4, 28, 27\)",
        ),
        (
            instead("test_images", np.zeros((5, 28, 28), np.uint8)),
            r"test_images has shape \(5, 28, 28\)",
        ),
        (
            instead("test_images", np.zeros((4, 28, 28, 3), np.uint8)),
            r"has shape \(4, 28, 28, 3\) and type uint8",
        ),
        (
            instead("test_images", np.zeros((4, 28, 28))),
            r"test_images has shape \(4, 28, 28\) and type float64",
        ),
        (instead("test_labels", np.zeros((4, 2), np.uint8)), r"test_labels has shape \(4, 2\)"),
        (instead("test_labels", np.zeros(4, np.uint8)), r"test_labels has shape \(4,\)"),
        (
            instead("test_labels", np.zeros((4, 1))),
            r"test_labels has shape \(4, 1\) and type float64",
        ),
        (
            instead("test_labels", np.full((4, 1), None)),
            r"test_labels has shape \(4, 1\) and type object",
        ),
        (
            instead("train_labels", np.full((6, 1), 2, np.uint8)),
            "train_labels goes from 2 to 2, not from 0 to 1",
        ),
        (
            instead("train_labels", np.full((6, 1), -1, np.int8)),
            "train_labels goes from -1 to -1, not from 0 to 1",
        ),
    ],
)
def test_a_file_of_another_format_is_refused(
    folder: Path, change: Callable[[dict[str, NDArray[Any]]], None], message: str
) -> None:
    arrays = arrays_of(source_of())
    change(arrays)
    with pytest.raises(DataError, match=message):
        load(written(folder, source_of(), arrays))


def test_several_labels_are_zeros_and_ones(folder: Path) -> None:
    wanted = source_of(classes=3, multilabel=True)
    arrays = arrays_of(wanted)
    arrays["test_labels"][1, 2] = 2
    with pytest.raises(DataError, match="test_labels goes from 0 to 2, not from 0 to 1"):
        load(written(folder, wanted, arrays))


@pytest.mark.parametrize("content", [b"PK\x03\x04 but no archive", b"\x93NUMPY", b"no zip at all"])
def test_a_file_that_is_no_archive_is_refused(folder: Path, content: bytes) -> None:
    (folder / "tinymnist.npz").write_bytes(content)
    wanted = replace(source_of(), md5=hashlib.md5(content, usedforsecurity=False).hexdigest())
    with pytest.raises(DataError, match=r"tinymnist\.npz is no MedMNIST file"):
        load(wanted)


def test_an_array_that_claims_terabytes_is_refused_by_its_head(folder: Path) -> None:
    import zipfile

    wanted = written(folder, source_of())
    path = folder / wanted.file
    head = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '|u1', 'fortran_order': False, 'shape': (4, 2000000, 2000000), }"
    )
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in (members | {"test_images.npy": head.ljust(127) + b"\n"}).items():
            new.writestr(name, data)
    wanted = replace(wanted, md5=hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest())
    with pytest.raises(DataError, match=r"test_images has shape \(4, 2000000, 2000000\)"):
        load(wanted)


# Downloads


class Publisher:
    """A web server on this machine that sends what a test gives it."""

    def __init__(self) -> None:
        self.content = b""
        # Whether it states the length of the content.
        self.stated = True
        self.requests = 0
        publisher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.requests += 1
                self.send_response(200 if publisher.content else 404)
                if publisher.stated:
                    self.send_header("Content-Length", str(len(publisher.content)))
                self.end_headers()
                self.wfile.write(publisher.content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/tinymnist.npz"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    publisher = Publisher()
    yield publisher
    publisher.server.shutdown()
    publisher.server.server_close()


def published(publisher: Publisher, tmp_path: Path) -> Source:
    """Returns a source whose file only the publisher has."""
    there = tmp_path / "there"
    there.mkdir(exist_ok=True)
    source = replace(written(there, source_of()), url=publisher.url)
    publisher.content = (there / source.file).read_bytes()
    return source


@pytest.mark.parametrize("stated", [True, False])
def test_a_file_nobody_has_is_downloaded_once_with_progress(
    folder: Path,
    publisher: Publisher,
    tmp_path: Path,
    stated: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = published(publisher, tmp_path)
    publisher.stated = stated
    progress: list[tuple[str, int, int | None]] = []
    monkeypatch.setattr(download, "CHUNK_BYTES", 1000)

    def note(file: str, done: int, total: int | None) -> None:
        progress.append((file, done, total))

    path = medmnist.fetch(wanted, on_bytes=note)
    assert path == Path.home() / ".medmnist" / "tinymnist.npz"
    assert path.read_bytes() == publisher.content
    size = len(publisher.content)
    assert progress[0] == ("tinymnist.npz", 1000, size if stated else None)
    assert progress[-1] == ("tinymnist.npz", size, size if stated else None)
    assert len(load(wanted).test) == 4
    assert publisher.requests == 1
    assert [file.name for file in path.parent.iterdir()] == ["tinymnist.npz"]


def test_a_wrong_or_truncated_download_is_not_kept(
    folder: Path, publisher: Publisher, tmp_path: Path
) -> None:
    wanted = published(publisher, tmp_path)
    for sent in (publisher.content[:-7], publisher.content[:-1] + b"?"):
        publisher.content = sent
        md5 = hashlib.md5(sent, usedforsecurity=False).hexdigest()
        with pytest.raises(
            DataError,
            match=rf"is not the published file: its MD5 is {md5}, not {wanted.md5}; try again",
        ):
            medmnist.fetch(wanted)
        assert not list((Path.home() / ".medmnist").iterdir())


def test_a_server_that_never_stops_sending_is_cut_off(
    folder: Path, publisher: Publisher, tmp_path: Path
) -> None:
    wanted = published(publisher, tmp_path)
    publisher.content = bytes(wanted.max_bytes + 1)
    with pytest.raises(DataError, match=f"sends more than the {wanted.max_bytes} bytes"):
        medmnist.fetch(wanted)
    assert not list((Path.home() / ".medmnist").iterdir())


def test_no_network_and_no_file_say_where_to_put_it(
    folder: Path, publisher: Publisher, tmp_path: Path
) -> None:
    wanted = published(publisher, tmp_path)
    # An empty publisher answers 404.
    publisher.content = b""
    with pytest.raises(
        DataError,
        match=r"tinymnist\.npz is not in .*data or .*\.medmnist, and downloading .* failed .*404",
    ):
        load(wanted)
    publisher.server.shutdown()
    publisher.server.server_close()
    with pytest.raises(DataError, match=f"put the file into {folder}$"):
        load(wanted)
    assert not list((Path.home() / ".medmnist").iterdir())


def test_a_download_that_is_interrupted_leaves_nothing(
    folder: Path, publisher: Publisher, tmp_path: Path
) -> None:
    wanted = published(publisher, tmp_path)

    def interrupt(file: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        medmnist.fetch(wanted, on_bytes=interrupt)
    assert not list((Path.home() / ".medmnist").iterdir())


def test_a_folder_that_cannot_be_used_is_one_sentence(
    folder: Path, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = published(publisher, tmp_path)
    (Path.home() / ".medmnist").write_bytes(b"a file where the folder should be")
    with pytest.raises(
        DataError, match=r"tinymnist\.npz is not in .* failed .*: put the file into "
    ):
        medmnist.fetch(wanted)

    def forbidden(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", forbidden)
    with pytest.raises(DataError, match=r"cannot read .*tinymnist\.npz: Permission denied"):
        medmnist.fetch(wanted)


# Official files and MedMNIST's own metrics


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_file_has_the_published_records(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = official(name, monkeypatch)
    records = source(name).records
    data = load(source(name))
    train = data.sites[0].train
    with np.load(path) as raw:
        assert train.labels.tolist() == raw["train_labels"][:, 0].tolist()
        assert data.test.labels.tolist() == raw["test_labels"][:, 0].tolist()
        mean = raw["train_images"].astype(np.float64).mean()
        assert train.features.double().mean() == pytest.approx(mean, rel=1e-9)
        first_colour = raw["train_images"][3].reshape(*train.features.shape[2:], -1)[..., 0]
        assert torch.equal(train.features[3, 0], torch.from_numpy(first_colour))
    assert len(train) == records.train
    assert len(data.test) == records.test


def test_breastmnist_majority_is_731(monkeypatch: pytest.MonkeyPatch) -> None:
    official("breastmnist", monkeypatch)
    test = load(source("breastmnist")).test
    assert len(test) == 156
    metrics = measure(torch.tensor([[0.1, 0.9]]).repeat(156, 1), test.labels)
    assert metrics.majority == pytest.approx(0.731, abs=5e-4)


@pytest.mark.parametrize(
    ("kind", "classes", "labels"),
    [
        ("binary-class", 2, 1),
        ("multi-class", 5, 1),
        ("ordinal-regression", 4, 1),
        ("multi-label, binary-class", 14, 14),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_auc_and_accuracy_equal_medmnists(kind: str, classes: int, labels: int, seed: int) -> None:
    from medmnist.evaluator import getACC, getAUC

    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 2 if labels > 1 else classes, (200, labels))
    task = Task(features=1, classes=classes, multilabel=labels > 1)
    probabilities = task.probabilities(torch.from_numpy(draw.normal(size=(200, task.outputs))))
    assert probabilities.shape == (200, classes)
    ours = measure(probabilities, torch.from_numpy(truth if labels > 1 else truth[:, 0]))
    scores = probabilities.numpy()
    assert ours.auc == pytest.approx(getAUC(truth, scores, kind), abs=1e-12)
    assert ours.accuracy == pytest.approx(getACC(truth, scores, kind), abs=1e-12)


def test_metrics_of_several_labels_by_hand() -> None:
    truth = torch.tensor([[1, 0], [1, 1], [0, 0], [1, 0]])
    chances = torch.tensor([[0.9, 0.5], [0.2, 0.8], [0.4, 0.6], [0.7, 0.1]])
    metrics = measure(chances.double(), truth)
    # First label: TP 2, FN 1, TN 1; second: TP 1, TN 2 (a half is not above a half), FP 1.
    assert metrics.accuracy == pytest.approx(6 / 8)
    assert metrics.balanced_accuracy == pytest.approx(((2 / 3 + 1) / 2 + (1 + 2 / 3) / 2) / 2)
    assert metrics.auc == pytest.approx((2 / 3 + 1) / 2)
    assert metrics.majority == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert measure(chances.double(), torch.ones(4, 2, dtype=torch.int64)).auc is None


def test_predictions_are_the_same_in_one_batch_or_many() -> None:
    task = Task(features=3, classes=2)
    model = torch.nn.Linear(3, 1)
    features = torch.randn(600, 3)
    singly = torch.cat([predict(model, task, record[None]) for record in features])
    assert torch.allclose(predict(model, task, features), singly)


def test_the_loss_of_several_labels_is_the_mean_over_all_of_them() -> None:
    task = Task(features=1, classes=2, multilabel=True)
    assert task.outputs == 2
    loss = task.loss(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[1, 0], [1, 1]]))
    log2 = np.log(2)
    assert float(loss) == pytest.approx((log2 + log2 + np.log1p(np.exp(-2)) + log2) / 4)


# In a scenario


def medmnist_scenario(keys: str) -> str:
    return f"training = {{ kind = 'sgd' }}\nmodel = 'cnn'\ndata = {{ {keys} }}"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('name = "medmnist:breastmnist", size = 32', "published in 28, 64, 128, 224, got 32"),
        ('name = "medmnist:organmnist3d", size = 128', "published in 28, 64, got 128"),
        ('name = "heart", size = 28', "data.size has no effect with heart; remove it"),
        ('name = "digits", size = 8', "data.size has no effect with digits; remove it"),
        (
            'name = "medmnist:chestmnist", partition = "dirichlet"',
            "dirichlet goes by the one class of a record",
        ),
        ('name = "medmnist:chestmnist", partition = "pathological"', "use iid or quantity"),
        (
            'name = "medmnist:brainmnist"',
            "data.name: there is no 'medmnist:brainmnist'; known: heart, digits, medmnist:",
        ),
        (
            'name = "medmnist:breastmnist", partition = "natural"',
            "data.partition: there is no 'natural'",
        ),
        ('name = "medmnist:breastmnist", clients = 547', "use at most 546 clients"),
        (
            'name = "heart"',
            "model: cnn takes images, these records are 15 numbers; use logistic or mlp",
        ),
    ],
)
def test_a_scenario_that_does_not_fit_is_refused_before_any_file_is_opened(
    keys: str, message: str
) -> None:
    with pytest.raises(ScenarioError, match=message.replace("(", r"\(")):
        parse_scenario(medmnist_scenario(keys))


def test_the_usual_deal_size_and_test_set_are_filled_in() -> None:
    scenario = parse_scenario(medmnist_scenario('name = "medmnist:breastmnist", clients = 5'))
    data = scenario.resolved()["data"]
    assert (data["partition"], data["size"], data["test_on"]) == ("iid", 28, "test")
    assert scenario.site_records == (110, 109, 109, 109, 109)
    assert parse_scenario("").resolved()["data"]["size"] is None


def test_several_labels_are_dealt_by_number() -> None:
    for how in ("iid", "quantity"):
        text = medmnist_scenario(f'name = "medmnist:chestmnist", partition = "{how}"')
        assert parse_scenario(f"weights = 'equal'\n{text}").clients == 10


def test_splits_are_named_as_the_files_name_them() -> None:
    assert Splits._fields == ("train", "val", "test")
    assert set(medmnist.TEST_ON) == {"test", "validation"}
