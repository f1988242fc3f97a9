"""One public data set for `securefl ls data NAME`: its facts, published figures and images."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from securefl.data import medmnist_info, published
from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.catalog import DataEntry
from securefl.ui.display import make_display
from securefl.ui.listing import data_in_words
from securefl.ui.progress import download_step

IMAGES = 16
PLANES = ("first axis", "second axis", "third axis")  # MedMNIST states no orientation
WIDTH = 25  # of the first column, as in `securefl ls data`


@dataclass(frozen=True)
class Images:
    """Public images to draw.

    Attributes:
        title: what they are, and their licence.
        labels: one an image.
        pixels: each (channels, height, width) in [-1, 1].
    """

    title: str
    labels: tuple[str, ...]
    pixels: tuple[Tensor, ...]


def data_set(name: str) -> Iterator[str]:
    """Yields the lines about one data set. Raises ScenarioError where there is no such set."""
    yield f"{name:<{WIDTH}} {data_in_words(_entry(name))}"
    if not name.startswith(published.PREFIX):
        return
    dataset = name.removeprefix(published.PREFIX)
    splits = medmnist_info.source(dataset).records
    words = ", ".join(f"{part} {records}" for part, records in splits._asdict().items())
    yield f"{'modality':<{WIDTH}} {published.MODALITIES[dataset]}"
    yield f"{'task':<{WIDTH}} {medmnist_info.kind(dataset)}"
    yield f"{'splits':<{WIDTH}} {words}"
    yield from _published(name)
    if not dataset.endswith("3d"):
        yield from _means()


def _published(name: str) -> Iterator[str]:
    """Yields the published figures of a set below a line for each kind of them."""
    heading = ""
    for figure in published.figures_of(name):
        if figure.conditions != heading:
            heading = figure.conditions
            yield f"{heading} ({figure.source}):"
        yield f"{figure.method:<{WIDTH}} AUC {figure.auc:.3f}, accuracy {figure.accuracy:.3f}"


def _means() -> Iterator[str]:
    """Yields the published means over all 2-D sets, one line an architecture."""
    aucs: dict[str, list[str]] = {}
    for mean in published.means():
        aucs.setdefault(mean.architecture, []).append(f"{mean.auc:.3f} ({mean.pixels})")
    source = published.means()[0].source
    yield f"{published.CONDITIONS_OF_MEANS}; pixels of a side in brackets ({source}):"
    for architecture, values in aucs.items():
        yield f"{architecture:<{WIDTH}} AUC {', '.join(values)}"


def first_images(name: str) -> Images:
    """Returns the first sixteen training images of a set, or three planes of its first volume.

    Raises:
        ScenarioError: the records are no images.
        DataError: the published file cannot be had, or is damaged.
    """
    entry = _entry(name)
    size = entry.sizes[:1]
    task = entry.task(*size)
    if not task.image:
        raise ScenarioError(f"--preview draws images, and the records of {name!r} are numbers")
    if entry.fetch is not None:
        display = make_display(None)

        def show_download(file: str, done: int, total: int | None) -> None:
            display.progress(download_step(file, done, total))

        entry.fetch(size[0], show_download)
        display.finished()
    options = {**entry.options, **({"size": size[0]} if size else {})}
    data = entry.load(partition=next(iter(entry.partitions)), split_seed=0, **options)
    images = task.inputs(data.sites[0].train.features[:IMAGES])
    if len(task.image) > len(("channels", "height", "width")):
        return _planes(name, entry, images[0])
    title = f"{name}: the first {len(images)} training images, {entry.license}"
    classes = data.sites[0].train.labels[:IMAGES].tolist()
    return Images(title, tuple(map(_label, classes)), tuple(images))


def _label(classes: int | list[int]) -> str:
    """Says to which class an image belongs, or to which ones."""
    if isinstance(classes, int):
        return f"class {classes}"
    present = [str(number) for number, belongs in enumerate(classes) if belongs]
    return f"classes {', '.join(present)}" if present else "no class"


def _planes(name: str, entry: DataEntry, volume: Tensor) -> Images:
    """Returns the planes through the middle of a volume (channels, side, side, side)."""
    planes = [
        volume.select(axis, volume.shape[axis] // 2) for axis in range(1, volume.ndim)
    ]  # each (channels, side, side)
    title = f"{name}: the middle of the first training volume, {entry.license}"
    return Images(title, PLANES, tuple(planes))


def _entry(name: str) -> DataEntry:
    if name not in catalog.DATA:
        full = published.PREFIX + name
        hint = f"write {full}" if full in catalog.DATA else "`securefl ls data` lists them"
        raise ScenarioError(f"ls data: there is no public data set {name!r}; {hint}")
    return catalog.DATA[name]
