"""DICOM files as the records of a scenario: files -> headers -> labelled series -> images.

    source = DicomSource(Path("sites"), Path("labels.csv"), schema, key=secret)
    records = source.read(claim=False)

All headers are read first, then the pixels of one file at a time.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, NoReturn

from securefl.data.dicom.files import (
    File,
    Flaw,
    content,
    files_of,
    site_folders,
    undeclared,
)
from securefl.data.dicom.header import Header, read_header
from securefl.data.dicom.images import images_of
from securefl.data.dicom.labels import (
    DROPPED,
    Labels,
    Line,
    check_header,
    labels_content,
    read_labels,
)
from securefl.data.dicom.part import Part
from securefl.data.dicom.progress import Steps
from securefl.data.dicom.reading import careful, is_directory, require_pydicom
from securefl.data.dicom.schema import DicomSchema
from securefl.data.dicom.series import (
    Series,
    check_series,
    grouped_by_series,
    shared_identifiers,
)
from securefl.data.own.digest import digest_of
from securefl.data.own.records import Records
from securefl.data.task import Task
from securefl.errors import DataError

GROUP_DIGITS = 32
_LISTED = "`securefl data check SCENARIO --files` lists the numbers of the files"

# Gets the sentence about a bad file, series or line; refuses it, or does nothing.
OnBad = Callable[[str], None]


class Labelled(NamedTuple):
    """A series with its line in the labels."""

    series: Series
    line: Line


@dataclass(frozen=True)
class DicomSource:
    """Records in DICOM files.

    Args:
        path: a folder with one folder for each declared site.
        labels: a CSV file.
        schema: what files, labels and pixels mean.
        key: returns the secret key of the groups' names; it is asked for when records are read.

    Guarantees of `read(claim=True)`:
        - Nothing is refused, and no record is sized or scaled, for what is in a file or in a line.
        - Sites, task, window and spacing follow from the schema, except where it says
          window = "file": then each image has its own.
    """

    path: Path
    labels: Path
    schema: DicomSchema
    key: Callable[[], bytes]

    @property
    def task(self) -> Task:
        """The task that the schema declares."""
        return self.schema.task

    @property
    def sites(self) -> tuple[str, ...]:
        """The declared sites."""
        return self.schema.sites

    @property
    def has_test(self) -> bool:
        """Whether the labels say that some records are for testing."""
        return self.schema.split is not None and "test" in self.schema.splits

    @property
    def grouped(self) -> bool:
        """Always: patients are the groups."""
        return True

    def require_declared(self) -> None:
        """Checks that no record changes what becomes of another. Raises ScenarioError."""
        self.schema.require_single_records()

    def check_form(self) -> None:
        """Checks that folders, labels and pydicom are there; opens no DICOM file.

        Raises:
            DataError: a folder of a site, a column of the labels, or pydicom is missing.
        """
        require_pydicom()
        site_folders(self.path, self.sites)
        check_header(self.labels, self.schema)

    def read(self, *, claim: bool) -> Records:
        """Returns all records; see `Source`."""
        records = self.gathered(ignore if claim else _refuse)
        splits = (records.train, records.validation, records.test)
        if not claim and not any(split is not None and len(split.examples) for split in splits):
            raise DataError(f"data.path: {self.path} holds no record with a label")
        return records

    def gathered(self, on_bad: OnBad) -> Records:
        """Returns the good records.

        Args:
            on_bad: gets a sentence about each bad line, file and series; what it does not refuse is
                left out.

        Raises:
            DataError: a folder or the labels cannot be read.
        """
        parts = {name: Part(self.task) for name in self._splits}
        group_key = self.key()
        # A header and the pixels of each file.
        steps = Steps(2 * sum(map(len, self.files)))
        for series, line in self.labelled(on_bad, steps):
            part = parts[self._splits[line.split]]
            group = group_of(group_key, series.headers[0].patient)
            # Records of a bad series are dropped together: it has one line.
            try:
                with careful("cannot be read"):
                    images = [*images_of(series, self.schema)]
            except Flaw as reason:
                on_bad(self._sentence_of(reason, series))
                continue
            finally:
                steps.pass_by(len(series.headers))
            part.extend(images, line.code, series.site, group)
        splits = {name: part.split() for name, part in parts.items()}
        validation, test = splits.get("validation"), splits.get("test")
        return Records(self.task, self.sites, splits["train"], validation, test)

    def digest(self, key: bytes) -> str:
        """Returns a keyed digest of schema, labels and files; paths below a site do not count."""
        declared = self.schema.model_dump_json(exclude_defaults=True).encode()
        parts: list[tuple[str, list[bytes]]] = [
            ("schema", [declared]),
            ("labels", [labels_content(self.labels)]),
        ]
        for site, files in zip(self.sites, self.files, strict=True):
            digests = sorted(_digests(key, files))
            parts.append((site, digests))
        return digest_of(key, parts)

    @cached_property
    def files(self) -> tuple[tuple[File, ...], ...]:
        """The files of each site. Raises DataError."""
        folders = site_folders(self.path, self.sites)
        return tuple(files_of(folder, site) for site, folder in enumerate(folders))

    def headers(self, on_bad: OnBad, steps: Steps) -> Iterator[Header]:
        """Yields the headers of all files of the declared modality, by site and number."""
        for file in (file for files in self.files for file in files):
            steps.pass_by()
            try:
                header = self._header(file)
            except Flaw as reason:
                on_bad(self.sentence(file, str(reason)))
                continue
            if header is not None:
                yield header

    def labelled(self, on_bad: OnBad, steps: Steps) -> Iterator[Labelled]:
        """Yields the good series with their lines.

        Args:
            on_bad: gets a sentence about each bad line, file and series; what it does not refuse is
                left out.
            steps: counts the files.

        Raises:
            DataError: a folder or the labels cannot be read.
        """
        surplus = undeclared(self.path, self.sites, self.labels)
        if surplus:
            on_bad(
                f"data.path: {self.path} holds {surplus} files or folders that are of no declared "
                "site; only the folders of sites lie there"
            )
        labels = read_labels(self.labels, self.schema, on_bad)
        all_series = grouped_by_series(self.headers(on_bad, steps))
        for header, what in shared_identifiers(all_series):
            on_bad(self.sentence(header.file, what))
        found = [*self._with_lines(all_series, labels, on_bad)]
        counts = Counter((series.site, line.number) for series, line in found)
        for series, line in found:
            if self.schema.series == "one" and counts[series.site, line.number] > 1:
                sentence = (
                    f"the series of this file is one of {counts[series.site, line.number]} with "
                    f'the label of one {self.schema.by}; leave one, or declare series = "all"'
                )
                on_bad(self.sentence(series.first, sentence))
            else:
                yield Labelled(series, line)

    def sentence(self, file: File, what: str) -> str:
        """Returns a sentence about a file, with its place and no name."""
        count = len(self.files[file.site])
        return f"site {self.sites[file.site]!r}, file {file.number} of {count}: {what} ({_LISTED})"

    def _sentence_of(self, reason: Flaw, series: Series) -> str:
        """Returns a sentence about the bad file of a series, or about all of it."""
        if reason.file is not None:
            return self.sentence(reason.file, str(reason))
        return self.sentence(series.first, f"the series of this file {reason}")

    def _with_lines(
        self, all_series: Sequence[Series], labels: Labels, on_bad: OnBad
    ) -> Iterator[Labelled]:
        """Yields the series that are whole and have a line."""
        for series in all_series:
            try:
                check_series(series)
                line = self._line(series, labels)
            except Flaw as reason:
                on_bad(self.sentence(series.first, f"the series of this file {reason}"))
                continue
            if line is not None:
                yield Labelled(series, line)

    @property
    def _splits(self) -> Sequence[str]:
        return ("train",) if self.schema.split is None else self.schema.splits

    def _header(self, file: File) -> Header | None:
        """Returns the header of a file; None for one that the schema leaves out. Raises Flaw."""
        data = content(file.path)
        if is_directory(data):
            return None
        header = read_header(file, data, self.schema.modality)
        if header is None and self.schema.others == "refuse":
            raise Flaw(
                f'is of another modality than {self.schema.modality}; others = "skip" in the '
                "schema leaves such files out"
            )
        return header

    def _line(self, series: Series, labels: Labels) -> Line | None:
        """Returns the line of a series; None for one that the schema leaves out. Raises Flaw."""
        header = series.headers[0]
        keys = {"series": header.series, "study": header.study, "patient": header.patient}
        try:
            line = labels.of(self.sites[series.site], keys[self.schema.by])
        except Flaw:
            if self.schema.others == "skip":
                return None
            raise
        if line is None:
            raise Flaw(f"has two lines in data.labels for one {self.schema.by}")
        return None if line.code == DROPPED else line


def group_of(key: bytes, patient: str) -> bytes:
    """Returns a name for a patient that says nothing without the key."""
    name = b"securefl patient 1\0" + patient.encode("utf-8", "surrogatepass")
    return hmac.new(key, name, hashlib.sha256).hexdigest()[:GROUP_DIGITS].encode()


def _digests(key: bytes, files: Sequence[File]) -> Iterator[bytes]:
    """Yields a keyed digest of each file that can be read."""
    for file in files:
        with suppress(Flaw):
            yield hmac.digest(key, content(file.path), "sha256")


def _refuse(sentence: str) -> NoReturn:
    raise DataError(sentence)


def ignore(sentence: str) -> None:
    """Ignores what is wrong: under a claim nobody may learn it."""
