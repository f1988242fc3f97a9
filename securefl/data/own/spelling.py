"""How a table spells a value: which words mean missing, and which spellings are the same."""

import re

# Of a text file, and of the texts in a Parquet file, which has nulls besides.
MISSING_WORDS = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "?")
# Of a binary column.
BINARY_LEVELS = {
    **{"0": 0, "false": 0, "False": 0, "FALSE": 0},
    **{"1": 1, "true": 1, "True": 1, "TRUE": 1},
}

# Without leading zeros: 007 is a code, not the number 7.
_DECIMAL = re.compile(r"([+-]?)(0|[1-9][0-9]*)(\.[0-9]+)?")


def canonical(value: object) -> str:
    """Returns the one spelling of a level, a class, a site or a patient.

    Numbers are equal however they are written, since one program writes 1 where another writes 1.0.

        >>> canonical(" 1.0 "), canonical(1), canonical("007"), canonical(True)
        ('1', '1', '007', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value).strip()
    number = _DECIMAL.fullmatch(text)
    if number is None:
        return text
    sign, whole, fraction = number.groups()
    digits = f"{whole}{fraction or ''}"
    if fraction:
        digits = digits.rstrip("0").removesuffix(".")
    return f"-{digits}" if sign == "-" and digits != "0" else digits


def declared(value: object) -> str:
    """Returns the canonical spelling of a value that a schema or a crosswalk declares.

    Raises:
        ValueError: it is neither a text nor a number, or a word that means missing.
    """
    if not isinstance(value, str | int | float):
        raise ValueError("input should be a text or a number")
    text = canonical(value)
    if text in MISSING_WORDS:
        raise ValueError("this means missing in every column, so it is no value")
    return text
