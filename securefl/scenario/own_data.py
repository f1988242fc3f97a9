"""Somebody's own records as an entry that a scenario can use like a published data set.

Only what is declared, or what a file's form shows, is known before the records are read: how many
records a site has is no public number.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from securefl.data.entries import DataEntry
from securefl.data.own.digest import digest_key
from securefl.data.own.python_door import Returned
from securefl.data.own.records import Records, Source
from securefl.data.own.split import check_test_share, federated
from securefl.data.task import FederatedData
from securefl.errors import PluginError, ScenarioError
from securefl.files import cache_folder, is_special
from securefl.scenario import catalog
from securefl.scenario.data_table import OWN_KEYS, Data
from securefl.scenario.plugins.find import Group, find

# Keys that every form of own records takes.
COMMON_KEYS = ("test_share", "public")
KEYS_OF_FUNCTIONS = (
    *("num_classes", "sites", "channels", "ranges", "loss", "per_record", "arguments"),
    *COMMON_KEYS,
)
MAX_OPEN_SOURCES = 4  # of a process, with their records
LOADER_SECONDS = 3600.0  # that a function may take to return records


class Opened:
    """A source whose records are read once a process."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._records: dict[bool, Records] = {}
        self._digests: dict[bool, str] = {}

    def read(self, *, claim: bool) -> Records:
        """Returns the records; nobody writes into them."""
        if claim not in self._records:
            self._records[claim] = self.source.read(claim=claim)
        return self._records[claim]

    def digest(self, *, public: bool) -> str:
        """Returns the digest of the records."""
        if public not in self._digests:
            key = digest_key(cache_folder(), public=public)
            self._digests[public] = self.source.digest(key)
        return self._digests[public]


def own_entry(data: Data, home: Path, *, claim: bool) -> DataEntry:
    """Returns the entry of a user's own records.

    Args:
        data: the table, with the name of a form of records or of a function.
        home: the folder that relative paths start from.
        claim: whether the scenario claims DP.

    Raises:
        ScenarioError: a key is missing or has no effect, or a claim lacks a declared constant.
        DataError: the records are missing or damaged.
    """
    opened = open_source(data, home)
    if claim:
        _require_declared(data, opened.source)
    check_test_share(data.test_share, has_test=opened.source.has_test)
    sites = opened.source.sites

    def load(
        partition: str,
        split_seed: int,
        test_on: str | None,
        fold: int | None,
        test_share: float | None,
    ) -> FederatedData:
        return federated(
            opened.read(claim=claim),
            partition=partition,
            split_seed=split_seed,
            test_share=test_share,
            test_on=test_on,
            fold=fold,
            claim=claim,
        )

    # No size is a public number, so that none stands here.
    sizes = {"natural": (0,) * len(sites)} if sites else {"pooled": (0,)}
    return DataEntry(
        load,
        partitions=sizes,
        tests=sizes,
        usual="natural" if sites else "iid",
        task=lambda: opened.source.task,
        license="yours",
        options={"test_on": None, "fold": None, "test_share": None},
        published=False,
        # Records that are elsewhere have none.
        digest=None if is_elsewhere(data) else lambda: opened.digest(public=bool(data.public)),
        grouped=opened.source.grouped,
    )


def is_elsewhere(data: Data) -> bool:
    """Whether a table [data] has the schema of somebody's records and not the records."""
    return data.name in catalog.OWN_DATA and data.path is None


def open_source(data: Data, home: Path) -> Opened:
    """Returns the records of a table [data], opened once a process while nothing changes."""
    key, make = _source(data, home)
    if key in _sources:
        _sources.move_to_end(key)
        return _sources[key]
    opened = Opened(make())
    _sources[key] = opened
    if len(_sources) > MAX_OPEN_SOURCES:
        _sources.popitem(last=False)
    return opened


def returns_the_same(data: Data, home: Path) -> bool:
    """Calls a user's function once more, and returns whether it gave the same records."""
    _, make = _source(data, home)
    again = Opened(make())
    return again.digest(public=True) == open_source(data, home).digest(public=True)


