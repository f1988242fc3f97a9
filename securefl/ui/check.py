"""What `securefl data check` says about records.

These facts depend on records. They are printed for the owner of the records, and no run keeps them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from securefl.data.own.overview import Count, Overview
from securefl.data.own.tally import Tally
from securefl.data.task import Task

# With more classes, a site's line says only how many of them it has.
MAX_LISTED_CLASSES = 10


@dataclass
class Check:
    """What records show.

    Attributes:
        task: what is predicted from what.
        classes: names of the classes; empty where targets are real numbers.
        found: sites, records and groups.
        tally: missing, clamped and bad values of a table.
        remarks: sentences that keep nobody from taking part.
        faults: sentences that say what keeps a site, or the whole run, from training.
    """

    task: Task
    classes: tuple[str, ...]
    found: Overview
    tally: Tally | None = None
    remarks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def sites(self) -> list[dict[str, Any]]:
        """Counts of each site, for programs."""
        sites: list[dict[str, Any]] = []
        for index, (name, train) in enumerate(zip(self.found.sites, self.found.train, strict=True)):
            test = _of_site(self.found.test, index, len(self.found.sites))
            coarse = {} if not self.task.groups else {"coarse": train.coarse}
            sites.append(
                {
                    "site": name,
                    "train": train.records,
                    "classes": dict(zip(self.classes, train.classes, strict=False)),
                    "test": None if test is None else test.records,
                    **coarse,
                }
            )
        return sites

    @property
    def facts(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "event": "data",
            "sites": self.sites,
            "groups": self.found.groups,
            "groups_on_both_sides": self.found.shared_groups,
            "values": None if self.tally is None else self.tally._asdict(),
            "remarks": self.remarks,
            "faults": self.faults,
        }

    def lines(self) -> Iterator[str]:
        """Yields the sentences for people."""
        yield self._headline()
        for site in self.sites:
            yield self._site_line(site)
        tests = {"validation": self.found.validation, "test": self.found.test}
        for split, counts in tests.items():
            # Test records of each site are in its line.
            if counts is not None and (split == "validation" or len(counts) < len(self.sites)):
                records = sum(count.records for count in counts)
                yield f"{number(records, f'{split} record')} in all"
        if self.found.groups is not None:
            yield (
                f"{number(self.found.groups, 'group')}, {self.found.shared_groups} of them with "
                "training records and records that judge"
            )
        if self.tally is not None:
            yield from _tally_lines(self.tally)
        yield from self.remarks
        yield from self.faults
        if not self.faults:
            yield "every site can take part"

    def _headline(self) -> str:
        records = sum(count.records for count in self.found.train)
        kind = f"{number(self.task.features, 'number')} each"
        if self.task.image:
            kind = f"images {' x '.join(map(str, self.task.image))}"
        goal = f"{len(self.classes)} classes"
        if self.task.regression:
            goal = number(self.task.outputs, "real target")
        return (
            f"{number(records, 'training record')} at {number(len(self.sites), 'site')}: "
            f"{kind}, {goal}"
        )

    def _site_line(self, site: dict[str, Any]) -> str:
        line = f"{site['site']}: {number(site['train'], 'training record')}"
        classes = site["classes"]
        if classes and len(classes) <= MAX_LISTED_CLASSES:
            line += f" ({', '.join(f'{count} of {name}' for name, count in classes.items())})"
        elif classes:
            present = sum(count > 0 for count in classes.values())
            line += f" (of {present} of {len(classes)} classes)"
        if "coarse" in site:
            line += f", {site['coarse']} with a coarse label"
        return line if site["test"] is None else f"{line}, {number(site['test'], 'test record')}"


def _of_site(counts: tuple[Count, ...] | None, index: int, sites: int) -> Count | None:
    """Returns the count of a site; None where the records bear no site."""
    if counts is None or len(counts) < sites:
        return None
    return counts[index]


def _tally_lines(counts: Tally) -> Iterator[str]:
    yield f"{number(counts.records, 'record')} in the table, {counts.dropped} left out"
    if counts.malformed:
        yield f"{number(counts.malformed, 'record')} with too few or too many fields"
    for column in sorted({*counts.missing, *counts.clamped, *counts.refused}):
        kinds = {
            "missing": counts.missing.get(column),
            "clamped to the range": counts.clamped.get(column),
            "refused without a DP claim": counts.refused.get(column),
        }
        words = [f"{count} {kind}" for kind, count in kinds.items() if count]
        yield f"column {column}: {', '.join(words)}"
    for column, sites in counts.beyond.items():
        yield (
            f"warning: column {column}: every value of {', '.join(sites)} is outside the range: is "
            "its unit or its factor right?"
        )


def number(count: int, noun: str) -> str:
    """Returns a number with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
