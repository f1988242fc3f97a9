"""ROC of an audit: the numbers of its findings, and the most that the claim allows."""

import math
from pathlib import Path

import torch

from attacks import Roc
from securefl.audit.findings import Findings
from securefl.audit.lines import Line, Point, Share, Verdict
from securefl.privacy.accounting.profile import privacy_profile
from securefl.privacy.events import SampledGaussian
from securefl.ui.report.figures import figures_of_audit
from securefl.ui.report.figures.roc import BOUND_POINTS

PROFILE = privacy_profile({SampledGaussian(1.0, 2.0, 1): 1}, delta=1e-5)


def line(attack: str, value: float | None, allowed: float | None = 0.05, **others: object) -> Line:
    share = None if value is None else Share(value, value / 2, min(1.0, value * 2))
    points = (Point(0.01, share, allowed), Point(0.001, None, allowed))
    return Line(attack, Verdict.HOLDS, "why", auc=0.6, points=points, **others)  # type: ignore[arg-type]


def findings(*lines: Line) -> Findings:
    return Findings(Path("audit.json"), "command", "claim", Verdict.HOLDS, lines, (), ())


def test_points_and_their_intervals_are_those_of_the_findings() -> None:
    (figure,) = figures_of_audit(findings(line("loss", 0.02), line("lira", 0.04)))
    assert [tuple(row) for row in figure.table.rows] == [
        ("lira", 0.01, 0.04, 0.02, 0.08, 0.05),
        ("lira", 0.001, None, None, None, 0.05),
        ("loss", 0.01, 0.02, 0.01, 0.04, 0.05),
        ("loss", 0.001, None, None, None, 0.05),
    ]
    assert "95 % interval" in figure.caption
    assert "if the claim is true" in figure.caption
    assert ">the claim allows</text>" in figure.svg
    assert "lira finds 0.040 at 0.01" in figure.alt


def test_without_a_claim_there_is_no_bound() -> None:
    (figure,) = figures_of_audit(findings(line("loss", 0.02, None)))
    assert "Nothing was claimed" in figure.caption
    assert "the claim allows" not in figure.svg


def test_nothing_measured_is_no_figure() -> None:
    assert figures_of_audit(findings()) == []
    assert figures_of_audit(findings(line("loss", None))) == []
    mechanism = Line("noise", Verdict.HOLDS, "why")
    assert figures_of_audit(findings(mechanism)) == []


def test_an_attack_that_finds_nobody_lies_on_the_axis() -> None:
    (figure,) = figures_of_audit(findings(line("loss", 0.0)))
    assert "nan" not in figure.svg
    assert "inf" not in figure.svg.replace("info", "")


def test_the_bound_is_a_curve_where_the_profile_is_at_hand() -> None:
    (with_points,) = figures_of_audit(findings(line("loss", 0.02)))
    (with_curve,) = figures_of_audit(findings(line("loss", 0.02)), PROFILE)
    longest = max(with_curve.svg.split('d="'), key=len).partition('"')[0]
    assert longest.count("L") + 1 == BOUND_POINTS
    assert max(path.partition('"')[0].count("L") for path in with_points.svg.split('d="')) < 5


def test_curves_are_drawn_where_an_audit_still_has_them() -> None:
    rates = torch.linspace(0, 1, 1000)
    curve = Roc(rates, rates.sqrt(), torch.linspace(1, 0, 1000))
    (figure,) = figures_of_audit(findings(line("loss", 0.02, curve=curve, profile=PROFILE)))
    assert "95 % interval" not in figure.caption
    assert len(figure.svg) < 20_000


def test_two_audits_of_a_page_share_no_id() -> None:
    (first,) = figures_of_audit(findings(line("loss", 0.02)))
    (second,) = figures_of_audit(findings(line("loss", 0.02)), name="roc-2")
    assert (first.name, second.name) == ("roc", "roc-2")
    assert 'id="roc-2-' in second.svg
    assert 'id="roc-2-' not in first.svg


def test_the_axes_go_in_powers_of_ten() -> None:
    (figure,) = figures_of_audit(findings(line("loss", 0.1)))
    places = {
        words: float(part.partition('y="')[2].partition('"')[0])
        for part in figure.svg.split("<text ")[1:]
        for words in [part.partition(">")[2].partition("<")[0]]
        if words.endswith("%") and "text-anchor: end" in part
    }
    steps = [places["1 %"] - places["10 %"], places["10 %"] - places["100 %"]]
    assert math.isclose(steps[0], steps[1], abs_tol=0.05)
    assert steps[0] > 0
