"""findings.json: the findings of a folder of audits, for programs.

`securefl/audit/findings.schema.json` describes it. Whoever changes what is written here gives it
another version, and changes the schema with it.
"""

import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

from securefl.audit.exposure.result import Exposure
from securefl.audit.findings import Findings
from securefl.audit.lines import Line
from securefl.ui.report.document.explained import CLAIM, exposure_sentence, line_sentence
from securefl.ui.report.document.paths import without_paths
from securefl.ui.report.document.signs import allowed
from securefl.ui.report.document.untested import limits, unasked_adversaries, untested_attacks

FORMAT = "securefl findings"
VERSION = 1


def findings_json(audits: Sequence[Findings]) -> bytes:
    """Returns the findings of audits as JSON; the same findings give the same bytes.

    Numbers that were not measured are null. Nothing in it is of a single record.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "audits": [_audit(findings, audits) for findings in audits],
    }
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def _audit(findings: Findings, audits: Sequence[Findings]) -> dict[str, object]:
    scope = findings.scope
    return {
        "name": allowed(findings.file.stem),
        "command": without_paths(findings.command),
        "claim": findings.claim,
        "verdict": findings.verdict.value,
        "explanation": CLAIM[findings.verdict],
        "findings": findings.headlines,
        "scope": None if scope is None else scope.to_json(),
        "lines": [_line(line) for line in findings.lines],
        "exposures": [_exposure(exposure) for exposure in findings.exposures],
        "not_tested": {
            "attacks": [one._asdict() for one in untested_attacks(findings)],
            "adversaries": [one._asdict() for one in unasked_adversaries(findings, audits)],
            "limits": limits(findings),
        },
        "notes": list(findings.notes),
    }


def _line(line: Line) -> dict[str, object]:
    return {
        "attack": line.attack,
        "verdict": line.verdict.value,
        "explanation": line_sentence(line),
        "why": line.why,
        "auc": line.auc,
        "auc_error": line.auc_error,
        "points": [point.to_json() for point in line.points],
        "epsilon": line.epsilon,
        "finding": line.is_finding,
    }


def _exposure(exposure: Exposure) -> dict[str, object]:
    error = exposure.error
    return {
        "attack": exposure.attack,
        "explanation": exposure_sentence(exposure),
        "why": exposure.why,
        "unit": exposure.unit,
        "measured": exposure.measured,
        "guessing": exposure.guessing,
        # Without an error nothing counts as a finding, which memory holds as an infinite one.
        "error": None if error is None or math.isinf(error) else error,
        "finding": exposure.is_finding,
    }


def schema() -> dict[str, Any]:
    """Returns the JSON Schema of findings.json."""
    file = resources.files("securefl.audit").joinpath("findings.schema.json")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
