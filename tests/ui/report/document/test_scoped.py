"""Scope, adversary and command of a document; no folder of anybody's machine."""

from dataclasses import replace
from pathlib import Path

from securefl.ui.report.document.blocks import Code, Facts, Items, Words
from securefl.ui.report.document.scoped import (
    NO_PATHS,
    REHEARSED,
    REPLAYED,
    UNKNOWN,
    adversary_section,
    repeat_section,
    scope_section,
)
from tests.ui.report.document.subjects import CHANCE, SCOPE, by, findings_of


def test_the_scope_says_whether_coins_decided() -> None:
    rehearsed = scope_section(findings_of(Path("f"), CHANCE)).blocks[0]
    assert isinstance(rehearsed, Facts)
    facts = dict(rehearsed.facts)
    assert facts["How"] == (REHEARSED,)
    assert facts["Scenario"] == SCOPE.scenario
    replayed = scope_section(findings_of(Path("f"), scope=replace(SCOPE, of_run=True))).blocks[0]
    assert isinstance(replayed, Facts)
    assert dict(replayed.facts)["How"] == (REPLAYED,)


def test_the_adversary_is_shown_with_its_side_and_everything_it_observed() -> None:
    scope = replace(by("server+clients"), coalition=(1, 2), shadows=16)
    who, _, assumed = adversary_section(findings_of(Path("f"), scope=scope)).blocks
    assert isinstance(who, Facts)
    assert [name for name, _ in who.facts] == ["Adversary", "On its side", "It observed"]
    facts = dict(who.facts)
    assert facts["On its side"] == ("client 1, client 2",)
    assert facts["It observed"] == SCOPE.sees
    assert isinstance(assumed, Items)
    assert "It trained 16 rehearsals of its own to compare with." in assumed.items
    assert "A note." in assumed.items
    # The line of the console that says the same is not shown again.
    assert not [item for item in assumed.items if "it sees:" in item]


def test_an_adversary_that_sees_nothing_is_said_to() -> None:
    who = adversary_section(findings_of(Path("f"), scope=replace(SCOPE, sees=()))).blocks[0]
    assert isinstance(who, Facts)
    assert dict(who.facts)["It observed"] == ("nothing but what is published about every run",)


def test_an_older_audit_says_that_it_kept_no_scope_and_shows_its_notes() -> None:
    older = findings_of(Path("f"), CHANCE, scope=None)
    assert scope_section(older).blocks == [Words(UNKNOWN)]
    assert adversary_section(older).blocks[-1] == Items(["A note."])


def test_the_command_is_exact_and_says_where_it_is_not() -> None:
    exact = repeat_section(findings_of(Path("f"))).blocks
    assert exact[1] == Code("securefl audit digits.toml --adversary server")
    assert Words(NO_PATHS) not in exact
    cut = repeat_section(findings_of(Path("f"), command="securefl audit /home/anna/d.toml")).blocks
    assert cut[1:] == [Code("securefl audit d.toml"), Words(NO_PATHS)]
