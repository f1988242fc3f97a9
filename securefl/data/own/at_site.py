"""One site's own file, read by a schema that all sites agreed on.

    records = read_site_records(path, schema, site=2, claim=False)

The site gets the records that the whole federation would have for it in a simulation, bit for bit.
What differs from the schema is refused in a sentence that names file, column and line. It is for
the site's own people: an agent sends no part of such a sentence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from securefl.data import npz
from securefl.data.own.agreed import AgreedSchema
from securefl.data.own.array_schema import WORDS, ArraySchema
from securefl.data.own.arrays import Arrays
from securefl.data.own.records import Records
from securefl.data.own.registered import require_file
from securefl.data.own.schema import Schema
from securefl.data.own.site_arrays import arrays_of_one_site, of_site
from securefl.data.own.table import TableSource, encoded_blocks
from securefl.errors import DataError, NotReady


def read_site_records(path: Path, schema: AgreedSchema, *, site: int, claim: bool) -> Records:
    """Returns the records in a site's file, as those of one site among all.

    Args:
        path: of the file.
        schema: names the sites, in order.
        site: its number.
        claim: whether the run claims DP. Then nothing is refused for what is in a record.

    Raises:
        NotReady: the file is missing or damaged, or differs from the schema.
    """
    with at_the_site():
        records = _source(path, schema, site).read(claim=claim)
    return of_site(records, schema.sites or (), site)


def check_site_records(path: Path, schema: AgreedSchema, *, site: int) -> None:
    """Refuses the first value that would be cleaned, clamped or dropped.

    It is for people: what an agent does must not depend on records where DP is claimed.

    Args:
        path: of the file.
        schema: names the sites, in order.
        site: its number.

    Raises:
        NotReady: the file is missing or damaged, or differs from the schema in any way.
    """
    with at_the_site():
        source = _source(path, schema, site)
        if isinstance(source, TableSource):
            blocks = encoded_blocks(
                path, source.schema, skipped=None, clamps=False, site=source.site_of_file
            )
            for _ in blocks:
                pass
        if isinstance(schema, ArraySchema):
            _check_ranges(path, schema)
        source.read(claim=False)


@contextmanager
def at_the_site() -> Iterator[None]:
    """Turns what is wrong with a site's own files into NotReady."""
    try:
        yield
    except DataError as reason:
        raise NotReady(str(reason)) from None


def _source(path: Path, schema: AgreedSchema, site: int) -> TableSource | Arrays:
    """Returns the records of one site's file, of which none is read yet."""
    require_file(path)
    if isinstance(schema, Schema):
        name = schema.sites[site] if schema.sites else None
        # The file bears no sites, and the crosswalk still has to know whose words it has.
        source = TableSource(path, schema.model_copy(update={"sites": None}), site_of_file=name)
        source.check_form()
        return source
    arrays = arrays_of_one_site(path, schema)
    arrays.check_form()
    return arrays


def _check_ranges(path: Path, schema: ArraySchema) -> None:
    """Refuses the first real target outside its range. Raises DataError."""
    if schema.ranges is None:
        return
    low, high = np.array(schema.ranges, dtype=np.float64).T
    keys = [f"{WORDS[split]}_labels" for split in schema.splits]
    for key, labels in npz.arrays(path, keys).items():
        values = labels.reshape(len(labels), -1)
        outside = (values < low) | (values > high)
        if outside.any():
            record, target = np.argwhere(outside)[0]
            raise DataError(f"{path}: {key}[{record}] is outside the range of target {target}")
