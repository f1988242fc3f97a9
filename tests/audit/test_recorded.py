"""Audits of runs: the replay must be the run, and the claim is that of the run's own ledger."""

import shutil
from pathlib import Path

import pytest

from securefl.audit.lines import Verdict
from securefl.audit.recorded import check_repeated
from securefl.audit.repertoire import BOOKS
from securefl.errors import ScenarioError, SecureflError
from securefl.runs import api
from securefl.scenario.scenario import load_scenario, parse_scenario
from tests.audit.asking import DP, SGD, findings_of, request_for, write_scenarios


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_scenarios(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_is_replayed_and_must_be_the_same(place: Path) -> None:
    run = place / "run"
    api.run(load_scenario(Path("sgd.toml")), run, text=SGD)
    assert (
        "the replay is the run: the same transcript, line for line, and the same model, bit for bit"
        in findings_of(request_for("run", "server")).notes
    )
    (cell,) = (run / "cells").iterdir()
    transcript = cell / "transcript.jsonl"
    lines = transcript.read_text().splitlines()
    transcript.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(SecureflError, match="the replay is not the run: its transcript differs"):
        findings_of(request_for("run", "server"))
    transcript.write_text("\n".join(lines) + "\n")
    other = place / "other"
    api.run(parse_scenario(SGD, overrides=("seed=7",)), other, text=SGD)
    (theirs,) = (other / "cells").iterdir()
    shutil.copy(theirs / "model.safetensors", cell / "model.safetensors")
    with pytest.raises(SecureflError, match="it ends with another model"):
        findings_of(request_for("run", "server"))


def test_a_run_under_encryption_is_the_same_up_to_its_rounding(place: Path) -> None:
    scenario = parse_scenario(SGD, overrides=("channel.kind=ckks", "rounds=3"))
    api.run(scenario, place / "run", text=SGD)
    findings = findings_of(request_for("run", "server+key-holder"))
    assert any("the same transcript, and the same model within" in note for note in findings.notes)
    assert {line.attack for line in findings.lines} >= {
        "alignment with its updates",
        "trajectory of the local models",
    }


def test_a_run_of_stacks_is_the_same_up_to_rounding(place: Path) -> None:
    scenario = parse_scenario(SGD, overrides=("engine.stack=2", "rounds=2"))
    run = place / "run"
    api.run(scenario, run, text=SGD)
    notes = findings_of(request_for("run", "server")).notes
    assert any("since it trains one client at a time, on the CPU" in note for note in notes)
    other = place / "other"
    api.run(parse_scenario(SGD, overrides=("seed=7", "rounds=2")), other, text=SGD)
    (theirs,), (ours,) = ((folder / "cells").iterdir() for folder in (other, run))
    shutil.copy(theirs / "model.safetensors", ours / "model.safetensors")
    with pytest.raises(SecureflError, match="another model, by more than rounding"):
        findings_of(request_for("run", "server"))


def test_a_model_that_hardly_moved_does_not_pass_for_another(place: Path) -> None:
    run, other = place / "run", place / "other"
    for folder, rate in ((run, 1e-6), (other, 2e-6)):
        slow = ("engine.stack=2", "rounds=2", f"training.lr={rate}")
        api.run(parse_scenario(SGD, overrides=slow), folder, text=SGD)
    (theirs,), (ours,) = ((folder / "cells").iterdir() for folder in (other, run))
    shutil.copy(theirs / "model.safetensors", ours / "model.safetensors")
    with pytest.raises(SecureflError, match="another model, by more than rounding"):
        findings_of(request_for("run", "server"))


@pytest.mark.parametrize(
    ("engine", "is_usual"),
    [
        ("", True),
        ('engine.stack = "off"', True),
        ('engine.device = "cpu"', True),
        ("engine.stack = 2", False),
        ('engine.device = "cuda"', False),
    ],
)
def test_a_replay_computes_otherwise_than_stacks_and_a_gpu(engine: str, is_usual: bool) -> None:
    assert parse_scenario(f"{SGD}\n{engine}\n").computed_as_usual is is_usual


def test_a_run_of_system_noise_is_audited_as_a_fresh_draw(place: Path) -> None:
    scenario = parse_scenario(
        DP, overrides=("privacy.noise=system", "rounds=1", "model.hidden=[20]")
    )
    api.run(scenario, place / "run", text=DP)
    findings = findings_of(request_for("run", "server"))
    assert any("the audit is of a fresh draw" in note for note in findings.notes)
    assert all(
        "not made by coins" in line.why
        for line in findings.lines
        if line.auc is not None and "canaries" not in line.attack
    )


def test_a_run_stands_or_falls_with_its_own_ledger(place: Path) -> None:
    """With 2 of 10 rounds booked, a ledger claims less than was released: canaries show it."""
    scenario = parse_scenario(
        DP,
        overrides=(
            "privacy.epsilon=60.0",
            "rounds=10",
            "model.hidden=[20]",
            "data.only=0",
            "privacy.records=[419]",
            "privacy.noise_multiplier=0.6",
        ),
    )
    run = place / "run"
    api.run(scenario, run, text=DP)
    (cell,) = (run / "cells").iterdir()
    assert findings_of(request_for("run", "server")).verdict is not Verdict.VIOLATED
    ledger = cell / "ledgers" / "0.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:4]))
    cut = findings_of(request_for("run", "server"))
    assert cut.verdict is Verdict.VIOLATED
    violated = [line.attack for line in cut.lines if line.verdict is Verdict.VIOLATED]
    assert violated == ["1510 gradient canaries", BOOKS]


SKETCHES = """
rounds = 1
weights = "equal"
data = { name = "digits", partition = "iid", clients = 5 }
model = { name = "mlp", hidden = [8] }
training = { kind = "sgd", batch = 32, lr = 0.3 }
channel = { kind = "masked", sketch = 16, corrupt = 1 }
defense.rule = { name = "dnc", f = 1 }
"""
SEEDED = "channel.secrets=seeded"
NOISE = (
    "training.kind=dp_sgd",
    "privacy={epsilon=4.0, records=[252, 252, 252, 251, 251]}",
)


@pytest.mark.parametrize(
    ("overrides", "drawn", "way_out"),
    [
        ((), "random matrices", "channel.secrets = 'seeded'"),
        ((SEEDED, *NOISE), "noise", "privacy.noise = 'seeded'"),
        (
            NOISE,
            "random matrices and noise",
            "channel.secrets = 'seeded' and privacy.noise = 'seeded'",
        ),
    ],
    ids=["matrices", "noise", "both"],
)
def test_a_choice_by_what_is_drawn_anew_is_refused_before_any_replay(
    overrides: tuple[str, ...], drawn: str, way_out: str
) -> None:
    scenario = parse_scenario(SKETCHES, overrides=overrides)
    with pytest.raises(ScenarioError, match=f"by sketches with {drawn} of the system's") as reason:
        check_repeated(Path("run"), scenario)
    assert str(reason.value).endswith(f"audit its scenario, or a run of it with {way_out}")


@pytest.mark.parametrize(
    "overrides",
    [(SEEDED,), (SEEDED, *NOISE, "privacy.noise=seeded")],
    ids=["without noise", "with seeded noise"],
)
def test_a_choice_by_seeds_is_repeated(overrides: tuple[str, ...]) -> None:
    check_repeated(Path("run"), parse_scenario(SKETCHES, overrides=overrides))


def test_the_audit_of_a_choice_names_a_way_out_that_its_adversary_has(place: Path) -> None:
    api.run(parse_scenario(SKETCHES), place / "run", text=SKETCHES)
    with pytest.raises(ScenarioError, match="'server' sees distances between all updates"):
        findings_of(request_for("run", "server"))
    with pytest.raises(ScenarioError, match=r"channel\.secrets = 'seeded'"):
        findings_of(request_for("run", "clients"))
    with pytest.raises(ScenarioError, match="there is no 'foo'; known are server"):
        findings_of(request_for("nothing is here", "foo"))
    with pytest.raises(ScenarioError, match="there is no 'foo'; known are server"):
        findings_of(request_for("run", "foo"))


def test_a_run_that_chose_by_seeds_under_noise_is_replayed_line_for_line(place: Path) -> None:
    scenario = parse_scenario(SKETCHES, overrides=(SEEDED, *NOISE, "privacy.noise=seeded"))
    api.run(scenario, place / "run", text=SKETCHES)
    notes = findings_of(request_for("run", "clients")).notes
    assert any("the replay is the run: the same transcript" in note for note in notes)
