"""What `securefl data check` says about DICOM files, and the previews that it draws.

What is printed here is for the owner of the files. No value of a header is among it.
"""

import base64
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from securefl.data.dicom.confidential import Found, confidential, in_words
from securefl.data.dicom.files import Flaw, content
from securefl.data.dicom.header import Header
from securefl.data.dicom.labels import read_labels
from securefl.data.dicom.progress import Steps
from securefl.data.dicom.series import (
    Series,
    grouped_by_series,
    has_mixed_orientations,
    orientation,
)
from securefl.data.dicom.source import DicomSource, ignore
from securefl.errors import DataError, ScenarioError
from securefl.files import write_atomic
from securefl.ui.check import number

if TYPE_CHECKING:  # torch: seconds that a refusal need not wait
    from torch import Tensor

MAX_PICTURES = 16
PICTURES_A_ROW = 4
PICTURE_SIDE = 224
PICTURE_GAP = 8
_NO_DEIDENTIFIER = (
    "securefl writes none of these attributes into a run, removes none of them from the files, and "
    "does not look for text in the pixels: it is no de-identifier"
)


@dataclass(frozen=True)
class Seen:
    """What the files of a source hold.

    Attributes:
        headers: of all images.
        attributes: number of files with each attribute of the confidentiality profile.
        files: number of DICOM files.
    """

    headers: tuple[Header, ...]
    attributes: Found
    files: int


def look(source: DicomSource) -> Seen:
    """Returns what the files hold; files that cannot be read are left out."""
    attributes: Found = Counter()
    files = 0
    for file in (file for files_of_site in source.files for file in files_of_site):
        try:
            attributes.update(confidential(content(file.path)))
        except Flaw:
            continue
        files += 1
    steps = Steps(sum(map(len, source.files)))
    return Seen(tuple(source.headers(ignore, steps)), attributes, files)


def remarks(source: DicomSource, seen: Seen) -> Iterator[str]:
    """Yields sentences about series, text in the pixels, and attributes that identify people."""
    all_series = grouped_by_series(seen.headers)
    yield f"{number(seen.files, 'DICOM file')} in {len(all_series)} series"
    series_in: dict[Path, set[str]] = {}
    for header in seen.headers:
        series_in.setdefault(header.file.path.parent, set()).add(header.series)
    crowded = sum(len(series) > 1 for series in series_in.values())
    if crowded:
        yield f"{number(crowded, 'folder')} with two series or more, told apart by their UIDs"
    if source.schema.others == "skip":
        yield f"{number(seen.files - len(seen.headers), 'file')} skipped: of another modality"
    idle = _lines_without_files(source, seen.headers)
    if idle:
        yield f"{number(idle, 'line')} of data.labels without a file: is an export incomplete?"
    mixed = sum(map(has_mixed_orientations, all_series))
    if mixed:
        yield f"{mixed} series with images of different orientations"
    yield from _orientations(source, all_series)
    patients: dict[str, set[int]] = {}
    for header in seen.headers:
        patients.setdefault(header.patient, set()).add(header.file.site)
    shared = sum(len(sites) > 1 for sites in patients.values())
    if shared:
        yield (
            f"{number(shared, 'PatientID')} at two sites or more: one side of the split has them "
            "all here; between hospitals nobody would know"
        )
    yield _flags(seen)
    yield from in_words(seen.attributes, seen.files)
    if seen.attributes:
        yield _NO_DEIDENTIFIER


def _lines_without_files(source: DicomSource, headers: Sequence[Header]) -> int:
    """Returns how many lines of the labels are about nothing that lies in the files."""
    labels = read_labels(source.labels, source.schema, ignore)
    there = set()
    for header in headers:
        keys = {"series": header.series, "study": header.study, "patient": header.patient}
        site = source.sites[header.file.site] if labels.has_sites else ""
        there.add((site, keys[source.schema.by]))
    return len(labels.lines.keys() - there)


def listing(source: DicomSource) -> Iterator[str]:
    """Yields site, number and path of each file; a path may carry a name, so for a terminal only.

    Signs that could change the terminal are escaped.
    """
    for site, files in zip(source.sites, source.files, strict=True):
        for file in files:
            path = str(file.path)
            shown = path if path.isprintable() else repr(path)
            yield f"site {site!r}, file {file.number} of {len(files)}: {shown}"


def refuse_preview(seen: Seen, *, looked: bool) -> None:
    """Raises DataError where a file says that text is in its pixels, or nobody looked."""
    flags = Counter(header.burned_in for header in seen.headers)
    if flags["YES"]:
        raise DataError(
            f"{number(flags['YES'], 'file')} with BurnedInAnnotation = YES, or a word that is not "
            "known: text in the pixels may name somebody, so that no preview is drawn"
        )
    if flags[""] and not looked:
        raise DataError(
            f"{number(flags[''], 'file')} without BurnedInAnnotation: nobody knows whether text in "
            "the pixels names somebody; look at the images, and give --i-looked if it does not"
        )


def draw_preview(path: Path, images: "Tensor") -> int:
    """Draws the first records, up to 16, as an SVG that only its owner can read.

    Args:
        path: of the .svg file.
        images: (n, channels, height, width) or volumes, of which the middle slice is drawn.

    Returns:
        The number of pictures.

    Raises:
        ScenarioError: the file cannot be written, or has another ending.
    """
    if path.suffix != ".svg":
        raise ScenarioError(f"--preview takes a file that ends in .svg, got {path}")
    chosen = images[:MAX_PICTURES]
    if chosen.dim() == 5:
        chosen = chosen[:, :, (chosen.shape[2] - 1) // 2]
    step = PICTURE_SIDE + PICTURE_GAP
    rows = -(-len(chosen) // PICTURES_A_ROW)
    width, height = PICTURES_A_ROW * step, rows * step
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">']
    for index, image in enumerate(chosen):
        row, column = divmod(index, PICTURES_A_ROW)
        lines.append(
            f'<image x="{column * step}" y="{row * step}" width="{PICTURE_SIDE}" '
            f'height="{PICTURE_SIDE}" href="data:image/png;base64,{_png(image)}"/>'
        )
    try:
        write_atomic(path, "\n".join([*lines, "</svg>\n"]).encode(), secret=True)
    except OSError as reason:
        raise ScenarioError(f"cannot write {path}: {reason.strerror}") from None
    return len(chosen)


def _orientations(source: DicomSource, all_series: Sequence[Series]) -> Iterator[str]:
    """Yields where rows and columns lead at each site, if not everywhere the same."""
    counts = [Counter[str]() for _ in source.sites]
    for series in all_series:
        counts[series.site][orientation(series) or "unknown"] += 1
    if len(set().union(*counts)) < 2:
        return
    sites = "; ".join(
        f"{name} " + ", ".join(f"{count} {words}" for words, count in sorted(found.items()))
        for name, found in zip(source.sites, counts, strict=True)
        if found
    )
    yield (
        "rows and columns lead in different directions, and nothing is turned, so that a model may "
        f"learn the site; series by site: {sites}"
    )


def _flags(seen: Seen) -> str:
    flags = Counter(header.burned_in for header in seen.headers)
    return (
        f"text in the pixels: {flags['YES']} files say YES, {flags['NO']} say NO, {flags['']} say "
        "nothing; a flag proves nothing"
    )


def _png(image: "Tensor") -> str:
    """Returns an image (channels, height, width) as a PNG in base64."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
