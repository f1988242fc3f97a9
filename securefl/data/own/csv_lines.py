"""The lines of a CSV file: its header, and the line that a record begins on.

pyarrow reads the records. It knows neither the names that occur twice nor the lines of a file.
"""

import csv
from pathlib import Path

# No header is longer.
MAX_HEADER_CHARACTERS = 2**20


def header(path: Path) -> list[str] | None:
    """Returns the names in the first line that is not blank; None where they are not UTF-8 text.

    The list is empty where the file is. Bytes after the header are not looked at.
    """
    # Python decodes ahead of what it returns, so that a strict decoder would judge records, too.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        line = ""
        while not line.strip("\r\n"):
            line = file.readline(MAX_HEADER_CHARACTERS)
            if not line:
                return []
        # A quoted name may hold line ends.
        while line.count('"') % 2 and len(line) < MAX_HEADER_CHARACTERS:
            more = file.readline(MAX_HEADER_CHARACTERS)
            if not more:
                break
            line += more
    if "\0" in line or any("\udc80" <= character <= "\udcff" for character in line):
        return None
    return next(csv.reader([line]), [])


def first_line(path: Path, row: int) -> int | None:
    """Returns the number of the line on which a record begins, from 1.

    It reads the file up to there, so it is for messages.

    Args:
        path: of a file with a header.
        row: of the record, from 0; blank lines are no records.

    Returns:
        None where Python's reader does not get there, for example at a field beyond its limit.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file)
        records = -2  # the header is not one, and the first has number 0
        end = 0
        try:
            for fields in reader:
                start, end = end + 1, reader.line_num
                records += bool(fields)
                if records == row and fields:
                    return start
        except csv.Error:
            return None
    return None
