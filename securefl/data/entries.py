"""Name -> data set, and name -> way to deal records to clients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from securefl.data import digits, heart, medmnist, medmnist_info, partition
from securefl.data.download import OnBytes
from securefl.data.task import FederatedData, Task
from securefl.rng import Keystream

DEFAULT_CLIENTS = 10


@dataclass(frozen=True)
class DataEntry:
    """A data set: its loader, and the public facts that a scenario needs before it is loaded.

    Args:
        load: returns the records; takes `partition`, `split_seed` and the keys of `options`.
        partitions: the data set's own partitions -> training records of each site.
        tests: the same partitions -> test records of each site.
        usual: the partition of a scenario that names none.
        task: returns the task; takes the size where there are sizes.
        license: of the records.
        fetch: makes sure that a published file is on this disk; takes the size.
        sizes: sides of the images in pixels, ascending; empty for other records.
        options: further keys of the data table that the loader takes, with their defaults.
        tuning: the same partitions -> training records once validation records are taken from them,
            where a split seed draws training and test records.
        validation: records of the published validation set, where the split is fixed.
        published: whether the sizes are public numbers; where they are not, they are 0 here.
        digest: returns a digest of the records; None for published sets, which have a name.
        grouped: whether records bear groups, such as patients.
    """

    load: Callable[..., FederatedData]
    partitions: Mapping[str, tuple[int, ...]]
    tests: Mapping[str, tuple[int, ...]]
    usual: str
    task: Callable[..., Task]
    license: str
    fetch: Callable[[int, OnBytes], object] | None = None
    sizes: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    tuning: Mapping[str, tuple[int, ...]] | None = None
    validation: int | None = None
    published: bool = True
    digest: Callable[[], str] | None = None
    grouped: bool = False

    @property
    def records(self) -> int:
        """Training records in all."""
        return sum(next(iter(self.partitions.values())))

    def training(self, test_on: str | None) -> Mapping[str, tuple[int, ...]]:
        """Returns the training records of each partition's sites, for the records that judge."""
        if self.tuning is not None and test_on == "validation":
            return self.tuning
        return self.partitions

    def judging(self, test_on: str | None) -> Mapping[str, tuple[int, ...]]:
        """Returns the records that judge at each partition's sites: test or validation records."""
        if test_on != "validation":
            return self.tests
        if self.tuning is None:
            return {"pooled": (self.validation or 0,)}
        judging = {}
        for name, sizes in self.partitions.items():
            pairs = zip(sizes, self.tuning[name], strict=True)
            judging[name] = tuple(size - tuned for size, tuned in pairs)
        return judging


def _medmnist(name: str) -> DataEntry:
    """Returns the entry of one MedMNIST set; of its files nothing is read yet."""
    sizes = medmnist_info.sizes(name)
    smallest = medmnist_info.source(name)

    def load(partition: str, split_seed: int, size: int, test_on: str) -> FederatedData:
        source = medmnist_info.source(name, size)
        return medmnist.load_medmnist(source, partition=partition, test_on=test_on)

    def fetch(size: int, on_bytes: OnBytes) -> object:
        return medmnist.fetch(medmnist_info.source(name, size), on_bytes=on_bytes)

    return DataEntry(
        load,
        partitions={"pooled": (smallest.records.train,)},
        tests={"pooled": (smallest.records.test,)},
        validation=smallest.records.val,
        usual="iid",
        task=lambda size: medmnist_info.source(name, size).task,
        license=smallest.license,
        fetch=fetch,
        sizes=sizes,
        options={"size": sizes[0], "test_on": "test"},
    )


DATA: Mapping[str, DataEntry] = {
    "heart": DataEntry(
        heart.load_heart,
        partitions=heart.TRAIN_RECORDS,
        tests=heart.TEST_RECORDS,
        usual="natural",
        task=lambda: heart.TASK,
        license="CC BY 4.0",
        # None, so that a scenario without these keys keeps the name of its cell.
        options={"test_on": None, "fold": None},
        tuning=heart.TUNING_RECORDS,
    ),
    "digits": DataEntry(
        digits.load_digits,
        partitions={"pooled": (digits.TRAIN_RECORDS,)},
        tests={"pooled": (digits.RECORDS - digits.TRAIN_RECORDS,)},
        usual="iid",
        task=lambda: digits.TASK,
        license="CC BY 4.0",
        options={"test_on": None, "fold": None},
        tuning={"pooled": (digits.TUNING_RECORDS,)},
    ),
    **{f"medmnist:{name}": _medmnist(name) for name in medmnist_info.names()},
}


@dataclass(frozen=True)
class DealEntry:
    """A way to deal pooled records to clients.

    Args:
        deal: (labels (n,), clients, skew, stream) -> indices of each client's records.
        takes: the scenario keys of `Skew` that it uses.
        sizes: (records, clients) -> records of each client, where these are public.
        by_class: whether it needs one class a record.
    """

    deal: Callable[[Tensor, int, partition.Skew, Keystream], list[Tensor]]
    takes: tuple[str, ...] = ()
    sizes: Callable[[int, int], tuple[int, ...]] | None = None
    by_class: bool = False


def _iid(
    labels: Tensor,
    clients: int,
    skew: partition.Skew,
    stream: Keystream,
) -> list[Tensor]:
    return partition.iid(len(labels), clients=clients, stream=stream)


def _dirichlet(
    labels: Tensor,
    clients: int,
    skew: partition.Skew,
    stream: Keystream,
) -> list[Tensor]:
    return partition.dirichlet(
        labels,
        clients=clients,
        alpha=skew.alpha,
        minimum=skew.minimum,
        stream=stream,
    )


def _quantity(
    labels: Tensor,
    clients: int,
    skew: partition.Skew,
    stream: Keystream,
) -> list[Tensor]:
    return partition.quantity(
        len(labels),
        clients=clients,
        alpha=skew.alpha,
        minimum=skew.minimum,
        stream=stream,
    )


def _pathological(
    labels: Tensor,
    clients: int,
    skew: partition.Skew,
    stream: Keystream,
) -> list[Tensor]:
    return partition.pathological(labels, clients=clients, classes=skew.classes, stream=stream)


DEALS: Mapping[str, DealEntry] = {
    "iid": DealEntry(
        _iid,
        sizes=lambda records, clients: partition.iid_sizes(records, clients=clients),
    ),
    "dirichlet": DealEntry(_dirichlet, takes=("alpha", "minimum"), by_class=True),
    "quantity": DealEntry(_quantity, takes=("alpha", "minimum")),
    "pathological": DealEntry(_pathological, takes=("classes",), by_class=True),
}
