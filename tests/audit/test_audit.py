"""`audit`, from a scenario to findings: shared shadows, verdicts, and what is kept of it all."""

import json
from pathlib import Path

import pytest

from benchmarks.experiments.planted import planted
from securefl.audit import inside, measure, replays
from securefl.audit.audit import audit
from securefl.audit.exposure import look
from securefl.audit.lines import Verdict
from securefl.audit.repertoire import MECHANISM, SIZE, known
from securefl.audit.replay import replay
from securefl.audit.threats import SERVER, adversaries_in
from securefl.errors import ScenarioError
from tests.audit.asking import ONE_CLIENT, findings_of, request_for, write_scenarios


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_scenarios(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_scenario_without_a_claim_is_measured_with_shadows_that_are_kept(place: Path) -> None:
    said: list[str] = []
    findings = findings_of(request_for("sgd.toml", "server", shadows=4), said.append)
    lines = {line.attack: line for line in findings.lines}
    assert all(map(known, lines))
    assert set(lines) == {
        "loss threshold",
        "label only",
        "LiRA",
        "offline LiRA",
        "RMIA",
        "trajectory of the global models",
        "trajectory of the local models",
        "alignment with its updates",
    }
    assert findings.verdict is Verdict.UNCLAIMED
    assert [point.share is None for point in lines["loss threshold"].points] == [False, True]
    # The 943 records of other clients are too few for RMIA at a rate of 1 %.
    assert lines["RMIA"].auc is not None
    assert [point.share for point in lines["RMIA"].points] == [None, None]
    assert "4 shadows, 4 of them to train" in said
    again = findings_of(request_for("sgd.toml", "server", shadows=4), said.append)
    assert "4 shadows, 0 of them to train" in said
    assert [line.auc for line in again.lines] == [line.auc for line in findings.lines]
    more = findings_of(request_for("sgd.toml", "outsider", shadows=6), said.append)
    assert "6 shadows, 2 of them to train" in said
    assert more.folder == findings.folder
    assert {line.attack for line in more.lines} == {
        "loss threshold",
        "label only",
        "LiRA",
        "offline LiRA",
        "RMIA",
    }


def test_all_parties_share_shadows_and_replays_and_learn_what_each_learns_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[str] = []

    def counted(module: object, label: str) -> None:
        def play(*arguments: object, **options: object) -> object:
            played.append(label)
            return replay(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "replay", play)

    counted(replays, "rehearsal")
    counted(look, "first rounds")
    said: list[str] = []
    request = request_for("sgd.toml", "all", "rounds=1", shadows=2, exposure=True)
    everybody = audit(request, say=said.append, on_round=lambda label, record: None)
    assert tuple(everybody) == adversaries_in(SERVER)
    assert [text for text in said if "shadows" in text] == ["2 shadows, 2 of them to train"]
    assert sorted(played) == ["first rounds", "rehearsal"]
    for name in ("clients", "outsider"):
        alone = findings_of(request.of(name), said.append)
        assert said.count("2 shadows, 2 of them to train") == 1
        assert alone.to_json() == everybody[name].to_json()
        assert alone.file == everybody[name].file


def test_all_parties_share_the_replays_with_canaries_and_probes(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[str] = []

    def counted(module: object, label: str) -> None:
        def play(*arguments: object, **options: object) -> object:
            played.append(label)
            return replay(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "replay", play)

    counted(measure, "canaries")
    counted(inside, "probes")
    request = request_for("dp.toml", "all", *ONE_CLIENT, "rounds=2", "model.hidden=[20]")
    everybody = audit(request, say=lambda text: None, on_round=lambda label, record: None)
    # Clients cannot look at the only client.
    assert tuple(everybody) == (
        "server",
        "malicious-server",
        "network",
        "outsider",
        "outsider-weights",
    )
    assert sorted(played) == ["canaries", "probes"]
    canaries = {
        name: [line.auc for line in findings.lines if "canaries" in line.attack]
        for name, findings in everybody.items()
    }
    assert canaries["server"] == canaries["network"] != canaries["outsider-weights"]
    assert canaries["outsider"] == [None]
    own = findings_of(request.of("server"))
    assert own.to_json() == everybody["server"].to_json()


def test_what_is_written_is_verdicts_and_nothing_about_a_record(place: Path) -> None:
    findings = findings_of(request_for("sgd.toml", "clients", shadows=2, colluders=2))
    assert {file.name for file in findings.folder.iterdir()} - {".lock"} == {
        "cells",
        "audit-clients-2-shadows-2-seed-0.json",
        "env.json",
        "resolved.json",
        "study.toml",
    }
    written = json.loads(findings.file.read_text())
    assert written["verdict"] == "no claim"
    assert written["command"] == (
        "securefl audit sgd.toml --adversary clients --colluders=2 --target=0 --shadows=2 "
        "--seed=0 --no-exposure"
    )
    assert max(len(json.dumps(line)) for line in written["lines"]) < 1000
    assert written["lines"][0]["auc"] == findings.lines[0].auc


def test_a_server_of_ciphertexts_measures_nothing(place: Path) -> None:
    findings = findings_of(request_for("sgd.toml", "server", "channel.kind=ckks", shadows=4))
    assert [(line.attack, line.auc) for line in findings.lines] == [("membership", None)]
    assert not (findings.folder / "cells").exists()


def test_under_masks_three_of_four_clients_measure_what_the_plain_server_does(place: Path) -> None:
    """Their step is the mean in the ring, rounded: nearly the same update and scores."""
    plain = findings_of(request_for("sgd.toml", "server"))
    masked = findings_of(
        request_for("sgd.toml", "server+clients", "channel.kind=masked", colluders=3)
    )
    areas = [
        {line.attack: line.auc for line in findings.lines}["alignment with its updates"]
        for findings in (plain, masked)
    ]
    assert areas[0] is not None
    assert areas[1] == pytest.approx(areas[0], abs=0.01)


def test_correct_code_is_not_accused_and_half_the_noise_is(place: Path) -> None:
    request = request_for("dp.toml", "server", *ONE_CLIENT)
    right = findings_of(request)
    assert right.verdict is not Verdict.VIOLATED
    assert {line.attack for line in right.lines} >= {
        "7510 gradient canaries",
        "loss threshold",
        *MECHANISM,
    }
    with planted("noise halved"):
        wrong = findings_of(request)
    assert wrong.verdict is Verdict.VIOLATED
    (canaries,) = [line for line in wrong.lines if "gradient canaries" in line.attack]
    assert "the profile allows" in canaries.why
    (size,) = [line for line in wrong.lines if line.attack == SIZE]
    assert "of what was booked, by tensor" in size.why


def test_a_folder_of_another_scenarios_shadows_is_refused(place: Path) -> None:
    kept = Path("kept")
    findings_of(request_for("sgd.toml", "server", shadows=2, folder=kept))
    with pytest.raises(
        ScenarioError, match="kept holds the study 'shadows of client 0 of scenario"
    ):
        findings_of(request_for("sgd.toml", "server", "rounds=3", shadows=2, folder=kept))


def test_notes_say_that_all_others_together_know_every_update(place: Path) -> None:
    masked = "channel.kind=masked"
    others = findings_of(request_for("sgd.toml", "clients", masked, colluders=3))
    assert "seen of client 0: every update by itself" in others.notes
    fewer = findings_of(request_for("sgd.toml", "clients", masked, colluders=2))
    assert "seen of client 0: sums or steps that its updates are part of" in fewer.notes


def test_the_claim_that_is_printed_is_the_one_that_is_tested(place: Path) -> None:
    findings = findings_of(
        request_for(
            "dp.toml",
            "outsider",
            "privacy.epsilon=60.0",
            "privacy.noise_multiplier=3.0",
            "rounds=1",
        )
    )
    assert findings.claim.startswith("epsilon 60 at delta 1e-05, of which ")
    spent = float(findings.claim.split("of which ")[1].split()[0])
    assert 0 < spent < 1
    assert max(point.allowed or 0.0 for point in findings.lines[0].points) < 0.1


def test_a_model_without_room_for_canaries_says_so(place: Path) -> None:
    findings = findings_of(request_for("dp.toml", "server", "model.hidden=[4]", "rounds=1"))
    (line,) = [line for line in findings.lines if "canaries" in line.attack]
    assert line.verdict is Verdict.UNDECIDED
    assert "need a model of 1000 coordinates or more" in line.why
