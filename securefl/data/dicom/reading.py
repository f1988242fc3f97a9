"""pydicom, and DICOM files as its data sets, within bounds.

pydicom warns about odd values and quotes them, so its warnings and the texts of its errors are not
passed on.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from securefl.data.dicom.files import Flaw
from securefl.errors import DataError

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
        meta = _meta(content)
        # A deflated file of a few megabytes can hold gigabytes.
        if meta.get("TransferSyntaxUID") == DEFLATED:
            raise Flaw("is deflated, which is not read; write it with another transfer syntax")
        if "TransferSyntaxUID" not in meta:
            raise Flaw("states no transfer syntax")
        return pydicom.dcmread(BytesIO(content), stop_before_pixels=not pixels, specific_tags=tags)


def _meta(content: bytes) -> Any:
    """Returns the file meta elements, which are in explicit VR and little endian (PS3.10, 7.1)."""
    from pydicom.filereader import read_dataset

    file = BytesIO(content[_MAGIC.stop :])
    return read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)


def is_directory(content: bytes) -> bool:
    """Returns whether a file is a DICOMDIR, which lists other files and holds no image."""
    return content[_MAGIC] == b"DICM" and _DIRECTORY.encode() in content[:1024]


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


def encapsulated_frame(data: bytes, index: int, frames: int) -> bytes:
    """Returns one compressed frame."""
    from pydicom.encaps import get_frame

    return bytes(get_frame(data, index, number_of_frames=frames))


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
