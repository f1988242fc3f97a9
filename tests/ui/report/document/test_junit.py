"""JUnit XML: a violated claim fails, an attack that could not be run is skipped."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefl.audit.lines import Line, Verdict
from securefl.audit.repertoire import MECHANISM
from securefl.ui.report.document.junit import junit_of
from tests.ui.report.document.subjects import (
    CHANCE,
    HOSTILE,
    OPEN,
    REFUTED,
    UNRUN,
    findings_of,
)

HOLDING = tuple(Line(name, Verdict.HOLDS, "as booked") for name in MECHANISM)


def outcomes(suite: ET.Element) -> dict[str, str]:
    """Case -> what a reader of JUnit takes it for."""
    result = {}
    for case in suite.iter("testcase"):
        assert case.get("classname") == suite.get("name")
        kinds = [child.tag for child in case]
        assert kinds in (["failure"], ["skipped"], ["system-out"])
        (kind,) = kinds
        result[str(case.get("name"))] = {"system-out": "passed"}.get(kind, kind)
    return result


def counts(element: ET.Element) -> tuple[int, ...]:
    return tuple(int(element.get(key, "")) for key in ("tests", "failures", "errors", "skipped"))


def suites_of(*audits: tuple[Verdict, tuple[Line, ...]]) -> list[ET.Element]:
    findings = [
        findings_of(Path("f"), *lines, verdict=verdict, name=f"audit-{number}")
        for number, (verdict, lines) in enumerate(audits)
    ]
    root = ET.fromstring(junit_of(findings))  # noqa: S314 - written a line above
    assert root.tag == "testsuites"
    suites = list(root)
    assert all(suite.tag == "testsuite" for suite in suites)
    sums = [sum(column) for column in zip(*map(counts, suites), strict=True)]
    assert list(counts(root)) == sums
    return suites


def test_each_verdict_is_an_outcome() -> None:
    (suite,) = suites_of((Verdict.VIOLATED, (CHANCE, REFUTED, UNRUN)))
    claim, *lines = outcomes(suite).items()
    assert claim == (
        "claim: epsilon 3 at delta 1e-05: one training example of client 0",
        "failure",
    )
    assert dict(lines) == {
        "loss threshold": "passed",
        "640 gradient canaries": "failure",
        "gradient canaries": "skipped",
    }
    assert counts(suite) == (4, 2, 0, 1)


def test_a_claim_passes_where_it_was_tested_and_not_refuted() -> None:
    tested, held, unseen = suites_of(
        (Verdict.UNDECIDED, (CHANCE,)),
        (Verdict.HOLDS, HOLDING),
        (Verdict.UNDECIDED, (UNRUN,)),
    )
    assert set(outcomes(tested).values()) == {"passed"}
    assert set(outcomes(held).values()) == {"passed"}
    assert counts(held) == (6, 0, 0, 0)
    # Nothing that was measured speaks for this claim.
    assert set(outcomes(unseen).values()) == {"skipped"}


def test_nothing_passes_where_nothing_was_promised() -> None:
    (suite,) = suites_of((Verdict.UNCLAIMED, (OPEN,)))
    assert set(outcomes(suite).values()) == {"skipped"}


def test_a_refuted_claim_is_a_failure_and_never_skipped_even_without_its_lines() -> None:
    (suite,) = suites_of((Verdict.VIOLATED, ()))
    assert counts(suite) == (1, 1, 0, 0)


def test_a_failure_says_why() -> None:
    (suite,) = suites_of((Verdict.VIOLATED, (REFUTED,)))
    failure = suite.findall("testcase/failure")[1]
    assert failure.get("type") == "violated"
    assert "so that the claim is wrong. too many are right" in str(failure.get("message"))
    assert failure.text == failure.get("message")


def test_the_suite_names_the_command_without_folders_of_the_machine() -> None:
    findings = findings_of(Path("f"), CHANCE, command="securefl audit /home/anna/d.toml")
    suite = ET.fromstring(junit_of([findings]))[0]  # noqa: S314
    properties = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert properties == {"command": "securefl audit d.toml", "verdict": "cannot tell"}


@pytest.mark.parametrize(
    "text", [HOSTILE, "\x00\x01\x1b[31m\x7f", "a\nb\tc\r\nd", "\ufffe\uffff\ufdd0", "]]>&#0;"]
)
def test_any_name_gives_well_formed_xml(text: str) -> None:
    line = Line(text, Verdict.VIOLATED, text, 0.9, 0.01)
    findings = findings_of(Path("f"), line, name=f"audit-{text}", command=text)
    suite = ET.fromstring(junit_of([findings]))[0]  # noqa: S314
    assert len(list(suite.iter("testcase"))) == 2


@given(st.text(alphabet=st.characters(), max_size=40))
def test_no_text_breaks_the_file(text: str) -> None:
    line = Line(text, Verdict.UNDECIDED, text)
    written = junit_of([findings_of(Path("f"), line)])
    (_, case) = ET.fromstring(written).iter("testcase")  # noqa: S314
    assert "\n" not in str(case.get("name"))
    assert written == junit_of([findings_of(Path("f"), line)])


def test_no_time_and_no_machine_is_in_it() -> None:
    written = junit_of([findings_of(Path("f"), CHANCE)])
    assert not [word for word in (b"timestamp", b"hostname", b"time=") if word in written]
