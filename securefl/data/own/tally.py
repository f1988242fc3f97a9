"""How many values of a table are missing, clamped or bad, for `data check` alone."""

from collections import Counter
from typing import NamedTuple

from securefl.data.own.table import TableSource, encoded_blocks


class Tally(NamedTuple):
    """What is wrong with the records of a table, for `data check` alone.

    These numbers depend on records. A run must never keep or show them.

    Attributes:
        records: in all, without the malformed ones.
        malformed: records with too few or too many fields.
        dropped: records that a run leaves out, besides the malformed ones.
        missing: missing values, by column; columns without are left out, here and below.
        clamped: numbers outside the declared range, by column.
        refused: values that a run refuses unless it claims privacy, by column.
        beyond: sites all of whose values are outside the range, by column: a unit may be wrong.
    """

    records: int
    malformed: int
    dropped: int
    missing: dict[str, int]
    clamped: dict[str, int]
    refused: dict[str, int]
    beyond: dict[str, list[str]]


def tally(source: TableSource) -> Tally:
    """Counts bad values, as a run under a claim meets them. Raises DataError."""
    records = malformed = dropped = 0
    missing, clamped, refused = Counter[str](), Counter[str](), Counter[str]()
    beyond: dict[str, list[str]] = {}
    for site, path in zip(source.file_sites, source.files(), strict=True):
        skipped: set[int] = set()
        present, outside = Counter[str](), Counter[str]()
        for encoded in encoded_blocks(path, source.schema, skipped=skipped, site=site):
            records += len(encoded.keep)
            dropped += int((~encoded.keep).sum())
            missing.update(encoded.missing)
            outside.update(encoded.clamped)
            for name in encoded.clamped:
                present[name] += len(encoded.keep) - encoded.missing.get(name, 0)
            for flaw in encoded.flaws:
                refused[flaw.column] += flaw.records
        clamped.update(outside)
        malformed += len(skipped)
        for name, count in outside.items():
            if count and count == present[name]:
                beyond.setdefault(name, []).append("all sites" if site is None else site)
    return Tally(
        records, malformed, dropped, dict(+missing), dict(+clamped), dict(+refused), beyond
    )
