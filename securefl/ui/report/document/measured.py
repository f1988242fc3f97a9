"""The part of a document on what each attack measured, next to guessing and to the claim."""

from collections.abc import Iterator, Sequence

from securefl.audit.exposure.result import NO_EVIDENCE, Exposure
from securefl.audit.findings import Findings
from securefl.audit.lines import Line
from securefl.ui.report.document.blocks import Block, Cells, Facts, Figures, Section, Words
from securefl.ui.report.document.explained import (
    CLAIM,
    bound,
    exposure_sentence,
    is_measured,
    line_sentence,
    promise,
)
from securefl.ui.report.figure import Figure
from securefl.ui.report.table import Table, Value

MEASURED_HEAD = (
    "attack",
    "measure",
    "measured",
    "from",
    "to",
    "standard error",
    "by guessing",
    "the claim allows",
)
VERDICT_HEAD = ("attack or check", "verdict", "in one sentence", "reason")
EXPOSED_HEAD = ("attack", "measure", "measured", "standard error", "by guessing", "finding", "of")
GUESSED_AUC = 0.5
_UNITS = {"dB": "PSNR in dB", "share": "share that is right"}
_AUC = (
    "AUC: the chance that an attack ranks a record that was trained on above one that was not. "
    "TPR at a FPR: the share of trained records that it finds, while it wrongly accuses that share "
    "of the others. Epsilon proven: a lower bound on the privacy loss, of which 0 proves nothing."
)


def measured_section(findings: Findings, figures: Sequence[Figure]) -> Section:
    """Returns every figure of the attacks with its baseline and the bound of the guarantee."""
    blocks: list[Block] = []
    rows = [row for line in findings.lines for row in _rows(line, findings)]
    if rows:
        blocks.append(Words(_AUC))
        caption = "What attacks on membership measured, with ends of 95 % intervals"
        blocks.append(Cells(caption, Table(MEASURED_HEAD, rows)))
    else:
        blocks.append(Words("No attack on membership could be run."))
    if figures:
        blocks.append(Figures(figures))
    if findings.exposures:
        caption = "What updates reveal of the records behind them"
        rows = [_exposed(exposure) for exposure in findings.exposures]
        blocks += [Cells(caption, Table(EXPOSED_HEAD, rows)), Words(_sentence(NO_EVIDENCE))]
    return Section("What each attack measured", blocks)


def verdict_section(findings: Findings) -> Section:
    """Returns each verdict with one sentence, the one on the claim first."""
    lines = [
        (line.attack, line.verdict.value, line_sentence(line), line.why) for line in findings.lines
    ]
    exposures = [(one.attack, exposure_sentence(one)) for one in findings.exposures]
    claim = [_sentence(findings.claim)]
    if findings.scope is not None and findings.scope.budget is not None:
        claim += [promise(findings.scope.budget), bound(findings.lines)]
    blocks: list[Block] = [
        Facts(
            (
                ("Claim", list(filter(None, claim))),
                ("Verdict", (findings.verdict.value,)),
                ("In one sentence", (CLAIM[findings.verdict],)),
            )
        ),
        Cells("Attacks and checks, each by itself", Table(VERDICT_HEAD, lines)),
    ]
    if exposures:
        head = ("attack on updates", "in one sentence")
        blocks.append(Cells("No verdict on the claim rests on these", Table(head, exposures)))
    return Section("Verdicts", blocks)


def _rows(line: Line, findings: Findings) -> Iterator[tuple[Value, ...]]:
    """Yields a row for each figure of an attack; none where it came to no figure."""
    if not is_measured(line):
        return
    if line.auc is not None:
        yield (line.attack, "AUC", line.auc, None, None, line.auc_error, GUESSED_AUC, None)
    for point in line.points:
        measure = f"TPR at {100 * point.rate:g} % FPR"
        if point.share is None:
            yield (line.attack, measure, "too few records", *[None] * 3, point.rate, point.allowed)
        else:
            share = (point.share.value, point.share.lower, point.share.upper)
            yield (line.attack, measure, *share, None, point.rate, point.allowed)
    if line.epsilon is not None:
        budget = None if findings.scope is None else findings.scope.budget
        allowed = None if budget is None else budget.spent
        yield (line.attack, "epsilon proven", line.epsilon, None, None, None, 0.0, allowed)


def _exposed(exposure: Exposure) -> tuple[Value, ...]:
    finite = exposure.error if exposure.measured is not None else None
    error = None if finite == float("inf") else finite
    return (
        exposure.attack,
        _UNITS.get(exposure.unit, exposure.unit),
        "not measured" if exposure.measured is None else exposure.measured,
        error,
        exposure.guessing,
        "yes" if exposure.is_finding else "no",
        exposure.why,
    )


def _sentence(words: str) -> str:
    """A remark of the console as a sentence of a document."""
    return f"{words[:1].upper()}{words[1:]}." if words else ""
