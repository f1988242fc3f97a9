"""`securefl audit PATH --adversary WHO`, from the scenario to the verdict.

Mutants killed:
audit: shadows trained anew; a replay that is another run let by; the ledger of the run not looked at; a violation that
exits with 0; observations or scores of records in the folder.
shadow_scenarios: the federation's own seed; the audited pair among them; the channel kept.
"""

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.experiments.planted import planted
from securefl.audit.audit import audit
from securefl.audit.findings import Asked, Findings
from securefl.audit.inquiry import Inquiry, shadow_scenarios
from securefl.audit.verdicts import MECHANISM, SIZE, Stand
from securefl.errors import ScenarioError, SecureflError
from securefl.runs import api
from securefl.scenario.scenario import load_scenario, parse_scenario
from securefl.ui.audit import show_leakage
from securefl.ui.display import SilentDisplay
from tests.commands import Done, call

SGD = """
rounds = 2
weights = "equal"
data = { name = "digits", partition = "iid", clients = 4 }
model = { name = "mlp", hidden = [16] }
training = { kind = "sgd", batch = 32, lr = 0.3 }
"""
DP = """
rounds = 4
weights = "equal"
data = { name = "digits", partition = "iid", clients = 3 }
model = { name = "mlp", hidden = [100] }
training = { kind = "dp_sgd", batch = 42, lr = 0.5 }
privacy = { epsilon = 4.0, noise = "seeded", records = [419, 419, 419] }
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sgd.toml").write_text(SGD)
    (tmp_path / "dp.toml").write_text(DP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(
    path: str, who: str, *overrides: str, shadows: int = 0, colluders: int = 1, target: int = 0
) -> Asked:
    return Asked(Path(path), overrides, who, colluders, target, shadows, 0, 2, None, exposure=False)


def found_by(question: Asked, said: Callable[[str], None] = lambda text: None) -> Findings:
    return audit(question, say=said, on_round=lambda label, record: None)


def test_a_scenario_without_a_claim_is_measured_with_shadows_that_are_kept(place: Path) -> None:
    said: list[str] = []
    found = found_by(asked("sgd.toml", "server", shadows=4), said.append)
    assert {line.attack for line in found.lines} == {
        "loss threshold",
        "label only",
        "LiRA",
        "offline LiRA",
        "RMIA",
        "trajectory of the global models",
        "trajectory of the local models",
        "alignment with its updates",
    }
    assert found.stand is Stand.UNCLAIMED
    lines = {line.attack: line for line in found.lines}
    assert [point.found is None for point in lines["loss threshold"].points] == [False, True]
    assert (
        lines["RMIA"].auc is not None
    )  # 943 records of other clients are too few for a rate of 1 %
    assert [point.found for point in lines["RMIA"].points] == [None, None]
    assert "4 shadows, 4 of them to train" in said
    again = found_by(asked("sgd.toml", "server", shadows=4), said.append)
    assert "4 shadows, 0 of them to train" in said
    assert [line.auc for line in again.lines] == [line.auc for line in found.lines]
    more = found_by(asked("sgd.toml", "outsider", shadows=6), said.append)
    assert "6 shadows, 2 of them to train" in said
    assert more.folder == found.folder
    assert {line.attack for line in more.lines} == {
        "loss threshold",
        "label only",
        "LiRA",
        "offline LiRA",
        "RMIA",
    }


def test_what_is_written_is_verdicts_and_a_figure_and_nothing_about_a_record(place: Path) -> None:
    found = found_by(asked("sgd.toml", "clients", shadows=2, colluders=2))
    assert {file.name for file in found.folder.iterdir()} - {".lock"} == {
        "cells",
        "audit-clients-2-shadows-2-seed-0.json",
        "audit-clients-2-shadows-2-seed-0.svg",
        "env.json",
        "resolved.json",
        "study.toml",
    }
    written = json.loads((found.folder / "audit-clients-2-shadows-2-seed-0.json").read_text())
    assert written["verdict"] == "no claim"
    assert written["command"] == (
        "securefl audit sgd.toml --adversary clients --colluders=2 --target=0 --shadows=2 --seed=0 --no-exposure"
    )
    assert max(len(json.dumps(line)) for line in written["lines"]) < 1000
    assert written["lines"][0]["auc"] == found.lines[0].auc


def test_a_server_of_ciphertexts_measures_nothing(place: Path) -> None:
    found = found_by(asked("sgd.toml", "server", "channel.kind=ckks", shadows=4))
    assert [(line.attack, line.auc) for line in found.lines] == [("membership", None)]
    assert not (found.folder / "cells").exists()


def test_under_masks_three_of_four_clients_measure_what_the_plain_server_does(place: Path) -> None:
    """Their step is the mean in the ring, rounded: nearly the same update, nearly the same scores."""
    plain = found_by(asked("sgd.toml", "server"))
    masked = found_by(asked("sgd.toml", "server+clients", "channel.kind=masked", colluders=3))
    areas = [
        {line.attack: line.auc for line in found.lines}["alignment with its updates"]
        for found in (plain, masked)
    ]
    assert areas[0] is not None
    assert areas[1] == pytest.approx(areas[0], abs=0.01)


def test_correct_code_is_not_accused_and_half_the_noise_is(place: Path) -> None:
    question = asked("dp.toml", "server", "data.only=0", "privacy.records=[419]")
    found = found_by(question)
    assert found.stand is not Stand.VIOLATED
    assert {line.attack for line in found.lines} >= {
        "7510 gradient canaries",
        "loss threshold",
        *MECHANISM,
    }
    with planted("noise halved"):
        wrong = found_by(question)
    assert wrong.stand is Stand.VIOLATED
    (canaries,) = [line for line in wrong.lines if "gradient canaries" in line.attack]
    assert "the profile allows" in canaries.why
    (size,) = [line for line in wrong.lines if line.attack == SIZE]
    assert "of what was booked, by tensor" in size.why


def test_a_violation_is_told_and_ends_with_exit_code_1(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = asked("dp.toml", "server", "data.only=0", "privacy.records=[419]")
    with planted("noise x .1"):
        assert show_leakage(question, SilentDisplay())
    assert not show_leakage(asked("sgd.toml", "server"), SilentDisplay())
    assert SecureflError.exit_code == 1


def test_a_run_is_replayed_and_must_be_the_same(place: Path) -> None:
    run = place / "run"
    api.run(load_scenario(Path("sgd.toml")), run, text=SGD)
    found = found_by(asked("run", "server"))
    assert (
        "the replay is the run: the same transcript, line for line, and the same model, bit for bit"
        in found.notes
    )
    (cell,) = (run / "cells").iterdir()
    transcript = cell / "transcript.jsonl"
    lines = transcript.read_text().splitlines()
    transcript.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(SecureflError, match="the replay is not the run: its transcript differs"):
        found_by(asked("run", "server"))
    transcript.write_text("\n".join(lines) + "\n")
    other = place / "other"
    api.run(parse_scenario(SGD, overrides=("seed=7",)), other, text=SGD)
    (theirs,) = (other / "cells").iterdir()
    shutil.copy(theirs / "model.safetensors", cell / "model.safetensors")
    with pytest.raises(SecureflError, match="it ends with another model"):
        found_by(asked("run", "server"))


def test_a_run_under_encryption_is_the_same_but_for_its_rounding(place: Path) -> None:
    run = place / "run"
    scenario = parse_scenario(SGD, overrides=("channel.kind=ckks", "rounds=3"))
    api.run(scenario, run, text=SGD)
    found = found_by(asked("run", "server+key-holder"))
    assert any("the same transcript, and the same model within" in note for note in found.notes)
    assert {line.attack for line in found.lines} >= {
        "alignment with its updates",
        "trajectory of the local models",
    }


def test_a_folder_of_another_scenarios_shadows_is_refused(place: Path) -> None:
    found_by(replace(asked("sgd.toml", "server", shadows=2), folder=Path("kept")))
    with pytest.raises(
        ScenarioError, match="kept holds the study 'shadows of client 0 of scenario"
    ):
        found_by(replace(asked("sgd.toml", "server", "rounds=3", shadows=2), folder=Path("kept")))


def test_the_command_to_repeat_an_audit_names_its_folder_and_no_colluders_where_there_are_none() -> (
    None
):
    question = replace(asked("sgd.toml", "server"), folder=Path("kept"))
    assert question.command == (
        "securefl audit sgd.toml --adversary server --target=0 --shadows=0 --seed=0 --no-exposure --out=kept"
    )


def test_all_others_are_told_that_they_know_every_update(place: Path) -> None:
    found = found_by(asked("sgd.toml", "clients", "channel.kind=masked", colluders=3))
    assert "seen of client 0: every update by itself" in found.notes
    fewer = found_by(asked("sgd.toml", "clients", "channel.kind=masked", colluders=2))
    assert "seen of client 0: sums or steps that its updates are part of" in fewer.notes


def test_the_command_to_repeat_an_audit_goes_through_a_shell() -> None:
    question = asked("a b.toml", "server", 'server={step="fedavg"}')
    assert shlex.split(question.command)[:5] == [
        "securefl",
        "audit",
        "a b.toml",
        "--set",
        'server={step="fedavg"}',
    ]


def test_the_claim_that_is_printed_is_the_one_that_is_tested(place: Path) -> None:
    found = found_by(
        asked(
            "dp.toml",
            "outsider",
            "privacy.epsilon=60.0",
            "privacy.noise_multiplier=3.0",
            "rounds=1",
        )
    )
    assert found.claim.startswith("epsilon 60 at delta 1e-05, of which ")
    spent = float(found.claim.split("of which ")[1].split()[0])
    assert 0 < spent < 1
    assert max(point.allowed or 0.0 for point in found.lines[0].points) < 0.1


def test_a_run_of_system_noise_is_audited_as_a_fresh_draw(place: Path) -> None:
    run = place / "run"
    scenario = parse_scenario(
        DP, overrides=("privacy.noise=system", "rounds=1", "model.hidden=[20]")
    )
    api.run(scenario, run, text=DP)
    found = found_by(asked("run", "server"))
    assert any("the audit is of a fresh draw" in note for note in found.notes)
    assert all(
        "not made by coins" in line.why
        for line in found.lines
        if line.auc is not None and "canaries" not in line.attack
    )


def test_a_run_stands_or_falls_with_its_own_ledger(place: Path) -> None:
    """A ledger with half the reservations claims less than what was released, which the canaries show."""
    run = place / "run"
    api.run(
        parse_scenario(
            DP,
            overrides=(
                "privacy.epsilon=60.0",
                "rounds=20",
                "data.only=0",
                "privacy.records=[419]",
                "privacy.noise_multiplier=0.6",
            ),
        ),
        run,
        text=DP,
    )
    (cell,) = (run / "cells").iterdir()
    honest = found_by(asked("run", "server"))
    assert honest.stand is not Stand.VIOLATED
    ledger = cell / "ledgers" / "0.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:4]))
    assert found_by(asked("run", "server")).stand is Stand.VIOLATED


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (asked("sgd.toml", "spy"), "--adversary: there is no 'spy'"),
        (asked("sgd.toml", "server", target=4), "--target: there is no client 4 among 4"),
        (asked("sgd.toml", "server", target=-1), "--target: there is no client -1 among 4"),
        (
            asked("sgd.toml", "clients", colluders=4),
            "--colluders: 4 of 4 clients cannot look at another one",
        ),
        (asked("sgd.toml", "clients", colluders=0), "--colluders: 0 of 4 clients"),
        (asked("sgd.toml", "server", shadows=1), "--shadows must be 0, or from 2 to 1024, got 1"),
        (asked("nowhere.toml", "server"), "cannot read nowhere.toml"),
        (asked("sgd.toml", "server", "data.name=medmnist:chestmnist"), "several labels"),
        (asked("sgd.toml", "server", "rehearsal.client=0"), "is a rehearsal already"),
        (
            asked("sgd.toml", "server", "attack.name=zero", "attack.clients=[0]"),
            "client 0 is corrupt",
        ),
    ],
)
def test_what_cannot_be_audited_is_refused_and_leaves_nothing(
    place: Path, question: Asked, message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        found_by(question)
    assert {file.name for file in place.iterdir()} == {"sgd.toml", "dp.toml"}


def test_a_model_without_room_for_canaries_says_so(place: Path) -> None:
    found = found_by(asked("dp.toml", "server", "model.hidden=[4]", "rounds=1"))
    (line,) = [line for line in found.lines if "canaries" in line.attack]
    assert line.stand is Stand.UNTOLD
    assert "need a model of 1000 coordinates or more" in line.why


def test_shadows_know_neither_the_seed_nor_the_coins_nor_the_channel() -> None:
    scenario = parse_scenario(SGD, overrides=("channel.kind=masked", "seed=3"))
    inquiry = Inquiry(scenario, "server", seed=2)
    found = shadow_scenarios(inquiry, 4)
    assert [one.rehearsal.seed for one in found.values() if one.rehearsal] == [6, 7, 8, 9]
    assert inquiry.rehearsal.rehearsal is not None
    assert inquiry.rehearsal.rehearsal.seed == 4
    assert len({one.seed for one in [scenario, *found.values()]}) == 5
    assert {one.channel.kind for one in found.values()} == {"plain"}


def command(*arguments: str) -> Done:
    return call("audit", *arguments, cwd=Path.cwd())


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


def test_a_scenario_needs_an_adversary_and_a_run_takes_no_overrides(place: Path) -> None:
    done = command("sgd.toml")
    assert done.returncode == 2
    assert "audit a scenario with --adversary" in done.stderr
    (place / "run").mkdir()
    done = command("run", "--set", "rounds=1")
    assert done.returncode == 2
    assert "--set changes a scenario" in done.stderr
