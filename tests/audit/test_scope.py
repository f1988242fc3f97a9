"""The scope that an audit keeps: what was looked at, in words that need no other file."""

import json
from pathlib import Path

import pytest

from securefl.audit.findings import VERSION, Findings
from securefl.audit.inquiry import Inquiry
from securefl.audit.notes import notes_on, scope_of
from securefl.audit.repertoire import known
from securefl.audit.scope import Budget, Scope
from securefl.audit.threats import SERVER, THREATS, adversaries_in
from securefl.channels.protocol import Seen
from securefl.runs.names import cell_hash
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.audit.asking import DP, SGD, findings_of, request_for, write_scenarios

CENTRAL = """
rounds = 2
training = { kind = "clipped_gradient", lr = 1.0, clip = 1.0 }
privacy = { epsilon = 3.0, place = "central" }
channel = { kind = "masked" }
"""


def scope(text: str, adversary: str, *overrides: str, colluders: int = 1) -> tuple[Scenario, Scope]:
    scenario = parse_scenario(text, overrides=overrides)
    request = request_for("s.toml", adversary, shadows=4, colluders=colluders, target=1)
    return scenario, scope_of(Inquiry(scenario, adversary, colluders, 1), request, None)


def test_a_scope_comes_back_from_json() -> None:
    for adversary in ("server", "server+clients"):
        _, kept = scope(DP, adversary, colluders=2)
        stored = json.loads(json.dumps(kept.to_json(), allow_nan=False))
        assert Scope.from_json(stored) == kept


def test_it_says_scenario_adversary_target_and_everything_seen() -> None:
    scenario, kept = scope(SGD, "server+clients", "channel.kind=masked", colluders=2)
    assert kept.scenario == tuple(summary(scenario).removeprefix("valid: ").splitlines())
    assert kept.cell == cell_hash(scenario.resolved())
    assert (kept.topology, kept.channel, kept.adversary) == (SERVER, "masked", "server+clients")
    assert kept.who == THREATS["server+clients"].who
    assert (kept.coalition, kept.target, kept.shadows) == ((0, 2), 1, 4)
    assert kept.sees == THREATS["server+clients"].sees("masked")
    assert Seen.SUM_OF_UPDATES in kept.sees
    assert Seen.CLEAR_UPDATE not in kept.sees
    assert not kept.deviates
    assert not kept.of_run


def test_an_adversary_that_may_break_the_protocol_is_marked() -> None:
    assert scope(SGD, "malicious-server")[1].deviates


def test_the_claim_is_kept_in_numbers() -> None:
    assert scope(DP, "server")[1].budget == Budget(4.0, 1e-5, None)
    assert scope(SGD, "server")[1].budget is None
    assert scope(DP, "server", "privacy.epsilon=inf")[1].budget is None


def test_every_adversary_of_the_topology_is_kept_with_a_reason_where_none_can_look() -> None:
    _, kept = scope(SGD, "server")
    assert [one.name for one in kept.onlookers] == list(adversaries_in(SERVER))
    assert not [one for one in kept.onlookers if one.why_not]
    _, kept = scope(CENTRAL, "outsider-weights")
    refused = {one.name: one.why_not for one in kept.onlookers if one.why_not}
    assert "server" in refused
    assert "outsider" not in refused
    assert refused["server"].startswith("'server' sees the")


def test_the_first_note_is_the_scope_in_one_line() -> None:
    inquiry = Inquiry(parse_scenario(SGD), "server+clients", 2, 1)
    kept = scope_of(inquiry, request_for("s.toml", "server+clients"), None)
    assert notes_on(inquiry, kept)[0] == kept.is_seen
    assert kept.is_seen == (
        "server+clients is the server and clients that share what they see and send "
        "(client 0, 2); it sees: global model, update in the clear, own update, final model"
    )


def test_an_audit_writes_its_scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scenarios(tmp_path)
    monkeypatch.chdir(tmp_path)
    findings = findings_of(request_for("sgd.toml", "server", "rounds=1"))
    assert findings.scope is not None
    assert all(known(line.attack) for line in findings.lines)
    assert findings.scope.sees == THREATS["server"].sees("plain")
    stored = json.loads(findings.file.read_text())
    assert stored["version"] == VERSION
    assert Findings.read(findings.file).scope == findings.scope


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("code", None),
        ("scenario", "text"),
        ("of_run", 1),
        ("coalition", [True]),
        ("coalition", 3),
        ("target", -1),
        ("sees", [None]),
        ("shadows", 2.5),
        ("budget", {"epsilon": None, "delta": 0.1, "spent": None}),
        ("budget", {"epsilon": 1.0}),
        ("onlookers", [{"name": "x"}]),
        ("onlookers", ["x"]),
    ],
    ids=str,
)
def test_a_damaged_scope_is_none(key: str, value: object) -> None:
    stored = scope(DP, "server")[1].to_json() | {key: value}
    with pytest.raises((KeyError, TypeError, ValueError)):
        Scope.from_json(stored)
