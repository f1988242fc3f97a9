"""One pair of arrays, or one Dataset, -> the arrays of one site's records."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from securefl.errors import DataError

# numpy's letters for bytes, whole numbers and decimals.
NUMBERS = "buif"


class Part(NamedTuple):
    """The training or the test records of one site.

    Attributes:
        name: where they come from, for refusals.
        features: (n, ...) numbers; None where there is no record, so that no shape is known.
        labels: (n,) or (n, labels) numbers; None likewise.
        fault: what is wrong with the first record of a Dataset that was left out.
        voted: whether most records decided what form a record has, as those of a Dataset do.
    """

    name: str
    features: NDArray[Any] | None
    labels: NDArray[Any] | None
    fault: str | None = None
    voted: bool = False

    def __len__(self) -> int:
        """Returns the number of records, where a NamedTuple would count its fields."""
        return 0 if self.labels is None else len(self.labels)


class _Item(NamedTuple):
    features: NDArray[Any]
    labels: NDArray[Any]

    @property
    def shape(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self.features.shape, self.labels.shape


def is_part(value: Any) -> bool:
    """Returns whether a value is a pair (features, labels) or a Dataset."""
    return isinstance(value, Dataset) or (is_pair(value) and _is_array(value[0]))


def is_pair(value: Any) -> bool:
    """Returns whether a value is a tuple or a list of two."""
    return isinstance(value, tuple | list) and len(value) == 2


def part_of(value: Any, name: str) -> Part:
    """Returns the records of a pair (features, labels) or a Dataset.

    Args:
        value: for which `is_part` holds.
        name: of the part, for refusals.

    Raises:
        DataError: the arrays hold no numbers, or their shapes do not fit together.
    """
    if isinstance(value, Dataset):
        return _read(value, name)
    features = as_array(value[0], f"{name} features")
    labels = as_array(value[1], f"{name} labels")
    if features.ndim < 2:
        raise DataError(
            f"{name} features have shape {features.shape}, not (records, features) or that of "
            "images"
        )
    if labels.ndim not in (1, 2) or 0 in labels.shape[1:]:
        raise DataError(
            f"{name} labels have shape {labels.shape}, not (records,) or (records, labels)"
        )
    if len(features) != len(labels):
        raise DataError(f"{name}: {len(features)} features and {len(labels)} labels")
    return Part(name, features, labels)


def as_array(value: object, name: str) -> NDArray[Any]:
    """Returns an array, a tensor, a number or a list of numbers as an array of numbers.

    Raises:
        DataError: it holds something else, or is ragged.
    """
    try:
        array = _tensor_values(value) if isinstance(value, Tensor) else np.asarray(value)
    # Sparse and other special tensors, and lists of lists of several lengths.
    except (ValueError, TypeError, RuntimeError) as reason:
        raise DataError(f"{name} cannot be read as an array: {reason}") from None
    if array.dtype.kind == "O":
        raise DataError(
            f"{name} are Python objects or ragged: give numbers, each record of the same shape"
        )
    if array.dtype.kind not in NUMBERS:
        raise DataError(f"{name} have type {array.dtype}, not numbers")
    return array


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _tensor_values(tensor: Tensor) -> NDArray[Any]:
    values = tensor.detach().cpu()
    # numpy has no bfloat16.
    if values.dtype == torch.bfloat16:
        values = values.float()
    array: NDArray[Any] = values.numpy()
    return array


def _read(dataset: "Dataset[Any]", name: str) -> Part:
    """Reads a Dataset once, in order; a bad record is left out, and the first one described."""
    try:
        if isinstance(dataset, IterableDataset):
            raise TypeError
        count = len(dataset)  # type: ignore[arg-type]
    except TypeError:
        raise DataError(
            f"{name} records are a Dataset without a length; give one with __len__ and __getitem__"
        ) from None
    items: dict[int, _Item] = {}
    faults: dict[int, str] = {}
    for index in range(count):
        try:
            items[index] = _item(dataset[index], f"{name} record {index}:")
        except DataError as reason:
            faults[index] = str(reason)
        # The Dataset is somebody else's code, which may raise anything for a bad record.
        except Exception as reason:
            faults[index] = f"{name} record {index} raised {type(reason).__name__}: {reason}"
    faults |= _leave_out_ragged(items, name)
    fault = faults[min(faults)] if faults else None
    if not items:
        return Part(name, None, None, fault, voted=True)
    features = np.stack([item.features for item in items.values()])
    labels = np.stack([item.labels for item in items.values()])
    return Part(name, features, labels, fault, voted=True)


def _item(value: Any, name: str) -> _Item:
    """Returns one record of a Dataset."""
    if not is_pair(value):
        raise DataError(f"{name} is of type {type(value).__name__}, not a pair (features, label)")
    features = as_array(value[0], f"{name} features")
    # A picture of Pillow's has its colours last.
    if not _is_array(value[0]) and features.ndim == 3:
        features = np.moveaxis(features, -1, 0)
    if features.ndim == 0:
        raise DataError(f"{name} features are a single number; give a vector or an image")
    labels = as_array(value[1], f"{name} labels")
    return _Item(features, labels.reshape(-1) if labels.size != 1 else labels.reshape(()))


def _leave_out_ragged(items: dict[int, _Item], name: str) -> dict[int, str]:
    """Takes records of an unusual shape out of the items, and says what is wrong with each."""
    counts = Counter(item.shape for item in items.values())
    if len(counts) < 2:
        return {}
    # Ties are broken by the shape: the order of records decides nothing.
    usual = max(counts, key=lambda shape: (counts[shape], shape))
    ragged = {
        index: f"{name} record {index} has features {item.features.shape} and label "
        f"{item.labels.shape}, and most records have {usual[0]} and {usual[1]}"
        for index, item in items.items()
        if item.shape != usual
    }
    for index in ragged:
        del items[index]
    return ragged
