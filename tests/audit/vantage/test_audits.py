"""`audit` of scenarios with a topology: who looks, what each attack finds, and what is written."""

import json
from pathlib import Path

import pytest

from benchmarks.experiments.planted import planted
from securefl.audit.audit import audit
from securefl.audit.lines import Verdict
from securefl.audit.repertoire import MECHANISM
from securefl.audit.threats import adversaries_in
from tests.audit.asking import DP, SGD, findings_of, request_for
from tests.commands import call

CYCLIC = 'topology = "cyclic"\n'
PEER = 'topology = { kind = "peer", graph = "ring" }\n'
REGIONS = 'topology = { kind = "hierarchical", regions = [[0], [1, 2, 3]], inner_rounds = 2 }\n'
TOPOLOGIES = {"cyclic": CYCLIC, "peer": PEER, "hierarchical": REGIONS}
EVERYBODY = [(kind, name) for kind in TOPOLOGIES for name in adversaries_in(kind)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for kind, topology in TOPOLOGIES.items():
        (tmp_path / f"{kind}.toml").write_text(SGD + topology)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("kind", "adversary"), EVERYBODY)
def test_each_adversary_of_each_topology_is_measured_and_its_findings_are_written(
    kind: str, adversary: str, place: Path
) -> None:
    findings = findings_of(request_for(f"{kind}.toml", adversary, exposure=True))
    assert findings.verdict is Verdict.UNCLAIMED
    written = json.loads(findings.file.read_text())
    attacks = {line["attack"] for line in written["lines"]}
    assert "loss threshold" in attacks
    exposed = {exposure["attack"] for exposure in written["exposures"]}
    if adversary.startswith("outsider"):
        assert exposed == {"what updates show"}
        assert attacks == {"loss threshold", "label only"}
        return
    assert any(attack.startswith("alignment with") for attack in attacks)
    assert {"labels", "source", "analytic leakage of the first layer"} <= exposed
    assert not any("imprint" in attack for attack in exposed)


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_the_command_line_shows_all_parties_of_a_topology(kind: str, place: Path) -> None:
    options = ("--shadows", "0", "--no-exposure", "--display", "json")
    done = call("audit", f"{kind}.toml", "--adversary", "all", *options, cwd=place)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert tuple(last["adversaries"]) == adversaries_in(kind)
    (folder,) = (place / "audits").iterdir()
    files = {file.name for file in folder.glob("*.json")}
    assert len(files) == len(adversaries_in(kind))


def test_all_leaves_out_the_next_site_where_the_order_is_random(place: Path) -> None:
    text = SGD + 'topology = { kind = "cyclic", order = "random" }\n'
    (place / "random.toml").write_text(text)
    request = request_for("random.toml", "all", "rounds=1")
    everybody = audit(request, say=lambda text: None, on_round=lambda label, record: None)
    assert tuple(everybody) == ("network", "outsider", "outsider-weights")


def test_a_neighbour_compares_nothing_with_shadows_and_an_outsider_does(place: Path) -> None:
    said: list[str] = []
    request = request_for("peer.toml", "neighbour", "rounds=1", shadows=2)
    alone = findings_of(request, said.append)
    assert not [text for text in said if "shadows" in text]
    assert "LiRA" not in {line.attack for line in alone.lines}
    (note,) = [note for note in alone.notes if "shadows end with" in note]
    assert "the last model that client 0 sent" in note
    asked = request_for("peer.toml", "outsider", "rounds=1", shadows=2, folder=Path("outside"))
    outside = findings_of(asked, said.append)
    assert {"LiRA", "RMIA"} <= {line.attack for line in outside.lines}
    assert not [note for note in outside.notes if "shadows end with" in note]


@pytest.mark.parametrize(
    ("topology", "adversary", "colluders"),
    [
        (CYCLIC, "next-site", 2),
        (PEER, "neighbour", 1),
        ('topology = { kind = "hierarchical", regions = [[0], [1, 2]] }\n', "top", 1),
    ],
)
def test_where_updates_are_seen_the_mechanism_is_checked_and_half_the_noise_is_found(
    topology: str, adversary: str, colluders: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a ring of three all hear all."""
    (tmp_path / "dp.toml").write_text(DP + topology)
    monkeypatch.chdir(tmp_path)
    request = request_for("dp.toml", adversary, colluders=colluders)
    right = findings_of(request)
    assert right.verdict is not Verdict.VIOLATED
    assert set(MECHANISM) < {line.attack for line in right.lines}
    assert any("gradient canaries" in line.attack for line in right.lines)
    with planted("noise halved"):
        assert findings_of(request).verdict is Verdict.VIOLATED


def test_inside_a_region_each_inner_round_is_a_step_that_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topology = 'topology = { kind = "hierarchical", regions = [[0, 1], [2]], inner_rounds = 2 }\n'
    (tmp_path / "dp.toml").write_text(DP.replace("rounds = 4", "rounds = 2") + topology)
    monkeypatch.chdir(tmp_path)
    findings = findings_of(request_for("dp.toml", "region"))
    (books,) = [line for line in findings.lines if line.attack == "booked steps"]
    assert books.verdict is Verdict.HOLDS
    assert findings.verdict is not Verdict.VIOLATED
    above = findings_of(request_for("dp.toml", "top"))
    (inside,) = [line for line in above.lines if line.attack == "DP-SGD from inside"]
    assert "changes of a region's model" in inside.why


def test_a_run_of_a_topology_is_replayed_as_it_was(place: Path) -> None:
    done = call("run", "cyclic.toml", "--out", "run", cwd=place)
    assert done.returncode == 0, done.stderr
    findings = findings_of(request_for("run", "next-site"))
    assert any("the same model, bit for bit" in note for note in findings.notes)
