"""The command `securefl audit PATH --adversary WHO`: what it prints, and how it ends."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from benchmarks.experiments.planted import planted
from securefl.audit.findings import Findings
from securefl.audit.lines import Line, Verdict
from securefl.audit.repertoire import SIZE
from securefl.audit.threats import SERVER, adversaries_in
from securefl.errors import SecureflError
from securefl.ui.audit import show_leakage
from securefl.ui.display import SilentDisplay
from securefl.ui.report import write_report
from securefl.ui.report.document.machine import schema
from tests.audit.asking import ONE_CLIENT, request_for, write_scenarios
from tests.commands import Done, call


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_scenarios(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*arguments: str) -> Done:
    return call("audit", *arguments, cwd=Path.cwd())


def test_a_violation_is_reported_and_ends_with_exit_code_1(place: Path) -> None:
    request = request_for("dp.toml", "server", *ONE_CLIENT, "model.hidden=[20]", "rounds=2")
    with planted("noise x .1"):
        assert show_leakage(request, SilentDisplay())
    (folder,) = Path("audits").iterdir()
    write_report(folder)
    root = ET.fromstring((folder / "report/junit.xml").read_bytes())  # noqa: S314 - our own
    failed = [case.get("name", "") for case in root.iter("testcase") if case.findall("failure")]
    assert failed[0].startswith("claim: epsilon 4 at delta 1e-05")
    assert SIZE in failed
    assert root.get("failures") == str(len(failed))
    content = json.loads((folder / "report/findings.json").read_text())
    jsonschema.validate(content, schema())
    assert content["audits"][0]["verdict"] == "violated"
    assert not show_leakage(request_for("sgd.toml", "server", "rounds=1"), SilentDisplay())
    assert SecureflError.exit_code == 1


@pytest.mark.parametrize("violated", [True, False])
def test_the_worst_verdict_of_all_parties_decides_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, violated: bool
) -> None:
    undecided = Line("LiRA", Verdict.UNDECIDED, "no violation found")
    worst = replace(undecided, verdict=Verdict.VIOLATED) if violated else undecided

    def audit(*arguments: object, **options: object) -> dict[str, Findings]:
        lines = {"server": worst, "outsider": undecided}
        return {
            name: Findings(tmp_path / "a.json", "", "a claim", line.verdict, (line,), (), ())
            for name, line in lines.items()
        }

    monkeypatch.setattr("securefl.audit.audit.audit", audit)
    assert show_leakage(request_for("dp.toml", "all"), SilentDisplay()) is violated


def test_the_command_prints_a_table_and_how_to_repeat_it(place: Path) -> None:
    done = command("sgd.toml", "--adversary", "server", "--shadows", "0", "--display", "plain")
    assert done.returncode == 0, done.stderr
    assert "verdict   attack" in done.stdout
    assert "TPR at .1 % FPR" not in done.stdout
    assert "verdict: no claim: nothing was promised; written to audits/sgd-" in done.stdout
    assert "for test data and rehearsals, not for publication" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(
        "again: securefl audit sgd.toml --adversary server"
    )
    (folder,) = Path("audits").iterdir()
    assert {file.name for file in folder.iterdir()} == {
        "audit-server-shadows-0-seed-0.json",
        "audit-server-shadows-0-seed-0.svg",
    }


def test_all_parties_are_one_table_and_one_json(place: Path) -> None:
    options = ("--shadows", "0", "--no-exposure", "--set", "rounds=1")
    done = command("sgd.toml", "--adversary", "all", *options, "--display", "plain")
    assert done.returncode == 0, done.stderr
    (head,) = [line for line in done.stdout.splitlines() if line.startswith("attack ")]
    assert head.split() == [
        "attack",
        "server",
        "malicious-",
        "clients",
        "server+",
        "server+",
        "network",
        "outsider",
        "outsider-",
    ]
    assert "verdict: no claim: nothing was promised; written to audits/sgd-" in done.stdout
    done = command("sgd.toml", "--adversary", "all", *options, "--display", "json")
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["verdict"] == "no claim"
    assert tuple(last["adversaries"]) == adversaries_in(SERVER)
    assert last["adversaries"]["server"]["lines"][0]["attack"] == "loss threshold"


def test_a_scenario_needs_an_adversary_and_a_run_takes_no_overrides(place: Path) -> None:
    done = command("sgd.toml")
    assert done.returncode == 2
    assert "audit a scenario with --adversary" in done.stderr
    (place / "run").mkdir()
    done = command("run", "--set", "rounds=1")
    assert done.returncode == 2
    assert "--set changes a scenario" in done.stderr
