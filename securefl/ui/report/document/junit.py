"""Verdicts as JUnit XML, by which a CI pipeline fails on a violated claim.

No time and no name of a machine is in it: the same findings give the same bytes.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import NamedTuple

from securefl.audit.findings import Findings
from securefl.audit.lines import Verdict
from securefl.ui.report.document.explained import CLAIM, is_measured, line_sentence
from securefl.ui.report.document.paths import without_paths
from securefl.ui.report.document.signs import allowed, one_line

SUITES = "securefl audit"


class _Case(NamedTuple):
    """A test case: what it is called, its verdict, the sentence on it, and the reason.

    Attributes:
        is_tested: whether something promised was measured.
    """

    name: str
    verdict: Verdict
    sentence: str
    why: str
    is_tested: bool


def junit_of(audits: Sequence[Findings]) -> bytes:
    """Returns the verdicts of audits as JUnit XML.

    Guarantees:
        - A suite an audit; a case for its claim, and one for each attack and check.
        - A violated claim, and each attack or check that refutes one, is a failure.
        - An attack that could not be run is skipped. So is everything where nothing was promised:
          no test passes because there was nothing to test.
    """
    suites = [(findings, _cases(findings)) for findings in audits]
    everything = [case for _, cases in suites for case in cases]
    root = ET.Element("testsuites", {"name": SUITES, **_counts(everything)})
    for findings, cases in suites:
        _add_suite(root, findings, cases)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _cases(findings: Findings) -> list[_Case]:
    claim = _Case(
        f"claim: {findings.claim}",
        findings.verdict,
        CLAIM[findings.verdict],
        "",
        findings.verdict is not Verdict.UNCLAIMED and any(map(is_measured, findings.lines)),
    )
    lines = [
        _Case(
            line.attack,
            line.verdict,
            line_sentence(line),
            line.why,
            line.verdict is not Verdict.UNCLAIMED and is_measured(line),
        )
        for line in findings.lines
    ]
    return [claim, *lines]


def _counts(cases: Sequence[_Case]) -> dict[str, str]:
    failures = sum(case.verdict is Verdict.VIOLATED for case in cases)
    skipped = sum(_is_skipped(case) for case in cases)
    counts = {"tests": len(cases), "failures": failures, "errors": 0, "skipped": skipped}
    return {name: str(count) for name, count in counts.items()}


def _is_skipped(case: _Case) -> bool:
    return case.verdict is not Verdict.VIOLATED and not case.is_tested


def _add_suite(root: ET.Element, findings: Findings, cases: Sequence[_Case]) -> None:
    name = one_line(findings.file.stem)
    suite = ET.SubElement(root, "testsuite", {"name": name, **_counts(cases)})
    properties = ET.SubElement(suite, "properties")
    for key, value in (
        ("command", without_paths(findings.command)),
        ("verdict", findings.verdict.value),
    ):
        ET.SubElement(properties, "property", name=key, value=one_line(value))
    for case in cases:
        _add_case(suite, name, case)


def _add_case(suite: ET.Element, name: str, case: _Case) -> None:
    element = ET.SubElement(suite, "testcase", classname=name, name=one_line(case.name))
    text = allowed(f"{case.sentence} {case.why}".strip())
    if case.verdict is Verdict.VIOLATED:
        failure = ET.SubElement(element, "failure", message=one_line(text), type="violated")
        failure.text = text
    elif _is_skipped(case):
        ET.SubElement(element, "skipped", message=one_line(text))
    else:
        ET.SubElement(element, "system-out").text = text
