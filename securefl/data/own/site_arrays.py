"""Arrays in one .npz file a site, all with one schema."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import torch

from securefl.data import npz
from securefl.data.own.array_schema import ArraySchema
from securefl.data.own.arrays import COLUMNS, SPLITS, Arrays
from securefl.data.own.digest import digest_of
from securefl.data.own.records import Records, Split
from securefl.data.own.site_files import site_files
from securefl.data.task import Task, concatenate
from securefl.errors import DataError


def arrays_of(path: Path, schema: ArraySchema) -> Arrays:
    """Returns the arrays of a file that has to have a schema's form."""
    return Arrays(
        path,
        num_classes=schema.num_classes,
        sites=schema.sites,
        channels=schema.channels,
        ranges=schema.ranges,
        loss=schema.loss,
        schema=schema,
    )


def arrays_of_one_site(path: Path, schema: ArraySchema) -> Arrays:
    """Returns the arrays of one site's file. Raises DataError: its records bear sites."""
    for split in SPLITS:
        if f"{split}_{COLUMNS[0]}" in npz.headers(path):
            raise DataError(
                f"{path} has {split}_{COLUMNS[0]}, and all records of this file are of one site"
            )
    return arrays_of(path, schema.model_copy(update={"sites": None}))


@dataclass(frozen=True)
class SiteArrays:
    """One .npz file a site; a `Source`.

    Args:
        path: a pattern such as `sites/*.npz`, whose files are named like the sites.
        schema: of every file.
    """

    path: Path
    schema: ArraySchema

    @property
    def task(self) -> Task:
        """The task that the schema declares."""
        return self.schema.task

    @property
    def sites(self) -> tuple[str, ...]:
        """The declared sites, else the names of the files in order."""
        return self.schema.sites or tuple(path.stem for path in self.files())

    @property
    def has_test(self) -> bool:
        """Whether the schema declares test records."""
        return "test" in self.schema.splits

    @property
    def grouped(self) -> bool:
        """Whether the schema declares groups."""
        return self.schema.groups

    def require_declared(self) -> None:
        """Returns at once: a schema declares everything."""

    def check_form(self) -> None:
        """Checks the headers of every file; reads no record. Raises DataError."""
        for source in self._sources:
            source.check_form()

    def read(self, *, claim: bool) -> Records:
        """Returns all records; see `Source`."""
        parts = [
            of_site(source.read(claim=claim), self.sites, site)
            for site, source in enumerate(self._sources)
        ]
        validation = [part.validation for part in parts if part.validation is not None]
        test = [part.test for part in parts if part.test is not None]
        return Records(
            self.task,
            self.sites,
            _joined([part.train for part in parts]),
            _joined(validation) if validation else None,
            _joined(test) if test else None,
        )

    def digest(self, key: bytes) -> str:
        """Returns a keyed digest of the schema and of each file's arrays; see `Source`."""
        declared = self.schema.model_dump_json(exclude_defaults=True).encode()
        files = zip(self.sites, self._sources, strict=True)
        digests = [(site, [source.digest(key).encode()]) for site, source in files]
        return digest_of(key, [("schema", [declared]), *digests])

    def files(self) -> tuple[Path, ...]:
        """Returns the files, in the order of the sites. Raises DataError."""
        return site_files(self.path, self.schema.sites)

    @cached_property
    def _sources(self) -> tuple[Arrays, ...]:
        return tuple(arrays_of_one_site(path, self.schema) for path in self.files())


def of_site(records: Records, sites: Sequence[str], site: int) -> Records:
    """Returns records that bear no site as those of one among several."""

    def stamped(split: Split) -> Split:
        return split._replace(sites=torch.full((len(split.examples),), site))

    return Records(
        records.task,
        tuple(sites),
        stamped(records.train),
        None if records.validation is None else stamped(records.validation),
        None if records.test is None else stamped(records.test),
    )


def _joined(parts: Sequence[Split]) -> Split:
    """Returns the records of one split of several sites."""
    groups = [part.groups for part in parts if part.groups is not None]
    return Split(
        concatenate([part.examples for part in parts]),
        torch.cat([part.sites for part in parts if part.sites is not None]),
        tuple(chain.from_iterable(groups)) if groups else None,
    )