def _source(data: Data, home: Path) -> tuple[str, Callable[[], Source]]:
    """Returns what identifies the records of a table [data], and what opens them."""
    form = catalog.OWN_DATA.get(data.name)
    takes = KEYS_OF_FUNCTIONS if form is None else (*form.takes, *COMMON_KEYS)
    _check_keys(data, takes, () if form is None else form.needs)
    # A form may want to know of a common key; without that, such a key reads no record again.
    keys = form.takes if form else [key for key in takes if key not in COMMON_KEYS]
    values = {key: data.given(key) for key in keys}
    if form is None:
        plugin = find(Group.DATA, data.name, home)
        state: object = plugin.code
        make: Callable[[], Source] = partial(_called, data, plugin.entry, values)
    else:
        named = [path for path in (data.schema_, data.crosswalk) if isinstance(path, str)]
        paths = [home / path for path in (data.path, data.labels, *named) if path is not None]
        _refuse_special(paths)
        state = tuple(map(_stamp, paths))
        make = partial(form.open, home, values)
    return repr((data.name, home, sorted(values.items()), data.size, state)), make


def _refuse_special(paths: list[Path]) -> None:
    """Raises ScenarioError for a file that is none: a stranger's scenario could name /dev/zero."""
    for path in paths:
        for found in _matching(path) if "*" in path.name else [path]:
            if is_special(found):
                raise ScenarioError(f"data: {found} is neither a file nor a folder")


_sources: OrderedDict[str, Opened] = OrderedDict()


def forget(name: str) -> None:
    """Lets the records of a name be read again: an object can change without a trace."""
    for key in [key for key in _sources if key.startswith(f"({name!r},")]:
        del _sources[key]


def _check_keys(data: Data, takes: tuple[str, ...], needs: tuple[str, ...]) -> None:
    for key in ("size", *OWN_KEYS):
        if data.given(key) is not None and key not in takes:
            hint = ""
            if "arguments" in takes:
                hint = f"; an argument of that name belongs into data.arguments = {{ {key} = ... }}"
            raise ScenarioError(f"data.{key} has no effect with {data.name}{hint}; remove it")
    for key in needs:
        if data.given(key) is None:
            raise ScenarioError(f"data.{key}: {data.name} needs it")


def _require_declared(data: Data, source: Source) -> None:
    """Checks that a claim rests on declared constants. Raises ScenarioError."""
    source.require_declared()
    # A function may have used means of the records: only its author can say.
    if data.name not in catalog.OWN_DATA and not data.per_record:
        raise ScenarioError(
            f"data.per_record: a DP claim needs {data.name} to prepare each record by public "
            "constants only, never by means or ranges of the records; if it does, declare "
            "data.per_record = true"
        )


def _called(data: Data, loader: Callable[..., object], values: Mapping[str, Any]) -> Source:
    """Calls a user's function and returns what it gave as a source."""
    arguments = dict(values["arguments"] or {})
    try:
        signature(loader).bind(**arguments)
    except TypeError as reason:
        raise ScenarioError(f"data: {data.name}: {reason}") from None
    value = _within(LOADER_SECONDS, data.name, lambda: loader(**arguments))
    keys = ("num_classes", "sites", "channels", "ranges", "loss")
    return Returned(value, name=data.name, **{key: values[key] for key in keys})


@dataclass
class _Outcome:
    value: object = None
    error: BaseException | None = None
    ended: bool = False


def _within(seconds: float, name: str, call: Callable[[], object]) -> object:
    """Returns what a call returns. Raises PluginError if it takes longer than so many seconds."""
    outcome = _Outcome()

    def work() -> None:
        try:
            outcome.value = call()
        except BaseException as error:
            outcome.error = error
        outcome.ended = True

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if outcome.error is not None:
        raise outcome.error
    if not outcome.ended:
        raise PluginError(f"data.name {name} did not return within {seconds:g} s")
    return outcome.value


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Returns names, sizes and times of a file, of those of a pattern, or of a whole folder."""
    if "*" in path.name:
        files = sorted(map(str, _matching(path)))
    elif os.path.isdir(path):
        files = sorted(_below(path))
    else:
        files = [str(path)]
    stamps = []
    for file in files:
        try:
            status = os.stat(file)
        except OSError:  # the source itself says what is wrong
            continue
        stamps.append((file, status.st_size, status.st_mtime_ns))
    return tuple(stamps)


def _matching(pattern: Path) -> list[Path]:
    """Returns the files of a pattern; none where its folder cannot be read."""
    try:
        return [*pattern.parent.glob(pattern.name)]
    except OSError:  # the source itself says what is wrong
        return []


def _below(folder: Path) -> Iterator[str]:
    """Yields all paths below a folder.

    `os.walk` passes over a folder that cannot be read; the errors of pathlib carry its path.
    """
    for place, folders, files in os.walk(folder):
        yield from (os.path.join(place, name) for name in [*folders, *files])
