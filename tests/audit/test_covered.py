"""Which adversaries a claim, or an audit, does not cover."""

from dataclasses import replace
from pathlib import Path

import pytest

from securefl.audit.audit import audit, inquiries_of
from securefl.audit.covered import (
    knows_shares,
    knows_sketches,
    passed_over,
    sees_before_noise,
    sees_distances,
)
from securefl.audit.inquiry import Inquiry
from securefl.audit.request import ALL, AuditRequest
from securefl.audit.weights import weights_in_step
from securefl.errors import ScenarioError
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.audit.asking import SGD, request_for
from tests.audit.test_sum_canaries import SUMS
from tests.scenario.test_sketch import TEN

GIVEN = "privacy.noise_multiplier=4.0"


def sums(*overrides: str) -> Scenario:
    return parse_scenario(SUMS, overrides=(GIVEN, *overrides))


@pytest.mark.parametrize(
    ("channel", "adversary", "shown"),
    [
        ("plain", "server", "update in the clear"),
        ("plain", "network", "update in the clear"),
        ("masked", "server", "sum of updates"),
        ("ckks", "clients", "opened sum"),
        ("masked", "clients", ""),
        ("ckks", "server", ""),
        ("plain", "outsider-weights", ""),
    ],
)
def test_an_adversary_that_sees_more_than_models_is_not_covered_by_central_noise(
    channel: str, adversary: str, shown: str
) -> None:
    scenario = sums('privacy.place="central"', f'channel.kind="{channel}"')
    why = sees_before_noise(scenario, adversary)
    assert bool(why) is bool(shown)
    assert shown in why
    if shown:
        with pytest.raises(ScenarioError, match="before central noise is added"):
            Inquiry(scenario, adversary)


@pytest.mark.parametrize("place", ["local", "distributed"])
def test_other_noise_is_added_before_anybody_sees_a_sum(place: str) -> None:
    assert sees_before_noise(sums(f'privacy.place="{place}"'), "server") == ""


@pytest.mark.parametrize(
    ("place", "corrupt", "adversary", "colluders", "refused"),
    [
        ("distributed", 1, "server+clients", 1, False),
        ("distributed", 1, "server+clients", 2, True),
        ("distributed", 1, "clients", 2, True),
        ("distributed", 2, "server+clients", 2, False),
        ("distributed", 2, "server+clients", 3, True),
        # It has no clients on its side, whatever the option says.
        ("distributed", 1, "server", 2, False),
        ("local", 1, "server+clients", 2, False),
    ],
)
def test_no_more_clients_know_their_shares_than_noise_was_sized_against(
    place: str, corrupt: int, adversary: str, colluders: int, refused: bool
) -> None:
    scenario = sums(f'privacy.place="{place}"', f"channel.corrupt={corrupt}")
    why = knows_shares(scenario, adversary, colluders)
    assert bool(why) is refused
    if refused:
        assert f"the claim holds against channel.corrupt = {corrupt}; take fewer" in why
        with pytest.raises(ScenarioError, match=f"{colluders} clients know their shares"):
            Inquiry(scenario, adversary, colluders)


@pytest.mark.parametrize(
    ("adversary", "refused"),
    [
        ("server", True),
        ("malicious-server", True),
        ("server+clients", True),
        ("server+key-holder", True),
        ("network", True),
        ("clients", False),
        ("outsider", False),
        ("outsider-weights", False),
    ],
)
def test_no_audit_passes_over_distances_that_an_adversary_sees(
    adversary: str, refused: bool
) -> None:
    why = sees_distances(parse_scenario(TEN), adversary)
    assert bool(why) is refused
    if refused:
        assert "an audit would understate what it learns: audit 'clients' or" in why
        with pytest.raises(ScenarioError, match="sees distances between all updates"):
            Inquiry(parse_scenario(TEN), adversary)
    else:
        assert Inquiry(parse_scenario(TEN), adversary).adversary == adversary
    without = TEN.replace(", sketch = 64", "").replace('{ name = "dnc", f = 2 }', '"mean"')
    assert sees_distances(parse_scenario(without), adversary) == ""


@pytest.mark.parametrize("adversary", ["region", "top", "neighbour", "next-site"])
def test_an_adversary_of_another_topology_is_refused_for_that_and_not_for_what_it_sees(
    adversary: str,
) -> None:
    refusal = f"with topology = 'server' nobody is '{adversary}'"
    for scenario in (parse_scenario(TEN), sums('privacy.place="central"')):
        with pytest.raises(ScenarioError, match=refusal):
            Inquiry(scenario, adversary)


def test_an_audit_of_all_leaves_out_those_that_see_distances() -> None:
    asked = inquiries_of(request_for("scenario.toml", ALL), parse_scenario(TEN), None)
    assert [inquiry.adversary for inquiry in asked] == ["clients", "outsider", "outsider-weights"]


class SaidError(Exception):
    """Ends an audit at the sentence that it says."""


def what_is_said_before_any_replay(request: AuditRequest) -> str:
    def say(text: str) -> None:
        raise SaidError(text)

    with pytest.raises(SaidError) as said:
        audit(request, say=say, on_round=lambda label, record: None)
    return str(said.value)


def test_an_audit_of_all_says_whom_it_leaves_out(tmp_path: Path) -> None:
    left_out = (
        "left out, since an audit would understate what they learn: server, malicious-server, "
        "server+clients, server+key-holder, network; --adversary with one of these names says why"
    )
    assert passed_over(parse_scenario(TEN)) == left_out
    assert passed_over(parse_scenario(SGD)) == ""
    scenario = tmp_path / "ten.toml"
    scenario.write_text(TEN)
    of_all = request_for(str(scenario), ALL, folder=tmp_path / "audit")
    assert what_is_said_before_any_replay(of_all) == left_out
    assert what_is_said_before_any_replay(replace(of_all, adversary="clients")) == "membership"


@pytest.mark.parametrize(
    ("adversary", "colluders", "refused"),
    [("clients", 2, False), ("clients", 3, True), ("outsider", 3, False)],
)
def test_no_audit_lets_more_clients_collude_than_sketches_are_hidden_from(
    adversary: str, colluders: int, refused: bool
) -> None:
    why = knows_sketches(parse_scenario(TEN), adversary, colluders)
    assert bool(why) is refused
    if refused:
        assert "sketches are hidden from channel.corrupt = 2; take fewer" in why
        with pytest.raises(ScenarioError, match=f"{colluders} clients open every sketch"):
            Inquiry(parse_scenario(TEN), adversary, colluders)


def test_a_coalition_of_clients_can_subtract_its_updates_from_the_mean_of_the_chosen() -> None:
    facts = parse_scenario(TEN).facts
    assert weights_in_step({0: 1, 1: 3}, facts) == {0: 1.0, 1: 3.0}
    plain = TEN.replace("masked", "plain").replace(", sketch = 64, corrupt = 2", "")
    assert weights_in_step({0: 1, 1: 3}, parse_scenario(plain).facts) is None
