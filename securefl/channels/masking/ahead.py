"""A second thread that stays one step ahead: it prepares the next part while the last one is in use."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(make: Callable[[Item], Made], items: Sequence[Item]) -> Iterator[Made]:
    """make(item) of each item, in order; what make raises is raised here. One item takes no second thread."""
    if len(items) < 2:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(max_workers=1) as worker:
        coming = worker.submit(make, items[0])
        for item in items[1:]:
            made, coming = coming.result(), worker.submit(make, item)
            yield made
        yield coming.result()
