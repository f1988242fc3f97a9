"""pydicom, and DICOM files as its data sets, within bounds.

pydicom warns about odd values and quotes them, so its warnings and the texts of its errors are not
passed on.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from securefl.data.dicom.elements import Encoding, check_elements
from securefl.data.dicom.files import Flaw
from securefl.errors import DataError

_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
MAX_META_BYTES = 2**16
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DIRECTORY = "1.2.840.10008.1.3.10"
_MAGIC = slice(128, 132)
_NEEDS_PYDICOM = "DICOM files need pydicom: install it with `pip install 'securefl[dicom]'`"


def require_pydicom() -> None:
    """Raises DataError where pydicom is not installed."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise DataError(_NEEDS_PYDICOM) from None


@contextmanager
def careful(failure: str) -> Iterator[None]:
    """Turns whatever pydicom raises into a Flaw without its text, and drops its warnings.

    Args:
        failure: what is wrong with the file then.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Flaw:
            raise
        # Damaged files make pydicom and its codecs raise errors of nearly every kind.
        except Exception:
            raise Flaw(failure) from None


def dataset(content: bytes, *, pixels: bool, tags: list[str] | None = None) -> Any:
    """Returns the data set of a file.

    Args:
        content: of the file.
        pixels: whether pixel data, and what follows them, are read too.
        tags: keywords of the elements that are read; all where it is None.

    Raises:
        Flaw: it is no DICOM file, is damaged, or is deflated.
    """
    import pydicom

    if content[_MAGIC] != b"DICM":
        raise Flaw("is no DICOM file")
    with careful("is a damaged DICOM file"):
        # The file is in memory, so that no stated length makes a read larger than the file.
        meta, start = _meta(content)
        # A deflated file of a few megabytes can hold gigabytes.
        if meta.get("TransferSyntaxUID") == DEFLATED:
            raise Flaw("is deflated, which is not read; write it with another transfer syntax")
        if "TransferSyntaxUID" not in meta:
            raise Flaw("states no transfer syntax")
        syntax = meta.TransferSyntaxUID
        encoding = Encoding(implicit=syntax == _IMPLICIT, little=syntax != _BIG_ENDIAN)
        check_elements(content, start, encoding, _vr_of)
        return pydicom.dcmread(BytesIO(content), stop_before_pixels=not pixels, specific_tags=tags)


def _meta(content: bytes) -> tuple[Any, int]:
    """Returns the file meta elements and where they end.

    They are in explicit VR and little endian (PS3.10, 7.1).
    """
    from pydicom.filereader import read_dataset

    file = BytesIO(content[_MAGIC.stop : _MAGIC.stop + MAX_META_BYTES])
    found = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    end = _MAGIC.stop + file.tell()
    # Elements of a command belong into no file (PS3.10, 7.1), and pydicom would read them.
    if file.tell() >= MAX_META_BYTES or content[end : end + 2] == b"\0\0":
        raise Flaw("is a damaged DICOM file")
    return found, end


def _vr_of(tag: int) -> str | None:
    """Returns the value representation of a tag in the dictionary; None where it has none."""
    from pydicom.datadict import dictionary_VR

    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return None


def is_directory(content: bytes) -> bool:
    """Returns whether a file is a DICOMDIR, which lists other files and holds no image.

    Raises:
        Flaw: it is a damaged DICOM file.
    """
    if content[_MAGIC] != b"DICM":
        return False
    with careful("is a damaged DICOM file"):
        return bool(_meta(content)[0].get("MediaStorageSOPClassUID") == _DIRECTORY)


def syntax_name(uid: str) -> str:
    """Returns the name of a transfer syntax; one that the standard does not know is not quoted."""
    from pydicom.uid import UID_dictionary

    known = UID_dictionary.get(uid)
    return f"{known[0]} ({uid})" if known else "a private transfer syntax"


def is_registered(value: Any) -> bool:
    """Returns whether the standard defines all UIDs of an element, as those of classes are."""
    from pydicom.uid import UID_dictionary

    uids = [value] if isinstance(value, str) else list(value or [])
    return all(uid in UID_dictionary for uid in uids)


def is_decodable(uid: str) -> bool:
    """Returns whether pydicom has what decodes a transfer syntax."""
    from pydicom.pixels import get_decoder

    try:
        return bool(get_decoder(uid).is_available)
    except NotImplementedError:
        return False


def encapsulated_frame(found: Any, index: int, frames: int) -> bytes:
    """Returns one compressed frame, which is the one that `decoded_frame` decodes."""
    from pydicom.encaps import get_frame

    offsets: tuple[bytes, bytes] | None = None
    if "ExtendedOffsetTable" in found and "ExtendedOffsetTableLengths" in found:
        offsets = (found.ExtendedOffsetTable, found.ExtendedOffsetTableLengths)
        # pydicom does not use such a table either.
        if len(offsets[0]) != len(offsets[1]):
            offsets = None
    frame = get_frame(found.PixelData, index, number_of_frames=frames, extended_offsets=offsets)
    return bytes(frame)


def is_big_endian(found: Any) -> bool:
    """Returns whether the highest byte of a word comes first."""
    return getattr(found, "file_meta", {}).get("TransferSyntaxUID") == BIG_ENDIAN


def decoded_frame(found: Any, index: int, *, masked: bool) -> Any:
    """Returns the pixels of one frame as pydicom decodes them; YBR becomes RGB.

    Args:
        found: the data set.
        index: of the frame.
        masked: whether pydicom clears the bits that are not in use. It takes the highest bit in
            use to be the last but BitsStored, whatever HighBit says.
    """
    from pydicom.pixels import pixel_array

    return pixel_array(found, index=index, correct_unused_bits=masked)


def coloured(values: Any, found: Any) -> Any:
    """Returns the RGB values that the palette of a data set gives to its pixels."""
    from pydicom.pixels import apply_color_lut

    return apply_color_lut(values, found)
