"""Findings: what is written and read again, and what console and page say first and last."""

import html
import json
from dataclasses import replace
from pathlib import Path

import pytest

from securefl.audit.audit import audit
from securefl.audit.exposure.reconstruction import reconstructions
from securefl.audit.exposure.result import Exposure
from securefl.audit.findings import Findings, report_lines
from securefl.audit.lines import Line, Point, Share, Verdict
from securefl.audit.repertoire import MECHANISM, known
from securefl.audit.request import AuditRequest
from securefl.audit.verdicts import overall
from securefl.errors import RunFolderError, ScenarioError
from securefl.runs import api
from securefl.scenario.scenario import parse_scenario
from securefl.ui.figures import draw_findings
from securefl.ui.report import write_report
from securefl.ui.report.document.explained import CLAIM
from tests.audit.exposure.subjects import DIGITS, ONE_STEP, ignore_round, look_at_images


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "digits.toml").write_text(DIGITS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def request_for(
    adversary: str, *overrides: str, exposure: bool = True, pictures: bool = False
) -> AuditRequest:
    return AuditRequest(
        Path("digits.toml"),
        overrides,
        adversary,
        colluders=1,
        target=0,
        shadows=0,
        seed=0,
        jobs=1,
        folder=None,
        exposure=exposure,
        pictures=pictures,
    )


def findings_of(request: AuditRequest) -> Findings:
    (findings,) = audit(request, say=lambda text: None, on_round=ignore_round).values()
    return findings


def findings_with(
    folder: Path, lines: tuple[Line, ...], exposures: tuple[Exposure, ...] = ()
) -> Findings:
    return Findings(
        folder / "audit-server-shadows-0-seed-0.json",
        "securefl audit digits.toml --adversary server",
        "a claim",
        overall(lines),
        lines,
        exposures,
        ("a note",),
    )


def test_an_audit_reports_exposures_unless_they_are_declined(place: Path) -> None:
    findings = findings_of(request_for("server", *ONE_STEP, "rounds=1"))
    written = json.loads(findings.file.read_text())
    assert [exposure["attack"] for exposure in written["exposures"]] == [
        exposure.attack for exposure in findings.exposures
    ]
    assert {"attack", "unit", "measured", "guessing", "why", "told", "error", "finding"} == set(
        written["exposures"][0]
    )
    assert any(exposure["measured"] for exposure in written["exposures"])
    assert all(known(exposure.attack) for exposure in findings.exposures)
    declined = findings_of(request_for("server", *ONE_STEP, "rounds=1", exposure=False))
    assert declined.exposures == ()


def test_the_command_repeats_what_was_declined_and_asked_for() -> None:
    assert request_for("server", exposure=False).command.endswith("--seed=0 --no-exposure")
    assert request_for("server", pictures=True).command.endswith("--seed=0 --pictures")


@pytest.mark.parametrize(("who", "channel"), [("server", "ckks"), ("outsider", "plain")])
def test_an_adversary_without_updates_exposes_nothing(place: Path, who: str, channel: str) -> None:
    request = request_for(who, f"channel.kind={channel}", "rounds=1", pictures=True)
    findings = findings_of(request)
    assert [exposure.why for exposure in findings.exposures] == [
        "this adversary sees no update, no sum and no step"
    ]
    assert "no pictures: no image was reconstructed" in findings.notes
    assert draw_findings(findings, pictures=True) is None


def test_a_figure_of_another_audit_is_removed(tmp_path: Path) -> None:
    exposures = tuple(reconstructions(look_at_images(1, batch=1)))
    first = findings_with(tmp_path, (), exposures)
    first.write()
    assert draw_findings(first, pictures=True) == first.pictures
    assert first.pictures.exists()
    findings_with(tmp_path, ()).write()
    assert not first.pictures.exists()


@pytest.mark.parametrize("pictures", [True, False])
def test_pictures_are_kept_where_they_are_asked_for(tmp_path: Path, pictures: bool) -> None:
    exposures = tuple(reconstructions(look_at_images(1, batch=1)))
    findings = findings_with(tmp_path, (), exposures)
    findings.write()
    figure = draw_findings(findings, pictures=pictures)
    assert (figure is not None) is pictures
    assert bool(list(tmp_path.glob("*-pictures.svg"))) is pictures
    page = write_report(tmp_path).read_text()
    assert ("TRAINING RECORDS" in page) is pictures
    assert page.count("data:image/svg+xml;base64,") == pictures
    assert "Inverting Gradients" in page
    assert "no evidence for an epsilon" in page


def test_pictures_never_go_into_a_run_folder(place: Path) -> None:
    api.run(parse_scenario(DIGITS, overrides=("rounds=1",)), place / "run")
    before = sorted(place.rglob("*"))
    request = request_for("server", "rounds=1", pictures=True)
    with pytest.raises(
        ScenarioError, match="run is the folder of a run, which holds no audits; choose another"
    ):
        findings_of(replace(request, folder=place / "run"))
    (place / "file").write_text("")
    with pytest.raises(ScenarioError, match=r"--out: .*file is a file"):
        findings_of(replace(request, folder=place / "file"))
    with pytest.raises(ScenarioError, match="--pictures shows what --no-exposure leaves out"):
        findings_of(replace(request, exposure=False))
    assert sorted(place.rglob("*")) == sorted([*before, place / "file"])


@pytest.mark.parametrize(
    "damage",
    [
        {"command": None},
        {"claim": 3},
        {"verdict": "z"},
        {"lines": 5},
        {"lines": [{"attack": "LiRA", "verdict": "holds", "why": "w", "auc": "high"}]},
        {"exposures": [{}]},
        {"exposures": [{"attack": "a", "why": "b", "unit": "dB", "measured": True}]},
        {"notes": [5]},
    ],
)
def test_a_damaged_audit_is_refused_with_a_sentence(
    tmp_path: Path, damage: dict[str, object]
) -> None:
    findings = findings_with(tmp_path, (MEMBERS,), (IMAGE,))
    findings.write()
    assert Findings.read(findings.file) == findings
    for stored in (findings.to_json() | damage, {}):
        findings.file.write_text(json.dumps(stored))
        with pytest.raises(
            RunFolderError, match=r"audit-server-.*\.json is damaged: it is not what an audit"
        ):
            write_report(tmp_path)


def test_findings_come_back_from_json_to_the_last_digit(tmp_path: Path) -> None:
    points = (Point(0.01, Share(0.2, 0.1, 1 / 3), 0.05), Point(0.001, None, None))
    line = Line("LiRA", Verdict.UNDECIDED, "w", 0.6, 0.01, points, epsilon=1 / 7)
    findings = findings_with(tmp_path, (line, BROKEN), (IMAGE, NOTHING))
    findings.write()
    back = Findings.read(findings.file)
    assert back == findings
    assert back.to_json() == findings.to_json()


def test_an_audit_of_an_older_version_is_read_without_findings(tmp_path: Path) -> None:
    findings = findings_with(tmp_path, (replace(MEMBERS, auc=0.9),), (NOTHING,))
    stored = findings.to_json()
    del stored["findings"]
    for part in (*stored["lines"], *stored["exposures"]):  # type: ignore[misc]
        for key in ("auc_error", "told", "error", "finding"):
            part.pop(key, None)
    findings.file.write_text(json.dumps(stored))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "did not compare its scores with guessing" in page
    assert "0.900" in page


IMAGE = Exposure("Inverting Gradients", "of one", "dB", 35.1, 18.2)
NOTHING = Exposure("source", "of ten", "share", 0.11, 0.1, error=0.05)
MEMBERS = Line("LiRA", Verdict.UNCLAIMED, "measured", auc=0.6, auc_error=0.01)
CHANCE = Line("LiRA", Verdict.UNDECIDED, "no violation", auc=0.51, auc_error=0.01)
UNCLAIMED_CHANCE = replace(CHANCE, verdict=Verdict.UNCLAIMED)
BROKEN = Line("canaries", Verdict.VIOLATED, "too many right")
RIGHT = tuple(Line(name, Verdict.HOLDS, "as booked") for name in MECHANISM)


@pytest.mark.parametrize(
    ("lines", "exposures", "headline", "verdict"),
    [
        pytest.param(
            (BROKEN, CHANCE),
            (NOTHING,),
            "nothing beyond guessing by these attacks",
            "violated: a true claim would give this in fewer than one audit in a thousand",
            id="claim violated",
        ),
        pytest.param(
            (CHANCE, *RIGHT),
            (IMAGE,),
            "Inverting Gradients: 35.1 dB, by guessing 18.2 dB",
            "holds: noise, clipping, batches and steps were all measured, and none failed",
            id="claim holds",
        ),
        pytest.param(
            (MEMBERS,),
            (IMAGE,),
            "Inverting Gradients: 35.1 dB, by guessing 18.2 dB",
            "no claim: nothing was promised",
            id="no claim, an image is reconstructed",
        ),
        pytest.param(
            (MEMBERS,),
            (),
            "membership by LiRA: AUC 0.600 ± 0.010, by guessing .5",
            "no claim: nothing was promised",
            id="no claim, members are found",
        ),
        pytest.param(
            (UNCLAIMED_CHANCE,),
            (NOTHING,),
            "nothing beyond guessing by these attacks",
            "no claim: nothing was promised",
            id="no claim, nothing found",
        ),
    ],
)
def test_console_and_page_say_findings_first_and_then_the_verdict(
    lines: tuple[Line, ...],
    exposures: tuple[Exposure, ...],
    headline: str,
    verdict: str,
    tmp_path: Path,
) -> None:
    findings = findings_with(tmp_path, lines, exposures)
    printed = list(report_lines(findings))
    assert printed[0] == f"finding: {headline}"
    assert printed[-1] == f"verdict: {verdict}; written to {tmp_path}"
    findings.write()
    page = write_report(tmp_path).read_text(encoding="utf-8")
    first = page.index(f"<strong>{html.escape(headline)}</strong>")
    meaning = CLAIM[findings.verdict]
    assert first < page.index(f"Verdict: <strong>{findings.verdict.value}</strong>. {meaning}")
    assert not any(meaning in page[:first] for meaning in CLAIM.values())


def test_the_page_shows_what_the_console_shows_of_each_exposure(tmp_path: Path) -> None:
    findings = findings_with(tmp_path, (MEMBERS,), (IMAGE, NOTHING))
    findings.write()
    page = write_report(tmp_path).read_text(encoding="utf-8")
    image = ("Inverting Gradients", "PSNR in dB", "35.100", "", "18.200", "yes", "of one")
    source = ("source", "share that is right", "0.110", "0.050", "0.100", "no", "of ten")
    for cells in (image, source):
        assert "".join(f"<td>{cell}</td>" for cell in cells) in page
