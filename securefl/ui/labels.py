"""What `securefl labels check` says about a crosswalk, and about the words of records.

The words of records are printed for the people of the site that has them, and no run keeps them.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securefl.data.crosswalk.lookup import How
from securefl.data.crosswalk.model import Crosswalk
from securefl.data.crosswalk.read import read_crosswalk
from securefl.data.crosswalk.words import ColumnWords, Words
from securefl.data.dicom.source import DicomSource
from securefl.data.own.schema import Schema
from securefl.data.own.site_words import SiteWord, label_site_words, site_words
from securefl.data.own.table import TableSource
from securefl.errors import ScenarioError
from securefl.scenario.own_data import open_source
from securefl.scenario.scenario import Scenario, load_scenario
from securefl.scenario.shared import schema_of
from securefl.ui.check import number

STAY = "these words and counts are facts about records: they stay at the site"


@dataclass(frozen=True)
class LabelCheck:
    """A crosswalk, and the words of records where there are some.

    Attributes:
        crosswalk: of all sites.
        words: of the records; None where none were looked at.
    """

    crosswalk: Crosswalk
    words: Sequence[SiteWord] | None

    @property
    def unknown(self) -> list[SiteWord]:
        """The words without an entry, and those with several that differ."""
        return [word for word in self.words or () if not word.mapped.is_known]

    @property
    def facts(self) -> dict[str, Any]:
        """Everything, for programs."""
        words = None
        if self.words is not None:
            words = [
                {
                    "site": word.site,
                    "column": word.column,
                    "word": word.word,
                    "records": word.records,
                    "becomes": word.mapped.value,
                    "how": word.mapped.how.value,
                }
                for word in self.words
            ]
        crosswalk = self.crosswalk.model_dump(mode="json", exclude_defaults=True)
        return {"event": "labels", "crosswalk": crosswalk, "words": words}

    def lines(self) -> Iterator[str]:
        """Yields the sentences for people."""
        for name, column in self.crosswalk.columns.items():
            yield f"column {name}"
            yield from _column_lines(column)
        for site, labels in self.crosswalk.not_observed.items():
            yield f"{site} never looked for {', '.join(labels)}"
        outcome = {"refuse": "refuses the run", "drop": "drops the record"}
        yield f"a word without an entry {outcome[self.crosswalk.unmapped]}"
        if self.words is not None:
            yield from self._word_lines(self.words)

    def _word_lines(self, words: Sequence[SiteWord]) -> Iterator[str]:
        yield "words in the records:"
        for word in words:
            site = word.site or "no site"
            yield (
                f"  {site}, {word.column}: {word.word} {_becomes(word)},"
                f" {number(word.records, 'record')}"
            )
        records = sum(word.records for word in self.unknown)
        if self.unknown:
            yield (
                f"{number(len(self.unknown), 'word')} in {number(records, 'record')} without a"
                " single entry"
            )
        else:
            yield "every word has an entry"
        yield STAY


def check_labels(
    path: Path,
    scenario: Path | None,
    overrides: tuple[str, ...],
    *,
    records: Path | None,
    site: str | None,
) -> LabelCheck:
    """Returns a crosswalk, and the words of a scenario's records or of one site's file.

    Args:
        path: of the crosswalk, which takes the place of the scenario's own.
        scenario: on tables; None looks at no record.
        overrides: `key.path=value` pairs on top of the scenario.
        records: one site's file; None takes those of the scenario.
        site: whose file that is.

    Raises:
        ScenarioError: the crosswalk or the scenario is wrong, or they do not fit together.
        DataError: records are missing or damaged.
    """
    crosswalk = read_crosswalk(path)
    if scenario is None:
        for value, option in ((records, "--records"), (site, "--site"), (overrides, "--set")):
            if value:
                raise ScenarioError(f"{option} has no effect without a scenario; name one")
        return LabelCheck(crosswalk, None)
    if (records is None) is not (site is None):
        raise ScenarioError("--records and --site go together: whose file is it?")
    # A relative path would start from the scenario's folder.
    ours = f"data.crosswalk={json.dumps(str(path.resolve()))}"
    loaded = load_scenario(scenario, overrides=(*overrides, ours))
    if loaded.data.name == "dicom":
        return _of_dicom(loaded, crosswalk, records)
    schema = schema_of(loaded)
    if not isinstance(schema, Schema):
        raise ScenarioError(
            f"{scenario} is not about tables or DICOM files, which a crosswalk is for"
        )
    if records is not None:
        return LabelCheck(crosswalk, site_words(_own_file(records, schema, site)))
    if loaded.data.path is None:
        raise ScenarioError(
            f"{scenario} has the schema of the records and not the records: give a site's file,"
            " as in --records visits.csv --site NAME"
        )
    return LabelCheck(crosswalk, site_words(TableSource(loaded.home / loaded.data.path, schema)))


def _of_dicom(scenario: Scenario, crosswalk: Crosswalk, records: Path | None) -> LabelCheck:
    """Returns a crosswalk, and the words of the labels of DICOM files."""
    if records is not None:
        raise ScenarioError("--records has no effect with DICOM files: data.labels has all labels")
    source = open_source(scenario.data, scenario.home).source
    if not isinstance(source, DicomSource):
        raise ScenarioError(f"data.name = {scenario.data.name!r} is no form of DICOM files")
    return LabelCheck(crosswalk, label_site_words(source))


def _own_file(path: Path, schema: Schema, site: str | None) -> TableSource:
    """Returns the records of one site's file. Raises ScenarioError: there is no such site."""
    if site not in (schema.sites or ()):
        raise ScenarioError(
            f"--site: the schema has no site {site!r}; it has {', '.join(schema.sites or ())}"
        )
    return TableSource(path, schema.model_copy(update={"sites": None}), site_of_file=site)


def _column_lines(column: ColumnWords) -> Iterator[str]:
    for word, below in column.coarse.items():
        yield f"  {word} is coarse: {' or '.join(sorted(below))}"
    yield from _scope_lines("all sites", column)
    for site, words in column.sites.items():
        yield from _scope_lines(site, words)


def _scope_lines(name: str, words: Words) -> Iterator[str]:
    """Yields the entries of one site, or of all, in the order in which they are looked up."""
    entries = [
        *(f"{word} -> {value} (term)" for word, value in words.terms.items()),
        *(f"{word} -> missing" for word in words.missing),
        *(f"{word} -> {other} (synonym)" for word, other in words.synonyms.items()),
        *(f"{code.code} -> {code.value} ({code.system} {code.version})" for code in words.codes),
        *(f"{entry.pattern} -> {entry.value} (pattern)" for entry in words.patterns),
    ]
    if entries:
        yield f"  {name}:"
    for entry in entries:
        yield f"    {entry}"


def _becomes(word: SiteWord) -> str:
    """Returns what becomes of a word, as part of a line."""
    if word.mapped.how is How.UNMAPPED:
        return "has no entry"
    if word.mapped.how is How.AMBIGUOUS:
        return "has several entries that differ"
    return f"-> {word.mapped.value or 'missing'} ({word.mapped.how.value})"
