"""The scenario of the next version, and the records that judge it."""

import copy
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from securefl.errors import ScenarioError
from securefl.files import parse_toml, read_text
from securefl.messages import sentences
from securefl.runs.refining.gate import Gate
from securefl.scenario import catalog
from securefl.scenario.declaration import Declaration
from securefl.scenario.overrides import override
from securefl.scenario.scenario import Scenario, make_scenario
from securefl.scenario.written import to_toml

Resolved = Mapping[str, Any]
# Names in the folder of a version.
PREPAID = "prepaid"
FISHER = "fisher"
# Keys of [data] that name files, relative to the folder of its own; two may be tables instead.
_PATHS = ("path", "labels", "schema", "crosswalk")
# Filled in for the records of the earlier version; they are filled in again.
_FILLED_IN = ("digest", "grouped")


@dataclass(frozen=True)
class Asked:
    """What `securefl refine` was asked for.

    Attributes:
        data: the table [data] of the new records, or a path alone; paths are absolute.
        overrides: values that replace those of the earlier version, as "key.path=value".
        gate: the condition of the release; None releases in any case.
        validation: the table [data] of public records that judge; None for the sites' own.
        noise: the noise multiplier of a noisy gate; None without.
        records: the declared number of records that judge, for a noisy gate.
    """

    data: dict[str, Any]
    overrides: tuple[str, ...] = ()
    gate: Gate | None = None
    validation: dict[str, Any] | None = None
    noise: float | None = None
    records: int | None = None

    def __post_init__(self) -> None:
        """Refuses options that have no effect together. Raises ScenarioError."""
        for option, value in (
            ("--validation", self.validation),
            ("--gate-noise", self.noise),
            ("--gate-records", self.records),
        ):
            if value is not None and self.gate is None:
                raise ScenarioError(f"{option} has no effect without --gate; remove it")
        if (self.noise is None) is not (self.records is None):
            raise ScenarioError(
                "--gate-noise and --gate-records go together: the noisy count is divided by a "
                "declared number of records"
            )
        if self.noise is None:
            return
        if self.validation is not None:
            raise ScenarioError("--validation records are public and need no --gate-noise")
        if not 0.1 <= self.noise <= 1e4:
            raise ScenarioError(f"--gate-noise must be from 0.1 to 1e4, got {self.noise:g}")
        if self.gate is not None and self.gate.metric != "accuracy":
            raise ScenarioError(
                f"--gate-noise counts right answers, which one record changes by 1 at most; "
                f"{self.gate.metric} has no such bound, so use accuracy"
            )

    def to_json(self, place: Path) -> dict[str, Any]:
        """Returns what a repeated command is compared with, its paths as seen from a folder."""
        validation = self.validation
        return {
            "data": _seen_from(place.absolute(), self.data),
            "overrides": list(self.overrides),
            "gate": None if self.gate is None else self.gate.text,
            "validation": None if validation is None else _seen_from(place.absolute(), validation),
            "noise": self.noise,
            "records": self.records,
        }


def new_records(path: Path) -> dict[str, Any]:
    """Returns the table [data] of new records: that of a TOML file, or the path by itself.

    Raises:
        ScenarioError: the file cannot be read, or holds something else than a table [data].
    """
    if path.suffix != ".toml":
        return {"path": str(path.absolute())}
    values = parse_toml(read_text(path), str(path))
    if set(values) != {"data"} or not isinstance(values["data"], dict):
        raise ScenarioError(
            f"{path} must hold a table [data] and nothing else; change other keys with --set"
        )
    table = dict(values["data"])
    for key in _PATHS:
        if isinstance(table.get(key), str):
            table[key] = os.path.normpath(path.parent.absolute() / table[key])
    return table


