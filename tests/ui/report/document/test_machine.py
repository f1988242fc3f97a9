"""findings.json: as its schema says, and nothing else is."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from securefl.audit.lines import Line, Point, Share, Verdict
from securefl.ui.report.document.machine import FORMAT, VERSION, findings_json, schema
from tests.ui.report.document.subjects import (
    CHANCE,
    HOSTILE,
    LABELS_SHOWN,
    OPEN,
    REFUTED,
    SCOPE,
    UNRUN,
    UNTRIED,
    by,
    findings_of,
)

VALIDATOR = jsonschema.Draft202012Validator(schema())


def written() -> dict[str, Any]:
    folder = Path("f")
    server = findings_of(
        folder,
        CHANCE,
        REFUTED,
        UNRUN,
        exposures=(LABELS_SHOWN, UNTRIED, replace(LABELS_SHOWN, error=float("inf"))),
        verdict=Verdict.VIOLATED,
    )
    outsider = findings_of(folder, OPEN, verdict=Verdict.UNCLAIMED, scope=by("outsider"))
    older = findings_of(folder, CHANCE, scope=None)
    unclaimed = findings_of(folder, scope=replace(SCOPE, budget=None, coalition=(1,)))
    content: dict[str, Any] = json.loads(findings_json([server, outsider, older, unclaimed]))
    return content


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["properties"]["version"]["const"] == VERSION
    assert schema()["properties"]["format"]["const"] == FORMAT


def test_findings_are_as_the_schema_says() -> None:
    VALIDATOR.validate(written())


def test_every_key_is_required_and_described_and_no_other_is_allowed() -> None:
    tables = [schema(), *schema()["$defs"].values()]
    for table in tables:
        if table.get("type") == "object":
            assert table["additionalProperties"] is False
            assert table["required"] == list(table["properties"])
        for key, value in table.get("properties", {}).items():
            assert "description" in value or "$ref" in value, key


def test_numbers_keep_all_their_digits_and_missing_ones_are_null() -> None:
    third = Line(
        "LiRA", Verdict.UNDECIDED, "w", 1 / 3, 1 / 7, (Point(0.01, Share(1 / 3, 0, 1), None),)
    )
    (audit,) = json.loads(findings_json([findings_of(Path("f"), third)]))["audits"]
    (line,) = audit["lines"]
    assert (line["auc"], line["auc_error"], line["epsilon"]) == (1 / 3, 1 / 7, None)
    assert line["points"] == [
        {
            "false_positive_rate": 0.01,
            "true_positive_rate": 1 / 3,
            "interval": [0, 1],
            "allowed": None,
        }
    ]


def test_what_was_not_tested_is_in_it() -> None:
    audit = written()["audits"][0]["not_tested"]
    names = [one["name"] for one in audit["attacks"]]
    assert "LiRA" in names
    assert "gradient canaries" not in names
    assert [one["name"] for one in audit["adversaries"]] == ["clients", "network"]
    assert len(audit["limits"]) > 3


BROKEN = {
    "a later version": (("version",), VERSION + 1),
    "a version in words": (("version",), str(VERSION)),
    "no format": (("format",), None),
    "no audit": (("audits",), []),
    "another verdict": (("audits", 0, "verdict"), "fine"),
    "a verdict without a value": (("audits", 0, "lines", 0, "verdict"), None),
    "an AUC above 1": (("audits", 0, "lines", 0, "auc"), 1.5),
    "an AUC in words": (("audits", 0, "lines", 0, "auc"), "0.5"),
    "an AUC that is true": (("audits", 0, "lines", 0, "auc"), True),
    "a negative error": (("audits", 0, "lines", 0, "auc_error"), -0.1),
    "a negative epsilon": (("audits", 0, "lines", 0, "epsilon"), -1),
    "half an interval": (("audits", 0, "lines", 0, "points", 0, "interval"), [0.1]),
    "an interval above 1": (("audits", 0, "lines", 0, "points", 0, "interval"), [0.1, 2]),
    "no false-positive rate": (
        ("audits", 0, "lines", 0, "points", 0, "false_positive_rate"),
        None,
    ),
    "another unit": (("audits", 0, "exposures", 0, "unit"), "bits"),
    "a finding in words": (("audits", 0, "exposures", 0, "finding"), "yes"),
    "a client in words": (("audits", 0, "scope", "target"), "0"),
    "a client below 0": (("audits", 0, "scope", "coalition"), [-1]),
    "a delta above 1": (("audits", 0, "scope", "budget", "delta"), 2),
    "no headline": (("audits", 0, "findings"), []),
    "an attack without a reason": (("audits", 0, "not_tested", "attacks", 0), {"name": "x"}),
    "a key that nobody knows": (("audits", 0, "score"), 3),
    "a scope that nobody knows": (("audits", 0, "scope", "path"), "x"),
}


@pytest.mark.parametrize(("place", "value"), BROKEN.values(), ids=list(BROKEN))
def test_a_broken_file_fails_the_schema(place: tuple[str | int, ...], value: object) -> None:
    content = copy.deepcopy(written())
    *way, last = place
    part: Any = content
    for step in way:
        part = part[step]
    assert part[last] != value if last in part or isinstance(last, int) else True
    part[last] = value
    assert not VALIDATOR.is_valid(content)


def _places(value: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The places of all keys in a value."""
    if isinstance(value, dict):
        inner = [one for key, part in value.items() for one in _places(part, (*place, key))]
        return [*((*place, key) for key in value), *inner]
    if isinstance(value, list):
        return [one for index, part in enumerate(value) for one in _places(part, (*place, index))]
    return []


def test_a_file_without_any_one_of_its_keys_fails_the_schema() -> None:
    content = written()
    places = _places({**content, "audits": content["audits"][:1]})
    assert len(places) > 100
    for *way, last in places:
        part: Any = content
        for step in way:
            part = part[step]
        value = part.pop(last)
        assert not VALIDATOR.is_valid(content), (*way, last)
        part[last] = value


def test_no_folder_of_a_machine_and_no_broken_sign_is_in_it() -> None:
    line = Line(HOSTILE, Verdict.UNDECIDED, "\x00")
    findings = findings_of(
        Path("/home/anna"), line, command="securefl audit /home/anna/d.toml", name="audit-\udcff"
    )
    content = findings_json([findings]).decode()
    assert "anna" not in content
    VALIDATOR.validate(json.loads(content))
    assert json.loads(content)["audits"][0]["name"] == "audit-\N{REPLACEMENT CHARACTER}"
    assert json.loads(content)["audits"][0]["lines"][0]["attack"] == HOSTILE
