"""The shipped data sets as the tests load them, and records as multisets."""

from collections import Counter

from securefl.data.heart import load_heart
from securefl.data.task import Examples, FederatedData
from securefl.scenario.assemble.data import load_data
from securefl.scenario.scenario import parse_scenario

Records = Counter[tuple[float, ...]]


def natural(split_seed: int = 0) -> FederatedData:
    """Returns the four hospitals."""
    return load_heart(partition="natural", split_seed=split_seed)


def halves(split_seed: int = 0) -> FederatedData:
    """Returns the four hospitals, each cut in two."""
    return load_heart(partition="halves", split_seed=split_seed)


def digits(clients: int, split_seed: int) -> FederatedData:
    """Returns the digits, dealt to clients."""
    data = f'data = {{ name = "digits", clients = {clients}, split_seed = {split_seed} }}'
    return load_data(parse_scenario(f"{data}\nprivacy = {{ delta = 1e-14 }}"))


def bag(*parts: Examples | None) -> Records:
    """Returns all records of the parts as a multiset."""
    records: Records = Counter()
    for part in parts:
        if part is None:
            continue
        for row, label in zip(part.features.tolist(), part.labels.tolist(), strict=True):
            records[(*row, label)] += 1
    return records