def next_scenario(
    base: Resolved, asked: Asked, *, init_from: Path, version: int, folder: Path
) -> tuple[Scenario, str]:
    """Returns the scenario of the next version, and its text.

    Args:
        base: the resolved scenario of the version that training starts from.
        asked: the new records, and other changes.
        init_from: the run folder of that version.
        version: the number of the next one.
        folder: of the next version.

    Raises:
        ScenarioError: it describes nothing that can run, or its claim is another than before.
    """
    values = copy.deepcopy(dict(base))
    for key in ("code", "practice"):
        values.pop(key, None)
    home = Path(values.get("folder") or Path().absolute())
    values["folder"] = str(home)
    if "path" in asked.data and values["data"].get("labels") and "labels" not in asked.data:
        raise ScenarioError(
            "--data: new files need data.labels, also where the file of labels is the same: name "
            "both in a TOML file with a table [data]"
        )
    table = {key: value for key, value in values["data"].items() if key not in _FILLED_IN}
    values["data"] = {**table, **_seen_from(home, asked.data)}
    privacy = values.get("privacy")
    if privacy and values["data"]["name"] in catalog.DATA:
        # The numbers of published records were filled in, and follow from the table [data].
        privacy["records"] = None
    values["init_from"] = str(init_from)
    values = _without_none({**values, "refine": None})
    for given in asked.overrides:
        if re.match(r"\s*(init_from|refine|folder|data)\s*[.=]", given):
            raise ScenarioError(f"--set {given}: securefl refine fills it in, or --data says it")
        override(values, given)
    declared = _declared(values)
    if declared.claims_dp is not claims(base):
        raise ScenarioError(
            "all versions of a model claim DP, or none does: one without noise would show what the "
            "others hide"
        )
    values["refine"] = {"version": version}
    if declared.claims_dp:
        values["refine"]["ledgers"] = str(folder / PREPAID)
    algorithm = catalog.ALGORITHMS.get(declared.training.algorithm or catalog.DEFAULT_ALGORITHM)
    if algorithm is not None and algorithm.anchored:
        values["refine"]["fisher"] = str(folder / FISHER)
    text = to_toml({key: value for key, value in values.items() if key != "folder"})
    return make_scenario(values), text


def _declared(values: dict[str, Any]) -> Declaration:
    """Returns values as declared; whether they fit together is not checked yet."""
    try:
        return Declaration.model_validate(copy.deepcopy(values))
    except ValidationError as reason:
        raise ScenarioError(sentences(reason, Scenario, "the scenario")) from None


def claims(resolved: Resolved) -> bool:
    """Returns whether a resolved scenario claims a finite epsilon."""
    privacy = resolved.get("privacy")
    return privacy is not None and privacy["epsilon"] != "inf"


def validation_scenario(scenario: Scenario, table: Mapping[str, Any]) -> Scenario:
    """Returns a scenario whose records that judge are those of --validation.

    They go through the steps of data.harmonise that the model was trained after.

    Args:
        scenario: of the new version.
        table: the table [data] of the validation records, with absolute paths.

    Raises:
        ScenarioError: they fit another task or name other steps, or a claim does not allow them.
    """
    values = scenario.resolved()
    steps = {"harmonise": values["data"]["harmonise"]}
    made = {
        "folder": str(scenario.home),
        "seed": scenario.seed,
        "rounds": 1,
        "data": {**steps, **_seen_from(scenario.home, table)},
        "model": values["model"],
        "training": {"kind": "sgd"},
        "weights": "equal",
    }
    try:
        judging = make_scenario(_without_none(made))
    except ScenarioError as reason:
        raise ScenarioError(f"--validation: {reason}") from None
    if judging.data.harmonise != scenario.data.harmonise:
        raise ScenarioError(
            "--validation: its data.harmonise has other steps than the model was trained after; "
            "leave it out, and the model's own are taken"
        )
    if judging.facts.task != scenario.facts.task:
        raise ScenarioError("--validation: its records have another form or other classes")
    is_same = judging.facts.data_set.published and judging.data.name == scenario.data.name
    is_public = judging.facts.data_set.published or bool(judging.data.public)
    if scenario.claims_dp and (is_same or not is_public):
        raise ScenarioError(
            "--validation: under a DP claim its records must be public, and others than those that "
            "train; declare data.public = true if everybody may have them"
        )
    return judging


def _seen_from(home: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a table [data] with its absolute paths relative to the scenario's folder."""
    moved = dict(table)
    for key in _PATHS:
        value = moved.get(key)
        if isinstance(value, str) and os.path.isabs(value):
            moved[key] = Path(os.path.relpath(value, home)).as_posix()
    return moved


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested tables without the keys that are None."""
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }
