"""The repertoire: every attack that findings can show is in it, under one entry."""

from itertools import chain

import pytest

from securefl.audit import repertoire
from securefl.audit.lines import Line, Verdict
from securefl.audit.repertoire import (
    BLIND,
    CANARIES,
    EXPOSED,
    LIRA,
    MECHANISM,
    OFFLINE_LIRA,
    RECONSTRUCTION,
    REPERTOIRE,
    known,
)
from securefl.audit.verdicts import overall

NAMES = {
    value
    for key, value in vars(repertoire).items()
    if key.isupper() and isinstance(value, str) and not key.startswith("_")
}
TOGETHER = {BLIND, EXPOSED, RECONSTRUCTION}  # stand for several attacks
ABOUT = {repertoire.MEMBERS, repertoire.TRAINING, repertoire.UPDATES}


def test_every_name_belongs_to_one_entry() -> None:
    names = list(chain.from_iterable(attack.names for attack in REPERTOIRE))
    assert len(names) == len(set(names))
    assert set(names) == NAMES - TOGETHER - ABOUT
    for name in names:
        attack = known(name)
        assert attack is not None
        assert name in attack.names


def test_a_number_before_a_name_and_nothing_else_is_read_over() -> None:
    canaries = known(f"7510 {CANARIES}")
    assert canaries is not None
    assert canaries.names == (CANARIES,)
    lira, offline = known(LIRA), known(OFFLINE_LIRA)
    assert lira != offline
    assert known("another's attack") is None
    assert known(f"my {LIRA}") is None


def test_lines_that_stand_for_others_are_no_attacks_but_for_labels() -> None:
    instead = set(chain.from_iterable(attack.instead for attack in REPERTOIRE))
    assert instead == TOGETHER | {repertoire.LABELS}


@pytest.mark.parametrize("attack", REPERTOIRE, ids=lambda attack: str(attack.names[0]))
def test_what_an_attack_does_and_needs_are_parts_of_sentences(attack: repertoire.Known) -> None:
    for words in (attack.does, attack.needs):
        assert words[:1].islower()
        assert words[-1:] not in ".;,"
    assert attack.about in ABOUT


def test_the_five_properties_are_those_of_the_verdict() -> None:
    lines = [Line(name, Verdict.HOLDS, "w") for name in MECHANISM]
    assert overall(lines) is Verdict.HOLDS
    assert overall(lines[1:]) is Verdict.UNDECIDED
