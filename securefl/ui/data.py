"""Looks at the records of a scenario or of a file for `securefl data check`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from securefl.data.dicom.source import DicomSource
from securefl.data.own.folder import Folder
from securefl.data.own.overview import Overview, overview, overview_of_sites
from securefl.data.own.records import Records, Source
from securefl.data.own.table import TableSource
from securefl.data.own.tally import tally
from securefl.data.task import Task
from securefl.errors import DataError, ScenarioError
from securefl.messages import sentences
from securefl.scenario import catalog
from securefl.scenario.assemble.data import dealt_data
from securefl.scenario.assemble.site_data import is_far
from securefl.scenario.data_table import Data
from securefl.scenario.harmonise_table import Combat
from securefl.scenario.overrides import override
from securefl.scenario.own_data import open_source, returns_the_same
from securefl.scenario.scenario import Scenario, load_scenario
from securefl.ui import dicom
from securefl.ui.check import Check, number

# Images of a folder are read at this size unless --set says another: it changes no count.
SIDE = 32
CHANNELS = 3
# Of bad files, which people mend some at a time.
MAX_FAULTS = 20
# A site with such a share of one class tells the class, unless most records everywhere have it.
NEARLY_ALL = 0.9
MOSTLY = 0.75


def check_scenario(path: Path, overrides: tuple[str, ...]) -> Check:
    """Returns what a scenario's records show, dealt to its clients as it says.

    Raises:
        ScenarioError: the scenario is wrong, or the records cannot be dealt.
        DataError: the records are missing or damaged.
    """
    scenario = load_scenario(path, overrides=overrides)
    source = None
    if not scenario.facts.data_set.published:
        source = open_source(scenario.data, scenario.home).source
    try:
        data = dealt_data(scenario)
    except DataError as reason:
        if isinstance(source, DicomSource):
            return _refused_files(source, reason)
        # What is wrong with a table is worth all its counts.
        if not isinstance(source, TableSource):
            raise
        return _refused(source, reason)
    found = overview_of_sites(data)
    check = Check(data.task, _class_names(source, data.task), found)
    if source is not None:
        check.found = _with_groups(found, _records(scenario))
        check.tally = tally(source) if isinstance(source, TableSource) else None
        check.remarks += _own_remarks(scenario, source)
    check.remarks += _declared_remarks(scenario, found)
    if isinstance(source, DicomSource):
        check.remarks += dicom.remarks(source, dicom.look(source))
    check.remarks += _lost_signal(scenario, check)
    check.remarks += _harmonise_remarks(scenario)
    check.faults += _faults(check)
    if source is not None and _is_function(scenario.data):
        check.faults += _repetition(scenario)
    return check


def dicom_source(path: Path, overrides: tuple[str, ...]) -> DicomSource:
    """Returns the DICOM records of a scenario, none of which is read yet.

    Raises:
        ScenarioError: the scenario is wrong, or has other records.
    """
    if path.suffix != ".toml":
        raise ScenarioError(f"{path}: --files and --preview need a scenario with DICOM records")
    scenario = load_scenario(path, overrides=overrides)
    source = None
    if not scenario.facts.data_set.published:
        source = open_source(scenario.data, scenario.home).source
    if not isinstance(source, DicomSource):
        raise ScenarioError("--files and --preview are for data.name = 'dicom'")
    return source


def preview(path: Path, overrides: tuple[str, ...], out: Path, *, looked: bool) -> int:
    """Draws records of a scenario with DICOM files, and returns how many.

    Raises:
        ScenarioError: there are no DICOM records, or the file cannot be written.
        DataError: text in the pixels may name somebody.
    """
    source = dicom_source(path, overrides)
    dicom.refuse_preview(dicom.look(source), looked=looked)
    scenario = load_scenario(path, overrides=overrides)
    return dicom.draw_preview(out, _records(scenario).train.examples.features)


def check_file(path: Path, schema: Path | None, overrides: tuple[str, ...]) -> Check:
    """Returns what the records of a file or of a folder show.

    Args:
        path: an .npz file, a folder of images, or a table.
        schema: of a table.
        overrides: further keys of the table [data], as "data.key=value".

    Raises:
        ScenarioError: a key is wrong, or nothing is known about such a file.
        DataError: the records are missing or damaged.
    """
    data = _data_of(path, schema, overrides)
    source = open_source(data, Path.cwd()).source
    try:
        records = source.read(claim=False)
    except DataError as reason:
        if not isinstance(source, TableSource):
            raise
        return _refused(source, reason)
    check = Check(records.task, _class_names(source, records.task), overview(records))
    check.tally = tally(source) if isinstance(source, TableSource) else None
    check.faults += _faults(check)
    if check.found.shared_groups:
        check.faults.append(
            "groups are on both sides, which a run without a DP claim refuses: leave each on one"
        )
    return check


def _data_of(path: Path, schema: Path | None, overrides: tuple[str, ...]) -> Data:
    """Returns the table [data] that a file would have in a scenario."""
    table: dict[str, Any] = {"path": str(path)}
    if path.suffix == ".npz":
        table["name"] = "arrays"
    elif path.is_dir():
        table |= {"name": "folder", "size": SIDE, "channels": CHANNELS}
    elif path.suffix in (".csv", ".parquet"):
        table["name"] = "table"
        if schema is None:
            raise ScenarioError(
                f"{path} is a table: give --schema SCHEMA; "
                f"`securefl data describe {path}` drafts one"
            )
    else:
        known = "is no .toml, .npz, .csv or .parquet file and no folder"
        raise ScenarioError(f"{path} {known if path.exists() else 'is not there'}")
    if schema is not None:
        table["schema"] = str(schema)
    values: dict[str, Any] = {"data": table}
    for given in overrides:
        override(values, given)
    if set(values) != {"data"}:
        raise ScenarioError(f"--set takes data.KEY=VALUE with {path}: other keys are a scenario's")
    try:
        return Data.model_validate(values["data"])
    except ValidationError as reason:
        raise ScenarioError(sentences(reason, Data, "data")) from None


def _refused_files(source: DicomSource, reason: DataError) -> Check:
    """Returns what DICOM files show, and everything for which a run without a claim refuses."""
    sentences_found: list[str] = []
    records = source.gathered(sentences_found.append)
    check = Check(records.task, _class_names(source, records.task), overview(records))
    check.remarks += dicom.remarks(source, dicom.look(source))
    # Where no file is bad, it is for instance a patient on both sides of the split.
    sentences_found = sentences_found or [str(reason)]
    check.faults += sentences_found[:MAX_FAULTS]
    if len(sentences_found) > MAX_FAULTS:
        check.faults.append(f"and {len(sentences_found) - MAX_FAULTS} more")
    return check


def _refused(source: TableSource, reason: DataError) -> Check:
    """Returns what a table shows that a run without a claim refuses."""
    counts = tally(source)  # raises where the file itself is damaged
    records = source.read(claim=True)
    check = Check(records.task, _class_names(source, records.task), overview(records), counts)
    check.faults.append(f"a run without a DP claim refuses these records: {reason}")
    return check


def _records(scenario: Scenario) -> Records:
    """Returns the records before they are dealt."""
    return open_source(scenario.data, scenario.home).read(claim=scenario.claims_dp)


def _with_groups(found: Overview, records: Records) -> Overview:
    """Returns counts after the split, with the groups of all records."""
    groups = overview(records)
    return Overview(
        found.sites,
        found.train,
        found.validation,
        found.test,
        groups.groups,
        groups.shared_groups,
    )


def _own_remarks(scenario: Scenario, source: Source) -> Iterator[str]:
    """Yields what a claim does with bad records, and does not say about groups."""
    if not scenario.claims_dp:
        return
    try:
        source.read(claim=False)
    except DataError as reason:
        yield f"the run cleans or drops bad records without a word, such as this one: {reason}"
    if source.grouped:
        yield "epsilon is for one record, not for a group of records such as a patient's"


def _declared_remarks(scenario: Scenario, found: Overview) -> Iterator[str]:
    """Yields a warning for each site whose declared records are far from the real ones."""
    declared = None if scenario.privacy is None else scenario.privacy.records
    if declared is None or len(declared) != len(found.sites):
        return
    for name, records, real in zip(found.sites, declared, found.train, strict=True):
        if is_far(records, real.records):
            yield (
                f"warning: privacy.records declares {records} for {name}, which has "
                f"{number(real.records, 'training record')}: noise and sampling rest on the "
                "declared number"
            )


def _lost_signal(scenario: Scenario, check: Check) -> Iterator[str]:
    """Yields a warning for each site that nearly is a class, where ComBat takes sites out."""
    if not isinstance(scenario.data.fit, Combat):
        return
    counts = check.found.train
    classes = zip(*(count.classes for count in counts), strict=True)
    for place, of_class in enumerate(classes):
        usual = sum(of_class) / max(1, sum(count.records for count in counts))
        for name, one, count in zip(check.found.sites, of_class, counts, strict=True):
            share = one / max(1, count.records)
            if share >= NEARLY_ALL and usual <= MOSTLY:
                yield (
                    f"warning: {share:.0%} of the training records of {name} are of "
                    f"{check.classes[place]}, {usual:.0%} of all: combat takes that signal out "
                    "together with the site"
                )


def _harmonise_remarks(scenario: Scenario) -> Iterator[str]:
    """Yields what is done to records before they train or judge."""
    steps = scenario.data.harmonise
    if steps is not None:
        names = ", then ".join(step.name for step in steps)
        yield f"records that train and records that judge pass data.harmonise: {names}"


def _faults(check: Check) -> Iterator[str]:
    """Yields what keeps a site from taking part."""
    for name, count in zip(check.found.sites, check.found.train, strict=True):
        fault = count.fault(check.task)
        if fault is not None:
            yield f"{name} cannot take part: it {fault}"
    if check.found.test is not None and not sum(count.records for count in check.found.test):
        yield "no record judges: raise data.test_share, or take another split_seed"


def _is_function(data: Data) -> bool:
    return data.name not in catalog.OWN_DATA


def _repetition(scenario: Scenario) -> Iterator[str]:
    """Yields the fault of a function that returns other records when it is called again."""
    if not returns_the_same(scenario.data, scenario.home):
        yield (
            f"{scenario.data.name} returned other records when it was called again: its workers "
            "would train on different ones, and no run could be resumed"
        )


def _class_names(source: Source | None, task: Task) -> tuple[str, ...]:
    """Returns what a source calls its classes, else their numbers."""
    if isinstance(source, Folder):
        return source.classes
    if isinstance(source, DicomSource):
        return tuple(source.schema.label.classes)
    if isinstance(source, TableSource) and source.schema.label is not None:
        return tuple(source.schema.label.classes)
    if isinstance(source, TableSource) and source.schema.labels:
        return tuple(label.column for label in source.schema.labels)
    return tuple(f"class {number}" for number in range(task.classes))
